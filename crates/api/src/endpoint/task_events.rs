//! `GET /api/backgroundtask/{id}/events`: a task's states as they change, until
//! it ends.

use actix_web::{HttpRequest, HttpResponse, web};

use super::get_task::find;
use crate::stream::{Form, begin};
use crate::{ApiError, App};

/// What a client that lost its connection has seen (WHATWG HTML, 9.2).
const LAST_EVENT_ID: &str = "Last-Event-ID";

/// `200` with the stream, beginning with the state that the task is in unless
/// `Last-Event-ID` names it; `204` if that is the final one; `404` as for the
/// task itself.
pub(crate) async fn handle(
    app: web::Data<App>,
    id: web::Path<String>,
    request: HttpRequest,
) -> Result<HttpResponse, ApiError> {
    let form = Form::asked(&request)?;
    let (_, body) = find(&app, &id).await?;
    let seen = request.headers().get(LAST_EVENT_ID).and_then(|id| id.to_str().ok());
    begin(&app, &mut HttpResponse::Ok(), body, form, seen)
}
