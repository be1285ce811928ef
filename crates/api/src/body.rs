//! A task as the wire shows it.

use chrono::{DateTime, Utc};
use longhaul_model::store::linked::Family;
use longhaul_model::store::read::Task;
use longhaul_model::{Problem, Report, ReportLink, State, StepState, TaskAddress, TimeLeft, wire_fraction};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::error::help;

/// The task body of the contract ("The task body"): eight members that are
/// always there, `FinishedAt` at the end, and ours after them.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "PascalCase")]
#[schemars(rename = "Task", example = example())]
pub struct TaskBody {
    /// True once the task has succeeded, failed or been cancelled.
    pub complete: bool,
    /// 0 while unknown.
    #[schemars(range(min = 0))]
    pub total_elements: i64,
    /// 0 to `TotalElements`.
    #[schemars(range(min = 0))]
    pub processed_elements: i64,
    /// UTC, whole seconds: when the task was accepted.
    #[schemars(regex(pattern = WHOLE_SECONDS))]
    pub started_at: String,
    /// A fraction from 0 to 1 with two decimals, in spite of its name.
    #[schemars(range(min = 0, max = 1))]
    pub progress_in_percent: f64,
    /// Prefix and guid.
    pub id: String,
    /// The message, which describes the current work.
    pub message: Option<String>,
    /// The address of this task.
    #[serde(rename = "Self")]
    pub self_url: String,
    /// UTC, whole seconds; once `Complete` is true.
    #[schemars(with = "String", regex(pattern = WHOLE_SECONDS))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<String>,
    /// UTC, whole seconds: when it will be ready, while it is scheduled or waits
    /// for its next attempt.
    #[schemars(with = "String", regex(pattern = WHOLE_SECONDS))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run_at: Option<String>,
    /// The creator; not shown.
    #[serde(skip)]
    #[schemars(skip)]
    pub(crate) created_by: Option<String>,
    /// The task's state.
    pub state: State,
    /// Its type's name.
    #[serde(rename = "Type")]
    pub type_name: String,
    /// Number of attempts started so far.
    pub attempt: u16,
    /// The result of the handler, once the task has succeeded.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Value")]
    pub result: Option<Value>,
    /// Why it failed: an RFC 9457 problem object.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Problem")]
    pub error: Option<Value>,
    /// The current steps, from the outermost; the last ones if the task did not succeed. Only for
    /// task types with steps.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Vec<StepState>")]
    pub steps: Option<Value>,
    /// The estimated time left, while the task runs and it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "TimeLeftBody")]
    pub time_left: Option<TimeLeftBody>,
    /// Addresses that belong to the task.
    pub links: Vec<Link>,
    /// Number of open dependencies.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waits_for: Option<i32>,
    /// The id of its parent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent: Option<String>,
    /// Its completed children by state.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub family: Option<Family>,
    /// Members that its handler added to the body ([`Report`]).
    #[serde(flatten)]
    pub members: Map<String, Value>,
}

/// How long a task will still take, in whole seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "PascalCase")]
#[schemars(rename = "TimeLeft")]
pub struct TimeLeftBody {
    /// The estimate.
    pub seconds: i64,
    /// The lower end of the 90 % interval.
    pub low: i64,
    /// The upper end of the 90 % interval.
    pub high: i64,
}

impl From<TimeLeft> for TimeLeftBody {
    fn from(left: TimeLeft) -> Self {
        Self { seconds: left.seconds.round() as i64, low: left.low.floor() as i64, high: left.high.ceil() as i64 }
    }
}

/// The members that a task's body has or may have, also where more of the task is shown: a
/// handler's report can't replace them.
pub(crate) const OWN: [&str; 35] = [
    "Complete",
    "TotalElements",
    "ProcessedElements",
    "StartedAt",
    "ProgressInPercent",
    "Id",
    "Message",
    "Self",
    "FinishedAt",
    "State",
    "Type",
    "Attempt",
    "Result",
    "Error",
    "Steps",
    "TimeLeft",
    "Links",
    "WaitsFor",
    "Parent",
    "Family",
    "RunAt",
    // Of lists …
    "Queue",
    "Priority",
    "MaxAttempts",
    "CreatedBy",
    "Worker",
    "LastError",
    "Tags",
    "TimeoutSeconds",
    // … and of one task.
    "Key",
    "BeganAt",
    "Parameters",
    "Checkpoint",
    "FailedAttempts",
    "WaitsBecause",
];

/// An address and what it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "PascalCase")]
pub struct Link {
    /// The address.
    pub href: String,
    /// What it is, e.g. `Self`.
    pub rel: String,
}

impl Link {
    fn of(link: ReportLink, base_url: &str) -> Self {
        let href = if link.href.starts_with('/') { format!("{base_url}{}", link.href) } else { link.href };
        Self { href, rel: link.rel }
    }
}

impl TaskBody {
    /// The body of a task whose type has this id prefix, under the public base
    /// URL.
    #[must_use]
    pub fn new(task: Task, id_prefix: &str, base_url: &str) -> Self {
        let id = format!("{id_prefix}{}", task.id);
        let self_url = TaskAddress::BackgroundTask.of(base_url, &id);
        let succeeded = task.state == State::Succeeded;
        let Report { result, mut members, links } = task.result.map(Report::from_stored).unwrap_or_default();
        members.retain(|name, _| !OWN.contains(&name.as_str()));
        let own = Link { href: self_url.clone(), rel: "Self".to_owned() };
        let log = (task.logged > 0).then(|| Link { href: format!("{self_url}/log"), rel: "Log".to_owned() });
        let links =
            std::iter::once(own).chain(links.into_iter().map(|link| Link::of(link, base_url))).chain(log).collect();
        Self {
            complete: task.state.is_end(),
            total_elements: task.progress.total,
            processed_elements: task.progress.processed,
            started_at: whole_seconds(task.accepted_at),
            progress_in_percent: wire_fraction(task.progress.fraction, task.progress.total, succeeded),
            links,
            members,
            id,
            message: task.progress.message,
            self_url,
            finished_at: task.finished_at.map(whole_seconds),
            run_at: task.run_at.map(whole_seconds),
            created_by: task.created_by,
            state: task.state,
            type_name: task.type_name,
            attempt: task.attempt,
            result,
            error: task.error.map(|error| explained(error, base_url)),
            steps: task.steps,
            time_left: task.time_left.map(TimeLeftBody::from),
            waits_for: task.waits_for,
            parent: task.parent,
            family: task.family,
        }
    }
}

/// A task's problem, with where it is explained.
pub(crate) fn explained(mut error: Value, base_url: &str) -> Value {
    let help = error["code"].as_str().and_then(|code| help(code, base_url));
    if let (Some(help), Some(problem)) = (help, error.as_object_mut()) {
        problem.insert("help".to_owned(), help.into());
    }
    error
}

/// The form of a time in a body.
pub(crate) const WHOLE_SECONDS: &str = r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}Z$";

/// The body of the seed's examples of a Reindex, with our members.
fn example() -> Value {
    let own = "http://localhost/api/backgroundtask/reindex-7bdba522-590a-4df4-b409-a2939851241b";
    json!({
        "Complete": false, "TotalElements": 10, "ProcessedElements": 1, "StartedAt": "2011-12-31T21:50:00Z",
        "ProgressInPercent": 0.1, "Id": "reindex-7bdba522-590a-4df4-b409-a2939851241b",
        "Message": "Queuing index events", "Self": own, "State": "Queued", "Type": "Reindex", "Attempt": 0,
        "Links": [{"Href": own, "Rel": "Self"}],
    })
}

pub(crate) fn whole_seconds(at: DateTime<Utc>) -> String {
    at.format("%Y-%m-%dT%H:%M:%SZ").to_string()
}

#[cfg(test)]
mod tests {
    use super::{OWN, TaskBody};
    use longhaul_model::store::linked::Family;
    use longhaul_model::store::read::Task;
    use longhaul_model::{Progress, Report, State, TimeLeft};
    use serde_json::{Value, json};

    fn body(report: Report) -> Value {
        let task = Task {
            id: uuid::Uuid::nil(),
            type_name: "T".to_owned(),
            state: State::Succeeded,
            progress: Progress::of(1, 1).with_message("m"),
            created_by: None,
            attempt: 1,
            accepted_at: chrono::DateTime::UNIX_EPOCH,
            run_at: None,
            finished_at: Some(chrono::DateTime::UNIX_EPOCH),
            result: report.into_stored(),
            error: Some(json!({})),
            steps: Some(json!([])),
            time_left: Some(TimeLeft { seconds: 1.5, low: 0.9, high: 2.1 }),
            logged: 0,
            waits_for: Some(1),
            parent: Some("batch_1".to_owned()),
            family: Some(Family::default()),
        };
        serde_json::to_value(TaskBody::new(task, "t_", "http://h")).expect("JSON")
    }

    #[test]
    fn a_report_adds_members_and_links_and_replaces_none() {
        let report = Report::new()
            .with_member("IncidentId", "x")
            .with_member("Id", "stolen")
            .with_link("Incident", "/api/incident/x")
            .with_link("Elsewhere", "https://other/");
        let body = body(report);
        assert_eq!(body["IncidentId"], "x");
        assert_eq!(body["Id"], "t_00000000-0000-0000-0000-000000000000");
        assert_eq!(body["Links"][1], json!({"Href": "http://h/api/incident/x", "Rel": "Incident"}));
        assert_eq!(body["Links"][2]["Href"], "https://other/");
        assert_eq!(body.get("Result"), None);
        assert_eq!(body["TimeLeft"], json!({"Seconds": 2, "Low": 0, "High": 3}), "rounded outwards");
    }

    #[test]
    fn every_member_of_the_body_is_its_own() {
        let body = body(Report::new().with_result(1).expect("JSON"));
        for name in body.as_object().expect("an object").keys() {
            assert!(OWN.contains(&name.as_str()), "{name}");
        }
    }
}
