//! Changing many tasks: those that were ticked, at once; all that fit a filter, by a
//! CancelTasks or RetryTasks task, after asking.

use actix_web::{HttpRequest, HttpResponse, web};
use longhaul_api::access::permission::MANAGE_TASKS;
use longhaul_api::percent_encoded;
use longhaul_api::{ApiError, App, Caller, StartTask, TaskAction};
use longhaul_model::store::count::AtLeast;
use longhaul_model::store::read::Sight;
use longhaul_model::{TaskOptions, split_public_id};
use maud::{Markup, html};
use serde_json::Value;
use uuid::Uuid;

use crate::filter::{Chosen, Form, field, fields, sent};
use crate::format::number;
use crate::notice::Notice;
use crate::problem::{NOT_DONE, WRONG_FIELD};
use crate::respond::{go, go_saying, page};
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
    // Of those that can be changed so, without an estimate.
    let changed = chosen.changed_by(cancels).and_then(|changed| changed.seen_by(&caller, app.now()));
    let count = match changed {
        Some(filter) => filter.count_for_sure(app.pool()).await?,
        None => None,
    };
    let (verb, action) = if cancels { ("Cancel", "/tasks/cancel") } else { ("Retry", "/tasks/retry") };
    let main = html! {
        section.card.ask {
            h1 { (verb) " all matching tasks?" }
            p {
                (fit(count))
                @if cancels {
                    "Waiting tasks are cancelled; running tasks are asked to stop."
                } @else {
                    "Failed and cancelled tasks are retried from their last checkpoints."
                }
                " A separate task does this, and its progress is shown."
            }
            h2 { "The filter" }
            pre tabindex="0" { (crate::format::json(&parameters)) }
            form method="post" action=(action) {
                input type="hidden" name="all" value="yes";
                @for (name, value) in chosen.fields() { input type="hidden" name=(name) value=(value); }
                div.buttons {
                    button class=(if cancels { "danger" } else { "primary" }) type="submit" { (verb) " them all" }
                    a.button href=(chosen.address("/tasks", None)) { "Keep them unchanged" }
                }
            }
        }
    };
    Ok(page(Shell::new(format!("{verb} tasks"), "/tasks", &caller).still().page(main)))
}

fn fit(count: Option<AtLeast>) -> Markup {
    html! {
        @match count {
            Some(AtLeast { tasks: 0, more: false }) => { "No tasks match the filter now. " }
            Some(AtLeast { tasks, more: false }) => { b { (number(tasks)) } @if tasks == 1 { " task matches" } @else { " tasks match" } " the filter now. " }
            Some(AtLeast { tasks, more: true }) if tasks > 0 => { "At least " b { (number(tasks)) } " tasks match the filter now. " }
            _ => {}
        }
    }
}

/// Cancels what was ticked, or all that fit.
pub(crate) async fn cancel(app: web::Data<App>, caller: Caller, form: Form) -> Result<HttpResponse, ApiError> {
    change(&app, &caller, form, true).await
}

/// Runs what was ticked again, or all that fit.
pub(crate) async fn retry(app: web::Data<App>, caller: Caller, form: Form) -> Result<HttpResponse, ApiError> {
    change(&app, &caller, form, false).await
}

async fn change(app: &App, caller: &Caller, form: Form, cancels: bool) -> Result<HttpResponse, ApiError> {
    let fields = sent(form)?;
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
            options: TaskOptions::default(),
            progress: None,
        });
        return Ok(go(&format!("/tasks/{}", percent_encoded(&started.await?.id))));
    }
    let mut ids: Vec<Uuid> = (fields.iter())
        .filter(|(name, _)| name == "id")
        .filter_map(|(_, id)| split_public_id(id).map(|(_, id)| id))
        .take(TICKED)
        .collect();
    ids.sort_unstable();
    ids.dedup();
    let notice = if ids.is_empty() {
        Notice::NoneChosen
    } else if cancels {
        Notice::ManyCancelled(app.change_tasks(caller, &ids, TaskAction::Cancel).await?)
    } else {
        Notice::ManyRetried(app.change_tasks(caller, &ids, TaskAction::Retry).await?)
    };
    Ok(go_saying(&chosen.address("/tasks", None), notice))
}

/// All that fit and that the caller manages: without the permission, its own.
fn managed(chosen: Chosen, caller: &Caller) -> Result<Chosen, ApiError> {
    if chosen.text.is_some() || chosen.is_everything() {
        return Err(ApiError::new(NOT_DONE, "Filter by a state, a type, a queue or an age, without a text."));
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
        .ok_or_else(|| ApiError::new(NOT_DONE, "No task in the selected states can be changed in this way."))
}
