//! The commands that every program has, one file each.

mod body;
mod completions;
mod config;
#[cfg(feature = "dev")]
mod dev;
pub(crate) mod docs;
mod doctor;
mod health;
mod key;
mod man;
mod migrate;
mod options;
mod parameters;
mod queue;
mod roles;
mod schedule;
mod serve;
mod task;
mod task_type;
#[cfg(feature = "top")]
mod top;
mod value;
mod work;
mod worker;

use clap::Subcommand;

use crate::Host;
use crate::config::Configuration;
use crate::logging::LogArgs;
use crate::remote::Way;

#[derive(Debug, Subcommand)]
pub(crate) enum Standard {
    /// Run API and worker in one process, on a private PostgreSQL that keeps its data.
    #[cfg(feature = "dev")]
    #[command(
        after_help = "Examples:\n  longhaul dev\n  longhaul dev --listen 127.0.0.1:9000 --data /var/lib/longhaul/other"
    )]
    Dev(dev::Dev),
    /// Run the HTTP API.
    #[command(
        after_help = "Examples:\n  longhaul --config longhaul.toml serve\n  longhaul serve --listen 127.0.0.1:8080 --base-url https://tasks.example.com"
    )]
    Serve(serve::Serve),
    /// Run a worker.
    #[command(after_help = "Examples:\n  longhaul work\n  longhaul work --queue mail --queue search --slots 8")]
    Work(work::Work),
    /// Create, list and revoke API keys.
    Key(key::Key),
    /// Bring the database's schema up to date.
    #[command(after_help = "Example:\n  longhaul migrate --database-url postgres://longhaul@db/longhaul")]
    Migrate(migrate::Migrate),
    /// Start, follow, list, cancel and retry tasks.
    Task(task::Task),
    /// List queues, pause and limit them.
    Queue(queue::Queue),
    /// List task types, pause and resume them.
    Type(task_type::TaskType),
    /// List, create and change cron schedules.
    Schedule(schedule::Schedule),
    /// List workers.
    Worker(worker::Worker),
    /// Show rates, queues, workers and running tasks, live.
    #[cfg(feature = "top")]
    #[command(after_help = top::EXAMPLES)]
    Top(top::Top),
    /// Find problems and show how to fix them.
    #[command(after_help = doctor::EXAMPLES)]
    Doctor(doctor::Doctor),
    /// Ask the API or the worker on this machine whether it is ready.
    #[command(after_help = health::EXAMPLES)]
    Health(health::Health),
    /// Show settings and their sources.
    Config(config::Config),
    /// Print a shell completion script.
    #[command(after_help = completions::EXAMPLES)]
    Completions(completions::Completions),
    /// Write manual pages.
    #[command(hide = true)]
    Man(man::Man),
    /// Print a page of the documentation.
    #[command(after_help = docs::EXAMPLES)]
    Docs(docs::Docs),
    /// Show or apply the SQL that creates least-privilege database roles.
    #[command(after_help = "Examples:\n  longhaul roles > roles.sql\n  longhaul roles --apply")]
    Roles(roles::Roles),
}

impl Standard {
    /// The commands that host task types, and so have the program's own flags.
    pub(crate) const HOSTING: &'static [&'static str] =
        if cfg!(feature = "dev") { &["dev", "serve", "work"] } else { &["serve", "work"] };
    /// Those that host task types if they speak to the database themselves.
    pub(crate) const MAY_HOST: [(&'static str, &'static str); 1] = [("task", "run")];

    pub(crate) fn hosts_tasks(&self, way: Way) -> bool {
        match self {
            #[cfg(feature = "dev")]
            Standard::Dev(_) => true,
            Standard::Serve(_) | Standard::Work(_) => true,
            Standard::Task(task) => task.starts_one() && way == Way::Database,
            _ => false,
        }
    }

    /// What is logged unless `LONGHAUL_LOG` says otherwise. The commands for people say
    /// what they have to say themselves.
    pub(crate) fn log_filter(&self) -> &'static str {
        // The commands that log are those whose log can be set, and the migration.
        if self.log().is_some() || matches!(self, Standard::Migrate(_)) {
            "info,sqlx=error,actix_server=warn"
        } else {
            "error,sqlx=off,actix_server=off"
        }
    }

    /// How its log looks, if that can be set.
    pub(crate) fn log(&self) -> Option<LogArgs> {
        match self {
            #[cfg(feature = "dev")]
            Standard::Dev(dev) => Some(dev.log.clone()),
            Standard::Serve(serve) => Some(serve.log.clone()),
            Standard::Work(work) => Some(work.log.clone()),
            _ => None,
        }
    }

    /// What handlers log that goes into their tasks' logs; none where none run, and
    /// `usual` unless that is set.
    pub(crate) fn task_log<'a>(&'a self, usual: &'a str) -> Option<&'a str> {
        match self {
            #[cfg(feature = "dev")]
            Standard::Dev(dev) => Some(dev.worker.task_log.as_deref().unwrap_or(usual)),
            Standard::Work(work) => Some(work.worker.task_log.as_deref().unwrap_or(usual)),
            _ => None,
        }
    }

    pub(crate) async fn run(self, host: Host, way: Way, configuration: &Configuration) -> anyhow::Result<()> {
        match self {
            #[cfg(feature = "dev")]
            Standard::Dev(dev) => dev.run(host).await,
            Standard::Serve(serve) => serve.run(host).await,
            Standard::Work(work) => work.run(host).await,
            Standard::Key(key) => key.run().await,
            Standard::Migrate(migrate) => migrate.run(host).await,
            Standard::Task(task) => task.run(host, way).await,
            Standard::Queue(queue) => queue.run(host, way).await,
            Standard::Type(types) => types.run(host, way).await,
            Standard::Schedule(schedule) => schedule.run(host, way).await,
            Standard::Worker(worker) => worker.run(host, way).await,
            #[cfg(feature = "top")]
            Standard::Top(top) => top.run(host, way).await,
            Standard::Doctor(doctor) => doctor.run(host, way, configuration).await,
            Standard::Docs(docs) => docs.run(host.name),
            Standard::Health(health) => health.run().await,
            Standard::Config(_) | Standard::Completions(_) | Standard::Man(_) => {
                unreachable!("the program handles this command itself, because it knows the command line")
            }
            Standard::Roles(roles) => roles.run(host).await,
        }
    }
}
