//! `longhaul-benches enqueue-single`

use std::sync::Arc;
use std::time::Instant;

use anyhow::ensure;
use clap::Args;
use longhaul_api::Enqueuer;
use longhaul_model::store::enqueue::enqueue;
use longhaul_model::store::task_type;
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::args::BenchArgs;
use crate::ground::{Ground, info};
use crate::meter::Meter;
use crate::noop::Noop;
use crate::queue_tables::stored;
use crate::registry::registry;
use crate::report::Run;
use crate::workload::Measure;

/// Producers that store one task at a time and wait for its commit before the
/// next: through the enqueuer, which lets concurrent ones share a commit (as the
/// API does), with a statement of their own each, with `longhaul.enqueue` (SQL), and with five
/// of those in a transaction.
#[derive(Debug, Args)]
pub(crate) struct EnqueueSingle {
    #[command(flatten)]
    bench: BenchArgs,
    /// How many tasks, through the enqueuer; a quarter of them in each other way.
    #[arg(long, default_value_t = 40_000)]
    tasks: usize,
    /// How many producers at once.
    #[arg(long, default_value_t = 16)]
    producers: usize,
}

const ENQUEUE: &str = "SELECT longhaul.enqueue($1)";
const FIVE: usize = 5;

/// How a producer stores a task.
#[derive(Clone)]
enum Way {
    Shared(Enqueuer),
    Direct(PgPool),
    /// `longhaul.enqueue`, as an application calls it.
    Sql(PgPool),
    /// Five of those in a transaction.
    SqlFive(PgPool),
    /// An INSERT into a bare table, the limit.
    Bare(PgPool),
}

impl Measure for EnqueueSingle {
    const NAME: &'static str = "enqueue-single";

    fn args(&self) -> &BenchArgs {
        &self.bench
    }

    fn parameters(&self) -> Value {
        json!({"tasks": self.tasks, "producers": self.producers})
    }

    async fn run(&self, ground: &Ground) -> anyhow::Result<Run> {
        let mut run = Run::default();
        let each = (self.tasks / self.producers.max(1)).max(1);
        self.measure(ground, &mut run, "", each, |pool| Way::Shared(Enqueuer::start(pool))).await?;
        let each = (each / 4).max(1);
        self.measure(ground, &mut run, "direct_", each, |pool| Way::Direct(pool.clone())).await?;
        task_type::register(&ground.pool, &registry()).await?;
        self.measure(ground, &mut run, "sql_", each, |pool| Way::Sql(pool.clone())).await?;
        self.measure(ground, &mut run, "sql_five_", (each / FIVE).max(1), |pool| Way::SqlFive(pool.clone())).await?;
        sqlx::raw_sql(
            "CREATE TABLE IF NOT EXISTS bare (id bigserial PRIMARY KEY, payload jsonb NOT NULL); TRUNCATE bare",
        )
        .execute(&ground.pool)
        .await?;
        self.measure(ground, &mut run, "limit_", each, |pool| Way::Bare(pool.clone())).await?;
        Ok(run)
    }
}

impl EnqueueSingle {
    async fn measure(
        &self,
        ground: &Ground,
        run: &mut Run,
        prefix: &str,
        each: usize,
        way: impl FnOnce(&PgPool) -> Way,
    ) -> anyhow::Result<()> {
        ground.clear().await?;
        ground.settle().await?;
        let pool = ground.connect(self.producers).await?;
        // Connections are opened before the clock runs.
        let mut opened = Vec::new();
        for _ in 0..self.producers {
            opened.push(pool.acquire().await?);
        }
        drop(opened);
        let way = way(&pool);
        let clock = Arc::new(longhaul_model::DatabaseClock::learn(&pool).await?);
        let meter = Meter::start(ground).await?;
        let producers: Vec<_> =
            (0..self.producers).map(|_| tokio::spawn(produce(way.clone(), Arc::clone(&clock), each))).collect();
        let mut waits = Vec::new();
        for producer in producers {
            waits.extend(producer.await??);
        }
        let stretch = meter.stop(ground).await?;
        let bare = matches!(way, Way::Bare(_));
        let per_transaction = if matches!(way, Way::SqlFive(_)) { FIVE } else { 1 };
        drop(way);
        pool.close().await;
        let stored_tasks = waits.len() * per_transaction;
        run.set(format!("{prefix}tasks_per_second"), stored_tasks as f64 / stretch.seconds);
        run.set_latencies(&format!("{prefix}latency"), &mut waits);
        if !bare {
            stretch.costs(ground, run, prefix, stored_tasks).await?;
            let (tasks, ready) = stored(&ground.pool).await?;
            let expected = i64::try_from(stored_tasks)?;
            ensure!(tasks == expected && ready == expected, "{tasks} stored, {ready} ready instead of {expected}");
        }
        Ok(())
    }
}

async fn produce(way: Way, clock: Arc<longhaul_model::DatabaseClock>, count: usize) -> anyhow::Result<Vec<f64>> {
    let info = info::<Noop>()?;
    let mut waits = Vec::with_capacity(count);
    for _ in 0..count {
        let began = Instant::now();
        let task = longhaul_model::store::enqueue::NewTask::new(clock.new_id(), info, json!({}));
        match &way {
            Way::Shared(enqueuer) => {
                enqueuer.enqueue(task).await?;
            }
            Way::Direct(pool) => {
                enqueue(pool, std::slice::from_ref(&task)).await?;
            }
            Way::Sql(pool) => {
                sqlx::query(ENQUEUE).bind(info.name).execute(pool).await?;
            }
            Way::SqlFive(pool) => {
                let mut transaction = pool.begin().await?;
                for _ in 0..FIVE {
                    sqlx::query(ENQUEUE).bind(info.name).execute(&mut *transaction).await?;
                }
                transaction.commit().await?;
            }
            Way::Bare(pool) => {
                sqlx::query("INSERT INTO bare (payload) VALUES ('{}')").execute(pool).await?;
            }
        }
        waits.push(began.elapsed().as_secs_f64());
    }
    Ok(waits)
}
