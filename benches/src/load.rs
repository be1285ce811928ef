//! Producers that store tasks at a steady rate.

use std::sync::Arc;
use std::time::{Duration, Instant};

use longhaul_model::DatabaseClock;
use longhaul_model::store::enqueue::{NewTask, enqueue};
use serde_json::json;
use sqlx::PgPool;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::ground::{Ground, info};
use crate::noop::Noop;
use crate::tally::Tally;

/// A producer's connection and task.
pub(crate) struct Load {
    pool: PgPool,
    producer: JoinHandle<anyhow::Result<Vec<Sent>>>,
    stop: CancellationToken,
}

/// Tasks that were stored together.
pub(crate) struct Sent {
    pub(crate) at: Instant,
    pub(crate) ids: Vec<Uuid>,
}

/// Tasks a second are stored in batches, this often.
const BEAT: Duration = Duration::from_millis(10);

impl Load {
    /// Starts to store `rate` tasks a second until it is stopped. While more than
    /// `most_waiting` of them have not begun it waits: nothing is gained by
    /// measuring how a backlog grows. With `remember`, knows when each was sent.
    pub(crate) async fn start(
        ground: &Ground,
        tally: Tally,
        rate: usize,
        most_waiting: usize,
        remember: bool,
    ) -> anyhow::Result<Self> {
        let pool = ground.connect(1).await?;
        let clock = Arc::new(DatabaseClock::learn(&pool).await?);
        let stop = CancellationToken::new();
        let producer = tokio::spawn(produce(
            pool.clone(),
            clock,
            stop.clone(),
            move |stored| stored < tally.count() + most_waiting,
            rate,
            remember,
        ));
        Ok(Self { pool, producer, stop })
    }

    /// Returns what was stored.
    pub(crate) async fn stop(self) -> anyhow::Result<Vec<Sent>> {
        self.stop.cancel();
        let sent = self.producer.await??;
        self.pool.close().await;
        Ok(sent)
    }
}

async fn produce(
    pool: PgPool,
    clock: Arc<DatabaseClock>,
    stop: CancellationToken,
    may_go_on: impl Fn(usize) -> bool,
    rate: usize,
    remember: bool,
) -> anyhow::Result<Vec<Sent>> {
    let info = info::<Noop>()?;
    let (mut sent, mut stored) = (Vec::new(), 0);
    let mut began = Instant::now();
    let mut due_before = 0;
    while !stop.is_cancelled() {
        let due = (began.elapsed().as_secs_f64() * rate as f64) as usize;
        let wanted = (due - due_before).min(2_000);
        if wanted == 0 || !may_go_on(stored) {
            tokio::time::sleep(BEAT / 2).await;
            if due - due_before > rate {
                // Held up for more than a second: that load is not made up for.
                (began, due_before) = (Instant::now(), 0);
            }
            continue;
        }
        let tasks: Vec<NewTask> = (0..wanted).map(|_| NewTask::new(clock.new_id(), info, json!({}))).collect();
        let at = Instant::now();
        enqueue(&pool, &tasks).await?;
        stored += wanted;
        due_before += wanted;
        let ids = if remember { tasks.iter().map(|task| task.id).collect() } else { Vec::new() };
        if remember || sent.is_empty() {
            sent.push(Sent { at, ids });
        }
        tokio::time::sleep(BEAT).await;
    }
    Ok(sent)
}
