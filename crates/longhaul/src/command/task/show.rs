//! `longhaul task show`

use clap::Args;
use longhaul_model::store::findings::span;
use serde_json::Value;

use super::session::Session;
use crate::command::body::{left, text};

/// Shows one task.
#[derive(Debug, Args)]
pub(super) struct Show {
    /// The task's id.
    #[arg(value_name = "ID")]
    id: String,
}

impl Show {
    pub(super) async fn run(self, session: &Session<'_>) -> anyhow::Result<()> {
        let body = session.client.get(&["api", "backgroundtask", &self.id]).await?;
        if session.json {
            println!("{}", crate::visible::json_line(&body));
            return Ok(());
        }
        let line = |name: &str, value: String| {
            if !value.is_empty() {
                println!("{name:<10} {value}");
            }
        };
        line("Id", text(&body, "Id"));
        line("Type", text(&body, "Type"));
        line("State", text(&body, "State"));
        for reason in members(&body, "WaitsBecause") {
            line("Waits", format!("{} ({})", text(reason, "Says"), text(reason, "Code")));
        }
        let fraction = body["ProgressInPercent"].as_f64().unwrap_or(0.0) * 100.0;
        let of = format!("{} of {}", text(&body, "ProcessedElements"), text(&body, "TotalElements"));
        line(
            "Progress",
            format!("{fraction:.0} %, {of}{}", left(&body).map(|left| format!(", {left}")).unwrap_or_default()),
        );
        for step in members(&body, "Steps") {
            let fraction = step["Fraction"].as_f64().unwrap_or(0.0) * 100.0;
            line("Step", format!("{} {fraction:.0} %", text(step, "Name")));
        }
        line("Message", text(&body, "Message"));
        let most = body["MaxAttempts"].as_i64().map(|most| format!(" of {most}")).unwrap_or_default();
        line("Attempt", format!("{}{most}", text(&body, "Attempt")));
        line("Queue", text(&body, "Queue"));
        line("Priority", text(&body, "Priority"));
        line("Key", text(&body, "Key"));
        line("Asked by", text(&body, "CreatedBy"));
        line("Worker", text(&body, "Worker"));
        line("Accepted", text(&body, "StartedAt"));
        line("Due", text(&body, "RunAt"));
        line("Began", text(&body, "BeganAt"));
        line("Ended", text(&body, "FinishedAt"));
        line("Waits for", body["WaitsFor"].as_i64().map(|tasks| format!("{tasks} tasks")).unwrap_or_default());
        line("Parent", text(&body, "Parent"));
        line("Family", text(&body, "Family"));
        line("Parameters", text(&body, "Parameters"));
        line("Checkpoint", text(&body, "Checkpoint"));
        for failure in members(&body, "FailedAttempts") {
            line("Failed", failed(failure));
        }
        if let Value::Object(_) = &body["Error"] {
            line("Error", format!("{} ({})", text(&body["Error"], "detail"), text(&body["Error"], "code")));
        }
        line("Result", text(&body, "Result"));
        for link in members(&body, "Links") {
            line("Link", format!("{} {}", text(link, "Rel"), text(link, "Href")));
        }
        Ok(())
    }
}

/// What a list in a body holds.
fn members<'a>(body: &'a Value, list: &str) -> impl Iterator<Item = &'a Value> {
    body[list].as_array().into_iter().flatten()
}

/// A failed attempt in one line.
fn failed(failure: &Value) -> String {
    let mut line = format!("attempt {} at {}", text(failure, "Attempt"), text(failure, "FailedAt"));
    match failure["DurationMs"].as_i64() {
        Some(ms @ ..1_000) => line.push_str(&format!(" after {ms} ms")),
        Some(ms) => line.push_str(&format!(" after {}", span(ms as f64 / 1_000.0))),
        None => {}
    }
    if !failure["Worker"].is_null() {
        line.push_str(&format!(" on {}", text(failure, "Worker")));
    }
    format!("{line}: {} ({})", text(&failure["Error"], "detail"), text(&failure["Error"], "code"))
}
