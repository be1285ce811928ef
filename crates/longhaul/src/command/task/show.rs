//! `longhaul task show`

use clap::Args;
use serde_json::Value;

use super::draw::left;
use super::{Session, text};

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
            println!("{body}");
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
        let fraction = body["ProgressInPercent"].as_f64().unwrap_or(0.0) * 100.0;
        let of = format!("{} of {}", text(&body, "ProcessedElements"), text(&body, "TotalElements"));
        line(
            "Progress",
            format!("{fraction:.0} %, {of}{}", left(&body).map(|left| format!(", {left}")).unwrap_or_default()),
        );
        for step in body["Steps"].as_array().into_iter().flatten() {
            let fraction = step["Fraction"].as_f64().unwrap_or(0.0) * 100.0;
            line("Step", format!("{} {fraction:.0} %", text(step, "Name")));
        }
        line("Message", text(&body, "Message"));
        line("Attempt", text(&body, "Attempt"));
        line("Accepted", text(&body, "StartedAt"));
        line("Waits", text(&body, "RunAt"));
        line("Waits for", body["WaitsFor"].as_i64().map(|tasks| format!("{tasks} tasks")).unwrap_or_default());
        line("Ended", text(&body, "FinishedAt"));
        line("Parent", text(&body, "Parent"));
        line("Family", text(&body, "Family"));
        if let Value::Object(_) = &body["Error"] {
            line("Error", format!("{} ({})", text(&body["Error"], "detail"), text(&body["Error"], "code")));
        }
        line("Result", text(&body, "Result"));
        for link in body["Links"].as_array().into_iter().flatten() {
            line("Link", format!("{} {}", text(link, "Rel"), text(link, "Href")));
        }
        Ok(())
    }
}
