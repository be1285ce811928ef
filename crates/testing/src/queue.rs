//! A queue of a test's own.

use std::time::Duration;

use longhaul::store::Task;
use longhaul::{CancellationToken, Client, Host, Keyring, Program, Settings, TaskType};
use longhaul_devdb::testing::TestDatabase;
use longhaul_model::store::{task_type, testing};
use sqlx::PgPool;
use tokio::time::Instant;
use uuid::Uuid;

use crate::Perform;

/// A queue in a database of its own, with the whole schema of a program. Nothing runs until the
/// test says so: [`TestQueue::run_all`].
///
/// Methods panic where a test can only fail: if the database does not answer, for example.
pub struct TestQueue {
    host: Host,
    client: Client,
    pool: PgPool,
    database: TestDatabase,
    patience: Duration,
}

/// How often to look whether tasks may still run.
const LOOK_EVERY: Duration = Duration::from_millis(10);

impl TestQueue {
    /// Creates the database, with the queue's tables and those of the program's migrations. The first
    /// call in a process starts PostgreSQL and migrates; the others copy the result.
    pub async fn start(program: Program) -> Self {
        let host = program.into_host();
        let versions: Vec<String> = host.migration_versions().map(|version| version.to_string()).collect();
        let template = format!("longhaul-test-{}", versions.join("-"));
        let migrate = async |url: String| {
            let pool = longhaul::connect(&url, 1, "longhaul-test").await?;
            host.migrate(&pool).await?;
            pool.close().await;
            longhaul::anyhow::Ok(())
        };
        let database = TestDatabase::new(&template, migrate).await.expect("a database for the test");
        let pool = longhaul::connect(database.url(), 8, "longhaul-test").await.expect("the database answers");
        // As workers and APIs do when they start: SQL functions know the types from then on.
        task_type::register(&pool, host.registry()).await.expect("the types are stored");
        let client = Client::new(pool.clone()).await.expect("the database answers");
        let client = match host.resources().get::<Keyring>() {
            Some(keyring) => client.with_keyring(keyring.clone()),
            None => client,
        };
        Self { host, client, pool, database, patience: Duration::from_secs(60) }
    }

    /// Sets how long [`TestQueue::run_all`] lets tasks run before it panics. Default: 60 s.
    #[must_use]
    pub fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Stores, reads, cancels and retries tasks.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The database, with every right.
    #[must_use]
    pub fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// The address of the database, with every right.
    #[must_use]
    pub fn url(&self) -> &str {
        self.database.url()
    }

    pub(crate) fn host(&self) -> &Host {
        &self.host
    }

    /// A task as it is now.
    ///
    /// # Panics
    /// If there is none with this id.
    pub async fn task(&self, id: Uuid) -> Task {
        let task = self.client.task(id).await.expect("the database answers");
        task.unwrap_or_else(|| panic!("there is no task {id}"))
    }

    /// Runs every task that may run, one after the other, and those that they lead to: children,
    /// dependents, schedules that are due. Returns once no task may run any more. A task that waits for
    /// a time does not run before [`TestQueue::advance`] has moved the clock there; neither does one in
    /// a paused queue.
    ///
    /// # Panics
    /// If tasks still run after 60 s ([`TestQueue::with_patience`]).
    pub async fn run_all(&self) {
        let stop = CancellationToken::new();
        let settings = Settings {
            name: "longhaul-test".to_owned(),
            slots: 1,
            lanes: 1,
            poll_every: LOOK_EVERY,
            flush_every: Duration::from_millis(50),
            drain: Duration::ZERO,
            grace: Duration::from_millis(100),
            ..Settings::default()
        };
        let worker = self.host.work(self.database.url(), settings, stop.clone());
        let rest = async {
            self.wait_for_rest().await;
            stop.cancel();
        };
        let (worked, ()) = tokio::join!(worker, rest);
        worked.expect("the worker works");
    }

    async fn wait_for_rest(&self) {
        let deadline = Instant::now() + self.patience;
        loop {
            let active = testing::active(&self.pool).await.expect("the database answers");
            if active.is_empty() {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "after {} s these still run or wait to run:\n{}",
                self.patience.as_secs_f64(),
                active.join("\n")
            );
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Moves the clock of the queue: everything in its tables becomes older by this time. Retries,
    /// delayed tasks, schedules, rates and unique keys behave as if the time had passed. The
    /// database's own clock, `now()`, stays.
    pub async fn advance(&self, by: Duration) {
        testing::advance(&self.pool, by).await.expect("the database answers");
    }

    /// The open tasks of a type, in the order in which they were stored.
    ///
    /// # Panics
    /// If the stored parameters of one are not those of the type.
    pub async fn enqueued<T: TaskType>(&self) -> Vec<T> {
        let stored = testing::open(&self.pool, T::NAME).await.expect("the database answers");
        stored
            .into_iter()
            .map(|(id, parameters)| {
                serde_json::from_value(parameters)
                    .unwrap_or_else(|error| panic!("the parameters of {id} are not those of {}: {error}", T::NAME))
            })
            .collect()
    }

    /// Asserts that an open task of this type fits.
    ///
    /// # Panics
    /// If none fits; the message lists those of the type.
    pub async fn assert_enqueued<T: TaskType>(&self, fits: impl Fn(&T) -> bool) {
        let enqueued = self.enqueued::<T>().await;
        let list = || {
            let parameters = enqueued.iter().map(|task| serde_json::to_string(task).unwrap_or_default());
            parameters.collect::<Vec<_>>().join("\n")
        };
        assert!(enqueued.iter().any(fits), "no task of {} fits; open tasks of this type:\n{}", T::NAME, list());
    }

    /// Asserts that no task of this type is open.
    ///
    /// # Panics
    /// If one is.
    pub async fn assert_none_enqueued<T: TaskType>(&self) {
        let number = self.enqueued::<T>().await.len();
        assert_eq!(number, 0, "open tasks of {}", T::NAME);
    }

    /// A run of this task's handler alone, beside the queue: [`Perform::run`].
    pub fn perform<'q, T: TaskType>(&'q self, task: &'q T) -> Perform<'q, T> {
        Perform::new(self, task)
    }
}
