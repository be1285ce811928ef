//! `longhaul task run`

use std::io::Read;

use anyhow::{Context, bail};
use clap::Args;
use serde_json::{Map, Value, json};

use super::Session;
use super::draw::follow;

pub(super) const EXAMPLES: &str = "Examples:
  longhaul task run Reindex --watch
  longhaul task run Reindex -p ProjectId=c651ed19-5375-475a-a539-9f6401467130 -p Optimize=true
  longhaul task run SyncIncidents -p 'Keys:=[\"ABC-1\", \"ABC-2\"]'    # := takes JSON
  longhaul task run Reindex --parameters @parameters.json --delay 3600
  longhaul task run Reindex --after ID --json | jq -r .Id

With --watch, the exit code says how the task ended: 0 it succeeded, 3 it failed, 4 it was cancelled, 130 it goes on
after Ctrl-C. 1 is that it could not be started, 2 that the command line is wrong.";

/// Starts a task.
#[derive(Debug, Args)]
pub(super) struct Run {
    /// The task type, e.g. Reindex.
    #[arg(value_name = "TYPE")]
    type_name: String,
    /// A parameter; the value is text if its type takes that, else JSON. NAME:=JSON is always JSON.
    #[arg(short, long = "parameter", value_name = "NAME=VALUE")]
    parameters: Vec<String>,
    /// All parameters as one JSON object, or @FILE with it, or - for standard input.
    #[arg(long = "parameters", value_name = "JSON")]
    object: Option<String>,
    /// Not before this time, e.g. 2031-05-04T09:30:00Z.
    #[arg(long, value_name = "TIME", conflicts_with = "delay")]
    run_at: Option<String>,
    /// Not before so many seconds from now.
    #[arg(long, value_name = "SECONDS")]
    delay: Option<f64>,
    /// Not before this task has ended well; may be given several times.
    #[arg(long, value_name = "ID")]
    after: Vec<String>,
    /// Starting again with the same key starts nothing and answers with the first task.
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
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
        let accepted = session.client.start(&request, self.idempotency_key.as_deref()).await?;
        if self.watch {
            return follow(session, &[super::text(&accepted, "Id")], None).await;
        }
        if session.json {
            println!("{accepted}");
        } else {
            println!("{}", super::text(&accepted, "Id"));
        }
        Ok(())
    }
}

/// Parameters of pairs as they are typed.
pub(crate) fn pairs(pairs: &[String], schema: &Value) -> anyhow::Result<Map<String, Value>> {
    let mut parameters = Map::new();
    for pair in pairs {
        let (name, value) = pair.split_once('=').with_context(|| format!("'{pair}' is not NAME=VALUE"))?;
        let (name, value) = match name.strip_suffix(':') {
            Some(name) => {
                let json = serde_json::from_str(value);
                (name, json.with_context(|| format!("'{value}' of {name} is not JSON; NAME=VALUE takes text"))?)
            }
            None if takes_text(&schema["properties"][name]) => (name, json!(value)),
            None => (name, serde_json::from_str(value).unwrap_or_else(|_| json!(value))),
        };
        parameters.insert(name.to_owned(), value);
    }
    Ok(parameters)
}

fn takes_text(schema: &Value) -> bool {
    match &schema["type"] {
        Value::String(kind) => kind == "string",
        Value::Array(kinds) => kinds.contains(&json!("string")),
        _ => false,
    }
}

/// An object given as text, as a file, or on standard input.
pub(crate) fn read_object(given: &str) -> anyhow::Result<Map<String, Value>> {
    let text = match (given, given.strip_prefix('@')) {
        ("-", _) => {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text).context("standard input could not be read")?;
            text
        }
        (_, Some(path)) => std::fs::read_to_string(path).with_context(|| format!("{path} could not be read"))?,
        _ => given.to_owned(),
    };
    match serde_json::from_str(&text).context("the parameters are not JSON")? {
        Value::Object(members) => Ok(members),
        _ => bail!("the parameters are not a JSON object"),
    }
}

#[cfg(test)]
mod tests {
    use super::pairs;
    use serde_json::{Value, json};

    #[test]
    fn a_value_is_text_where_the_type_takes_text_and_json_elsewhere() {
        let schema = json!({"properties": {"Key": {"type": "string"}, "Id": {"type": ["string", "null"]}}});
        let given = ["Key=12", "Id=true", "Optimize=true", "Count=3", "Name=ab=c", "Id2:=null"].map(str::to_owned);
        let read = Value::Object(pairs(&given, &schema).expect("pairs"));
        let expected = json!({"Key": "12", "Id": "true", "Optimize": true, "Count": 3, "Name": "ab=c", "Id2": null});
        assert_eq!(read, expected);
        assert!(pairs(&["Optimize".to_owned()], &schema).is_err());
        assert!(pairs(&["Key:=x".to_owned()], &schema).is_err());
    }
}
