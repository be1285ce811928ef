//! `longhaul task list`

use std::time::{Duration, Instant};

use clap::Args;
use serde_json::{Value, json};

use super::{Session, text};
use crate::table::table;

pub(super) const EXAMPLES: &str = "Examples:
  longhaul task list
  longhaul task list --state Running,Retrying
  longhaul task list --state Failed --type Reindex --limit 20
  longhaul task list --json --all | jq -r '.Items[].Id'";

/// Lists tasks, newest first.
#[derive(Debug, Args)]
pub(super) struct List {
    /// Only these states, with commas between them: Scheduled, Queued, Running, Retrying, Succeeded, Failed, Cancelled.
    #[arg(long)]
    state: Option<String>,
    /// Only these task types, with commas between them.
    #[arg(long = "type", value_name = "TYPES")]
    type_name: Option<String>,
    /// Only this queue.
    #[arg(long)]
    queue: Option<String>,
    /// Only of this key: a tenant, an account, whatever the type's key is.
    #[arg(long = "of-key", value_name = "KEY")]
    of_key: Option<String>,
    /// Only what this caller or schedule asked for, e.g. key:ci or schedule:nightly.
    #[arg(long)]
    created_by: Option<String>,
    /// Only what was accepted then or later, e.g. 2031-05-04T09:30:00Z.
    #[arg(long, value_name = "TIME")]
    accepted_after: Option<String>,
    /// Only what was accepted before then.
    #[arg(long, value_name = "TIME")]
    accepted_before: Option<String>,
    /// Only what failed with this code.
    #[arg(long, value_name = "CODE")]
    error_code: Option<String>,
    /// Only with this text in id, parameters, message or error.
    #[arg(long)]
    text: Option<String>,
    /// So many at most.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    limit: u32,
    /// All of them, however many.
    #[arg(long, conflicts_with = "limit")]
    all: bool,
}

/// Few that fit among very many are looked for so long, unless all are wanted.
const PATIENCE: Duration = Duration::from_secs(5);
/// Tasks that are asked for at once.
const PAGE: usize = 500;

impl List {
    pub(super) async fn run(self, session: &Session<'_>) -> anyhow::Result<()> {
        let given = [
            ("state", &self.state),
            ("type", &self.type_name),
            ("queue", &self.queue),
            ("key", &self.of_key),
            ("createdBy", &self.created_by),
            ("acceptedAfter", &self.accepted_after),
            ("acceptedBefore", &self.accepted_before),
            ("errorCode", &self.error_code),
            ("text", &self.text),
        ];
        let filter: Vec<(&str, String)> =
            given.into_iter().filter_map(|(name, value)| Some((name, value.clone()?))).collect();
        let limit = if self.all { usize::MAX } else { self.limit as usize };
        let mut items: Vec<Value> = Vec::new();
        let mut total = Value::Null;
        let mut after: Option<String> = None;
        let mut looked_back_to;
        let began = Instant::now();
        loop {
            let mut query = filter.clone();
            query.push(("limit", PAGE.min(limit - items.len()).to_string()));
            query.extend(after.take().map(|after| ("after", after)));
            let mut page = session.client.get_url(session.client.at(&["api", "tasks"], &query)).await?;
            if total.is_null() {
                total = page["Total"].take();
            }
            if let Value::Array(found) = page["Items"].take() {
                items.extend(found);
            }
            after = next_after(&page);
            looked_back_to = page["LookedBackTo"].as_str().map(str::to_owned);
            let in_vain = !self.all && looked_back_to.is_some() && began.elapsed() > PATIENCE;
            if after.is_none() || items.len() >= limit || in_vain {
                break;
            }
        }
        if session.json {
            println!(
                "{}",
                json!({"Items": items, "Total": total, "More": after.is_some(), "LookedBackTo": looked_back_to})
            );
            return Ok(());
        }
        let rows: Vec<[String; 6]> = items
            .iter()
            .map(|task| {
                let fraction = task["ProgressInPercent"].as_f64().unwrap_or(0.0) * 100.0;
                let said = match task["Error"]["detail"].as_str() {
                    Some(detail) => detail.to_owned(),
                    None => text(task, "Message"),
                };
                [
                    text(task, "Id"),
                    text(task, "State"),
                    format!("{fraction:.0} %"),
                    text(task, "StartedAt"),
                    text(task, "Queue"),
                    said.lines().next().unwrap_or_default().to_owned(),
                ]
            })
            .collect();
        if rows.is_empty() && after.is_none() {
            eprintln!("{}", if filter.is_empty() { "There are no tasks yet." } else { "No task fits." });
            return Ok(());
        }
        print!("{}", table(["ID", "STATE", "DONE", "ACCEPTED", "QUEUE", "MESSAGE"], &rows));
        match (after, looked_back_to) {
            (None, _) => {}
            (Some(_), Some(time)) if items.len() < limit => {
                eprintln!("Few fit: tasks accepted since {time} have been looked at; --all looks at older ones.");
            }
            (Some(_), _) => eprintln!("There are more; say --limit or --all."),
        }
        Ok(())
    }
}

/// What the link to the next page begins after. The rest of that address may not be the
/// way that we came.
fn next_after(page: &Value) -> Option<String> {
    let next = page["Links"].as_array()?.iter().find(|link| link["Rel"] == "Next")?;
    let url: reqwest::Url = next["Href"].as_str()?.parse().ok()?;
    url.query_pairs().find(|(name, _)| name == "after").map(|(_, after)| after.into_owned())
}
