//! `GET /api/tasktypes`: the task types that are known.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use longhaul_model::store::task_type::{KnownType, known};
use schemars::JsonSchema;
use serde::Serialize;

use crate::access::permission::VIEW_QUEUES;
use crate::negotiation::must_accept_json;
use crate::{Access, ApiError, App, Operation, json_response};

/// A task type as it is for everyone.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "PascalCase")]
#[schemars(rename = "TaskType")]
pub(super) struct TypeBody {
    name: String,
    /// The default queue of its tasks.
    queue: String,
    /// Whether the type is paused in all queues.
    paused: bool,
}

/// Task types.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "PascalCase")]
#[schemars(rename = "TaskTypeList")]
struct TypesBody {
    items: Vec<TypeBody>,
}

impl From<KnownType> for TypeBody {
    fn from(known: KnownType) -> Self {
        Self { name: known.name, queue: known.queue, paused: known.paused }
    }
}

pub(super) fn operation() -> Operation {
    Operation::new("Queues", "listTypes", "Lists registered task types.")
        .needs(Access::Permission(VIEW_QUEUES))
        .negotiated()
        .answers::<TypesBody>(200, "All of them, by name.")
}

/// `200` with the types.
pub(super) async fn handle(app: web::Data<App>, request: HttpRequest) -> Result<HttpResponse, ApiError> {
    must_accept_json(&request)?;
    let items = known(app.pool()).await?.into_iter().map(TypeBody::from).collect();
    Ok(json_response(StatusCode::OK, &TypesBody { items }))
}
