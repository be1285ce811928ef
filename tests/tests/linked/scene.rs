//! The task types and the stage that these tests share.

use std::collections::HashMap;
use std::time::Duration;

use longhaul_model::store::enqueue::NewTask;
use longhaul_model::store::linked::{Dependency, enqueue_linked};
use longhaul_model::{Outcome, ProblemKind, Registry, RetryPolicy, RunContext, RunError, TaskType, TaskTypeInfo};
use longhaul_tests::{Stage, until, until_or_tell};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

const HOPELESS: ProblemKind = ProblemKind { code: "hopeless", title: "Hopeless", status: 500 };

/// Notes when it began and ended; fails if told to, unless the table `mended` has a
/// row.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Piece {
    pub(crate) number: i64,
    #[serde(default)]
    pub(crate) fails: bool,
    #[serde(default)]
    pub(crate) takes_ms: u64,
}

impl TaskType for Piece {
    const NAME: &'static str = "Piece";
    const ID_PREFIX: &'static str = "piece_";
    const RETRY: RetryPolicy = RetryPolicy { max_attempts: 5, first_delay: Duration::ZERO, max_delay: Duration::ZERO };

    async fn run(self, context: RunContext) -> Result<Outcome, RunError> {
        sqlx::query("INSERT INTO began (number) VALUES ($1)").bind(self.number).execute(context.pool()).await?;
        context.progress().set_total(10);
        context.progress().set_processed(5);
        tokio::time::sleep(Duration::from_millis(self.takes_ms)).await;
        let mended: bool = sqlx::query_scalar("SELECT EXISTS (SELECT FROM mended)").fetch_one(context.pool()).await?;
        if self.fails && !mended {
            return Err(RunError::permanent(HOPELESS, "As told."));
        }
        sqlx::query("INSERT INTO done (number) VALUES ($1)").bind(self.number).execute(context.pool()).await?;
        context.progress().set_processed(10);
        Outcome::with_result(json!({"Number": self.number}))
    }
}

/// Runs until it is cancelled.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Endless {}

impl TaskType for Endless {
    const NAME: &'static str = "Endless";
    const ID_PREFIX: &'static str = "endless_";

    async fn run(self, context: RunContext) -> Result<Outcome, RunError> {
        context.cancellation().cancelled().await;
        Ok(Outcome::Cancelled)
    }
}

/// Maps a list of numbers to pieces and adds up what they return, twice.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Spread {
    pub(crate) numbers: Vec<i64>,
}

impl TaskType for Spread {
    const NAME: &'static str = "Spread";
    const ID_PREFIX: &'static str = "spread_";

    async fn run(self, context: RunContext) -> Result<Outcome, RunError> {
        let round = context.checkpoint::<i64>()?.unwrap_or(0);
        if round < 2 {
            let pieces = self.numbers.iter().map(|number| Piece { number: *number, fails: false, takes_ms: 0 });
            context.fan_out(pieces, &(round + 1)).await?;
            return Ok(Outcome::AwaitChildren);
        }
        let family = context.family().await?;
        let children = context.children(0, 1_000).await?;
        let sum: i64 = children.iter().filter_map(|child| child.result.as_ref()?["Number"].as_i64()).sum();
        Outcome::with_result(json!({"Sum": sum, "Succeeded": family.succeeded, "Attempt": context.attempt()}))
    }
}

/// Returns the results of what it waited for.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Gather {}

impl TaskType for Gather {
    const NAME: &'static str = "Gather";
    const ID_PREFIX: &'static str = "gather_";

    async fn run(self, context: RunContext) -> Result<Outcome, RunError> {
        let states: Vec<Value> = context
            .prerequisites(Uuid::nil(), 100)
            .await?
            .into_iter()
            .map(|one| json!({"Type": one.type_name, "State": one.state, "Result": one.result}))
            .collect();
        Outcome::with_result(states)
    }
}

pub(crate) fn registry() -> Registry {
    Registry::new().with::<Piece>().with::<Endless>().with::<Spread>().with::<Gather>()
}

pub(crate) async fn stage() -> Stage {
    let stage = Stage::with_registry(registry()).await;
    sqlx::raw_sql(
        "CREATE TABLE began (number bigint, at timestamptz DEFAULT clock_timestamp());
         CREATE TABLE done (number bigint, at timestamptz DEFAULT clock_timestamp());
         CREATE TABLE mended (yes boolean)",
    )
    .execute(&stage.pool)
    .await
    .expect("tables");
    stage
}

pub(crate) fn info(name: &str) -> TaskTypeInfo {
    *registry().get(name).expect("a registered type").info()
}

/// Pieces with these parameters, not stored yet.
pub(crate) async fn pieces(stage: &Stage, pieces: Vec<Piece>) -> Vec<NewTask> {
    let clock = stage.clock().await;
    let new = |piece| NewTask::new(clock.new_id(), info("Piece"), serde_json::to_value(piece).expect("JSON"));
    pieces.into_iter().map(new).collect()
}

pub(crate) async fn store(stage: &Stage, tasks: &[NewTask], dependencies: &[Dependency]) {
    let mut transaction = stage.pool.begin().await.expect("a transaction");
    enqueue_linked(&mut transaction, tasks, dependencies, None).await.expect("the tasks are stored");
    transaction.commit().await.expect("a commit");
}

/// The states of these tasks once all of them have ended.
pub(crate) async fn all_ended(stage: &Stage, tasks: &[NewTask]) -> Vec<String> {
    let ids: Vec<Uuid> = tasks.iter().map(|task| task.id).collect();
    let ask = async || {
        let rows: Vec<(Uuid, String, bool)> =
            sqlx::query_as("SELECT id, state::text, finished_at IS NOT NULL FROM longhaul.tasks WHERE id = ANY ($1)")
                .bind(&ids)
                .fetch_all(&stage.pool)
                .await
                .expect("the database answers");
        assert_eq!(rows.len(), ids.len());
        let states: HashMap<Uuid, String> =
            rows.into_iter().filter(|(_, _, over)| *over).map(|(id, state, _)| (id, state)).collect();
        ids.iter().map(|id| states.get(id).cloned()).collect::<Option<Vec<_>>>()
    };
    until_or_tell("all tasks to end", ask, async || what_holds(stage, &ids).await).await
}

/// Why these tasks wait, and all that workers, leases and services say.
async fn what_holds(stage: &Stage, ids: &[Uuid]) -> String {
    let rows: Vec<String> = sqlx::query_scalar(
        "SELECT format('%s %s: %s', t.id, t.state, (SELECT jsonb_agg(w) FROM longhaul.why(t.id) w))
           FROM longhaul.task t WHERE t.id = ANY ($1) AND t.finished_at IS NULL
          UNION ALL SELECT to_jsonb(w)::text FROM longhaul.worker w
          UNION ALL SELECT to_jsonb(l)::text FROM longhaul.lease l
          UNION ALL SELECT to_jsonb(a)::text FROM longhaul.set_aside a
          UNION ALL SELECT to_jsonb(o)::text FROM longhaul.observation o",
    )
    .bind(ids)
    .fetch_all(&stage.pool)
    .await
    .expect("the database answers");
    rows.join("\n")
}

/// Nothing may be left over once everything has ended.
pub(crate) async fn nothing_is_left(stage: &Stage) {
    until("nothing to be left over", async || {
        // A request to cancel what ended at that moment stays until the next pruning.
        let left: String = stage
            .value(
                "SELECT concat_ws(' ', (SELECT count(*) FROM longhaul.blocked), (SELECT count(*) FROM longhaul.ended),
                        (SELECT count(*) FROM longhaul.ready),
                        (SELECT count(*) FROM longhaul.cancel_request c JOIN longhaul.task t ON t.id = c.task_id
                          WHERE t.finished_at IS NULL),
                        (SELECT count(*) FROM longhaul.family WHERE waiting OR stopping))",
            )
            .await;
        println!("left: {left}");
        (left == "0 0 0 0 0").then_some(())
    })
    .await;
}
