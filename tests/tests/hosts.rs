//! An address that names several servers, of which one takes writes.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use longhaul::{
    AccessSettings, CancellationToken, Host, Listening, Outcome, Program, Registry, RunContext, RunError, Settings,
    TaskType,
};
use longhaul_devdb::{Options, Server};
use longhaul_tests::{signal_server, until};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, PgPool};

/// Does nothing.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Nothing {}

impl TaskType for Nothing {
    const NAME: &'static str = "Nothing";
    const ID_PREFIX: &'static str = "nothing_";

    async fn run(self, _: RunContext) -> Result<Outcome, RunError> {
        Ok(Outcome::done())
    }
}

fn host() -> Host {
    Program::new(Registry::new().with::<Nothing>()).into_host()
}

async fn execute(pool: &PgPool, sql: &str) {
    sqlx::query(AssertSqlSafe(sql.to_owned())).execute(pool).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
}

/// A server with the schema.
async fn server() -> (Server, PgPool) {
    let server = Server::start(Options::temporary()).await.expect("a server");
    server.ensure_database("tasks").await.expect("a database");
    let pool = PgPool::connect(&server.url("tasks")).await.expect("it answers");
    host().migrate(&pool).await.expect("migrated");
    (server, pool)
}

/// Makes a server behave as a standby does, or as a primary again.
async fn take_writes(pool: &PgPool, takes: bool) {
    execute(pool, &format!("ALTER SYSTEM SET default_transaction_read_only = {}", if takes { "off" } else { "on" }))
        .await;
    execute(pool, "SELECT pg_reload_conf()").await;
    let expected = if takes { "off" } else { "on" };
    until("the setting to apply", async || {
        let set: String =
            sqlx::query_scalar("SHOW default_transaction_read_only").fetch_one(pool).await.expect("a value");
        (set == expected).then_some(())
    })
    .await;
}

/// Two servers with one login; the second takes no writes.
async fn pair() -> (Server, Server, PgPool, String) {
    let ((first, first_pool), (second, pool)) = tokio::join!(server(), server());
    let login =
        first.url("tasks").split_once("://").expect("a scheme").1.split_once('@').expect("a login").0.to_owned();
    let (user, password) = login.split_once(':').expect("a password");
    execute(&pool, &format!("ALTER ROLE {user} PASSWORD '{password}'")).await;
    pool.close().await;
    let pool =
        PgPool::connect(&format!("postgres://{login}@127.0.0.1:{}/tasks", second.port())).await.expect("it answers");
    take_writes(&pool, false).await;
    first_pool.close().await;
    let address = format!(
        "postgres://{login}@127.0.0.1:{},127.0.0.1:{}/tasks?target_session_attrs=read-write",
        second.port(),
        first.port()
    );
    (first, second, pool, address)
}

/// POSTs until it is accepted; returns the address of the task.
async fn accepted(http: &reqwest::Client, base_url: &str) -> String {
    until("a 202", async || {
        let posted = http
            .post(format!("{base_url}/api/backgroundtasks"))
            .json(&json!({"Type": "Nothing", "Parameters": {}}))
            .timeout(Duration::from_secs(5))
            .send()
            .await
            .ok()?;
        if posted.status() != 202 {
            return None;
        }
        let body: Value = posted.json().await.ok()?;
        Some(body["Self"].as_str()?.to_owned())
    })
    .await
}

async fn ended(http: &reqwest::Client, task: &str) {
    until("the task to end", async || {
        let body: Value = http.get(task).send().await.ok()?.json().await.ok()?;
        (body["State"] == "Succeeded").then_some(())
    })
    .await;
}

#[tokio::test]
async fn api_and_worker_follow_the_server_that_takes_writes() {
    let (mut first, _second, second_pool, address) = pair().await;
    let stop = CancellationToken::new();
    let port = SocketAddr::from(([127, 0, 0, 1], 0));
    let listening = Listening::bind(port, None, AccessSettings::default()).expect("a port");
    let base_url = listening.base_url().to_owned();
    let pool = longhaul::connect(&address, 4, "hosts").await.expect("one of them takes writes");
    let serving = tokio::spawn({
        let (host, stop) = (host(), stop.clone());
        async move { host.serve(pool, listening, stop).await }
    });
    let working = tokio::spawn({
        let (host, address, stop) = (host(), address.clone(), stop.clone());
        async move { host.work(&address, Settings::default(), stop).await }
    });
    let http = longhaul_tests::http_client().build().expect("a client");
    ended(&http, &accepted(&http, &base_url).await).await;

    first.halt_immediate().await.expect("halted");
    take_writes(&second_pool, true).await;
    let promoted = Instant::now();
    let task = accepted(&http, &base_url).await;
    println!("the first 202 came {:?} after the other server took writes", promoted.elapsed());
    ended(&http, &task).await;
    println!("its task had ended after {:?}", promoted.elapsed());
    let stored: i64 =
        sqlx::query_scalar("SELECT count(*) FROM longhaul.task").fetch_one(&second_pool).await.expect("a number");
    assert!(stored >= 1);

    stop.cancel();
    serving.await.expect("it ends").expect("in order");
    working.await.expect("it ends").expect("in order");
}

/// All connections swallow what is sent: nobody is told that the server has gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_worker_of_a_frozen_server_goes_on_with_the_one_that_takes_writes() {
    let (first, _second, second_pool, address) = pair().await;
    let stop = CancellationToken::new();
    let workers = [(); 3].map(|()| {
        let (host, address, stop) = (host(), address.clone(), stop.clone());
        let settings = Settings { heartbeat: Duration::from_secs(2), ..Settings::default() };
        tokio::spawn(async move { host.work(&address, settings, stop).await })
    });
    let first_pool = longhaul::connect(&address, 1, "hosts").await.expect("one of them takes writes");
    until("all to be at work", async || {
        let sql = "SELECT count(*) FROM longhaul.worker WHERE heartbeat_at > started_at + interval '0.5 s'";
        let count: i64 = sqlx::query_scalar(sql).fetch_one(&first_pool).await.expect("a count");
        (count == 3).then_some(())
    })
    .await;

    signal_server(&first, "-STOP");
    take_writes(&second_pool, true).await;
    let promoted = Instant::now();
    until("all to beat there", async || {
        let sql = "SELECT count(*) FROM longhaul.workers WHERE state = 'alive'";
        let alive: i64 = sqlx::query_scalar(sql).fetch_one(&second_pool).await.expect("a count");
        (alive == 3).then_some(())
    })
    .await;
    println!("all workers were there {:?} after the other server took writes", promoted.elapsed());

    signal_server(&first, "-CONT");
    stop.cancel();
    for worker in workers {
        worker.await.expect("it ends").expect("in order");
    }
}

#[tokio::test]
async fn an_address_without_a_server_that_takes_writes_says_so_of_each() {
    let (first, second, _pool, address) = pair().await;
    let (first_port, second_port) = (first.port(), second.port());
    first.stop().await.expect("stopped");
    let error = longhaul::connect(&address, 1, "hosts").await.expect_err("none takes writes");
    let told = format!("{error:#}");
    assert!(
        told.contains(&format!("127.0.0.1:{second_port}: ")) && told.contains("default_transaction_read_only"),
        "{told}"
    );
    assert!(told.contains(&format!("127.0.0.1:{first_port}: ")) && told.contains("refused"), "{told}");
}
