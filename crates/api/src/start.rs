//! Starting a task: what every route that does so shares.

use std::sync::Arc;

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::http::header::LOCATION;
use chrono::{DateTime, Utc};
use longhaul_model::store::enqueue::NewTask;
use longhaul_model::store::keyed::{IdempotencyKey, Stored, enqueue_keyed_as, find, is_kept};
use longhaul_model::store::linked::{Dependency, IfFailed, LinkError, not_of};
use longhaul_model::store::read::{self, Task};
use longhaul_model::{
    CreateContext, CreateError, Entry, Holder, ParameterError, Parameters, Progress, Resources, State, TaskAddress,
    TaskOptions, split_public_id,
};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::access::missing;
use crate::access::permission::{PLACE_TASKS, VIEW_TASKS};
use crate::enqueuer::enqueue_error;
use crate::error::{AfterChange, IDEMPOTENCY_KEY_REUSED, UNIQUE_TASK_EXISTS, UNKNOWN_PREREQUISITE, UNKNOWN_TASK_TYPE};
use crate::negotiation::json_with;
use crate::task_request::{Wanted, WantedOptions};
use crate::{ApiError, App, Caller, EnqueueError, TaskBody};

/// A request to start a task.
#[derive(Debug, Clone)]
pub struct StartTask<'a> {
    /// Who asks.
    pub caller: &'a Caller,
    /// The name of its type.
    pub type_name: &'a str,
    /// An object.
    pub parameters: Value,
    /// Not before this time of the database's clock; at once if absent or past.
    pub run_at: Option<DateTime<Utc>>,
    /// The same in the client's own words, so that a repeated request is known
    /// although its delay counts from another moment.
    pub timing: Option<String>,
    /// The client's name for this request; a second one with it starts nothing
    /// and gets the first one's task.
    pub idempotency_key: Option<String>,
    /// The tasks that it waits for; see [`App::prerequisite`].
    pub after: Vec<(Uuid, IfFailed)>,
    /// What it has of its own, instead of what its type says.
    pub options: TaskOptions,
    /// What the answer shows instead of the `create` step's progress.
    pub progress: Option<Progress>,
}

/// A request to start a task whose parameters were read.
pub(crate) struct Start<'a> {
    pub(crate) caller: &'a Caller,
    pub(crate) parameters: Parameters<'a>,
    pub(crate) run_at: Option<DateTime<Utc>>,
    pub(crate) timing: Option<String>,
    pub(crate) idempotency_key: Option<String>,
    pub(crate) after: Vec<(Uuid, IfFailed)>,
    pub(crate) options: WantedOptions,
    pub(crate) progress: Option<Progress>,
}

/// Refuses tasks whose place among others was chosen by someone who may not do so.
pub(crate) fn must_be_allowed_to_place<'a>(
    caller: &Caller,
    tasks: impl IntoIterator<Item = &'a Wanted<'a>>,
) -> Result<(), ApiError> {
    let chosen = tasks.into_iter().any(|task| task.envelope.options.choose_a_place());
    if chosen && !caller.may(PLACE_TASKS) { Err(missing(PLACE_TASKS)) } else { Ok(()) }
}

impl App {
    /// Validates the parameters, runs the type's `create` step, and stores the
    /// task; it is durable when this returns. If the idempotency key or the type's
    /// unique key says that it is there already, returns that one as it is now.
    ///
    /// # Errors
    /// A refusal, with everything that is wrong; nothing is stored then.
    pub async fn start_task(&self, request: StartTask<'_>) -> Result<TaskBody, ApiError> {
        let StartTask { caller, type_name, parameters, run_at, timing, idempotency_key, after, options, progress } =
            request;
        let entry = self
            .inner
            .registry
            .get(type_name)
            .map_err(|unknown| ApiError::new(UNKNOWN_TASK_TYPE, format!("{unknown}.")))?;
        let parameters = entry.read(parameters).map_err(ApiError::invalid_parameters)?;
        let options = WantedOptions { options, ..WantedOptions::default() };
        self.start(Start { caller, parameters, run_at, timing, idempotency_key, after, options, progress }).await
    }

    /// The same with parameters that were read.
    pub(crate) async fn start(&self, request: Start<'_>) -> Result<TaskBody, ApiError> {
        let caller = request.caller;
        let key = request.idempotency_key.map(|key| {
            // Without the key to seal secrets there is none; `create` refuses them below.
            let parameters = request.parameters.fingerprint(self.resources()).unwrap_or_default();
            let mut asked = format!("{} {parameters}", request.parameters.entry().info().name);
            if let Some(timing) = &request.timing {
                asked.push(' ');
                asked.push_str(timing);
            }
            for (on, if_failed) in &request.after {
                asked.push_str(&format!(" after {on} {}", if_failed.name()));
            }
            if request.options != WantedOptions::default() {
                asked.push_str(&format!(" with {}", serde_json::to_string(&request.options).unwrap_or_default()));
            }
            // Each caller has keys of its own. A subject may have spaces, a key has none.
            let key = caller.created_by().map_or(key.clone(), |subject| format!("{subject} {key}"));
            IdempotencyKey { key, request: asked }
        });
        if let Some(key) = &key
            && let Some(stored) = find(self.pool(), key).await?
        {
            // Before `create`, which might refuse what has been done meanwhile.
            return self.repeated(caller, stored).await;
        }
        let earlier: Vec<Uuid> = request.after.iter().map(|(on, _)| *on).collect();
        self.must_see(caller, &earlier).await?;
        let created = request.parameters.create(&self.create_context(caller)).await?;
        let progress = request.progress.unwrap_or(created);
        let task = self.new_task(caller, request.parameters, request.run_at, request.options, progress)?;
        let dependencies: Vec<Dependency> = request
            .after
            .iter()
            .map(|(on, if_failed)| Dependency { task: task.id, on: *on, if_failed: *if_failed })
            .collect();
        let public_id = format!("{}{}", task.info.id_prefix, task.id);
        let deed = caller.audit_entry("startTask", public_id, Some(json!({"Type": task.info.name})));
        let accepted_at = if key.is_none() && task.unique_key.is_none() && dependencies.is_empty() {
            self.inner.enqueuer.enqueue_as(task.clone(), deed).await
        } else {
            match enqueue_keyed_as(self.pool(), &task, &dependencies, key.as_ref(), deed.as_ref()).await {
                Ok(Stored::New(accepted_at)) => {
                    self.inner.metrics.api().accepted([task.info.name]);
                    if !dependencies.is_empty() {
                        // It may be ready by now, or given up.
                        return self.read_task(task.id).await.after_change();
                    }
                    Ok(accepted_at)
                }
                Ok(stored) => return self.repeated(caller, stored).await,
                Err(LinkError::Database(error)) => Err(enqueue_error(&error)),
                Err(error) => return Err(unlinked(&error)),
            }
        };
        let accepted_at = accepted_at.map_err(|error| match error {
            EnqueueError::Unavailable(why) => ApiError::unavailable(why),
            EnqueueError::Refused(_) => ApiError::internal(error),
        })?;
        Ok(self.accepted(task, accepted_at))
    }

    /// A task to store, with the keys that its type gives it. Refused if its queue is full.
    pub(crate) fn new_task(
        &self,
        caller: &Caller,
        parameters: Parameters<'_>,
        run_at: Option<DateTime<Utc>>,
        options: WantedOptions,
        progress: Progress,
    ) -> Result<NewTask, ApiError> {
        let (entry, keys) = (parameters.entry(), parameters.keys_unless(options.key, options.unique_key.as_deref()));
        let id = self.inner.clock.new_id();
        let parameters = parameters.into_stored(Holder::task(id), self.resources())?;
        let task = NewTask {
            progress,
            run_at,
            created_by: caller.created_by().map(str::to_owned),
            key: keys.key,
            unique_key: keys.unique_key,
            options: options.options,
            ..NewTask::new(id, *entry.info(), parameters)
        };
        match task.check() {
            Ok(()) => self.must_have_room(task.queue()).map(|()| task),
            Err(refused) => Err(ApiError::invalid_parameters(vec![ParameterError {
                pointer: "/Parameters".to_owned(),
                message: refused.to_string(),
            }])),
        }
    }

    /// Refuses one more task for a queue that is full, as far as this process knows: whoever stores
    /// a task for a client asks this first.
    pub(crate) fn must_have_room(&self, queue: &str) -> Result<(), ApiError> {
        let Some(most) = self.inner.full_queues.limit_reached(queue) else { return Ok(()) };
        self.inner.metrics.api().refused_by(queue);
        Err(ApiError::queue_full(queue, most))
    }

    /// The body of a task just after it was accepted.
    pub(crate) fn accepted(&self, task: NewTask, accepted_at: DateTime<Utc>) -> TaskBody {
        let run_at = task.run_at.filter(|run_at| *run_at > accepted_at);
        let accepted = Task {
            id: task.id,
            type_name: task.info.name.to_owned(),
            state: if run_at.is_some() { State::Scheduled } else { State::Queued },
            progress: task.progress,
            attempt: 0,
            created_by: task.created_by,
            accepted_at,
            run_at,
            finished_at: None,
            result: None,
            error: None,
            steps: None,
            time_left: None,
            logged: 0,
            waits_for: None,
            parent: None,
            family: None,
        };
        TaskBody::new(accepted, task.info.id_prefix, self.base_url())
    }

    /// The guid of the task with this public id, which another one is to wait for.
    ///
    /// # Errors
    /// What is wrong with the id.
    pub fn prerequisite(&self, public_id: &str) -> Result<Uuid, String> {
        split_public_id(public_id)
            .filter(|(prefix, _)| self.inner.registry.by_id_prefix(prefix).is_some())
            .map(|(_, id)| id)
            .ok_or_else(|| "The id of a task is expected.".to_owned())
    }

    /// What the host provides to task types, for their endpoints.
    #[must_use]
    pub fn resources(&self) -> &Resources {
        &self.inner.resources
    }

    /// What `Location` names when this task is started.
    pub(crate) fn location(&self, body: &TaskBody) -> String {
        let entry = self.inner.registry.get(&body.type_name);
        entry.map_or_else(|_| TaskAddress::default(), |entry| entry.info().location).of(self.base_url(), &body.id)
    }

    fn body(&self, entry: &Entry, task: Task) -> TaskBody {
        TaskBody::new(task, entry.info().id_prefix, self.base_url())
    }

    /// What a `create` step is given when this one asks.
    pub(crate) fn create_context(&self, caller: &Caller) -> CreateContext {
        let created_by = caller.created_by().map(str::to_owned);
        CreateContext::new(self.pool().clone(), self.inner.resources.clone(), Arc::clone(caller.grants()), created_by)
    }

    /// Refuses a task of a schedule or one that is to run again, with the parameters as they
    /// are stored, if the caller could not start it itself. That its `create` step finds it
    /// impossible now does not count: the step looks at this moment.
    pub(crate) async fn must_be_allowed(
        &self,
        caller: &Caller,
        type_name: &str,
        stored: Value,
        holder: Holder<'_>,
    ) -> Result<(), ApiError> {
        if caller.may_everything() {
            return Ok(());
        }
        let entry = self.inner.registry.get(type_name).map_err(ApiError::internal)?;
        let created = entry.create_again(stored, holder, &self.create_context(caller)).await?;
        Ok(unless_of_this_moment(caller, created)?)
    }

    /// The same for parameters as they were sent.
    pub(crate) async fn must_be_allowed_to_start(
        &self,
        caller: &Caller,
        entry: &Entry,
        parameters: Value,
    ) -> Result<(), ApiError> {
        // What does not fit is complained about later.
        let Ok(parameters) = entry.read(parameters) else { return Ok(()) };
        let created = parameters.create(&self.create_context(caller)).await.map(drop);
        Ok(unless_of_this_moment(caller, created)?)
    }

    /// Refuses tasks to wait for that the caller must not know of, as if there were
    /// none.
    pub(crate) async fn must_see(&self, caller: &Caller, tasks: &[Uuid]) -> Result<(), ApiError> {
        let Some(created_by) = caller.created_by().filter(|_| !tasks.is_empty() && !caller.may(VIEW_TASKS)) else {
            return Ok(());
        };
        match not_of(self.pool(), tasks, created_by).await? {
            unknown if unknown.is_empty() => Ok(()),
            unknown => Err(unlinked(&LinkError::Unknown(unknown))),
        }
    }

    async fn repeated(&self, caller: &Caller, stored: Stored) -> Result<TaskBody, ApiError> {
        match stored {
            Stored::Existing(id) => {
                let task = match read::task(self.pool(), id).await? {
                    Some(task) => task,
                    None if is_kept(self.pool(), id).await? => return Err(gone()),
                    None => self.stored(id).await?,
                };
                if !caller.sees(task.created_by.as_deref()) {
                    return Err(taken_by_other());
                }
                let entry = self.inner.registry.get(&task.type_name).map_err(ApiError::internal)?;
                Ok(self.body(entry, task))
            }
            Stored::New(_) | Stored::KeyReused => Err(ApiError::new(
                IDEMPOTENCY_KEY_REUSED,
                "This Idempotency-Key was used for another request; choose a new one.",
            )),
        }
    }

    async fn stored(&self, id: Uuid) -> Result<Task, ApiError> {
        read::task(self.pool(), id).await?.ok_or_else(|| {
            ApiError::unavailable("The task that was started with this key has just been deleted; try again.")
        })
    }

    pub(crate) async fn read_task(&self, id: Uuid) -> Result<TaskBody, ApiError> {
        let task = self.stored(id).await?;
        let entry = self.inner.registry.get(&task.type_name).map_err(ApiError::internal)?;
        Ok(self.body(entry, task))
    }
}

/// What a `create` step refuses whoever asks, whenever. If the caller's permissions are for
/// some projects, "there is none" may mean that it is not in one of them.
fn unless_of_this_moment(caller: &Caller, created: Result<(), CreateError>) -> Result<(), CreateError> {
    match created {
        Err(CreateError::Invalid(_) | CreateError::Impossible { .. }) if !caller.grants().are_limited() => Ok(()),
        other => other,
    }
}

/// The same was started before, and keeps others out for longer than its task is kept.
fn gone() -> ApiError {
    let detail = "The task with the same unique key has been deleted, but its key is not free yet. Nothing was \
                  stored.";
    ApiError::new(UNIQUE_TASK_EXISTS, detail)
}

/// Another task with the same unique key is open, and the caller may not see it.
pub(crate) fn taken_by_other() -> ApiError {
    ApiError::new(UNIQUE_TASK_EXISTS, "Another caller has an open task with the same unique key. Nothing was stored.")
}

/// Tasks could not be tied to those that they are to wait for.
pub(crate) fn unlinked(error: &LinkError) -> ApiError {
    if matches!(error, LinkError::TakenByOther) {
        return taken_by_other();
    }
    ApiError::new(UNKNOWN_PREREQUISITE, format!("{error}. Nothing was stored."))
}

/// `202` with the body of a task that was started, and its `Location`, which is the address
/// that its type chose ([`TaskType::LOCATION`](longhaul_model::TaskType::LOCATION)).
#[must_use]
pub fn accepted_response(app: &App, body: &TaskBody) -> HttpResponse {
    let mut response = HttpResponse::build(StatusCode::ACCEPTED);
    response.insert_header((LOCATION, app.location(body)));
    json_with(&mut response, body)
}
