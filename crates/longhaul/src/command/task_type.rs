//! `longhaul type`

use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::Value;

use super::body::text;
use crate::Host;
use crate::remote::{Client, ConnectArgs, Way};
use crate::table::table;

/// Lists task types, pauses and resumes them.
#[derive(Debug, Args)]
pub(crate) struct TaskType {
    #[command(flatten)]
    connect: ConnectArgs,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List task types with their queues and pauses.
    #[command(
        after_help = "Examples:\n  longhaul type list\n  longhaul type list --json | jq -r '.Items[] | select(.Paused).Name'"
    )]
    List,
    /// Pause task types in all queues. Running tasks continue.
    #[command(after_help = "Example:\n  longhaul type pause CreateTicketLink")]
    Pause(Names),
    /// Resume paused task types.
    #[command(after_help = "Example:\n  longhaul type resume CreateTicketLink")]
    Resume(Names),
}

#[derive(Debug, Args)]
struct Names {
    /// The types; case matters.
    #[arg(required = true, value_name = "TYPE")]
    names: Vec<String>,
}

impl TaskType {
    pub(crate) async fn run(self, host: Host, way: Way) -> anyhow::Result<()> {
        let client = self.connect.client(way, &host).await?;
        let json = self.connect.json;
        match self.command {
            Command::List => list(&client, json).await,
            Command::Pause(Names { names }) => change(&client, json, &names, "pause").await,
            Command::Resume(Names { names }) => change(&client, json, &names, "resume").await,
        }
    }
}

async fn list(client: &Client, json: bool) -> anyhow::Result<()> {
    let types = client.get(&["api", "tasktypes"]).await?;
    if json {
        println!("{}", crate::visible::json_line(&types));
        return Ok(());
    }
    let rows: Vec<[String; 3]> = types["Items"].as_array().into_iter().flatten().map(row).collect();
    print!("{}", table(["TYPE", "QUEUE", "STATE"], &rows));
    Ok(())
}

async fn change(client: &Client, json: bool, names: &[String], deed: &str) -> anyhow::Result<()> {
    let mut rows = Vec::new();
    for name in names {
        let changed = client.send(Method::POST, &["api", "tasktypes", name, deed], None).await?;
        if json {
            println!("{}", crate::visible::json_line(&changed));
        }
        rows.push(row(&changed));
    }
    if !json {
        print!("{}", table(["TYPE", "QUEUE", "STATE"], &rows));
    }
    Ok(())
}

fn row(one: &Value) -> [String; 3] {
    let state = if one["Paused"] == true { "paused" } else { "open" };
    [text(one, "Name"), text(one, "Queue"), state.to_owned()]
}
