//! `GET /api/backgroundtask/{id}/events`: a task's states as they change, until
//! it ends.

use actix_web::{HttpRequest, HttpResponse, web};

use longhaul_model::ParameterError;
use serde::Deserialize;

use super::get_task::find_task;
use crate::stream::{Beginning, Form, Lines, begin};
use crate::{ApiError, App, TaskBody};

/// What a client that lost its connection has seen (WHATWG HTML, 9.2).
const LAST_EVENT_ID: &str = "Last-Event-ID";

#[derive(Deserialize)]
struct Wanted {
    /// The lines of the task's log, too.
    #[serde(default)]
    log: bool,
}

/// `200` with the stream, beginning with the state that the task is in unless
/// `Last-Event-ID` names it; `204` if that is the final one; `404` as for the
/// task itself.
pub(crate) async fn handle(
    app: web::Data<App>,
    id: web::Path<String>,
    request: HttpRequest,
) -> Result<HttpResponse, ApiError> {
    let form = Form::asked(&request)?;
    let wanted = web::Query::<Wanted>::from_query(request.query_string()).map_err(|_| {
        let message = "true or false is expected.".to_owned();
        ApiError::invalid_request(vec![ParameterError { pointer: "log".to_owned(), message }])
    })?;
    let (task, id_prefix) = find_task(&app, &id).await?;
    let seen = request.headers().get(LAST_EVENT_ID).and_then(|id| id.to_str().ok());
    let lines = wanted.log.then(|| Lines::after(app.pool().clone(), task.id, seen));
    let logged = task.logged;
    let body = TaskBody::new(task, id_prefix, app.base_url());
    begin(&app, &mut HttpResponse::Ok(), Beginning { body, logged, form, seen, lines })
}
