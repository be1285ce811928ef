//! Streams of task bodies (`docs/streaming.md`).
//!
//! [`Hub`] knows which tasks are streamed and keeps the newest body of each;
//! `source` learns of changes, for all of them at once; `answer` writes them to
//! clients in the form that each asked for, with the lines of its log (`lines`) if
//! it wants them.

mod answer;
mod event;
mod hub;
mod lines;
mod source;
mod standing;
mod topics;

pub(crate) use answer::{Beginning, Form, begin};
pub(crate) use event::Event;
pub(crate) use hub::Hub;
pub(crate) use lines::Lines;
pub(crate) use standing::Standing;
