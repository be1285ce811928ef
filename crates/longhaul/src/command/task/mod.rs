//! `longhaul task`: one file a command.

mod cancel;
mod draw;
mod list;
mod logs;
mod retry;
mod run;
mod session;
mod show;
mod wait;

use clap::{Args, Subcommand};

use self::session::Session;
use crate::Host;
use crate::remote::{ConnectArgs, Way};

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
    /// Follow tasks until they complete. The exit code shows how the first unsuccessful one ended.
    #[command(after_help = wait::EXAMPLES)]
    Wait(wait::Wait),
    /// Cancel tasks.
    #[command(after_help = "Examples:\n  longhaul task cancel ID\n  longhaul task cancel --wait ID ID ID")]
    Cancel(cancel::Cancel),
    /// Retry failed or cancelled tasks from their last checkpoints.
    #[command(after_help = "Examples:\n  longhaul task retry ID\n  longhaul task retry --watch ID")]
    Retry(retry::Retry),
    /// Print a task's log.
    #[command(after_help = "Examples:\n  longhaul task logs ID\n  longhaul task logs --follow ID")]
    Logs(logs::Logs),
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
