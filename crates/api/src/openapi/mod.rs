//! The API's description in OpenAPI 3.1, made of the same table that the server
//! is made of: a route can't be added without saying what it does.

mod document;
mod operation;
mod route;
mod task_schema;

pub(crate) use document::{Document, Nature};
pub use operation::{Operation, RefusalPage, boolean, guid, integer, text};
pub use route::{Resource, Routes};
pub(crate) use route::{refused_as, template};
pub(crate) use task_schema::{BATCH_REQUEST, NEW_SCHEDULE, TASK_REQUEST};
