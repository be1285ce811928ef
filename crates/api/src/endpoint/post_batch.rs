//! `POST /api/backgroundtasks/batch`: starts many tasks, or none.

use std::collections::BTreeMap;

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use futures_util::{StreamExt, stream};
use longhaul_model::store::audit::AuditEntry;
use longhaul_model::store::enqueue::NewTask;
use longhaul_model::store::keyed::{Parent, Together, enqueue_all};
use longhaul_model::store::linked::{Dependency, LinkError};
use longhaul_model::{Batch, CreateError, ParameterError, Progress, TaskTypeInfo};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;

use crate::access::permission::VIEW_TASKS;
use crate::batch_request::{BatchRequest, WantedBatch, first_of_map};
use crate::error::{AfterChange, UNIQUE_TASK_EXISTS, UNKNOWN_PREREQUISITE};
use crate::negotiation::{json_response, read_json_within};
use crate::openapi::BATCH_REQUEST;
use crate::start::{must_be_allowed_to_place, unlinked};
use crate::task_request::{After, Envelope, Wanted};
use crate::{ApiError, App, Caller, Operation, TaskBody};

/// `create` steps at once; each may use a connection.
const CREATES_AT_ONCE: usize = 4;

/// The bodies of many tasks.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "PascalCase")]
#[schemars(rename = "TaskBatch")]
struct BatchBody {
    /// The task whose parts they are, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    parent: Option<TaskBody>,
    /// The task that runs when that one has ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    then: Option<TaskBody>,
    /// In the order of the request; those of a `Map` are not listed.
    #[serde(skip_serializing_if = "Option::is_none")]
    tasks: Option<Vec<TaskBody>>,
}

pub(super) fn operation() -> Operation {
    Operation::new("Tasks", "startTasks", "Starts many tasks in one transaction.")
        .description(
            "If any task is invalid, none is stored, and the response lists every error with its pointer. A task \
             whose unique key another open task has is not stored; the response has the body of that task in its \
             place. With `Parent` or `Map` the tasks are the children of one more task.",
        )
        .problem(UNKNOWN_PREREQUISITE)
        .problem(UNIQUE_TASK_EXISTS)
        .reads_component(BATCH_REQUEST)
        .starts_tasks(None)
        .negotiated()
        .answers::<BatchBody>(202, "All tasks are durable.")
}

/// `202` with the bodies in the order of the request, sent after all tasks are
/// durable. If anything is wrong with any of them, none is stored, and every
/// complaint is listed with its pointer. A task whose unique key another one has
/// is not stored; its place has the body of that one. With `Parent` or `Map`, the
/// tasks are the children of one more task, whose body is shown too; tasks of a
/// `Map` are not listed.
pub(crate) async fn handle(
    app: web::Data<App>,
    caller: Caller,
    request: HttpRequest,
    body: Result<web::Bytes, actix_web::Error>,
) -> Result<HttpResponse, ApiError> {
    if request.headers().contains_key("idempotency-key") {
        // Better than to take it and start everything twice.
        return Err(ApiError::invalid_request(vec![ParameterError {
            pointer: "Idempotency-Key".to_owned(),
            message: "A batch can't have an idempotency key; omit the header, or send the tasks one by one.".to_owned(),
        }]));
    }
    let limit = app.inner.settings.batch_body_limit;
    let json = read_json_within(limit, &request, body)?;
    if let Some((type_name, parameters)) = first_of_map(&json)
        && let Ok(entry) = app.inner.registry.get(type_name)
    {
        app.must_be_allowed_to_start(&caller, entry, parameters).await?;
    }
    let wanted = BatchRequest::read(&app.inner.registry, json, limit, app.now())?;
    let then = wanted.parent.iter().filter_map(|parent| parent.then.as_ref()).map(|(then, _)| then);
    must_be_allowed_to_place(&caller, wanted.tasks.iter().chain(then))?;
    let (mapped, tied) =
        (wanted.mapped, wanted.parent.is_some() || wanted.tasks.iter().any(|task| !task.envelope.after.is_empty()));
    let together = prepare(&app, &caller, wanted).await?;
    let (accepted_at, existing) = enqueue_all(app.pool(), &together).await.map_err(|error| match error {
        LinkError::Database(error) => ApiError::from(error),
        other => unlinked(&other),
    })?;
    let fresh = together.tasks.iter().zip(&existing).filter(|(_, existing)| existing.is_none());
    app.inner.metrics.api().accepted(fresh.map(|(task, _)| task.info.name));
    let (parent, then) = match &together.parent {
        None => (None, None),
        Some(parent) => {
            let then = match &parent.then {
                Some((then, _)) => Some(app.read_task(then.id).await.after_change()?),
                None => None,
            };
            (Some(app.read_task(parent.task.id).await.after_change()?), then)
        }
    };
    let tasks = if mapped {
        None
    } else {
        let mut bodies = Vec::with_capacity(together.tasks.len());
        for (task, existing) in together.tasks.into_iter().zip(existing) {
            bodies.push(match existing {
                None if !tied => app.accepted(task, accepted_at),
                None => app.read_task(task.id).await.after_change()?,
                Some(id) => app.read_task(id).await.after_change()?,
            });
        }
        Some(bodies)
    };
    Ok(json_response(StatusCode::ACCEPTED, &BatchBody { parent, then, tasks }))
}

/// Runs the `create` steps and makes the tasks with their ties.
async fn prepare(app: &App, caller: &Caller, wanted: WantedBatch<'_>) -> Result<Together, ApiError> {
    let (mut all, names, parent) = (wanted.tasks, wanted.names, wanted.parent);
    let children = all.len();
    let (if_failed, then_if_failed) = match parent {
        None => (None, None),
        Some(parent) => match parent.then {
            None => (Some(parent.if_failed), None),
            Some((then, edge)) => {
                all.push(then);
                (Some(parent.if_failed), Some(edge))
            }
        },
    };
    let progress = create_all(app, caller, &all).await?;
    let mut tasks: Vec<NewTask> = Vec::with_capacity(all.len());
    let mut waits: Vec<(String, Vec<After>)> = Vec::with_capacity(all.len());
    for (wanted, progress) in all.into_iter().zip(progress) {
        let Wanted { place, parameters, envelope: Envelope { run_at, after, options, .. } } = wanted;
        tasks.push(app.new_task(caller, parameters, run_at, options, progress)?);
        waits.push((place, after));
    }
    let (mut dependencies, mut errors, mut earlier) = (Vec::new(), Vec::new(), Vec::new());
    for ((place, after), task) in waits.iter().zip(&tasks) {
        for (number, after) in after.iter().enumerate() {
            let on = match names.get(after.task()) {
                Some(on) => Ok(tasks[*on].id),
                None => app.prerequisite(after.task()).inspect(|id| earlier.push(*id)),
            };
            match on {
                Ok(on) => dependencies.push(Dependency { task: task.id, on, if_failed: after.if_failed() }),
                Err(_) => errors.push(ParameterError {
                    pointer: format!("{place}/After/{number}"),
                    message: "The id of a task, or the Name of one of this request, is expected.".to_owned(),
                }),
            }
        }
    }
    if !errors.is_empty() {
        return Err(ApiError::invalid_request(errors));
    }
    app.must_see(caller, &earlier).await?;
    let then = tasks.split_off(children).pop().zip(then_if_failed);
    let parent = if_failed.map(|if_failed| {
        let total = tasks.iter().map(|task| task.progress.total.max(1)).sum();
        let task = NewTask {
            progress: Progress::of(0, total),
            created_by: caller.created_by().map(str::to_owned),
            ..NewTask::new(app.inner.clock.new_id(), TaskTypeInfo::of::<Batch>(), serde_json::json!({}))
        };
        Parent { task, if_failed, then }
    });
    let only_of = caller.created_by().filter(|_| !caller.may(VIEW_TASKS)).map(str::to_owned);
    let deed = audit_entry(caller, &tasks, parent.as_ref());
    Ok(Together { tasks, dependencies, parent, only_of, deed })
}

/// One line for all of them: their number by types, and the first and the last.
fn audit_entry(caller: &Caller, tasks: &[NewTask], parent: Option<&Parent>) -> Option<AuditEntry> {
    let public_id = |task: &NewTask| format!("{}{}", task.info.id_prefix, task.id);
    let mut types: BTreeMap<&str, usize> = BTreeMap::new();
    for task in tasks {
        *types.entry(task.info.name).or_default() += 1;
    }
    let (first, last) = (tasks.first().map(public_id), tasks.last().map(public_id));
    let target = parent.map(|parent| public_id(&parent.task)).or(first.clone()).unwrap_or_default();
    caller.audit_entry("startTasks", target, Some(json!({"Tasks": types, "First": first, "Last": last})))
}

/// Runs every `create` step. The first refusal that is not about parameters
/// decides the answer's code; all of them are listed.
async fn create_all(app: &App, caller: &Caller, wanted: &[Wanted<'_>]) -> Result<Vec<Progress>, ApiError> {
    let context = &app.create_context(caller);
    let created: Vec<Result<Progress, CreateError>> =
        stream::iter(wanted).map(|wanted| wanted.parameters.create(context)).buffered(CREATES_AT_ONCE).collect().await;
    let mut progress = Vec::with_capacity(created.len());
    let mut errors = Vec::new();
    let mut refusal = None;
    for (wanted, result) in wanted.iter().zip(created) {
        match result {
            Ok(start) => progress.push(start),
            Err(CreateError::Invalid(complaints)) => {
                errors.extend(complaints.into_iter().map(|error| error.below(&wanted.place)));
            }
            Err(error @ (CreateError::Unavailable { .. } | CreateError::Internal(_))) => return Err(error.into()),
            Err(error) => {
                errors.push(ParameterError { pointer: wanted.place.clone(), message: error.to_string() });
                refusal.get_or_insert(error);
            }
        }
    }
    match (refusal, errors.is_empty()) {
        (Some(refusal), _) => Err(ApiError::from(refusal).with_errors(errors)),
        (None, false) => Err(ApiError::invalid_parameters(errors)),
        (None, true) => Ok(progress),
    }
}
