//! What the tests of gates play with: task types, a worker that is played by hand, and what the
//! gatekeeper does.

use std::time::Duration;

use longhaul_model::store::claim::{Floors, claim};
use longhaul_model::store::finish::{AttemptEnd, AttemptOutcome, LeaseChanges};
use longhaul_model::store::gate::{Kept, keep};
use longhaul_model::store::queue::QueueSettings;
use longhaul_model::store::worker::{WorkerInfo, register};
use longhaul_model::store::{ClaimedTask, LeaseKey};
use longhaul_model::{Outcome, Progress, Registry, RunContext, RunError, TaskType, TaskTypeInfo};
use longhaul_tests::{Stage, finish, until};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{PgConnection, PgExecutor, PgPool};
use uuid::Uuid;

/// In a queue that is gated in these tests.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Limited {}

impl TaskType for Limited {
    const NAME: &'static str = "Limited";
    const ID_PREFIX: &'static str = "limited-";
    const QUEUE: &'static str = "limited";

    async fn run(self, _: RunContext) -> Result<Outcome, RunError> {
        Ok(Outcome::done())
    }
}

/// In the same queue.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Sibling {}

impl TaskType for Sibling {
    const NAME: &'static str = "Sibling";
    const ID_PREFIX: &'static str = "sibling-";
    const QUEUE: &'static str = "limited";

    async fn run(self, _: RunContext) -> Result<Outcome, RunError> {
        Ok(Outcome::done())
    }
}

/// In a queue that is not gated.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Free {}

impl TaskType for Free {
    const NAME: &'static str = "Free";
    const ID_PREFIX: &'static str = "free-";
    const QUEUE: &'static str = "free";

    async fn run(self, _: RunContext) -> Result<Outcome, RunError> {
        Ok(Outcome::done())
    }
}

pub(crate) async fn stage() -> Stage {
    Stage::with_registry(Registry::new().with::<Limited>().with::<Sibling>().with::<Free>()).await
}

pub(crate) fn limit(max_running: i32) -> QueueSettings {
    QueueSettings { max_running: Some(max_running), ..QueueSettings::default() }
}

pub(crate) fn paused() -> QueueSettings {
    QueueSettings { paused: true, ..QueueSettings::default() }
}

pub(crate) async fn limited(stage: &Stage, tasks: usize) -> Vec<Uuid> {
    stage.enqueue(TaskTypeInfo::of::<Limited>(), vec![json!({}); tasks]).await
}

pub(crate) async fn sibling(stage: &Stage, tasks: usize) -> Vec<Uuid> {
    stage.enqueue(TaskTypeInfo::of::<Sibling>(), vec![json!({}); tasks]).await
}

/// A worker that the test plays.
pub(crate) struct Hand {
    pub(crate) worker_id: i32,
    pub(crate) number: i64,
    pub(crate) floors: Floors,
}

impl Hand {
    pub(crate) async fn new(stage: &Stage) -> Self {
        let queues = vec!["limited".to_owned(), "free".to_owned()];
        let info = WorkerInfo {
            name: "by hand".to_owned(),
            version: "0".to_owned(),
            queues: queues.clone(),
            slots: 1,
            heartbeat: Duration::from_secs(600),
        };
        let worker_id = register(&stage.pool, &info).await.expect("an id");
        Self { worker_id, number: 0, floors: Floors::new(queues, None) }
    }

    pub(crate) async fn claim(&mut self, executor: impl PgExecutor<'_>, limit: usize) -> Vec<ClaimedTask> {
        self.number += 1;
        self.floors.forget();
        let lease = LeaseKey { worker_id: self.worker_id, number: self.number };
        claim(executor, &mut self.floors, lease, limit).await.expect("a claim")
    }

    /// Ends all tasks of one claim.
    pub(crate) async fn end(&self, stage: &Stage, tasks: &[ClaimedTask]) {
        let ends: Vec<_> = tasks.iter().map(|task| end(task, AttemptOutcome::Succeeded(None))).collect();
        let leases = LeaseChanges { emptied: vec![tasks[0].lease.number], shortened: vec![] };
        let changed = finish(&stage.pool, self.worker_id, &ends, &leases).await.expect("a finish");
        assert_eq!(changed.len(), tasks.len());
    }
}

pub(crate) fn end(task: &ClaimedTask, verdict: AttemptOutcome) -> AttemptEnd {
    AttemptEnd {
        id: task.id,
        lease_number: task.lease.number,
        attempt: task.attempt,
        elapsed: Duration::from_millis(1),
        progress: Progress::unknown(),
        checkpoint: None,
        verdict,
        asked_to_cancel: false,
        special: task.special,
    }
}

pub(crate) fn ids(tasks: &[ClaimedTask]) -> Vec<Uuid> {
    tasks.iter().map(|task| task.id).collect()
}

/// As the gatekeeper does, which finds nobody else at it.
pub(crate) async fn kept(stage: &Stage) -> Kept {
    keep(&stage.pool, "limited", true, false).await.expect("the database answers").expect("nobody else is at it")
}

/// Until there is nothing more to do now; returns how many were admitted.
pub(crate) async fn kept_all(stage: &Stage) -> i32 {
    let mut admitted = 0;
    loop {
        let kept = kept(stage).await;
        admitted += kept.admitted;
        if !kept.more {
            return admitted;
        }
    }
}

/// Of ready and held.
pub(crate) async fn counts(stage: &Stage) -> (i64, i64) {
    sqlx::query_as("SELECT ready, held FROM longhaul.queues WHERE queue = 'limited'")
        .fetch_one(&stage.pool)
        .await
        .expect("counts")
}

/// One connection, whose statements wait for no lock for longer than a tenth of a second.
pub(crate) async fn impatient(stage: &Stage) -> PgPool {
    let options: PgConnectOptions = stage.database_url().parse().expect("an address");
    PgPoolOptions::new()
        .max_connections(1)
        .connect_with(options.options([("lock_timeout", "100ms")]))
        .await
        .expect("the database answers")
}

pub(crate) async fn deadlocks(stage: &Stage) -> i64 {
    stage.value("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()").await
}

/// How many entries of an index this session has read, dead ones too, since it last told the
/// server.
pub(crate) async fn entries_read(connection: &mut PgConnection, index: &str) -> i64 {
    sqlx::query_scalar("SELECT pg_stat_get_xact_tuples_returned(('longhaul.' || $1)::regclass)")
        .bind(index)
        .fetch_one(connection)
        .await
        .expect("a count")
}

pub(crate) async fn all_ended(stage: &Stage) {
    until("all tasks to end", async || {
        let open = "SELECT count(*) FROM longhaul.task WHERE finished_at IS NULL";
        (stage.value::<i64>(open).await == 0).then_some(())
    })
    .await;
}
