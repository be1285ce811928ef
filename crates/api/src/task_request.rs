//! A task as a client asks for it: the members of a POST, alone, in a batch or after one.

use std::collections::HashSet;
use std::sync::LazyLock;
use std::time::Duration;

use chrono::{DateTime, DurationRound, TimeDelta, Utc};
use longhaul_model::store::enqueue::LONGEST_DELAY;
use longhaul_model::store::linked::IfFailed;
use longhaul_model::{
    ATTEMPTS, Entry, KEY_BYTES, LAST_PRIORITY, NAME_BYTES, Parameters, Registry, Shape, TAGS, TIMEOUT_SECONDS,
    TaskOptions, UNIQUE_KEY_BYTES, check_parameters, check_text, closed, has_nul,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Number, Value};

use crate::ApiError;
use crate::complaints::Complaints;

/// A task may wait for so many others at most.
const AFTER_AT_MOST: usize = 10_000;
/// Characters of a task's name in its batch at most.
const NAME_CHARACTERS: usize = 100;
/// [`LONGEST_DELAY`] in seconds.
const LONGEST_DELAY_SECONDS: u64 = LONGEST_DELAY.as_secs();

/// What is asked of a task, wherever it stands.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct TaskRequest {
    /// The name of a task type.
    #[serde(rename = "Type")]
    #[schemars(required, extend("x-expected" = "The name of a task type, as a string, is expected."))]
    type_name: Option<String>,
    /// Those that the type asks for.
    #[schemars(extend("x-expected" = "An object is expected."))]
    parameters: Option<Map<String, Value>>,
    /// The task does not run before this time; at most ten years ahead.
    #[schemars(extend("format" = "date-time", "x-expected" = "A time with its offset, as in RFC 3339, is expected, such as 2031-05-04T09:30:00Z."))]
    run_at: Option<String>,
    /// Not before so many seconds have passed; instead of `RunAt`.
    #[schemars(
        with = "Option<f64>",
        range(min = 0, max = LONGEST_DELAY_SECONDS),
        extend("x-expected" = format!("A number of seconds from 0 to {LONGEST_DELAY_SECONDS} (ten years) is expected."))
    )]
    delay_seconds: Option<Number>,
    /// The task does not start before all of these have completed.
    #[schemars(length(max = AFTER_AT_MOST), extend("x-expected" = format!("A list of tasks, at most {AFTER_AT_MOST}, is expected.")))]
    after: Option<Vec<After>>,
    #[serde(flatten)]
    options: OptionsRequest,
}

/// What a task may have of its own, instead of what its type says.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct OptionsRequest {
    /// The queue, if not the type's.
    #[schemars(length(min = 1, max = NAME_BYTES), extend("x-expected" = format!("A name of 1 to {NAME_BYTES} characters is expected.")))]
    queue: Option<String>,
    /// 0 goes first, 9 last; if not the type's.
    #[schemars(
        range(min = 0, max = LAST_PRIORITY),
        extend("x-expected" = format!("A number from 0 (first) to {LAST_PRIORITY} (last) is expected."))
    )]
    priority: Option<u8>,
    /// Whose it is, in a queue where keys take turns; if not the type's.
    #[schemars(length(min = 1, max = KEY_BYTES), extend("x-expected" = format!("A text of 1 to {KEY_BYTES} characters is expected.")))]
    key: Option<String>,
    /// Only one task of the type with this key is open at a time; if not the type's.
    #[schemars(
        length(min = 1, max = UNIQUE_KEY_BYTES),
        extend("x-expected" = format!("A text of 1 to {UNIQUE_KEY_BYTES} characters is expected."))
    )]
    unique_key: Option<String>,
    /// For so many seconds from its acceptance on the unique key keeps others out, instead of
    /// until its end.
    #[schemars(
        range(max = LONGEST_DELAY_SECONDS),
        extend(
            "exclusiveMinimum" = 0,
            "x-expected" = format!("A number of seconds above 0, at most {LONGEST_DELAY_SECONDS} (ten years), is expected.")
        )
    )]
    unique_for: Option<f64>,
    /// Attempts in all, if not the type's.
    #[schemars(
        range(min = *ATTEMPTS.start(), max = *ATTEMPTS.end()),
        extend("x-expected" = format!("A number from {} to {} is expected.", ATTEMPTS.start(), ATTEMPTS.end()))
    )]
    max_attempts: Option<u16>,
    /// An attempt that takes longer is given up; if not the type's.
    #[schemars(
        range(min = *TIMEOUT_SECONDS.start(), max = *TIMEOUT_SECONDS.end()),
        extend("x-expected" = format!("A number of seconds from {} to {} is expected.", TIMEOUT_SECONDS.start(), TIMEOUT_SECONDS.end()))
    )]
    timeout_seconds: Option<f64>,
    /// Words by which lists find it.
    #[schemars(
        length(max = TAGS),
        inner(length(min = 1, max = NAME_BYTES)),
        extend(
            "uniqueItems" = true,
            "x-expected" = format!("A list of at most {TAGS} different texts of 1 to {NAME_BYTES} characters is expected.")
        )
    )]
    tags: Option<Vec<String>>,
}

/// Options that were asked for, each within its limits.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(crate) struct WantedOptions {
    #[serde(flatten)]
    pub(crate) options: TaskOptions,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) key: Option<String>,
    /// Not in the form in which it is stored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) unique_key: Option<String>,
}

impl OptionsRequest {
    /// Checks what a schema can't tell.
    pub(crate) fn check(self, place: &str, complaints: &mut Complaints) -> WantedOptions {
        let tags = self.tags.unwrap_or_default();
        let mut bounded = |name: &str, what: &str, text: &str, most: usize| {
            if let Err(refused) = check_text(what, text, most) {
                complaints.add(format!("{place}/{name}"), refused.to_string());
            }
        };
        bounded("Queue", "The name of a queue", self.queue.as_deref().unwrap_or_default(), NAME_BYTES);
        bounded("Key", "A key", self.key.as_deref().unwrap_or_default(), KEY_BYTES);
        bounded("UniqueKey", "A unique key", self.unique_key.as_deref().unwrap_or_default(), UNIQUE_KEY_BYTES);
        for (number, tag) in tags.iter().enumerate() {
            bounded(&format!("Tags/{number}"), "A tag", tag, NAME_BYTES);
        }
        let seconds = |seconds: Option<f64>| seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        let options = TaskOptions {
            queue: self.queue,
            priority: self.priority,
            max_attempts: self.max_attempts,
            // What is less than the clock can tell is the least that it can.
            unique_for: seconds(self.unique_for).map(|period| period.max(Duration::from_micros(1))),
            timeout: seconds(self.timeout_seconds),
            tags,
        };
        WantedOptions { options, key: self.key, unique_key: self.unique_key }
    }
}

impl WantedOptions {
    /// Whether they say where among other tasks it stands, which takes a permission
    /// ([`PLACE_TASKS`](crate::access::permission::PLACE_TASKS)).
    pub(crate) fn choose_a_place(&self) -> bool {
        self.options.queue.is_some() || self.options.priority.is_some() || self.key.is_some()
    }

    /// Complains about a time for which nothing keeps others out.
    pub(crate) fn check_keys(&self, parameters: &Parameters<'_>, place: &str, complaints: &mut Complaints) {
        if self.options.unique_for.is_some() && self.unique_key.is_none() && parameters.keys().unique_key.is_none() {
            let name = parameters.entry().info().name;
            let message = format!("Give a UniqueKey, too: tasks of the type {name} have none by themselves.");
            complaints.add(format!("{place}/UniqueFor"), message);
        }
    }
}

/// A request to start a task.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "PascalCase")]
#[schemars(transform = closed)]
pub(crate) struct StartRequest {
    #[serde(flatten)]
    task: TaskRequest,
    /// Answer with a stream of bodies until the task ends. It is understood among the
    /// parameters, too.
    #[schemars(extend("type" = "boolean", "x-expected" = "true or false is expected."))]
    stream_progress: Option<bool>,
}

/// A task of a batch.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "PascalCase")]
#[schemars(transform = closed)]
pub(crate) struct BatchedRequest {
    #[serde(flatten)]
    pub(crate) task: TaskRequest,
    /// The name that `After` uses for it in the same request.
    #[schemars(
        length(min = 1, max = NAME_CHARACTERS),
        extend("x-expected" = format!("A string of 1 to {NAME_CHARACTERS} characters is expected."))
    )]
    pub(crate) name: Option<String>,
}

/// A task that another one waits for.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(untagged)]
#[schemars(extend("x-expected" = r#"An id is expected, or {"Task": id, "IfFailed": "Cancel", "Fail" or "Run"}."#))]
pub(crate) enum After {
    /// The id of a task, or in a batch the `Name` of another one.
    Task(String),
    /// The same, and what becomes of the task that waits.
    With(AfterWith),
}

/// A task that another one waits for, and what becomes of that one if it fails.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct AfterWith {
    /// The id of a task, or in a batch the `Name` of another one.
    task: String,
    /// `Cancel` if left out.
    if_failed: Option<IfFailed>,
}

impl After {
    /// Its public id, or its name in the same request.
    pub(crate) fn task(&self) -> &str {
        match self {
            After::Task(task) | After::With(AfterWith { task, .. }) => task,
        }
    }

    pub(crate) fn if_failed(&self) -> IfFailed {
        match self {
            After::Task(_) => IfFailed::default(),
            After::With(with) => with.if_failed.unwrap_or_default(),
        }
    }
}

/// A task that was asked for, its type found and everything about it checked.
pub(crate) struct Wanted<'a> {
    /// Where it stands, as a JSON pointer; empty for the whole body.
    pub(crate) place: String,
    pub(crate) parameters: Parameters<'a>,
    pub(crate) envelope: Envelope,
}

/// What was asked for besides type and parameters.
#[derive(Debug, Clone)]
pub(crate) struct Envelope {
    /// Not before this time; at once if absent or past.
    pub(crate) run_at: Option<DateTime<Utc>>,
    /// That as the client put it: a repeated request says the same, though its
    /// delay counts from another moment.
    pub(crate) timing: Option<String>,
    /// The tasks that it waits for.
    pub(crate) after: Vec<After>,
    pub(crate) options: WantedOptions,
}

impl StartRequest {
    /// Reads the body of a POST, up to where the database is asked: the task, and whether to
    /// answer with a stream.
    pub(crate) fn read<'a>(
        registry: &'a Registry,
        mut json: Value,
        now: DateTime<Utc>,
    ) -> Result<(Wanted<'a>, bool), ApiError> {
        static SHAPE: LazyLock<Shape<StartRequest>> = LazyLock::new(Shape::new);
        let mut complaints = Complaints::default();
        let among = take_stream(&mut json, &mut complaints);
        let wanted = read_at(&SHAPE, json, "", &mut complaints).and_then(|request| {
            let stream = match (request.stream_progress, among) {
                (Some(beside), Some(among)) if beside != among => {
                    let message =
                        "StreamProgress is set both inside and beside Parameters, with different values; omit one.";
                    complaints.add("/Parameters/StreamProgress", message);
                    beside
                }
                (beside, among) => beside.or(among).unwrap_or_default(),
            };
            Some((request.task.check(registry, String::new(), now, &mut complaints)?, stream))
        });
        complaints.into_result()?;
        wanted.ok_or_else(|| ApiError::internal("a request without a complaint could not be read"))
    }
}

/// Takes `StreamProgress` from among the parameters, where the original has it.
fn take_stream(json: &mut Value, complaints: &mut Complaints) -> Option<bool> {
    let parameters = json.get_mut("Parameters").and_then(Value::as_object_mut)?;
    let among = parameters.remove("StreamProgress")?;
    let stream = among.as_bool();
    if stream.is_none() {
        complaints.add("/Parameters/StreamProgress", "true or false is expected.");
    }
    stream
}

/// Reads what asks for a task and stands at `place`.
pub(crate) fn read_at<T: serde::de::DeserializeOwned + JsonSchema>(
    shape: &Shape<T>,
    json: Value,
    place: &str,
    complaints: &mut Complaints,
) -> Option<T> {
    if ["RunAt", "DelaySeconds"].iter().all(|name| json.get(name).is_some_and(|given| !given.is_null())) {
        complaints.add(format!("{place}/DelaySeconds"), "Give RunAt or DelaySeconds, not both.");
    }
    let mut errors = Vec::new();
    let read = shape.read_rest(json, place, &mut errors);
    complaints.add_all(errors);
    read
}

impl TaskRequest {
    /// Checks what a schema can't tell.
    pub(crate) fn check<'a>(
        mut self,
        registry: &'a Registry,
        place: String,
        now: DateTime<Utc>,
        complaints: &mut Complaints,
    ) -> Option<Wanted<'a>> {
        let (type_name, parameters) = (self.type_name.take(), self.parameters.take());
        let envelope = self.check_envelope(&place, now, complaints);
        let entry = find_type(registry, type_name.as_deref()?, &place, complaints)?;
        let parameters = read_parameters(entry, parameters.unwrap_or_default(), &place, complaints)?;
        envelope.options.check_keys(&parameters, &place, complaints);
        Some(Wanted { place, parameters, envelope })
    }

    /// One task of this type for each of these values of the parameter `over`; what is said of
    /// all of them is complained about once.
    pub(crate) fn check_each<'a>(
        mut self,
        registry: &'a Registry,
        (over, values): (&str, Vec<Value>),
        now: DateTime<Utc>,
        complaints: &mut Complaints,
    ) -> Vec<Wanted<'a>> {
        const PLACE: &str = "/Map";
        let (type_name, common) = (self.type_name.take(), self.parameters.take().unwrap_or_default());
        let envelope = self.check_envelope(PLACE, now, complaints);
        let entry = type_name.and_then(|type_name| find_type(registry, &type_name, PLACE, complaints));
        let Some(entry) = entry else { return Vec::new() };
        let mut wanted = Vec::with_capacity(values.len());
        for (number, value) in values.into_iter().enumerate() {
            if complaints.are_many() {
                break;
            }
            let place = format!("{PLACE}/Values/{number}");
            let mut parameters = common.clone();
            parameters.insert(over.to_owned(), value);
            if let Some(parameters) = read_parameters(entry, parameters, &place, complaints) {
                wanted.push(Wanted { place, parameters, envelope: envelope.clone() });
            }
        }
        if let Some(Wanted { parameters, .. }) = wanted.first() {
            envelope.options.check_keys(parameters, PLACE, complaints);
        }
        wanted
    }

    fn check_envelope(self, place: &str, now: DateTime<Utc>, complaints: &mut Complaints) -> Envelope {
        let timing = match (&self.run_at, &self.delay_seconds) {
            (Some(run_at), _) => Some(Value::from(run_at.as_str()).to_string()),
            (None, delay) => delay.as_ref().map(Number::to_string),
        };
        let run_at = self.run_at.map(|text| {
            read_time(&text, now).map_err(|message| complaints.add(format!("{place}/RunAt"), message)).ok()
        });
        let run_at = run_at.or(self.delay_seconds.map(|delay| later(&delay, now))).flatten();
        let after = self.after.unwrap_or_default();
        let mut named = HashSet::with_capacity(after.len());
        for (number, after) in after.iter().enumerate() {
            if !named.insert(after.task().to_ascii_lowercase()) {
                complaints.add(format!("{place}/After/{number}"), "The list already has this task.");
            }
        }
        Envelope { run_at, timing, after, options: self.options.check(place, complaints) }
    }
}

/// The type that is asked for at `place`.
pub(crate) fn find_type<'a>(
    registry: &'a Registry,
    type_name: &str,
    place: &str,
    complaints: &mut Complaints,
) -> Option<&'a Entry> {
    registry.get(type_name).map_err(|unknown| complaints.add_type(place, &unknown)).ok()
}

/// Reads the parameters of a task of this type that is asked for at `place`.
pub(crate) fn read_parameters<'a>(
    entry: &'a Entry,
    parameters: Map<String, Value>,
    place: &str,
    complaints: &mut Complaints,
) -> Option<Parameters<'a>> {
    let parameters = Value::Object(parameters);
    if has_nul(&parameters) {
        // The shape of the request has complained about it.
        return None;
    }
    if let Err(refused) = check_parameters(&parameters) {
        complaints.add(format!("{place}/Parameters"), refused.to_string());
        return None;
    }
    entry.read(parameters).map_err(|errors| complaints.add_parameters(place, errors)).ok()
}

/// A time that a client sends: RFC 3339, whose years the database knows, and any calendar.
pub(crate) fn rfc3339(text: &str) -> Option<DateTime<Utc>> {
    DateTime::parse_from_rfc3339(text).ok().map(|at| at.with_timezone(&Utc))
}

fn read_time(text: &str, now: DateTime<Utc>) -> Result<DateTime<Utc>, String> {
    let at = rfc3339(text).ok_or("There is no such time.")?;
    let limit = now + TimeDelta::from_std(LONGEST_DELAY).unwrap_or(TimeDelta::MAX);
    if at > limit {
        return Err(format!(
            "The time may be at most ten years ahead, currently {}.",
            crate::body::whole_seconds(limit)
        ));
    }
    // What the database can hold.
    Ok(at.duration_trunc(TimeDelta::microseconds(1)).unwrap_or(at))
}

fn later(delay: &Number, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    // In range, so it fits.
    Some(now + TimeDelta::microseconds((delay.as_f64()? * 1e6) as i64))
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use chrono::{DateTime, TimeDelta, Utc};
    use longhaul_model::{Batch, Registry, Shape};
    use serde_json::{Value, json};

    use super::{BatchedRequest, Wanted, read_at};
    use crate::complaints::Complaints;

    fn now() -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000, 0).expect("a time")
    }

    fn read(members: Value) -> Result<Wanted<'static>, Vec<String>> {
        static SHAPE: LazyLock<Shape<BatchedRequest>> = LazyLock::new(Shape::new);
        static REGISTRY: LazyLock<Registry> = LazyLock::new(|| Registry::new().with::<Batch>());
        let mut complaints = Complaints::default();
        let read = read_at(&SHAPE, members, "/Tasks/3", &mut complaints);
        let wanted =
            read.and_then(|request| request.task.check(&REGISTRY, "/Tasks/3".to_owned(), now(), &mut complaints));
        complaints.into_pointers().map(|()| wanted.expect("a request"))
    }

    #[test]
    fn a_time_keeps_its_moment_and_a_delay_counts_from_now() {
        let run_at = |members: Value| read(members).expect("a request").envelope.run_at;
        let at = run_at(json!({"Type": "Batch", "RunAt": "2027-01-15T10:00:00.25+01:30"})).expect("a time");
        assert_eq!(at.to_rfc3339(), "2027-01-15T08:30:00.250+00:00");
        let at = run_at(json!({"Type": "Batch", "DelaySeconds": 1.5}));
        assert_eq!(at, Some(now() + TimeDelta::milliseconds(1500)));
        assert_eq!(run_at(json!({"Type": "Batch", "RunAt": null, "DelaySeconds": null})), None);
    }

    #[test]
    fn everything_that_is_wrong_is_told_with_its_pointer() {
        for (members, pointers) in [
            (json!({"Type": "Batch", "RunAt": "tomorrow"}), vec!["/RunAt"]),
            (json!({"Type": "Batch", "RunAt": "2027-01-15T10:00:00"}), vec!["/RunAt"]),
            (json!({"Type": "Batch", "RunAt": 1}), vec!["/RunAt"]),
            (json!({"Type": "Batch", "RunAt": "2037-01-20T00:00:00Z"}), vec!["/RunAt"]),
            (json!({"Type": "Batch", "DelaySeconds": -0.1}), vec!["/DelaySeconds"]),
            (json!({"Type": "Batch", "DelaySeconds": "5"}), vec!["/DelaySeconds"]),
            (json!({"Type": "Batch", "DelaySeconds": 1e300}), vec!["/DelaySeconds"]),
            (json!({"Type": "Batch", "DelaySeconds": 1, "RunAt": "2027-01-15T10:00:00Z"}), vec!["/DelaySeconds"]),
            (json!({"Type": "Batch", "Delay": 1}), vec!["/Delay"]),
            (
                json!({"Type": "Batch", "After": ["a", "A"], "Name": "", "Delay": 1}),
                vec!["/Delay", "/Name", "/After/1"],
            ),
            (json!({"Type": "Batch", "After": [{"Task": "a", "If": 1}, 7]}), vec!["/After/0", "/After/1"]),
            (json!({"Type": 1, "RunAt": "2037-01-20T00:00:00Z"}), vec!["/Type", "/RunAt"]),
            (json!({"Parameters": {"a": "\0"}}), vec!["/Type", "/Parameters"]),
            (json!({"Type": "Nope", "DelaySeconds": -1}), vec!["/DelaySeconds", "/Type"]),
            (
                json!({"Type": "Batch", "Queue": "", "Priority": 10, "Key": "", "UniqueKey": 7, "UniqueFor": 0,
                       "MaxAttempts": 0, "TimeoutSeconds": 1e9, "Tags": ["a", "a"]}),
                vec![
                    "/Key",
                    "/MaxAttempts",
                    "/Priority",
                    "/Queue",
                    "/Tags",
                    "/TimeoutSeconds",
                    "/UniqueFor",
                    "/UniqueKey",
                ],
            ),
            (json!({"Type": "Batch", "Tags": ["ok", "ä".repeat(60), "", 7]}), vec!["/Tags/2", "/Tags/3"]),
            (json!({"Type": "Batch", "Tags": ["ä".repeat(60)], "Queue": "ä".repeat(60)}), vec!["/Queue", "/Tags/0"]),
            (json!({"Type": "Batch", "UniqueFor": 60}), vec!["/UniqueFor"]),
            (json!([]), vec![""]),
        ] {
            let expected: Vec<String> = pointers.iter().map(|pointer| format!("/Tasks/3{pointer}")).collect();
            assert_eq!(read(members.clone()).err().expect("refused"), expected, "{members}");
        }
    }
}
