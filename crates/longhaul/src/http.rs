//! Types for routes that a program adds to the API
//! ([`Program::with_routes`](crate::Program::with_routes)). Each route has an [`Operation`], which
//! describes it in the OpenAPI document. Handlers take `web::Data<App>`, return errors as
//! [`ApiError`], and may start tasks as the API itself does.

pub use longhaul_api::{
    Access, ApiError, App, Caller, Link, Operation, Resource, Routes, StartTask, TaskBody, accepted_response,
    idempotency_key, json_response, must_accept_json, openapi, read_json,
};
pub use longhaul_model::Shape;
