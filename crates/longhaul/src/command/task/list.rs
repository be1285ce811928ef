//! `longhaul task list`

use std::time::{Duration, Instant};

use clap::Args;
use serde_json::{Value, json};

use super::session::Session;
use crate::command::body::text;
use crate::command::value;
use crate::exit::{Exit, WRONG};
use crate::nearest::nearest;
use crate::remote::Refused;
use crate::table::{Yields, table_within, terminal_width};
use crate::visible::{json_line, visible};

pub(super) const EXAMPLES: &str = "Examples:
  longhaul task list
  longhaul task list --state Running,Retrying
  longhaul task list --state Failed --type Reindex --limit 20
  longhaul task list --json --all | jq -r '.Items[].Id'";

/// Lists tasks, newest first.
#[derive(Debug, Args)]
pub(super) struct List {
    /// Only these states, separated by commas: Scheduled, Queued, Running, Retrying, Succeeded, Failed, Cancelled.
    #[arg(long, value_parser = value::states)]
    state: Option<String>,
    /// Only these task types, separated by commas.
    #[arg(long = "type", value_name = "TYPES")]
    type_name: Option<String>,
    /// Only this queue.
    #[arg(long)]
    queue: Option<String>,
    /// Only tasks of this key, e.g. a tenant or an account.
    #[arg(long = "of-key", value_name = "KEY")]
    of_key: Option<String>,
    /// Only tasks of this creator, e.g. key:ci or schedule:nightly.
    #[arg(long)]
    created_by: Option<String>,
    /// Only tasks accepted at this time or later, e.g. 2031-05-04T09:30:00Z.
    #[arg(long, value_name = "TIME", value_parser = value::time)]
    accepted_after: Option<String>,
    /// Only tasks accepted before this time.
    #[arg(long, value_name = "TIME", value_parser = value::time)]
    accepted_before: Option<String>,
    /// Only tasks that failed with this code.
    #[arg(long, value_name = "CODE")]
    error_code: Option<String>,
    /// Only what has this tag.
    #[arg(long)]
    tag: Option<String>,
    /// Only with this text in id, parameters, message or error.
    #[arg(long)]
    text: Option<String>,
    /// The maximum number of tasks.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    limit: u32,
    /// All matching tasks.
    #[arg(long, conflicts_with = "limit")]
    all: bool,
}

/// Few that fit among very many are looked for so long, unless all are wanted.
const PATIENCE: Duration = Duration::from_secs(5);
/// Tasks per request.
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
            ("tag", &self.tag),
            ("text", &self.text),
        ];
        let filter: Vec<(&str, String)> =
            given.into_iter().filter_map(|(name, value)| Some((name, value.clone()?))).collect();
        for name in self.type_name.iter().flat_map(|names| names.split(',').map(str::trim)) {
            must_be_there(session, "task type", "tasktypes", "type", name).await?;
        }
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
            let all = json!({"Items": items, "Total": total, "More": after.is_some(), "LookedBackTo": looked_back_to});
            println!("{}", json_line(&all));
            return Ok(());
        }
        let rows: Vec<[String; 7]> = items
            .iter()
            .map(|task| {
                let fraction = task["ProgressInPercent"].as_f64().unwrap_or(0.0) * 100.0;
                let said = match task["Error"]["detail"].as_str() {
                    Some(detail) => visible(detail).into_owned(),
                    None => text(task, "Message"),
                };
                [
                    text(task, "Id"),
                    text(task, "Type"),
                    text(task, "State"),
                    format!("{fraction:.0} %"),
                    text(task, "StartedAt"),
                    text(task, "Queue"),
                    said.lines().next().unwrap_or_default().to_owned(),
                ]
            })
            .collect();
        if rows.is_empty() && after.is_none() {
            if let Some(queue) = &self.queue {
                must_be_there(session, "queue", "queues", "queue", queue).await?;
            }
            eprintln!("{}", if filter.is_empty() { "There are no tasks yet." } else { "No matching tasks." });
            return Ok(());
        }
        let heading = ["ID", "TYPE", "STATE", "DONE", "ACCEPTED", "QUEUE", "MESSAGE"];
        // A type of which less would be left begins its tasks' ids, so that they are as long.
        let yields = [
            Yields::Leaves("QUEUE"),
            Yields::Leaves("ACCEPTED"),
            Yields::Leaves("DONE"),
            Yields::Shrinks("TYPE", 7),
            Yields::Leaves("TYPE"),
        ];
        print!("{}", table_within(terminal_width(), heading, &rows, &yields));
        match (after, looked_back_to) {
            (None, _) => {}
            (Some(_), Some(time)) if items.len() < limit => {
                eprintln!("Few match: only tasks accepted since {time} were searched; --all searches older ones.");
            }
            (Some(_), _) => eprintln!("There are more; use --limit or --all."),
        }
        Ok(())
    }
}

/// Ends the process with a word if there is nothing of this name: what no filter fits looks
/// the same as a name that is misspelt. Who may not see the names is believed.
async fn must_be_there(session: &Session<'_>, what: &str, all: &str, command: &str, name: &str) -> anyhow::Result<()> {
    let listed = match session.client.get(&["api", all]).await {
        Ok(listed) => listed,
        Err(error) if error.is::<Refused>() => return Ok(()),
        Err(error) => return Err(error),
    };
    let known: Vec<&str> =
        listed["Items"].as_array().into_iter().flatten().filter_map(|item| item["Name"].as_str()).collect();
    if name.is_empty() || known.contains(&name) {
        return Ok(());
    }
    let (program, name) = (session.host.name, visible(name));
    let instead = nearest(&name, known);
    eprintln!("{program}: there is no {what} '{name}'{instead}; `{program} {command} list` lists all");
    Err(Exit(WRONG).into())
}

/// What the link to the next page begins after. The rest of that address may not be the
/// way that we came.
fn next_after(page: &Value) -> Option<String> {
    let next = page["Links"].as_array()?.iter().find(|link| link["Rel"] == "Next")?;
    let url: reqwest::Url = next["Href"].as_str()?.parse().ok()?;
    url.query_pairs().find(|(name, _)| name == "after").map(|(_, after)| after.into_owned())
}
