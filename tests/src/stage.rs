//! A database, an API and workers.

use crate::shipped;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use longhaul_api::session::Login;
use longhaul_api::{App, AppSettings, Authenticators};
use longhaul_devdb::testing::TestDatabase;
use longhaul_model::store::enqueue::{NewTask, enqueue};
use longhaul_model::store::finish::{AttemptEnd, LeaseChanges};
use longhaul_model::{DatabaseClock, Registry, Resources, TaskTypeInfo};
use longhaul_telemetry::Metrics;
use longhaul_worker::{Settings, Worker};
use reqwest_middleware::ClientWithMiddleware;
use serde_json::Value;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{AssertSqlSafe, Connection, PgConnection, PgPool};
use tokio::sync::OnceCell;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{Logins, Proxy, strict_client, until};

/// A database of its own with the whole schema, a real HTTP API on a free port,
/// and as many workers as a test starts. Everything stops with it.
///
/// API and workers have logins of their own with no rights but those of their database
/// role (docs/database-roles.md), so every test shows that these suffice.
pub struct Stage {
    /// The database, with a few connections and every right.
    pub pool: PgPool,
    /// A client without proxies. It panics when an answer is not as the API's
    /// OpenAPI document describes it.
    pub http: ClientWithMiddleware,
    /// Where the API listens.
    pub base_url: String,
    /// The API's OpenAPI document.
    pub openapi: Value,
    /// What API and workers measure.
    pub metrics: Metrics,
    /// Between API and database, if the stage was made so.
    pub proxy: Option<Proxy>,
    registry: Registry,
    resources: Arc<Resources>,
    url: String,
    logins: Logins,
    stop: CancellationToken,
    /// The test strands tasks on purpose.
    strands_tasks: AtomicBool,
    clock: OnceCell<Arc<DatabaseClock>>,
    _database: Option<TestDatabase>,
}

/// What a stage is made of.
pub struct StageBuilder {
    registry: Registry,
    resources: Arc<Resources>,
    url: Option<String>,
    api: Box<dyn FnOnce(&mut AppSettings) + Send>,
    listener: Option<TcpListener>,
    authenticators: Box<dyn FnOnce(&PgPool) -> Authenticators + Send>,
    login: Option<MakeLogin>,
    api_behind_proxy: bool,
}

type MakeLogin = Box<dyn FnOnce(&PgPool) -> Login + Send>;

/// As a lane stores ends, over one of the pool's connections.
///
/// # Errors
/// See [`store::finish::finish`](longhaul_model::store::finish::finish).
pub async fn finish(
    pool: &PgPool,
    worker_id: i32,
    ends: &[AttemptEnd],
    leases: &LeaseChanges,
) -> sqlx::Result<Vec<Uuid>> {
    let mut connection = pool.acquire().await?;
    longhaul_model::store::finish::finish(&mut connection, worker_id, ends, leases).await
}

/// A worker in this process; stops when told to, or with the stage.
pub struct RunningWorker {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Stage {
    /// With the shipped task types.
    pub async fn new() -> Self {
        Self::with_registry(shipped::registry()).await
    }

    /// With these task types.
    pub async fn with_registry(registry: Registry) -> Self {
        Self::builder(registry).start().await
    }

    /// With more to choose.
    pub fn builder(registry: Registry) -> StageBuilder {
        StageBuilder {
            registry,
            resources: Arc::default(),
            url: None,
            api: Box::new(|_| {}),
            listener: None,
            authenticators: Box::new(|_| Authenticators::default()),
            login: None,
            api_behind_proxy: false,
        }
    }

    /// The address of the stage's database, with every right.
    pub fn database_url(&self) -> &str {
        &self.url
    }

    /// The logins of the database roles.
    pub fn logins(&self) -> &Logins {
        &self.logins
    }

    /// Starts a worker; see [`quick_worker`] for settings.
    pub async fn worker(&self, settings: Settings) -> RunningWorker {
        self.worker_at(&self.logins.worker.clone(), settings, &[]).await
    }

    /// The same, whose connections go through this proxy.
    pub async fn worker_through(&self, proxy: &Proxy, settings: Settings) -> RunningWorker {
        self.worker_at(&proxy.through(&self.logins.worker), settings, &[]).await
    }

    /// The same, none of whose own statements may take longer than this, e.g. `100ms`.
    pub async fn impatient_worker(&self, statement_timeout: &str, settings: Settings) -> RunningWorker {
        let session = [("statement_timeout", statement_timeout)];
        self.worker_at(&self.logins.worker.clone(), settings, &session).await
    }

    /// What is in `session` goes before the settings of engine sessions.
    async fn worker_at(&self, url: &str, settings: Settings, session: &[(&str, &str)]) -> RunningWorker {
        let stop = self.stop.child_token();
        let engine = connect_with(url, 8, &[&longhaul_worker::SESSION, session].concat()).await;
        let handlers = connect(url, 8).await;
        let worker = Worker::new(engine, self.registry.clone(), settings)
            .with_handler_pool(handlers)
            .with_resources(Arc::clone(&self.resources))
            .with_metrics(self.metrics.clone());
        let task = tokio::spawn({
            let stop = stop.clone();
            async move { worker.run(stop).await.expect("the worker starts") }
        });
        RunningWorker { stop, task }
    }

    /// POSTs a task request.
    pub async fn post(&self, request: &Value) -> reqwest::Response {
        let url = format!("{}/api/backgroundtasks", self.base_url);
        self.http.post(url).json(request).send().await.expect("the API answers")
    }

    /// POSTs a task request that must be accepted; returns the body.
    pub async fn start(&self, request: &Value) -> Value {
        let response = self.post(request).await;
        let status = response.status();
        let body: Value = response.json().await.expect("a JSON body");
        assert_eq!(status, 202, "{request} was answered by {body}");
        body
    }

    /// GETs a path or a whole address; returns status and body.
    pub async fn get(&self, address: &str) -> (u16, Value) {
        let url = if address.starts_with('/') { format!("{}{address}", self.base_url) } else { address.to_owned() };
        let response = self.http.get(url).send().await.expect("the API answers");
        (response.status().as_u16(), response.json().await.expect("a JSON body"))
    }

    /// Waits until a task is complete; returns its last body.
    pub async fn ended(&self, body: &Value) -> Value {
        let url = body["Self"].as_str().expect("a body has Self");
        until(&format!("{url} to end"), async || {
            let (status, body) = self.get(url).await;
            assert_eq!(status, 200, "{body}");
            (body["Complete"] == true).then_some(body)
        })
        .await
    }

    /// The one clock of this stage. Ids from one clock grow in the order in which they are made;
    /// two clocks differ by up to half a round trip each, so theirs may not.
    pub async fn clock(&self) -> Arc<DatabaseClock> {
        let learn = async || Arc::new(DatabaseClock::learn(&self.pool).await.expect("the database answers"));
        Arc::clone(self.clock.get_or_init(learn).await)
    }

    /// Stores tasks directly, many at once; returns their ids.
    pub async fn enqueue(&self, info: TaskTypeInfo, parameters: Vec<Value>) -> Vec<Uuid> {
        let clock = self.clock().await;
        let tasks: Vec<NewTask> =
            parameters.into_iter().map(|parameters| NewTask::new(clock.new_id(), info, parameters)).collect();
        for batch in tasks.chunks(1_000) {
            enqueue(&self.pool, batch).await.expect("the tasks are stored");
        }
        tasks.iter().map(|task| task.id).collect()
    }

    /// Says that this test strands tasks on purpose, or changes the queue's tables behind its
    /// back: the stage does not look for contradictions at its end.
    pub fn strands_tasks(&self) {
        self.strands_tasks.store(true, Ordering::Relaxed);
    }

    /// One value from the database.
    pub async fn value<T>(&self, sql: &'static str) -> T
    where
        T: for<'r> sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres> + Send + Unpin,
    {
        sqlx::query_scalar(sql).fetch_one(&self.pool).await.expect(sql)
    }

    /// Executes statements, as the owner of the schema.
    pub async fn execute(&self, sql: impl Into<String>) {
        let sql = sql.into();
        let done = sqlx::raw_sql(AssertSqlSafe(sql.clone())).execute(&self.pool).await;
        done.unwrap_or_else(|error| panic!("{error}: {}", sql.chars().take(200).collect::<String>()));
    }
}

impl Drop for Stage {
    /// At the end of every test no tables contradict each other, and no task had to be repaired.
    fn drop(&mut self) {
        self.stop.cancel();
        if std::thread::panicking() || self.strands_tasks.load(Ordering::Relaxed) {
            return;
        }
        let url = self.url.clone();
        let found = std::thread::spawn(move || contradictions(&url)).join().expect("the check ends");
        assert!(found.is_empty(), "the queue's tables contradict each other at the end of the test: {found:#?}");
    }
}

/// What is wrong between the queue's tables, and what was. Empty where the database is not
/// there any more.
fn contradictions(url: &str) -> Vec<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        // A transaction that the test left open can't end while this waits for its locks.
        let options: PgConnectOptions = url.parse().expect("an address");
        let options = options.options([("lock_timeout", "10s")]);
        let Ok(mut connection) = PgConnection::connect_with(&options).await else { return Vec::new() };
        sqlx::query_scalar(
            "SELECT id || ': ' || problem FROM longhaul.contradictions()
              UNION ALL SELECT task_id || ' was repaired: ' || problem FROM longhaul.repaired",
        )
        .fetch_all(&mut connection)
        .await
        .unwrap_or_else(|error| vec![format!("they could not be looked for: {error}")])
    })
}

impl StageBuilder {
    /// What task types need from their host.
    pub fn resources(mut self, resources: Resources) -> Self {
        self.resources = Arc::new(resources);
        self
    }

    /// Uses this database (migrated here) instead of one of its own.
    pub fn database(mut self, url: &str) -> Self {
        self.url = Some(url.to_owned());
        self
    }

    /// Changes settings of the API.
    pub fn api(mut self, change: impl FnOnce(&mut AppSettings) + Send + 'static) -> Self {
        self.api = Box::new(change);
        self
    }

    /// Lets callers of the API say who they are in these ways.
    pub fn authenticators(mut self, authenticators: impl FnOnce(&PgPool) -> Authenticators + Send + 'static) -> Self {
        self.authenticators = Box::new(authenticators);
        self
    }

    /// Lets people log in.
    pub fn login(mut self, login: impl FnOnce(&PgPool) -> Login + Send + 'static) -> Self {
        self.login = Some(Box::new(login));
        self
    }

    /// Lets the API listen here.
    pub fn listener(mut self, listener: TcpListener) -> Self {
        self.listener = Some(listener);
        self
    }

    /// Lets the connections of the API go through [`Stage::proxy`].
    pub fn api_behind_proxy(mut self) -> Self {
        self.api_behind_proxy = true;
        self
    }

    /// Starts database and API.
    pub async fn start(self) -> Stage {
        let (database, url) = match self.url {
            Some(url) => {
                migrate(&url).await.expect("the migrations fit");
                (None, url)
            }
            None => {
                let database = TestDatabase::new("longhaul", async |url: String| migrate(&url).await)
                    .await
                    .expect("a test database");
                let url = database.url().to_owned();
                (Some(database), url)
            }
        };
        let pool = connect(&url, 8).await;
        let logins = Logins::make(&pool, &url).await;
        let proxy = if self.api_behind_proxy { Some(Proxy::before(&url).await) } else { None };
        let api_url = proxy.as_ref().map_or_else(|| logins.api.clone(), |proxy| proxy.through(&logins.api));
        let api_pool = connect(&api_url, 8).await;
        let listener = self.listener.unwrap_or_else(|| TcpListener::bind("127.0.0.1:0").expect("a free port"));
        let base_url = format!("http://{}", listener.local_addr().expect("an address"));
        let mut settings = AppSettings::new(&base_url);
        (self.api)(&mut settings);
        let metrics = Metrics::new();
        let mut app = App::builder(api_pool.clone(), self.registry.clone(), settings)
            .with_resources(Arc::clone(&self.resources))
            .with_authenticators((self.authenticators)(&api_pool))
            .with_metrics(metrics.clone());
        if let Some(login) = self.login {
            app = app.with_login(login(&api_pool));
        }
        let app = app
            .with_routes(longhaul_test_management::http::configure)
            .with_routes(longhaul_webhooks::configure)
            .with_routes(longhaul_dashboard::configure)
            .with_migrations(shipped::MIGRATIONS[0])
            .with_migrations(shipped::MIGRATIONS[1])
            .start()
            .await
            .expect("the app starts");
        let openapi = app.openapi().clone();
        let server = longhaul_api::bind(app, listener).expect("the server binds");
        let stop = CancellationToken::new();
        tokio::spawn(server.run(stop.clone()));
        Stage {
            pool,
            http: strict_client(&openapi),
            openapi,
            base_url,
            metrics,
            proxy,
            registry: self.registry,
            resources: self.resources,
            url,
            logins,
            stop,
            strands_tasks: AtomicBool::new(false),
            clock: OnceCell::new(),
            _database: database,
        }
    }
}

impl RunningWorker {
    /// Tells the worker to stop and waits until it has drained.
    pub async fn stop(self) {
        self.stop.cancel();
        self.task.await.expect("the worker ends in order");
    }

    /// Kills the worker as if its process had died: nothing is drained.
    pub async fn kill(self) {
        self.task.abort();
        let _aborted = self.task.await;
    }
}

/// As [`quick_worker`], for a worker that the test kills: half a second between
/// heartbeats, so that its death is noticed soon. Not for others: on a busy machine
/// they may be late, and would be presumed dead.
pub fn mortal_worker() -> Settings {
    Settings { heartbeat: Duration::from_millis(500), ..quick_worker() }
}

/// Settings for tests: short intervals, so that nothing is waited for long.
pub fn quick_worker() -> Settings {
    Settings {
        slots: 8,
        flush_every: Duration::from_millis(20),
        poll_every: Duration::from_millis(100),
        drain: Duration::from_secs(5),
        grace: Duration::from_millis(500),
        ..Settings::default()
    }
}

async fn migrate(url: &str) -> anyhow::Result<()> {
    let pool = PgPoolOptions::new().max_connections(1).connect(url).await?;
    shipped::migrate(&pool).await?;
    pool.close().await;
    Ok(())
}

/// What tests make for their own handlers is in `public`, not in the schema that is named
/// as the server's administrator.
async fn connect(url: &str, connections: u32) -> PgPool {
    connect_with(url, connections, &[]).await
}

async fn connect_with(url: &str, connections: u32, session: &[(&str, &str)]) -> PgPool {
    let options: PgConnectOptions = url.parse().expect("an address");
    let options = options.options([("search_path", "public")]).options(session.iter().copied());
    longhaul_model::connect::pool_options(connections, &options)
        .connect_with(options)
        .await
        .expect("the database answers")
}
