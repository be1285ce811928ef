//! The recipes of `docs/cookbook.md`, one file each: `cargo run -p cookbook -- dev`.

mod approval;
mod contacts;
mod newsletter;
mod order;
mod partner;
mod report;
mod welcome;

use std::process::ExitCode;

use longhaul::clap;
use longhaul::sqlx::migrate::Migrator;
use longhaul::{Client, Host, Program, Registry, connect};

use crate::approval::{AwaitApproval, PublishArticle, approve};
use crate::contacts::ImportContacts;
use crate::newsletter::{SendMail, SendNewsletter};
use crate::order::{ChargeCard, ReserveStock, ShipOrder};
use crate::partner::{FetchRate, Partner};
use crate::report::DailyReport;
use crate::welcome::WelcomeCustomer;

static MIGRATIONS: Migrator = sqlx::migrate!("./migrations");

fn main() -> ExitCode {
    let types = Registry::new()
        .with::<SendMail>()
        .with::<SendNewsletter>()
        .with::<DailyReport>()
        .with::<ImportContacts>()
        .with::<AwaitApproval>()
        .with::<PublishArticle>()
        .with::<FetchRate>()
        .with::<WelcomeCustomer>()
        .with::<ReserveStock>()
        .with::<ChargeCard>()
        .with::<ShipOrder>();
    Program::new(types)
        .with_name("cookbook")
        .with_about("Recipes for common tasks")
        .with_version(env!("CARGO_PKG_VERSION"))
        .with_migrations(&MIGRATIONS)
        .with_resource(Partner::default())
        .with_commands(run)
        .main()
}

/// What this program does besides the commands of every program.
#[derive(clap::Subcommand)]
enum Command {
    /// Approve an article and publish it
    Approve {
        article: i64,
        #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
        database_url: String,
    },
}

async fn run(command: Command, host: Host) -> longhaul::anyhow::Result<()> {
    let Command::Approve { article, database_url } = command;
    let pool = connect(&database_url, 1, host.name()).await?;
    let client = Client::new(pool.clone()).await?;
    let task = approve(&client, &pool, article).await?;
    println!("{task}");
    Ok(())
}
