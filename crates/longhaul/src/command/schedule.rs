//! `longhaul schedule`

use clap::{Args, Subcommand, ValueEnum};
use reqwest::Method;
use serde_json::{Value, json};

use super::body::text;
use super::options::Options;
use super::parameters::{pairs, read_object};
use crate::Host;
use crate::remote::{ConnectArgs, Way};
use crate::table::table;

/// Lists, creates and changes cron schedules.
#[derive(Debug, Args)]
pub(crate) struct Schedule {
    #[command(flatten)]
    connect: ConnectArgs,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List schedules.
    #[command(after_help = "Example:\n  longhaul schedule list")]
    List,
    /// Show one schedule.
    #[command(after_help = "Example:\n  longhaul schedule show nightly --json")]
    Show(Named),
    /// Create a schedule, which starts a task repeatedly.
    #[command(
        after_help = "Examples:\n  longhaul schedule create nightly '30 2 * * *' Reindex --time-zone Europe/Berlin -p Optimize=true\n  \
        longhaul schedule create nightly '@daily' Reindex --replace"
    )]
    Create(Box<Create>),
    /// Delete schedules. Their tasks remain.
    #[command(after_help = "Example:\n  longhaul schedule delete nightly")]
    Delete(Names),
    /// Pause schedules.
    #[command(after_help = "Example:\n  longhaul schedule pause nightly")]
    Pause(Names),
    /// Resume paused schedules. They fire at their next due time.
    #[command(after_help = "Example:\n  longhaul schedule resume nightly")]
    Resume(Names),
    /// Start a schedule's task now, in addition to its firings.
    #[command(after_help = "Example:\n  longhaul task wait $(longhaul schedule run nightly)")]
    Run(Named),
}

#[derive(Debug, Args)]
struct Named {
    /// The schedule.
    name: String,
}

#[derive(Debug, Args)]
struct Names {
    /// The schedules.
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
}

/// How to handle missed firings.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Missed {
    /// One task, for the latest due time.
    Once,
    /// The latest due time, if it is at most a minute late.
    Skip,
    /// Each due time, at most 1,000.
    All,
}

#[derive(Debug, Args)]
struct Create {
    /// The schedule's name.
    name: String,
    /// The cron expression, e.g. '30 2 * * *' or @daily.
    cron: String,
    /// The task type.
    #[arg(value_name = "TYPE")]
    type_name: String,
    /// The time zone of the expression, e.g. Europe/Berlin.
    #[arg(long, default_value = "UTC")]
    time_zone: String,
    /// A parameter, as of `task run`.
    #[arg(short, long = "parameter", value_name = "NAME=VALUE", value_parser = super::value::pair)]
    parameters: Vec<String>,
    /// All parameters, as of `task run`.
    #[arg(long = "parameters", value_name = "JSON")]
    object: Option<String>,
    #[command(flatten)]
    options: Options,
    /// How to handle missed firings.
    #[arg(long, value_enum, default_value_t = Missed::Once)]
    missed: Missed,
    /// Create it paused.
    #[arg(long)]
    paused: bool,
    /// Replace an existing schedule of this name.
    #[arg(long)]
    replace: bool,
}

/// Schedules per request.
const PAGE: &str = "1000";

impl Schedule {
    pub(crate) async fn run(self, host: Host, way: Way) -> anyhow::Result<()> {
        let client = self.connect.client(way, &host).await?;
        let all: [&str; 2] = ["api", "schedules"];
        let print = |schedules: &[Value]| {
            if self.connect.json {
                schedules.iter().for_each(|schedule| println!("{}", crate::visible::json_line(schedule)));
            } else {
                if schedules.is_empty() {
                    eprintln!("There are no schedules; {} schedule create --help shows how to create one.", host.name);
                } else {
                    print!("{}", rows(schedules));
                }
            }
        };
        match self.command {
            Command::List => {
                let (mut items, mut after) = (Vec::new(), String::new());
                loop {
                    let query = [("after", after.clone()), ("limit", PAGE.to_owned())];
                    let mut page = client.get_url(client.at(&all, &query)).await?;
                    let Value::Array(found) = page["Items"].take() else { break };
                    after = found.last().map(|last| text(last, "Name")).unwrap_or_default();
                    let is_last = found.len().to_string() != PAGE;
                    items.extend(found);
                    if is_last {
                        break;
                    }
                }
                if self.connect.json {
                    println!("{}", crate::visible::json_line(&json!({"Items": items})));
                } else {
                    print!("{}", rows(&items));
                }
            }
            Command::Show(Named { name }) => print(&[client.get(&["api", "schedules", &name]).await?]),
            Command::Create(create) => {
                let asked = create.asked(&host)?;
                let made = if create.replace {
                    client.send(Method::PUT, &["api", "schedules", &create.name], Some(&asked)).await?
                } else {
                    client.send(Method::POST, &all, Some(&asked)).await?
                };
                print(&[made]);
            }
            Command::Delete(Names { names }) => {
                for name in &names {
                    client.send(Method::DELETE, &["api", "schedules", name], None).await?;
                }
            }
            Command::Pause(Names { names }) => {
                for name in &names {
                    print(&[client.send(Method::POST, &["api", "schedules", name, "pause"], None).await?]);
                }
            }
            Command::Resume(Names { names }) => {
                for name in &names {
                    print(&[client.send(Method::POST, &["api", "schedules", name, "resume"], None).await?]);
                }
            }
            Command::Run(Named { name }) => {
                let task = client.send(Method::POST, &["api", "schedules", &name, "run"], None).await?;
                println!("{}", if self.connect.json { task.to_string() } else { text(&task, "Id") });
            }
        }
        Ok(())
    }
}

impl Create {
    fn asked(&self, host: &Host) -> anyhow::Result<Value> {
        let schema = host.registry.get(&self.type_name).ok().map(|entry| entry.schema().clone());
        let mut parameters = self.object.as_deref().map(read_object).transpose()?.unwrap_or_default();
        parameters.extend(pairs(&self.parameters, &schema.unwrap_or_default())?);
        let mut asked = json!({
            "Name": self.name, "Cron": self.cron, "TimeZone": self.time_zone, "Type": self.type_name,
            "Parameters": parameters, "Paused": self.paused,
            "Missed": match self.missed { Missed::Once => "Once", Missed::Skip => "Skip", Missed::All => "All" },
        });
        self.options.add_to(&mut asked);
        Ok(asked)
    }
}

fn rows(schedules: &[Value]) -> String {
    let rows: Vec<[String; 7]> = schedules
        .iter()
        .map(|schedule| {
            [
                text(schedule, "Name"),
                text(schedule, "Cron"),
                text(schedule, "TimeZone"),
                text(schedule, "Type"),
                text(schedule, "State"),
                text(schedule, "NextAt"),
                text(schedule, "Fired"),
            ]
        })
        .collect();
    table(["SCHEDULE", "CRON", "TIME ZONE", "TYPE", "STATE", "NEXT", "FIRED"], &rows)
}
