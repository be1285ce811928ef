//! A cron schedule as the wire shows it and as clients ask for it.

use chrono::{DateTime, Utc};
use longhaul_model::store::cron::{NewSchedule, Schedule};
use longhaul_model::{CronError, CronSchedule, Missed, ParameterError, escape, has_nul};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::body::{Link, WHOLE_SECONDS, whole_seconds};
use crate::{ApiError, App};

const MEMBERS: &str = "Name, Cron, TimeZone, Type, Parameters, Queue, Priority, Missed, Paused";

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
    /// If not the type's.
    #[serde(skip_serializing_if = "Option::is_none")]
    queue: Option<String>,
    /// If not the type's.
    #[serde(skip_serializing_if = "Option::is_none")]
    priority: Option<i16>,
    /// What becomes of firings that no worker was there for.
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

/// Reads what a client asked for, or everything that is wrong with it. `named`
/// is the name in the address, if there is one; the body may leave it out then.
pub(crate) fn read(app: &App, json: Value, named: Option<&str>, now: DateTime<Utc>) -> Result<NewSchedule, ApiError> {
    let Value::Object(members) = json else {
        return Err(ApiError::invalid_request(vec![ParameterError {
            pointer: String::new(),
            message: format!("An object with the members {MEMBERS} is expected."),
        }]));
    };
    let mut reader = Reader { members, errors: Vec::new() };
    let name = match (reader.text("/Name"), named) {
        (Some(name), Some(named)) if name != named => {
            reader.complain("/Name", "It must be the name in the address, or be left out.");
            name
        }
        (Some(name), _) => name,
        (None, Some(named)) => named.to_owned(),
        (None, None) => reader.missing("/Name"),
    };
    if !is_name(&name) {
        reader.complain("/Name", "A letter or digit, then at most 99 of letters, digits, '.', '_', '-' are expected.");
    }
    let cron = reader.text("/Cron").unwrap_or_else(|| reader.missing("/Cron"));
    let time_zone = reader.text("/TimeZone").unwrap_or_else(|| "UTC".to_owned());
    let type_name = reader.text("/Type").unwrap_or_else(|| reader.missing("/Type"));
    let parameters = reader.take("/Parameters").unwrap_or_else(|| Value::Object(Map::new()));
    let queue = reader.text("/Queue");
    if queue.as_ref().is_some_and(|queue| queue.is_empty() || queue.len() > 100 || queue.contains('\0')) {
        reader.complain("/Queue", "A name of 1 to 100 characters is expected.");
    }
    let priority = reader.take("/Priority").and_then(|value| {
        let priority = value.as_u64().and_then(|number| u8::try_from(number).ok()).filter(|number| *number <= 9);
        if priority.is_none() {
            reader.complain("/Priority", "A number from 0 (first) to 9 (last) is expected.");
        }
        priority
    });
    let missed = reader.text("/Missed").map_or(Missed::Once, |word| {
        Missed::by_name(&word).unwrap_or_else(|| {
            reader.complain("/Missed", "Skip, Once or All is expected.");
            Missed::Once
        })
    });
    let paused = reader.take("/Paused").is_some_and(|value| {
        value.as_bool().unwrap_or_else(|| {
            reader.complain("/Paused", "true or false is expected.");
            false
        })
    });
    let unknown: Vec<String> = reader.members.keys().map(|name| format!("/{}", escape(name))).collect();
    for pointer in unknown {
        reader.complain(&pointer, &format!("Unknown member; the known ones are {MEMBERS}."));
    }
    if !reader.errors.iter().any(|error| error.pointer == "/Type") {
        match app.inner.registry.get(&type_name) {
            Ok(_) if !parameters.is_object() => reader.complain("/Parameters", "An object is expected."),
            Ok(_) if has_nul(&parameters) => {
                reader.complain("/Parameters", "The character U+0000 can't be stored; leave it out.");
            }
            Ok(entry) => reader.errors.extend(entry.validate(&parameters)),
            Err(unknown) => reader.complain("/Type", &format!("{unknown}.")),
        }
    }
    let mut next_at = None;
    if !reader.errors.iter().any(|error| error.pointer == "/Cron" || error.pointer == "/TimeZone") {
        match CronSchedule::new(&cron, &time_zone, now) {
            Ok(schedule) => next_at = schedule.next_after(now),
            Err(error @ CronError::TimeZone(_)) => reader.complain("/TimeZone", &format!("{error}.")),
            Err(error @ CronError::Expression(_)) => reader.complain("/Cron", &error.to_string()),
            Err(error @ CronError::Never) => reader.complain("/Cron", &format!("{error}.")),
        }
    }
    if !reader.errors.is_empty() {
        return Err(ApiError::invalid_request(reader.errors));
    }
    let entry = app.inner.registry.get(&type_name).map_err(ApiError::internal)?;
    let keys = entry.keys(&parameters)?;
    let parameters = entry.to_store(parameters, app.resources())?;
    let (key, unique_key) = (keys.key, keys.unique_key);
    Ok(NewSchedule {
        name,
        cron,
        time_zone,
        type_name,
        parameters,
        queue,
        priority,
        key,
        unique_key,
        missed,
        paused,
        next_at,
    })
}

/// The form that `schedule_name_form` (migrations) asks for.
pub(crate) fn is_name(name: &str) -> bool {
    name.len() <= 100
        && name.starts_with(|first: char| first.is_ascii_alphanumeric())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))
}

struct Reader {
    members: Map<String, Value>,
    errors: Vec<ParameterError>,
}

impl Reader {
    fn complain(&mut self, pointer: &str, message: &str) {
        self.errors.push(ParameterError { pointer: pointer.to_owned(), message: message.to_owned() });
    }

    /// A member that is there and not null.
    fn take(&mut self, pointer: &str) -> Option<Value> {
        self.members.remove(&pointer[1..]).filter(|value| !value.is_null())
    }

    fn text(&mut self, pointer: &str) -> Option<String> {
        match self.take(pointer)? {
            Value::String(text) => Some(text),
            _ => {
                self.complain(pointer, "A string is expected.");
                Some(String::new())
            }
        }
    }

    fn missing(&mut self, pointer: &str) -> String {
        self.complain(pointer, "This member is required.");
        String::new()
    }
}
