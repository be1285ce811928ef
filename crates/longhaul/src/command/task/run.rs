//! `longhaul task run`

use clap::Args;
use serde_json::{Map, json};

use super::draw::follow;
use super::session::Session;
use crate::command::body::text;
use crate::command::options::Options;
use crate::command::parameters::{pairs, read_object};
use crate::command::value;

pub(super) const EXAMPLES: &str = "Examples:
  longhaul task run Reindex --watch
  longhaul task run Reindex -p ProjectId=c651ed19-5375-475a-a539-9f6401467130 -p Optimize=true
  longhaul task run RetryTasks -p 'Types:=[\"Reindex\"]'    # := takes JSON
  longhaul task run Reindex --parameters @parameters.json --delay 3600
  longhaul task run Reindex --after ID --json | jq -r .Id

With --watch, the exit code shows how the task ended: 0 it succeeded, 3 it failed, 4 it was cancelled, 130 it keeps
running after Ctrl-C. 1 means that it could not be started, 2 that the command line is wrong.";

/// Starts a task.
#[derive(Debug, Args)]
pub(super) struct Run {
    /// The task type, e.g. Reindex.
    #[arg(value_name = "TYPE")]
    type_name: String,
    /// A parameter. The value is a string if the parameter accepts one, else JSON. NAME:=JSON is
    /// always JSON.
    #[arg(short, long = "parameter", value_name = "NAME=VALUE", value_parser = value::pair)]
    parameters: Vec<String>,
    /// All parameters as one JSON object, or @FILE with it, or - for standard input.
    #[arg(long = "parameters", value_name = "JSON")]
    object: Option<String>,
    /// Do not run the task before this time, e.g. 2031-05-04T09:30:00Z.
    #[arg(long, value_name = "TIME", conflicts_with = "delay", value_parser = value::time)]
    run_at: Option<String>,
    /// Do not run the task before this many seconds have passed.
    #[arg(long, value_name = "SECONDS", value_parser = value::seconds)]
    delay: Option<f64>,
    /// Do not run the task before this task has succeeded. May be repeated.
    #[arg(long, value_name = "ID")]
    after: Vec<String>,
    /// A second start with the same key starts nothing and returns the first task.
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
    #[command(flatten)]
    options: Options,
    /// Draw its progress until it ends.
    #[arg(short, long)]
    watch: bool,
}

impl Run {
    pub(super) async fn run(self, session: &Session<'_>) -> anyhow::Result<()> {
        let schema = session.host.registry.get(&self.type_name).ok().map(|entry| entry.schema().clone());
        let mut parameters = match &self.object {
            Some(object) => read_object(object)?,
            None => Map::new(),
        };
        parameters.extend(pairs(&self.parameters, &schema.unwrap_or_default())?);
        let mut request = json!({"Type": self.type_name, "Parameters": parameters});
        if let Some(run_at) = &self.run_at {
            request["RunAt"] = json!(run_at);
        }
        if let Some(delay) = self.delay {
            request["DelaySeconds"] = json!(delay);
        }
        if !self.after.is_empty() {
            request["After"] = json!(self.after);
        }
        self.options.add_to(&mut request);
        let accepted = session.client.start(&request, self.idempotency_key.as_deref()).await?;
        if self.watch {
            return follow(session, &[text(&accepted, "Id")], None).await;
        }
        if session.json {
            println!("{}", crate::visible::json_line(&accepted));
        } else {
            println!("{}", text(&accepted, "Id"));
        }
        Ok(())
    }
}
