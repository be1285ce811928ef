//! The HTTP API: stores tasks and answers `202` once they are durable, shows their progress, and
//! serves the routes of task types.
//!
//! One file an endpoint in `endpoint/`; [`ApiError`] is the one table of error
//! codes. The wire contract is quoted where a rule comes from it.

pub mod access;
mod app;
mod app_builder;
mod batch_request;
mod body;
mod complaints;
mod connection;
mod control;
mod ending;
mod endpoint;
mod enqueuer;
mod error;
mod full_queues;
mod html;
mod limit;
mod manage;
mod negotiation;
pub mod oauth;
mod observe;
pub mod openapi;
mod page;
mod patience;
mod percent;
mod query_string;
mod reading;
#[cfg(test)]
mod reading_cost;
pub mod record;
mod return_path;
mod schedule;
mod server;
pub mod session;
mod settings;
mod start;
mod stream;
mod swagger_ui;
mod task_request;

pub use access::{Access, Authenticators, Caller};
pub use app::App;
pub use app_builder::AppBuilder;
pub use body::{Link, TaskBody, TimeLeftBody};
pub use enqueuer::{EnqueueError, Enqueuer};
pub use error::{AfterChange, ApiError, KINDS};
pub use limit::{Limits, Rate};
pub use manage::TaskAction;
pub use negotiation::{
    idempotency_key, json_response, must_accept_json, must_send_bytes, parse_json, read_json, unreadable,
};
pub use openapi::{Operation, Resource, Routes};
pub use percent::percent_encoded;
pub use reading::read_as_request;
pub use server::{BoundServer, bind, bind_unix, bind_waiting};
pub use settings::AppSettings;
pub use start::{StartTask, accepted_response};
