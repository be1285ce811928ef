//! A task as a client asks for it: the members of a POST, alone or in a batch.

use chrono::{DateTime, DurationRound, TimeDelta, Utc};
use longhaul_model::store::enqueue::LONGEST_DELAY;
use longhaul_model::store::linked::IfFailed;
use longhaul_model::{ParameterError, escape, has_nul};
use serde::Deserialize;
use serde_json::{Map, Value};

/// The members of a request that are understood.
const MEMBERS: &str = "Type, Parameters, RunAt, DelaySeconds, After";

/// What a client asked for, once its envelope is in order; the parameters are
/// not checked against their type yet.
#[derive(Debug)]
pub(crate) struct TaskRequest {
    pub(crate) type_name: String,
    pub(crate) parameters: Value,
    /// Not before this time; at once if absent or past.
    pub(crate) run_at: Option<DateTime<Utc>>,
    /// That as the client put it: a repeated request says the same, though its
    /// delay counts from another moment.
    pub(crate) timing: Option<String>,
    /// The tasks that it waits for.
    pub(crate) after: Vec<After>,
}

/// A task that another one waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct After {
    /// Its public id, or its name in the same request.
    pub(crate) task: String,
    pub(crate) if_failed: IfFailed,
}

/// A task may wait for so many others at most.
const AFTER_AT_MOST: usize = 10_000;

impl After {
    /// Reads a list of ids, or of objects with `Task` and `IfFailed`.
    fn read_all(value: &Value, complain: &mut impl FnMut(&str, String)) -> Vec<After> {
        let Some(list) = value.as_array().filter(|list| list.len() <= AFTER_AT_MOST) else {
            complain("/After", format!("A list of tasks, at most {AFTER_AT_MOST}, is expected."));
            return Vec::new();
        };
        let mut all: Vec<After> = Vec::with_capacity(list.len());
        for (number, value) in list.iter().enumerate() {
            match After::read(value) {
                Ok(after) if all.iter().any(|other| other.task.eq_ignore_ascii_case(&after.task)) => {
                    complain(&format!("/After/{number}"), "This task is in the list already.".to_owned());
                }
                Ok(after) => all.push(after),
                Err(message) => complain(&format!("/After/{number}"), message.to_owned()),
            }
        }
        all
    }

    fn read(value: &Value) -> Result<After, &'static str> {
        const EXPECTED: &str = r#"An id is expected, or {"Task": id, "IfFailed": "Cancel", "Fail" or "Run"}."#;
        let (task, if_failed) = match value {
            Value::String(_) => (value, None),
            Value::Object(members) if members.keys().all(|name| ["Task", "IfFailed"].contains(&name.as_str())) => {
                (members.get("Task").ok_or(EXPECTED)?, members.get("IfFailed"))
            }
            _ => return Err(EXPECTED),
        };
        let if_failed = if_failed.map(IfFailed::deserialize).transpose().map_err(|_not_one_of_them| EXPECTED)?;
        Ok(After { task: task.as_str().ok_or(EXPECTED)?.to_owned(), if_failed: if_failed.unwrap_or_default() })
    }
}

impl TaskRequest {
    /// Reads a request that stands at `place` (a JSON pointer, empty for the
    /// whole body) and adds everything that is wrong with its envelope to
    /// `errors`. Unknown members are refused: a misspelt `Parameters` must not
    /// start a task with none.
    pub(crate) fn read(
        json: Value,
        place: &str,
        now: DateTime<Utc>,
        errors: &mut Vec<ParameterError>,
    ) -> Option<TaskRequest> {
        let before = errors.len();
        let mut complain = |pointer: &str, message: String| {
            errors.push(ParameterError { pointer: format!("{place}{pointer}"), message });
        };
        let Value::Object(mut members) = json else {
            complain("", format!("An object with the members {MEMBERS} is expected."));
            return None;
        };
        let type_name = match members.remove("Type") {
            Some(Value::String(name)) => name,
            Some(_) => {
                complain("/Type", "The name of a task type, as a string, is expected.".to_owned());
                String::new()
            }
            None => {
                complain("/Type", "This member is required: the name of a task type.".to_owned());
                String::new()
            }
        };
        let parameters = match members.remove("Parameters") {
            None | Some(Value::Null) => Value::Object(Map::new()),
            Some(object @ Value::Object(_)) => object,
            Some(_) => {
                complain("/Parameters", "An object is expected.".to_owned());
                Value::Null
            }
        };
        if has_nul(&parameters) {
            complain("/Parameters", "The character U+0000 can't be stored; leave it out.".to_owned());
        }
        let after = members.remove("After").filter(|value| !value.is_null());
        let after = after.map(|value| After::read_all(&value, &mut complain)).unwrap_or_default();
        let run_at = members.remove("RunAt").filter(|value| !value.is_null());
        let delay = members.remove("DelaySeconds").filter(|value| !value.is_null());
        if run_at.is_some() && delay.is_some() {
            complain("/DelaySeconds", "Give RunAt or DelaySeconds, not both.".to_owned());
        }
        let timing = run_at.as_ref().or(delay.as_ref()).map(Value::to_string);
        let run_at = run_at.map(|value| read_time(&value, now).map_err(|message| complain("/RunAt", message)));
        let delay = delay.map(|value| read_delay(&value, now).map_err(|message| complain("/DelaySeconds", message)));
        for name in members.keys() {
            complain(&format!("/{}", escape(name)), format!("Unknown member; the known ones are {MEMBERS}."));
        }
        let run_at = run_at.or(delay).and_then(Result::ok);
        (errors.len() == before).then_some(TaskRequest { type_name, parameters, run_at, timing, after })
    }
}

fn longest_delay() -> TimeDelta {
    TimeDelta::from_std(LONGEST_DELAY).unwrap_or(TimeDelta::MAX)
}

fn read_time(value: &Value, now: DateTime<Utc>) -> Result<DateTime<Utc>, String> {
    let at = value
        .as_str()
        .and_then(|text| DateTime::parse_from_rfc3339(text).ok())
        .map(|at| at.with_timezone(&Utc))
        .ok_or("A time with its offset, as in RFC 3339, is expected, such as 2031-05-04T09:30:00Z.")?;
    let limit = now + longest_delay();
    if at > limit {
        return Err(format!("At most ten years ahead, which is {} now.", crate::body::whole_seconds(limit)));
    }
    // What the database can hold.
    Ok(at.duration_trunc(TimeDelta::microseconds(1)).unwrap_or(at))
}

fn read_delay(value: &Value, now: DateTime<Utc>) -> Result<DateTime<Utc>, String> {
    let longest = LONGEST_DELAY.as_secs_f64();
    let seconds = value
        .as_f64()
        .filter(|seconds| (0.0..=longest).contains(seconds))
        .ok_or_else(|| format!("A number of seconds from 0 to {longest} (ten years) is expected."))?;
    // In range, so it fits.
    Ok(now + TimeDelta::microseconds((seconds * 1e6) as i64))
}

#[cfg(test)]
mod tests {
    use super::TaskRequest;
    use chrono::{DateTime, TimeDelta, Utc};
    use serde_json::{Value, json};

    fn now() -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000, 0).expect("a time")
    }

    fn read(members: Value) -> Result<TaskRequest, Vec<String>> {
        let mut errors = Vec::new();
        let request = TaskRequest::read(members, "/Tasks/3", now(), &mut errors);
        request.ok_or_else(|| errors.into_iter().map(|error| error.pointer).collect())
    }

    #[test]
    fn a_time_keeps_its_moment_and_a_delay_counts_from_now() {
        let request = read(json!({"Type": "A", "RunAt": "2027-01-15T10:00:00.25+01:30"})).expect("a request");
        assert_eq!(request.run_at.expect("a time").to_rfc3339(), "2027-01-15T08:30:00.250+00:00");
        let request = read(json!({"Type": "A", "DelaySeconds": 1.5})).expect("a request");
        assert_eq!(request.run_at, Some(now() + TimeDelta::milliseconds(1500)));
        let request = read(json!({"Type": "A", "RunAt": null, "DelaySeconds": null})).expect("a request");
        assert_eq!(request.run_at, None);
    }

    #[test]
    fn a_bad_time_or_delay_is_refused_with_its_pointer() {
        for (members, pointer) in [
            (json!({"Type": "A", "RunAt": "tomorrow"}), "/Tasks/3/RunAt"),
            (json!({"Type": "A", "RunAt": "2027-01-15T10:00:00"}), "/Tasks/3/RunAt"),
            (json!({"Type": "A", "RunAt": 1}), "/Tasks/3/RunAt"),
            (json!({"Type": "A", "RunAt": "2037-01-20T00:00:00Z"}), "/Tasks/3/RunAt"),
            (json!({"Type": "A", "DelaySeconds": -0.1}), "/Tasks/3/DelaySeconds"),
            (json!({"Type": "A", "DelaySeconds": "5"}), "/Tasks/3/DelaySeconds"),
            (json!({"Type": "A", "DelaySeconds": 1e300}), "/Tasks/3/DelaySeconds"),
            (json!({"Type": "A", "DelaySeconds": 1, "RunAt": "2027-01-15T10:00:00Z"}), "/Tasks/3/DelaySeconds"),
            (json!({"Type": "A", "Delay": 1}), "/Tasks/3/Delay"),
            (json!([]), "/Tasks/3"),
        ] {
            assert_eq!(read(members.clone()).expect_err("refused"), [pointer], "{members}");
        }
    }
}
