//! `longhaul queue`

use anyhow::Context;
use clap::{ArgGroup, Args, Subcommand};
use reqwest::Method;
use serde_json::{Map, Value, json};

use super::task::text;
use crate::Host;
use crate::remote::{Client, ConnectArgs, Way};
use crate::table::table;

/// Lists queues, pauses and limits them.
#[derive(Debug, Args)]
pub(crate) struct Queue {
    #[command(flatten)]
    connect: ConnectArgs,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List queues: what waits, what runs, limits.
    #[command(
        after_help = "Examples:\n  longhaul queue list\n  longhaul queue list --json | jq '.Items[] | select(.Paused)'"
    )]
    List,
    /// Hold the tasks of queues; those that run go on.
    #[command(after_help = "Example:\n  longhaul queue pause mail")]
    Pause(Names),
    /// Let the tasks of paused queues go.
    #[command(after_help = "Example:\n  longhaul queue resume mail")]
    Resume(Names),
    /// Limit a queue; what is not given stays as it is.
    #[command(after_help = "Examples:\n  longhaul queue limit mail --max-running 3 --rate 100/60\n  \
        longhaul queue limit mail --max-running none --rate none\n  \
        longhaul queue limit mail --max-per-key 2 --fair true")]
    Limit(Limit),
}

#[derive(Debug, Args)]
struct Names {
    /// The queues.
    #[arg(required = true, value_name = "QUEUE")]
    names: Vec<String>,
}

#[derive(Debug, Args)]
#[command(group(ArgGroup::new("limits").required(true).multiple(true).args(["max_running", "max_per_key", "rate", "fair"])))]
struct Limit {
    /// The queue.
    #[arg(value_name = "QUEUE")]
    name: String,
    /// So many of its tasks at once, over all workers; or `none`.
    #[arg(long, value_name = "TASKS", value_parser = number_or_none)]
    max_running: Option<Value>,
    /// The same for each key; or `none`.
    #[arg(long, value_name = "TASKS", value_parser = number_or_none)]
    max_per_key: Option<Value>,
    /// So many begin in so many seconds, e.g. 100/60; or `none`.
    #[arg(long, value_name = "TASKS/SECONDS")]
    rate: Option<String>,
    /// Keys take turns.
    #[arg(long)]
    fair: Option<bool>,
}

fn number_or_none(text: &str) -> Result<Value, String> {
    match text {
        "none" => Ok(Value::Null),
        _ => text.parse::<u32>().map(|number| json!(number)).map_err(|_| "a number, or `none`, is expected".to_owned()),
    }
}

impl Queue {
    pub(crate) async fn run(self, host: Host, way: Way) -> anyhow::Result<()> {
        let client = self.connect.client(way, &host).await?;
        let json = self.connect.json;
        match self.command {
            Command::List => {
                let queues = client.get(&["api", "queues"]).await?;
                if json {
                    println!("{queues}");
                } else {
                    print!("{}", rows(queues["Items"].as_array().map(Vec::as_slice).unwrap_or_default()));
                }
                Ok(())
            }
            Command::Pause(Names { names }) => change(&client, json, &names, &json!({"Paused": true})).await,
            Command::Resume(Names { names }) => change(&client, json, &names, &json!({"Paused": false})).await,
            Command::Limit(limit) => {
                let asked = limit.asked()?;
                change(&client, json, std::slice::from_ref(&limit.name), &asked).await
            }
        }
    }
}

async fn change(client: &Client, json: bool, names: &[String], change: &Value) -> anyhow::Result<()> {
    let mut changed = Vec::new();
    for name in names {
        let queue = client.send(Method::PATCH, &["api", "queues", name], Some(change)).await?;
        if json {
            println!("{queue}");
        }
        changed.push(queue);
    }
    if !json {
        print!("{}", rows(&changed));
    }
    Ok(())
}

impl Limit {
    fn asked(&self) -> anyhow::Result<Value> {
        let mut asked = Map::new();
        asked.extend(self.max_running.clone().map(|most| ("MaxRunning".to_owned(), most)));
        asked.extend(self.max_per_key.clone().map(|most| ("MaxPerKey".to_owned(), most)));
        asked.extend(self.fair.map(|fair| ("Fair".to_owned(), json!(fair))));
        match self.rate.as_deref() {
            None => {}
            Some("none") => {
                asked.insert("RateCount".to_owned(), Value::Null);
                asked.insert("RateSeconds".to_owned(), Value::Null);
            }
            Some(rate) => {
                let read = || {
                    let (count, seconds) = rate.split_once('/')?;
                    Some((count.trim().parse::<u32>().ok()?, seconds.trim().parse::<f64>().ok()?))
                };
                let (count, seconds) =
                    read().with_context(|| format!("'{rate}' is not TASKS/SECONDS, e.g. 100/60, nor `none`"))?;
                asked.insert("RateCount".to_owned(), json!(count));
                asked.insert("RateSeconds".to_owned(), json!(seconds));
            }
        }
        Ok(Value::Object(asked))
    }
}

fn rows(queues: &[Value]) -> String {
    let rows: Vec<[String; 7]> = queues
        .iter()
        .map(|queue| {
            [
                text(queue, "Name"),
                text(queue, "Ready"),
                text(queue, "Held"),
                text(queue, "Scheduled"),
                text(queue, "Running"),
                if queue["Paused"] == true { "paused".to_owned() } else { "open".to_owned() },
                limits(queue),
            ]
        })
        .collect();
    table(["QUEUE", "READY", "HELD", "SCHEDULED", "RUNNING", "STATE", "LIMITS"], &rows)
}

/// A queue's limits in words.
pub(crate) fn limits(queue: &Value) -> String {
    let mut limits = Vec::new();
    if let Some(most) = queue["MaxRunning"].as_i64() {
        limits.push(format!("{most} at once"));
    }
    if let Some(most) = queue["MaxPerKey"].as_i64() {
        limits.push(format!("{most} of a key"));
    }
    if let Some(count) = queue["RateCount"].as_i64() {
        limits.push(format!("{count} in {} s", text(queue, "RateSeconds")));
    }
    if queue["Fair"] == true {
        limits.push("fair".to_owned());
    }
    limits.join(", ")
}
