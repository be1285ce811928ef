//! Changing many tasks: those that were ticked, at once; all that fit a filter, by a
//! CancelTasks or RetryTasks task, after asking.

use actix_web::{HttpRequest, HttpResponse, web};
use longhaul_api::access::permission::MANAGE_TASKS;
use longhaul_api::{ApiError, App, Caller, Deed, StartTask};
use longhaul_model::split_public_id;
use longhaul_model::store::read::Sight;
use maud::html;
use serde_json::Value;
use uuid::Uuid;

use crate::filter::{Chosen, Form, field, fields, sent};
use crate::format::{escaped, number};
use crate::respond::{NOT_DONE, WRONG_FIELD, go, page};
use crate::shell::Shell;

/// Tasks that can be ticked on one page.
const TICKED: usize = 1_000;

/// Asks before all that fit are changed.
pub(crate) async fn ask(app: web::Data<App>, caller: Caller, request: HttpRequest) -> Result<HttpResponse, ApiError> {
    let fields = fields(&request)?;
    let chosen = managed(Chosen::read(&fields)?, &caller)?;
    let cancels = match field(&fields, "deed") {
        Some("cancel") => true,
        Some("retry") => {
            caller.require(MANAGE_TASKS)?;
            false
        }
        _ => return Err(ApiError::new(WRONG_FIELD, "'deed' is cancel or retry.")),
    };
    let parameters = parameters(&app, &chosen, cancels)?;
    let count = match chosen.seen_by(&caller, app.now()) {
        Some(filter) => filter.count(app.pool()).await?,
        None => None,
    };
    let (verb, action) = if cancels { ("Cancel", "/tasks/cancel") } else { ("Retry", "/tasks/retry") };
    let main = html! {
        section.card.ask {
            h1 { (verb) " all tasks that fit?" }
            p {
                @if let Some(count) = count { @if !count.exact { "About " } b { (number(count.tasks)) } @if count.tasks == 1 { " task fits" } @else { " tasks fit" } " the filter now. " }
                @if cancels {
                    "Those that wait are cancelled; the workers of those that run are asked to stop them."
                } @else {
                    "Those that failed or were cancelled run again, from their last checkpoints."
                }
                " It is done by a task of its own, whose progress you will see."
            }
            h2 { "The filter" }
            pre tabindex="0" { (crate::format::json(&parameters)) }
            form method="post" action=(action) {
                input type="hidden" name="all" value="yes";
                @for (name, value) in chosen.fields() { input type="hidden" name=(name) value=(value); }
                div.buttons {
                    button class=(if cancels { "danger" } else { "primary" }) type="submit" { (verb) " them all" }
                    a.button href=(chosen.address("/tasks", None)) { "Leave them alone" }
                }
            }
        }
    };
    Ok(page(Shell::new(format!("{verb} tasks"), "/tasks", &caller).still().page(main)))
}

/// Cancels what was ticked, or all that fit.
pub(crate) async fn cancel(
    app: web::Data<App>,
    caller: Caller,
    request: HttpRequest,
    form: Form,
) -> Result<HttpResponse, ApiError> {
    change(&app, &caller, &request, form, true).await
}

/// Runs what was ticked again, or all that fit.
pub(crate) async fn retry(
    app: web::Data<App>,
    caller: Caller,
    request: HttpRequest,
    form: Form,
) -> Result<HttpResponse, ApiError> {
    change(&app, &caller, &request, form, false).await
}

async fn change(
    app: &App,
    caller: &Caller,
    request: &HttpRequest,
    form: Form,
    cancels: bool,
) -> Result<HttpResponse, ApiError> {
    let fields = sent(request, form)?;
    let chosen = Chosen::read(&fields)?;
    if field(&fields, "all").is_some() {
        let type_name = if cancels { "CancelTasks" } else { "RetryTasks" };
        let parameters = parameters(app, &managed(chosen, caller)?, cancels)?;
        let started = app.start_task(StartTask {
            caller,
            type_name,
            parameters,
            run_at: None,
            timing: None,
            idempotency_key: None,
            after: Vec::new(),
            progress: None,
        });
        return Ok(go(&format!("/tasks/{}", escaped(&started.await?.id))));
    }
    let mut ids: Vec<Uuid> = (fields.iter())
        .filter(|(name, _)| name == "id")
        .filter_map(|(_, id)| split_public_id(id).map(|(_, id)| id))
        .take(TICKED)
        .collect();
    ids.sort_unstable();
    ids.dedup();
    let notice = match (ids.is_empty(), cancels) {
        (true, _) => "none-chosen",
        (_, true) => "many-cancelled",
        (_, false) => "many-retried",
    };
    if !ids.is_empty() {
        app.change_tasks(caller, &ids, if cancels { Deed::Cancel } else { Deed::Retry }).await?;
    }
    let back = chosen.address("/tasks", None);
    let joint = if back.contains('?') { '&' } else { '?' };
    Ok(go(&format!("{back}{joint}notice={notice}")))
}

/// All that fit and that the caller manages: without the permission, its own.
fn managed(chosen: Chosen, caller: &Caller) -> Result<Chosen, ApiError> {
    if chosen.text.is_some() || chosen.is_everything() {
        return Err(ApiError::new(NOT_DONE, "Choose a state, a type, a queue or an age, and no text."));
    }
    match (caller.sight(&[MANAGE_TASKS]), &chosen.created_by) {
        (Sight::Own(own), Some(other)) if other != own => {
            caller.require(MANAGE_TASKS)?;
            Ok(chosen)
        }
        (Sight::Own(own), _) => Ok(Chosen { created_by: Some(own.to_owned()), ..chosen }),
        (Sight::All, _) => Ok(chosen),
    }
}

fn parameters(app: &App, chosen: &Chosen, cancels: bool) -> Result<Value, ApiError> {
    chosen
        .parameters(app.now(), cancels)
        .ok_or_else(|| ApiError::new(NOT_DONE, "No task in the states that were chosen can be changed so."))
}
