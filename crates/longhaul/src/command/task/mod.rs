//! `longhaul task`: one file a command.

mod cancel;
mod draw;
mod list;
mod logs;
mod retry;
mod run;
mod show;
mod wait;

pub(crate) use self::draw::{left, span};
pub(crate) use self::run::{pairs, read_object};

use clap::{Args, Subcommand};
use serde_json::Value;

use crate::Host;
use crate::remote::{Client, ConnectArgs, Way};

/// Starts, follows, lists, cancels and retries tasks.
#[derive(Debug, Args)]
pub(crate) struct Task {
    #[command(flatten)]
    connect: ConnectArgs,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start a task.
    #[command(after_help = run::EXAMPLES)]
    Run(run::Run),
    /// List tasks, newest first.
    #[command(after_help = list::EXAMPLES)]
    List(list::List),
    /// Show one task.
    #[command(
        after_help = "Examples:\n  longhaul task show reindex-7bdba522-590a-4df4-b409-a2939851241b\n  longhaul task show --json ID | jq .Result"
    )]
    Show(show::Show),
    /// Follow tasks until they end; the exit code says how the first that did not succeed ended.
    #[command(after_help = wait::EXAMPLES)]
    Wait(wait::Wait),
    /// Cancel tasks.
    #[command(after_help = "Examples:\n  longhaul task cancel ID\n  longhaul task cancel --wait ID ID ID")]
    Cancel(cancel::Cancel),
    /// Run failed or cancelled tasks again, from their last checkpoints.
    #[command(after_help = "Examples:\n  longhaul task retry ID\n  longhaul task retry --watch ID")]
    Retry(retry::Retry),
    /// Print what a task's handler wrote down.
    #[command(after_help = "Examples:\n  longhaul task logs ID\n  longhaul task logs --follow ID")]
    Logs(logs::Logs),
}

/// What every command is given.
pub(crate) struct Session<'a> {
    pub(crate) client: Client,
    pub(crate) json: bool,
    /// The program's name, for advice.
    pub(crate) program: &'static str,
    pub(crate) host: &'a Host,
}

impl Task {
    /// Whether it starts a task, which takes what its type needs.
    pub(crate) fn starts_one(&self) -> bool {
        matches!(self.command, Command::Run(_))
    }

    pub(crate) async fn run(self, host: Host, way: Way) -> anyhow::Result<()> {
        let client = self.connect.client(way, &host).await?;
        let session = Session { client, json: self.connect.json, program: host.name, host: &host };
        match self.command {
            Command::Run(run) => run.run(&session).await,
            Command::List(list) => list.run(&session).await,
            Command::Show(show) => show.run(&session).await,
            Command::Wait(wait) => wait.run(&session).await,
            Command::Cancel(cancel) => cancel.run(&session).await,
            Command::Retry(retry) => retry.run(&session).await,
            Command::Logs(logs) => logs.run(&session).await,
        }
    }
}

/// A member of a body as text; empty if it is not there.
pub(crate) fn text(body: &Value, member: &str) -> String {
    match &body[member] {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// What a task's body says in one line.
fn one_line(body: &Value) -> String {
    let fraction = body["ProgressInPercent"].as_f64().unwrap_or(0.0) * 100.0;
    let mut line = format!("{} {}", text(body, "Id"), text(body, "State"));
    if body["Complete"] != true {
        line.push_str(&format!(" {fraction:.0} %"));
    }
    if body["TotalElements"].as_u64().unwrap_or(0) > 0 {
        line.push_str(&format!(" {}/{}", text(body, "ProcessedElements"), text(body, "TotalElements")));
    }
    if let Some(error) = body["Error"]["detail"].as_str().or(body["Error"]["title"].as_str()) {
        line.push_str(&format!(": {error}"));
        if let Some(code) = body["Error"]["code"].as_str() {
            line.push_str(&format!(" ({code})"));
        }
    } else if let Some(message) = body["Message"].as_str() {
        line.push_str(&format!(" {message}"));
    }
    line
}

/// What a task that is over left, in one line.
fn last_line(body: &Value) -> String {
    match &body["Result"] {
        Value::Null => one_line(body),
        result => format!("{}\n{result}", one_line(body)),
    }
}
