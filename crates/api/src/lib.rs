//! The HTTP API: stores tasks and answers `202` once they are durable, shows
//! how far they are, and carries the routes that task types bring along.
//!
//! One file an endpoint in `endpoint/`; [`ApiError`] is the one table of error
//! codes. The wire contract is quoted where a rule comes from it.

pub mod access;
mod app;
mod batch_request;
mod body;
mod endpoint;
mod enqueuer;
mod error;
mod limit;
mod manage;
mod negotiation;
pub mod oauth;
mod observe;
pub mod openapi;
mod page;
mod reading;
mod schedule;
mod server;
pub mod session;
mod start;
mod stream;
mod task_request;

pub use access::{Access, Caller, Gate};
pub use app::{App, AppBuilder, AppSettings};
pub use body::{Link, TaskBody, TimeLeftBody};
pub use enqueuer::{EnqueueError, Enqueuer};
pub use error::{ApiError, KINDS};
pub use limit::{Limits, Rate};
pub use manage::Deed;
pub use negotiation::{idempotency_key, json_response, must_accept_json, parse_json, read_json, unreadable};
pub use openapi::{Operation, Resource, Routes};
pub use reading::read_as_request;
pub use server::{BoundServer, bind, bind_unix};
pub use start::{StartTask, accepted_response};
