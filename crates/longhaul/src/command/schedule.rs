//! `longhaul schedule`

use clap::{Args, Subcommand, ValueEnum};
use reqwest::Method;
use serde_json::{Value, json};

use super::task::{pairs, read_object, text};
use crate::Host;
use crate::remote::{ConnectArgs, Way};
use crate::table::table;

/// Lists, makes and changes cron schedules.
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
    /// Make a schedule, which starts a task again and again.
    #[command(
        after_help = "Examples:\n  longhaul schedule create nightly '30 2 * * *' Reindex --time-zone Europe/Berlin -p Optimize=true\n  \
        longhaul schedule create nightly '@daily' Reindex --replace"
    )]
    Create(Create),
    /// Remove schedules; their tasks stay.
    #[command(after_help = "Example:\n  longhaul schedule delete nightly")]
    Delete(Names),
    /// Stop schedules from firing.
    #[command(after_help = "Example:\n  longhaul schedule pause nightly")]
    Pause(Names),
    /// Let paused schedules fire at their next due time.
    #[command(after_help = "Example:\n  longhaul schedule resume nightly")]
    Resume(Names),
    /// Start a schedule's task now, besides its firings.
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

/// What becomes of firings that no worker was there for.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Missed {
    /// One task, for the latest due time.
    Once,
    /// The latest due time if it is a minute late at most.
    Skip,
    /// Each due time, 1,000 at most.
    All,
}

#[derive(Debug, Args)]
struct Create {
    /// A name for it.
    name: String,
    /// When, e.g. '30 2 * * *' or @daily.
    cron: String,
    /// The task type.
    #[arg(value_name = "TYPE")]
    type_name: String,
    /// The time zone of the expression, e.g. Europe/Berlin.
    #[arg(long, default_value = "UTC")]
    time_zone: String,
    /// A parameter, as of `task run`.
    #[arg(short, long = "parameter", value_name = "NAME=VALUE")]
    parameters: Vec<String>,
    /// All parameters, as of `task run`.
    #[arg(long = "parameters", value_name = "JSON")]
    object: Option<String>,
    /// The queue, if not the type's.
    #[arg(long)]
    queue: Option<String>,
    /// 0 (first) to 9 (last), if not the type's.
    #[arg(long, value_parser = clap::value_parser!(u8).range(0..=9))]
    priority: Option<u8>,
    /// What becomes of firings that no worker was there for.
    #[arg(long, value_enum, default_value_t = Missed::Once)]
    missed: Missed,
    /// Let it wait to be resumed.
    #[arg(long)]
    paused: bool,
    /// Take the place of the schedule with this name, if there is one.
    #[arg(long)]
    replace: bool,
}

/// Schedules that are asked for at once.
const PAGE: &str = "1000";

impl Schedule {
    pub(crate) async fn run(self, host: Host, way: Way) -> anyhow::Result<()> {
        let client = self.connect.client(way, &host).await?;
        let all: [&str; 2] = ["api", "schedules"];
        let print = |schedules: &[Value]| {
            if self.connect.json {
                schedules.iter().for_each(|schedule| println!("{schedule}"));
            } else {
                if schedules.is_empty() {
                    eprintln!("There are no schedules; {} schedule create --help tells how to make one.", host.name);
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
                    println!("{}", json!({"Items": items}));
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
        if let Some(queue) = &self.queue {
            asked["Queue"] = json!(queue);
        }
        if let Some(priority) = self.priority {
            asked["Priority"] = json!(priority);
        }
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
