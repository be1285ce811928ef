//! What a stretch of work costs.

use std::time::{Duration, Instant};

use sqlx::PgPool;

use crate::ground::Ground;
use crate::process::{cpu_seconds, forget_peak, memory_mib, postgres_cpu_seconds, postmaster_of};
use crate::queue_tables::{Counters, counters};
use crate::report::Run;

/// Reads the counters at the beginning and at the end.
pub(crate) struct Meter {
    postmaster: Option<u32>,
    began: Instant,
    counters: Counters,
    postgres_cpu: Option<f64>,
    own_cpu: Option<f64>,
}

/// The end of the stretch, when nothing has been closed yet.
pub(crate) struct Stretch {
    meter: Meter,
    pub(crate) seconds: f64,
    wal_bytes: f64,
    task_bytes: i64,
    ready_bytes: i64,
    postgres_cpu: Option<f64>,
    own_cpu: Option<f64>,
    own_peak_mib: Option<f64>,
}

impl Meter {
    pub(crate) async fn start(ground: &Ground) -> anyhow::Result<Self> {
        let backend: i32 = sqlx::query_scalar("SELECT pg_backend_pid()").fetch_one(&ground.pool).await?;
        let postmaster = u32::try_from(backend).ok().and_then(postmaster_of);
        forget_peak();
        Ok(Self {
            postmaster,
            counters: counters(&ground.pool).await?,
            postgres_cpu: postmaster.and_then(postgres_cpu_seconds),
            own_cpu: cpu_seconds(std::process::id(), false),
            began: Instant::now(),
        })
    }

    /// The work is done. Close the connections that did it, then ask for the costs.
    pub(crate) async fn stop(self, ground: &Ground) -> anyhow::Result<Stretch> {
        let seconds = self.began.elapsed().as_secs_f64();
        let own_cpu = cpu_seconds(std::process::id(), false).zip(self.own_cpu).map(|(now, before)| now - before);
        let postgres_cpu =
            self.postmaster.and_then(postgres_cpu_seconds).zip(self.postgres_cpu).map(|(now, before)| now - before);
        let now = counters(&ground.pool).await?;
        Ok(Stretch {
            seconds,
            wal_bytes: now.wal_bytes - self.counters.wal_bytes,
            task_bytes: now.task_bytes - self.counters.task_bytes,
            ready_bytes: now.ready_bytes - self.counters.ready_bytes,
            postgres_cpu,
            own_cpu,
            own_peak_mib: memory_mib(std::process::id(), "VmHWM"),
            meter: self,
        })
    }
}

impl Stretch {
    pub(crate) fn wal_bytes(&self) -> f64 {
        self.wal_bytes
    }

    /// By how many bytes `task` and `ready` have grown.
    pub(crate) fn grown_bytes(&self) -> (i64, i64) {
        (self.task_bytes, self.ready_bytes)
    }

    pub(crate) fn postgres_cpu(&self) -> Option<f64> {
        self.postgres_cpu
    }

    /// The costs of each task, under names that begin with `prefix`. Waits until
    /// the connections that did the work are gone: only then PostgreSQL has
    /// counted all they did.
    pub(crate) async fn costs(&self, ground: &Ground, run: &mut Run, prefix: &str, tasks: usize) -> anyhow::Result<()> {
        wait_for_backends(&ground.pool).await?;
        let now = counters(&ground.pool).await?;
        let count = tasks.max(1) as f64;
        let before = &self.meter.counters;
        run.set(format!("{prefix}wal_bytes_per_task"), self.wal_bytes / count);
        run.set(format!("{prefix}commits_per_task"), (now.commits - before.commits) as f64 / count);
        run.set(format!("{prefix}buffers_per_task"), (now.buffers - before.buffers) as f64 / count);
        run.set(format!("{prefix}dead_rows_per_task"), (now.dead_rows - before.dead_rows) as f64 / count);
        if now.updates > before.updates {
            let share = (now.hot_updates - before.hot_updates) as f64 / (now.updates - before.updates) as f64;
            run.set(format!("{prefix}hot_update_share"), share);
        }
        if let Some(seconds) = self.postgres_cpu {
            run.set(format!("{prefix}postgres_cpu_us_per_task"), seconds * 1e6 / count);
        }
        if let Some(seconds) = self.own_cpu {
            run.set(format!("{prefix}own_cpu_us_per_task"), seconds * 1e6 / count);
        }
        if let Some(mib) = self.own_peak_mib {
            run.set(format!("{prefix}own_rss_peak_mib"), mib);
        }
        Ok(())
    }
}

async fn wait_for_backends(pool: &PgPool) -> anyhow::Result<()> {
    let deadline = Instant::now() + Duration::from_secs(5);
    while Instant::now() < deadline {
        let left: bool = sqlx::query_scalar(
            "SELECT EXISTS (SELECT FROM pg_stat_activity
                             WHERE datname = current_database() AND application_name = 'longhaul-bench-load')",
        )
        .fetch_one(pool)
        .await?;
        if !left {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}
