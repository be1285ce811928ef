//! A task as the wire shows it.

use chrono::{DateTime, Utc};
use longhaul_model::store::read::Task;
use longhaul_model::{PublicId, State, wire_fraction};
use serde::Serialize;
use serde_json::Value;

/// The task body of the contract ("The task body"): eight members that are
/// always there, `FinishedAt` at the end, and ours after them.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct TaskBody {
    /// True for every end: succeeded, failed, cancelled.
    pub complete: bool,
    /// 0 while unknown.
    pub total_elements: i64,
    /// 0 to `TotalElements`.
    pub processed_elements: i64,
    /// UTC, whole seconds: when the task was accepted.
    pub started_at: String,
    /// A fraction from 0 to 1 with two decimals, in spite of its name.
    pub progress_in_percent: f64,
    /// Prefix and guid.
    pub id: String,
    /// What is being done now.
    pub message: Option<String>,
    /// The address of this task.
    #[serde(rename = "Self")]
    pub self_url: String,
    /// UTC, whole seconds; once `Complete` is true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<String>,
    /// Where the task is in its life.
    pub state: State,
    /// Its type's name.
    #[serde(rename = "Type")]
    pub type_name: String,
    /// Attempts begun so far.
    pub attempt: u16,
    /// What the handler returned, once succeeded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result: Option<Value>,
    /// Why it failed: an RFC 9457 problem object.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<Value>,
    /// Addresses that belong to the task.
    pub links: Vec<Link>,
}

/// An address and what it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Link {
    /// The address.
    pub href: String,
    /// What it is, e.g. `Self`.
    pub rel: String,
}

impl TaskBody {
    /// The body of a task whose type has this id prefix, under the public base
    /// URL.
    #[must_use]
    pub fn new(task: Task, id_prefix: &'static str, base_url: &str) -> Self {
        let id = PublicId::new(id_prefix, task.id).to_string();
        let self_url = format!("{base_url}/api/backgroundtask/{id}");
        let succeeded = task.state == State::Succeeded;
        Self {
            complete: task.state.is_end(),
            total_elements: task.progress.total,
            processed_elements: task.progress.processed,
            started_at: whole_seconds(task.accepted_at),
            progress_in_percent: wire_fraction(task.progress.fraction, task.progress.total, succeeded),
            links: vec![Link { href: self_url.clone(), rel: "Self".to_owned() }],
            id,
            message: task.progress.message,
            self_url,
            finished_at: task.finished_at.map(whole_seconds),
            state: task.state,
            type_name: task.type_name,
            attempt: task.attempt,
            result: task.result,
            error: task.error,
        }
    }
}

fn whole_seconds(at: DateTime<Utc>) -> String {
    at.format("%Y-%m-%dT%H:%M:%SZ").to_string()
}
