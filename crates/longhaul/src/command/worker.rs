//! `longhaul worker`

use clap::{Args, Subcommand};

use super::body::text;
use crate::Host;
use crate::remote::{ConnectArgs, Way};
use crate::table::table;

/// Lists workers.
#[derive(Debug, Args)]
pub(crate) struct Worker {
    #[command(flatten)]
    connect: ConnectArgs,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List live workers, and workers that ended in the last day.
    #[command(
        after_help = "Examples:\n  longhaul worker list\n  longhaul worker list --json | jq '.Items[] | select(.State == \"lost\")'"
    )]
    List,
}

impl Worker {
    pub(crate) async fn run(self, host: Host, way: Way) -> anyhow::Result<()> {
        let Command::List = self.command;
        let workers = self.connect.client(way, &host).await?.get(&["api", "workers"]).await?;
        if self.connect.json {
            println!("{}", crate::visible::json_line(&workers));
            return Ok(());
        }
        let rows: Vec<[String; 7]> = workers["Items"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|worker| {
                let queues = worker["Queues"].as_array().into_iter().flatten().filter_map(|queue| queue.as_str());
                [
                    text(worker, "Name"),
                    text(worker, "State"),
                    text(worker, "Running"),
                    text(worker, "Slots"),
                    text(worker, "HeartbeatAt"),
                    text(worker, "Version"),
                    queues.collect::<Vec<_>>().join(", "),
                ]
            })
            .collect();
        if rows.is_empty() {
            eprintln!("There are no workers, and none ended in the last day; {} work starts one.", host.name);
            return Ok(());
        }
        print!("{}", table(["WORKER", "STATE", "RUNNING", "SLOTS", "HEARTBEAT", "VERSION", "QUEUES"], &rows));
        Ok(())
    }
}
