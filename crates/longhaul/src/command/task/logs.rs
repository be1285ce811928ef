//! `longhaul task logs`

use clap::Args;
use serde_json::Value;

use super::session::Session;
use crate::command::body::text;
use crate::remote::{Item, watch};

/// Prints a task's log, oldest line first.
#[derive(Debug, Args)]
pub(super) struct Logs {
    /// The task's id.
    #[arg(value_name = "ID")]
    id: String,
    /// Follow the log until the task completes.
    #[arg(short, long)]
    follow: bool,
}

/// Lines per request.
const PAGE: usize = 1_000;

impl Logs {
    pub(super) async fn run(self, session: &Session<'_>) -> anyhow::Result<()> {
        let mut print = |line: &Value| {
            if session.json {
                println!("{}", crate::visible::json_line(line));
            } else {
                let level = text(line, "Level");
                println!("{} {level:<5} {}", text(line, "At"), text(line, "Line").replace('\n', "\n    "));
            }
        };
        if self.follow {
            let seen = |item| {
                if let Item::Line(line) = item {
                    print(&line);
                }
            };
            return watch(&session.client, &self.id, true, seen).await.map(|_| ());
        }
        let mut after = 0;
        loop {
            let query = [("after", after.to_string()), ("limit", PAGE.to_string())];
            let page =
                session.client.get_url(session.client.at(&["api", "backgroundtask", &self.id, "log"], &query)).await?;
            let lines = page["Items"].as_array().map(Vec::as_slice).unwrap_or_default();
            lines.iter().for_each(&mut print);
            after = lines.last().and_then(|line| line["Number"].as_i64()).unwrap_or(after);
            if lines.len() < PAGE {
                return Ok(());
            }
        }
    }
}
