//! A program for tests of the fleet: its tasks record when they began and ended, and
//! look whether more of them are at work than may be. Others have children, and log.

use std::process::ExitCode;
use std::time::Duration;

use longhaul::schemars::JsonSchema;
use longhaul::serde::{Deserialize, Serialize};
use longhaul::{Outcome, Program, Registry, RunContext, RunError, TaskType, sqlx};

/// Records its beginning and end in the table `record`.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(crate = "longhaul::serde", deny_unknown_fields)]
#[schemars(crate = "longhaul::schemars")]
struct Record {
    /// How many of these may be at work at once.
    places: i32,
    /// How long it takes.
    milliseconds: u64,
}

impl TaskType for Record {
    const NAME: &'static str = "Record";
    const ID_PREFIX: &'static str = "record_";
    const QUEUE: &'static str = "records";

    /// Each place is a lock that belongs to a session: the server frees it when the
    /// process is gone, whatever killed it. No place free means one too many at work.
    async fn run(self, context: RunContext) -> Result<Outcome, RunError> {
        let mut session = context.pool().acquire().await?;
        let place: Option<i32> =
            sqlx::query_scalar("SELECT n FROM generate_series(1, $1) AS n WHERE pg_try_advisory_lock(77, n) LIMIT 1")
                .bind(self.places)
                .fetch_optional(&mut *session)
                .await?;
        sqlx::query("INSERT INTO record (task_id, attempt, place, process) VALUES ($1, $2, $3, $4)")
            .bind(context.task_id())
            .bind(i32::from(context.attempt()))
            .bind(place)
            .bind(i64::from(std::process::id()))
            .execute(&mut *session)
            .await?;
        tokio::time::sleep(Duration::from_millis(self.milliseconds)).await;
        sqlx::query(
            "UPDATE record SET ended_at = clock_timestamp() WHERE task_id = $1 AND attempt = $2 AND process = $3",
        )
        .bind(context.task_id())
        .bind(i32::from(context.attempt()))
        .bind(i64::from(std::process::id()))
        .execute(&mut *session)
        .await?;
        sqlx::query("SELECT pg_advisory_unlock(77, $1)").bind(place).execute(&mut *session).await?;
        Ok(Outcome::done())
    }
}

/// Starts children, and says so to the log of its process.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(crate = "longhaul::serde", deny_unknown_fields)]
#[schemars(crate = "longhaul::schemars")]
struct Spread {
    /// How many.
    leaves: u8,
}

impl TaskType for Spread {
    const NAME: &'static str = "Spread";
    const ID_PREFIX: &'static str = "spread_";

    async fn run(self, context: RunContext) -> Result<Outcome, RunError> {
        if context.checkpoint::<bool>()?.is_some() {
            return Ok(Outcome::done());
        }
        tracing::info!(leaves = self.leaves, to = "children", "spreading");
        tracing::warn!("a\0b");
        tracing::debug!("not at this level");
        tracing::info!(target: "elsewhere", "not of this crate");
        context.fan_out((0..self.leaves).map(|_| Leaf {}), &true).await?;
        Ok(Outcome::AwaitChildren)
    }
}

/// Does nothing.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(crate = "longhaul::serde", deny_unknown_fields)]
#[schemars(crate = "longhaul::schemars")]
struct Leaf {}

impl TaskType for Leaf {
    const NAME: &'static str = "Leaf";
    const ID_PREFIX: &'static str = "leaf_";

    async fn run(self, _context: RunContext) -> Result<Outcome, RunError> {
        Ok(Outcome::done())
    }
}

fn main() -> ExitCode {
    Program::new(Registry::new().with::<Record>().with::<Spread>().with::<Leaf>())
        .with_name("recorder")
        .with_task_log("recorder=info")
        .with_webhooks()
        .main()
}
