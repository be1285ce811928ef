//! A cron schedule as the wire shows it and as clients ask for it.

use std::sync::LazyLock;

use chrono::{DateTime, Utc};
use longhaul_model::store::cron::{self, NewSchedule, Schedule, Starts};
use longhaul_model::{CronError, CronSchedule, Holder, Missed, NAME_BYTES, Parameters, Registry, Shape, closed};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::body::{Link, WHOLE_SECONDS, whole_seconds};
use crate::complaints::Complaints;
use crate::error::UNKNOWN_SCHEDULE;
use crate::task_request::{OptionsRequest, WantedOptions, find_type, read_at, read_parameters};
use crate::{ApiError, App, Caller};

/// A cron schedule.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "PascalCase")]
#[schemars(rename = "Schedule")]
pub(crate) struct ScheduleBody {
    name: String,
    cron: String,
    time_zone: String,
    #[serde(rename = "Type")]
    type_name: String,
    parameters: Value,
    /// The queue of the tasks. Default: that of the type.
    #[serde(skip_serializing_if = "Option::is_none")]
    queue: Option<String>,
    /// The queue of the tasks. Default: that of the type.
    #[serde(skip_serializing_if = "Option::is_none")]
    priority: Option<i16>,
    /// Whose each task is, in a queue where keys take turns.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    /// Only one task of the type with this key is open at a time.
    #[serde(skip_serializing_if = "Option::is_none")]
    unique_key: Option<String>,
    /// For so many seconds the unique key keeps others out; if not the type's.
    #[serde(skip_serializing_if = "Option::is_none")]
    unique_for: Option<f64>,
    /// If not the type's.
    #[serde(skip_serializing_if = "Option::is_none")]
    max_attempts: Option<i16>,
    /// If not the type's.
    #[serde(skip_serializing_if = "Option::is_none")]
    timeout_seconds: Option<f64>,
    /// Words by which lists find its tasks.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tags: Vec<String>,
    /// How to handle missed firings.
    #[schemars(extend("enum" = ["Skip", "Once", "All"]))]
    missed: String,
    paused: bool,
    /// `active`, `paused`, `over` or `broken`.
    #[schemars(extend("enum" = ["active", "paused", "over", "broken"]))]
    state: String,
    /// When it fires next.
    #[schemars(regex(pattern = WHOLE_SECONDS))]
    next_at: Option<String>,
    /// The due time of its last task.
    #[schemars(regex(pattern = WHOLE_SECONDS))]
    last_fired_at: Option<String>,
    /// The due time that was skipped last.
    #[schemars(regex(pattern = WHOLE_SECONDS))]
    last_skipped_at: Option<String>,
    /// Tasks made so far.
    fired: i64,
    /// Why it is broken.
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
    #[serde(rename = "Self")]
    pub(crate) self_url: String,
    links: Vec<Link>,
}

impl ScheduleBody {
    pub(crate) fn new(schedule: Schedule, base_url: &str) -> Self {
        let self_url = format!("{base_url}/api/schedules/{}", schedule.name);
        let mut links = vec![Link { href: self_url.clone(), rel: "Self".to_owned() }];
        links.extend(
            schedule
                .last_task
                .map(|id| Link { href: format!("{base_url}/api/backgroundtask/{id}"), rel: "LastTask".to_owned() }),
        );
        Self {
            name: schedule.name,
            cron: schedule.cron,
            time_zone: schedule.time_zone,
            type_name: schedule.type_name,
            parameters: schedule.parameters,
            queue: schedule.queue,
            priority: schedule.priority,
            key: schedule.key,
            unique_key: schedule.unique_key,
            unique_for: schedule.unique_seconds,
            max_attempts: schedule.max_attempts,
            timeout_seconds: schedule.timeout_seconds,
            tags: schedule.tags,
            missed: schedule.missed,
            paused: schedule.state == "paused",
            state: schedule.state,
            next_at: schedule.next_at.map(whole_seconds),
            last_fired_at: schedule.last_fired_at.map(whole_seconds),
            last_skipped_at: schedule.last_skipped_at.map(whole_seconds),
            fired: schedule.fired,
            problem: schedule.problem,
            self_url,
            links,
        }
    }
}

/// A cron expression and the task that it starts.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "PascalCase")]
#[schemars(transform = closed)]
pub(crate) struct ScheduleRequest {
    /// May be omitted if the address contains it.
    #[schemars(regex(pattern = NAME), extend("x-expected" = NAME_EXPECTED))]
    name: Option<String>,
    /// Five fields, or six with seconds first, or a nickname such as @daily.
    #[schemars(required)]
    cron: Option<String>,
    /// A name of the IANA database. Default: UTC.
    time_zone: Option<String>,
    /// The name of a task type.
    #[serde(rename = "Type")]
    #[schemars(required)]
    type_name: Option<String>,
    /// The parameters of each task.
    #[schemars(extend("x-expected" = "An object is expected."))]
    parameters: Option<Map<String, Value>>,
    /// What becomes of firings that no worker was there for; `Once` if left out.
    #[schemars(extend("x-expected" = "Skip, Once or All is expected."))]
    missed: Option<Missed>,
    /// Whether the schedule is paused.
    #[schemars(extend("x-expected" = "true or false is expected."))]
    paused: Option<bool>,
    #[serde(flatten)]
    options: OptionsRequest,
}

/// The form of a name, which `schedule_name_form` (migrations) asks for, and [`is_name`].
const NAME: &str = "^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$";
const NAME_EXPECTED: &str = "A letter or digit, then at most 99 of letters, digits, '.', '_', '-' are expected.";

/// A schedule that was asked for, everything about it checked.
pub(crate) struct WantedSchedule<'a> {
    name: String,
    parameters: Parameters<'a>,
    next_at: Option<DateTime<Utc>>,
    cron: String,
    time_zone: String,
    options: WantedOptions,
    missed: Missed,
    paused: bool,
}

impl ScheduleRequest {
    /// Reads what a client asked for, or says everything that is wrong with it. `named`
    /// is the name in the address, if there is one; the body may leave it out then.
    pub(crate) fn read<'a>(
        registry: &'a Registry,
        json: Value,
        named: Option<&str>,
        now: DateTime<Utc>,
    ) -> Result<WantedSchedule<'a>, ApiError> {
        let mut complaints = Complaints::default();
        let wanted = Self::read_all(registry, json, named, now, &mut complaints);
        complaints.into_whole_result()?;
        wanted.ok_or_else(|| ApiError::internal("a schedule without a complaint could not be read"))
    }

    fn read_all<'a>(
        registry: &'a Registry,
        json: Value,
        named: Option<&str>,
        now: DateTime<Utc>,
        complaints: &mut Complaints,
    ) -> Option<WantedSchedule<'a>> {
        static SHAPE: LazyLock<Shape<ScheduleRequest>> = LazyLock::new(Shape::new);
        match (json.get("Name").filter(|name| !name.is_null()), named) {
            (Some(name), Some(named)) if name.is_string() && name != named => {
                complaints.add("/Name", "It must be the name in the address, or be omitted.");
            }
            (None, Some(named)) if !is_name(named) => complaints.add("/Name", NAME_EXPECTED),
            (None, None) if json.is_object() => complaints.add("/Name", "This member is required."),
            _ => {}
        }
        let request = read_at(&SHAPE, json, "", complaints)?;
        let options = request.options.check("", complaints);
        let time_zone = request.time_zone.unwrap_or_else(|| "UTC".to_owned());
        let next_at = request.cron.as_deref().and_then(|cron| match CronSchedule::new(cron, &time_zone, now) {
            Ok(schedule) => schedule.next_after(now),
            Err(error) => {
                match error {
                    CronError::TimeZone(_) => complaints.add("/TimeZone", format!("{error}.")),
                    CronError::Expression(_) => complaints.add("/Cron", error.to_string()),
                    CronError::Never => complaints.add("/Cron", format!("{error}.")),
                }
                None
            }
        });
        let entry = request.type_name.and_then(|type_name| find_type(registry, &type_name, "", complaints));
        let parameters = request.parameters.unwrap_or_default();
        let parameters = entry.and_then(|entry| read_parameters(entry, parameters, "", complaints));
        if let Some(parameters) = &parameters {
            options.check_keys(parameters, "", complaints);
        }
        Some(WantedSchedule {
            name: request.name.or(named.map(str::to_owned))?,
            parameters: parameters?,
            next_at,
            cron: request.cron?,
            time_zone,
            options,
            missed: request.missed.unwrap_or(Missed::Once),
            paused: request.paused.unwrap_or_default(),
        })
    }
}

impl WantedSchedule<'_> {
    /// The schedule to store: secrets are sealed.
    pub(crate) fn into_new(self, app: &App) -> Result<NewSchedule, ApiError> {
        let keys = self.parameters.keys_unless(self.options.key, self.options.unique_key.as_deref());
        let type_name = self.parameters.entry().info().name.to_owned();
        let parameters = self.parameters.into_stored(Holder::Schedule(&self.name), app.resources())?;
        Ok(NewSchedule {
            name: self.name,
            cron: self.cron,
            time_zone: self.time_zone,
            type_name,
            parameters,
            options: self.options.options,
            key: keys.key,
            unique_key: keys.unique_key,
            missed: self.missed,
            paused: self.paused,
            next_at: self.next_at,
        })
    }
}

impl App {
    /// Lets a paused schedule go on, if the caller could start its task itself.
    ///
    /// # Errors
    /// 404 if there is no such schedule, 403 or whatever the type's `create` step refuses
    /// with, 503 if it is being changed.
    pub async fn resume_schedule(&self, caller: &Caller, name: &str) -> Result<(), ApiError> {
        let starts = self.startable(caller, name).await?;
        let schedule = cron::schedule(self.pool(), name).await?.ok_or_else(|| unknown(name))?;
        let mut transaction = self.pool().begin().await?;
        if !cron::resume(&mut *transaction, name, &starts, schedule.next_after(self.now())).await? {
            return Err(just_changed());
        }
        caller.note(&mut transaction, "resumeSchedule", name, None).await?;
        Ok(transaction.commit().await?)
    }

    /// Pauses a schedule.
    ///
    /// # Errors
    /// 404 if there is no such schedule.
    pub async fn pause_schedule(&self, caller: &Caller, name: &str) -> Result<(), ApiError> {
        must_be_name(name)?;
        let mut transaction = self.pool().begin().await?;
        if !cron::pause(&mut *transaction, name).await? {
            return Err(unknown(name));
        }
        caller.note(&mut transaction, "pauseSchedule", name, None).await?;
        Ok(transaction.commit().await?)
    }

    /// What a schedule starts, if the caller could start it itself.
    pub(crate) async fn startable(&self, caller: &Caller, name: &str) -> Result<Starts, ApiError> {
        must_be_name(name)?;
        let starts = cron::starts(self.pool(), name).await?.ok_or_else(|| unknown(name))?;
        let holder = Holder::Schedule(name);
        self.must_be_allowed(caller, &starts.type_name, starts.parameters.clone(), holder).await?;
        Ok(starts)
    }
}

/// 404 for what no schedule can be called; the database might not even take it.
pub(crate) fn must_be_name(name: &str) -> Result<(), ApiError> {
    if is_name(name) { Ok(()) } else { Err(unknown(name)) }
}

pub(crate) fn unknown(name: &str) -> ApiError {
    let name: String = name.chars().take(100).collect();
    ApiError::new(UNKNOWN_SCHEDULE, format!("There is no schedule {name}."))
}

/// Someone else has changed or removed it.
pub(crate) fn just_changed() -> ApiError {
    ApiError::unavailable("The schedule has just been changed; nothing was done. Try again.")
}

/// Whether a schedule can have this name.
fn is_name(name: &str) -> bool {
    name.len() <= NAME_BYTES
        && name.starts_with(|first: char| first.is_ascii_alphanumeric())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))
}
