//! `longhaul queue`

use clap::{ArgGroup, Args, Subcommand};
use reqwest::Method;
use serde_json::{Map, Value, json};

use super::body::text;
use super::value::{Rate, rate};
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
    /// List queues with their depth, running tasks and limits.
    #[command(
        after_help = "Examples:\n  longhaul queue list\n  longhaul queue list --json | jq '.Items[] | select(.Paused)'"
    )]
    List,
    /// Pause queues. Running tasks continue.
    #[command(after_help = "Example:\n  longhaul queue pause mail")]
    Pause(Names),
    /// Resume paused queues.
    #[command(after_help = "Example:\n  longhaul queue resume mail")]
    Resume(Names),
    /// Set a queue's limits. Omitted limits keep their values.
    #[command(after_help = "Examples:\n  longhaul queue limit mail --max-running 3 --rate 100/60\n  \
        longhaul queue limit mail --max-running none --rate none\n  \
        longhaul queue limit mail --max-per-key 2 --fair true\n  \
        longhaul queue limit mail --max-waiting 100000")]
    Limit(Limit),
}

#[derive(Debug, Args)]
struct Names {
    /// The queues.
    #[arg(required = true, value_name = "QUEUE")]
    names: Vec<String>,
}

#[derive(Debug, Args)]
#[command(group(ArgGroup::new("limits").required(true).multiple(true).args(["max_running", "max_per_key", "rate", "fair", "max_waiting"])))]
struct Limit {
    /// The queue.
    #[arg(value_name = "QUEUE")]
    name: String,
    /// Max concurrent: so many of its tasks are at work at once, over all workers; or `none`.
    #[arg(long, value_name = "TASKS", value_parser = number_or_none)]
    max_running: Option<Value>,
    /// Max concurrent per key: the same for each key; or `none`.
    #[arg(long, value_name = "TASKS", value_parser = number_or_none)]
    max_per_key: Option<Value>,
    /// Start at most N every S seconds, e.g. 100/60; or `none`.
    #[arg(long, value_name = "N/S", value_parser = rate)]
    rate: Option<Rate>,
    /// Share fairly between keys: keys take turns.
    #[arg(long)]
    fair: Option<bool>,
    /// Max waiting: while so many of its tasks wait, requests that would store more are refused; or `none`.
    #[arg(long, value_name = "TASKS", value_parser = number_or_none)]
    max_waiting: Option<Value>,
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
                    println!("{}", crate::visible::json_line(&queues));
                } else {
                    print!("{}", rows(queues["Items"].as_array().map(Vec::as_slice).unwrap_or_default()));
                }
                Ok(())
            }
            Command::Pause(Names { names }) => change(&client, json, &names, &json!({"Paused": true})).await,
            Command::Resume(Names { names }) => change(&client, json, &names, &json!({"Paused": false})).await,
            Command::Limit(limit) => {
                let asked = limit.asked();
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
            println!("{}", crate::visible::json_line(&queue));
        }
        changed.push(queue);
    }
    if !json {
        print!("{}", rows(&changed));
    }
    Ok(())
}

impl Limit {
    fn asked(&self) -> Value {
        let mut asked = Map::new();
        asked.extend(self.max_running.clone().map(|most| ("MaxRunning".to_owned(), most)));
        asked.extend(self.max_per_key.clone().map(|most| ("MaxPerKey".to_owned(), most)));
        asked.extend(self.fair.map(|fair| ("Fair".to_owned(), json!(fair))));
        asked.extend(self.max_waiting.clone().map(|most| ("MaxWaiting".to_owned(), most)));
        if let Some(rate) = self.rate {
            let (count, seconds) = match rate {
                Rate::Unlimited => (Value::Null, Value::Null),
                Rate::Of(count, seconds) => (json!(count), json!(seconds)),
            };
            asked.insert("RateCount".to_owned(), count);
            asked.insert("RateSeconds".to_owned(), seconds);
        }
        Value::Object(asked)
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
                state(queue),
                limits(queue),
            ]
        })
        .collect();
    table(["QUEUE", "READY", "HELD", "SCHEDULED", "RUNNING", "STATE", "LIMITS"], &rows)
}

/// Whether a queue is open, and whether a worker serves it.
pub(crate) fn state(queue: &Value) -> String {
    let state = if queue["Paused"] == true { "paused" } else { "open" };
    if queue["Workers"] == 0 { format!("{state}, no worker") } else { state.to_owned() }
}

/// A queue's limits in words.
pub(crate) fn limits(queue: &Value) -> String {
    let mut limits = Vec::new();
    if let Some(most) = queue["MaxRunning"].as_i64() {
        limits.push(format!("max concurrent {most}"));
    }
    if let Some(most) = queue["MaxPerKey"].as_i64() {
        limits.push(format!("max concurrent per key {most}"));
    }
    if let Some(count) = queue["RateCount"].as_i64() {
        let seconds = queue["RateSeconds"].as_f64().unwrap_or_default();
        limits.push(format!("start at most {count} every {seconds} s"));
    }
    if queue["Fair"] == true {
        limits.push("share fairly".to_owned());
    }
    if let Some(most) = queue["MaxWaiting"].as_i64() {
        limits.push(format!("max waiting {most}"));
    }
    limits.join(", ")
}
