//! The database that is measured on.

use anyhow::Context;
use longhaul::{connect, connect_engine};
use longhaul_devdb::{Options, Server};
use longhaul_model::store::enqueue::{NewTask, enqueue};
use longhaul_model::{DatabaseClock, TaskType, TaskTypeInfo};
use serde_json::Value;
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgConnection, PgPool};
use uuid::Uuid;

use crate::args::BenchArgs;
use crate::queue_tables;
use crate::registry::registry;

/// Settings of the private server: durable, and large enough that checkpoints
/// come by time, not by volume. The rest is PostgreSQL's or the private server's
/// default. `benches/peers/run` uses the same.
const SETTINGS: [(&str, &str); 3] =
    [("shared_buffers", "1GB"), ("max_wal_size", "8GB"), ("checkpoint_timeout", "15min")];

/// A database of our own.
pub(crate) struct Ground {
    server: Option<Server>,
    admin_url: String,
    name: String,
    pub(crate) url: String,
    /// For setting the scene and looking on; workloads open pools of their own,
    /// whose end makes PostgreSQL count what they did.
    pub(crate) pool: PgPool,
    pub(crate) clock: DatabaseClock,
}

impl Ground {
    pub(crate) async fn prepare(args: &BenchArgs) -> anyhow::Result<Self> {
        let (server, admin_url) = match &args.database_url {
            Some(url) => (None, url.clone()),
            None => {
                let mut options = Options::temporary();
                for (name, value) in SETTINGS {
                    options = options.setting(name, value);
                }
                let server = Server::start(options).await?;
                let url = server.admin_url();
                (Some(server), url)
            }
        };
        let name = format!("longhaul_bench_{}", Uuid::now_v7().simple());
        let options: PgConnectOptions = admin_url.parse().context("--database-url is not a PostgreSQL address")?;
        let mut connection = PgConnection::connect_with(&options)
            .await
            .context("could not connect to the server; is --database-url right?")?;
        sqlx::raw_sql(AssertSqlSafe(format!("CREATE DATABASE {name}")))
            .execute(&mut connection)
            .await
            .context("could not make a database for the benchmark; the role needs CREATEDB")?;
        connection.close().await?;
        let url = options.database(&name).to_url_lossy().to_string();
        let pool = connect(&url, 4, "longhaul-bench").await?;
        longhaul_model::store::migrate::run(&pool).await?;
        let clock = DatabaseClock::learn(&pool).await?;
        Ok(Self { server, admin_url, name, url, pool, clock })
    }

    /// Drops the database, and stops the server if it is ours.
    pub(crate) async fn clear_away(self) -> anyhow::Result<()> {
        self.pool.close().await;
        if let Some(server) = self.server {
            server.stop().await?;
        } else {
            let mut connection = PgConnection::connect(&self.admin_url).await?;
            sqlx::raw_sql(AssertSqlSafe(format!("DROP DATABASE {} WITH (FORCE)", self.name)))
                .execute(&mut connection)
                .await?;
            connection.close().await?;
        }
        Ok(())
    }

    pub(crate) async fn connect(&self, connections: usize) -> anyhow::Result<PgPool> {
        connect(&self.url, u32::try_from(connections)?, "longhaul-bench-load").await
    }

    /// As a worker's engine connects.
    pub(crate) async fn connect_engine(&self, connections: usize) -> anyhow::Result<PgPool> {
        connect_engine(&self.url, u32::try_from(connections)?, "longhaul-bench-load").await
    }

    /// A task of this type that is not stored yet.
    pub(crate) fn new_task<T: TaskType>(&self, parameters: &T) -> anyhow::Result<NewTask> {
        Ok(NewTask::new(self.clock.new_id(), info::<T>()?, serde_json::to_value(parameters)?))
    }

    /// As many tasks with the same parameters, stored a thousand at a time.
    pub(crate) async fn store<T: TaskType>(&self, parameters: &T, count: usize) -> anyhow::Result<()> {
        let (info, parameters) = (info::<T>()?, serde_json::to_value(parameters)?);
        let mut left = count;
        while left > 0 {
            let batch: Vec<NewTask> = self.new_tasks(info, &parameters, left.min(1_000)).collect();
            enqueue(&self.pool, &batch).await?;
            left -= batch.len();
        }
        Ok(())
    }

    pub(crate) fn new_tasks<'a>(
        &'a self,
        info: TaskTypeInfo,
        parameters: &'a Value,
        count: usize,
    ) -> impl Iterator<Item = NewTask> + 'a {
        (0..count).map(move |_| NewTask::new(self.clock.new_id(), info, parameters.clone()))
    }

    /// A transaction that holds back vacuum until it is closed: it has a number of
    /// its own and a snapshot.
    pub(crate) async fn hold_snapshot(&self) -> anyhow::Result<PgConnection> {
        let mut old = PgConnection::connect(&self.url).await?;
        sqlx::raw_sql("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT txid_current(), count(*) FROM pg_class")
            .execute(&mut old)
            .await?;
        Ok(old)
    }

    /// Cuts every connection to the database, ours too. Returns how many.
    pub(crate) async fn cut_all(&self) -> anyhow::Result<u64> {
        let mut connection = PgConnection::connect(&self.admin_url).await?;
        let cut: i64 = sqlx::query_scalar(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
              WHERE datname = $1 AND pid <> pg_backend_pid()",
        )
        .bind(&self.name)
        .fetch_one(&mut connection)
        .await?;
        connection.close().await?;
        Ok(u64::try_from(cut)?)
    }

    /// As every run should find it: empty.
    pub(crate) async fn clear(&self) -> anyhow::Result<()> {
        queue_tables::clear(&self.pool).await?;
        Ok(())
    }

    pub(crate) async fn settle(&self) -> anyhow::Result<()> {
        queue_tables::settle(&self.pool).await?;
        Ok(())
    }
}

/// The constants of a task type of the benchmarks.
pub(crate) fn info<T: TaskType>() -> anyhow::Result<TaskTypeInfo> {
    Ok(*registry().get(T::NAME)?.info())
}
