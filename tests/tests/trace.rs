//! Traces and logs of tasks that no request started, as a receiver of OTLP and the
//! tasks' own logs see them.

use std::collections::BTreeSet;
use std::process::Stdio;

use longhaul_devdb::testing::TestDatabase;
use longhaul_tests::{Collector, until};
use opentelemetry_proto::tonic::trace::v1::Span;
use sqlx::PgPool;
use tokio::process::{Child, Command};

/// A worker with task types of its own.
const PROGRAM: &str = env!("CARGO_BIN_EXE_recorder");

async fn database() -> (TestDatabase, PgPool) {
    let database = TestDatabase::new("empty", async |_url| Ok::<_, std::io::Error>(())).await.expect("a database");
    let migrated = Command::new(PROGRAM).arg("migrate").env("DATABASE_URL", database.url()).status().await;
    assert!(migrated.expect("it runs").success());
    let pool = PgPool::connect(database.url()).await.expect("the database answers");
    (database, pool)
}

fn work(database: &TestDatabase, settings: &[(&str, &str)]) -> Child {
    let mut command = Command::new(PROGRAM);
    command.arg("work").env("DATABASE_URL", database.url()).envs(settings.iter().copied());
    command.stderr(Stdio::null()).kill_on_drop(true);
    command.spawn().expect("the program starts")
}

async fn known(pool: &PgPool) {
    until("the worker to make its types known", async || {
        let known = "SELECT EXISTS (SELECT FROM longhaul.task_type WHERE name = 'Spread')";
        sqlx::query_scalar::<_, bool>(known).fetch_one(pool).await.expect("an answer").then_some(())
    })
    .await;
}

async fn all_succeeded(pool: &PgPool, tasks: i64) {
    until("all tasks to succeed", async || {
        let count = "SELECT count(*) FROM longhaul.task WHERE state = 'Succeeded'";
        (sqlx::query_scalar::<_, i64>(count).fetch_one(pool).await.expect("an answer") >= tasks).then_some(())
    })
    .await;
}

/// The attempts at tasks of this type.
async fn attempts(collector: &Collector, type_name: &str) -> Vec<Span> {
    let name = format!("run {type_name}");
    collector.received().await.0.into_iter().filter(|span| span.name == name).collect()
}

#[tokio::test]
async fn tasks_of_sql_and_of_schedules_begin_traces_of_their_own_and_children_are_in_their_parents() {
    let (database, pool) = database().await;
    let collector = Collector::start().await;
    let settings = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &*collector.address()),
        ("OTEL_EXPORTER_OTLP_HEADERS", "x-team=night%20shift, x-key = k"),
        ("OTEL_BSP_SCHEDULE_DELAY", "100"),
    ];
    let _worker = work(&database, &settings);
    known(&pool).await;
    sqlx::query("SELECT longhaul.enqueue('Spread', '{\"leaves\": 2}')").execute(&pool).await.expect("a task");
    sqlx::query(
        "INSERT INTO longhaul.schedule (name, cron, time_zone, type, parameters, missed, next_at)
         VALUES ('once', '0 0 0 1 1 *', 'UTC', 'Spread', '{\"leaves\": 3}', 'Once', now())",
    )
    .execute(&pool)
    .await
    .expect("a schedule");
    all_succeeded(&pool, 7).await;
    let leaves = until("all attempts to arrive", async || {
        let leaves = attempts(&collector, "Leaf").await;
        (leaves.len() == 5).then_some(leaves)
    })
    .await;
    let parents = attempts(&collector, "Spread").await;
    assert!(parents.iter().all(|parent| parent.parent_span_id.is_empty()), "they are roots: {parents:?}");
    let traces = |spans: &[Span]| spans.iter().map(|span| span.trace_id.clone()).collect::<BTreeSet<_>>();
    assert_eq!(traces(&leaves).len(), 2, "one trace for each parent");
    for leaf in &leaves {
        let parent = parents.iter().find(|parent| parent.span_id == leaf.parent_span_id).expect("a parent's attempt");
        assert_eq!(parent.trace_id, leaf.trace_id);
    }
    assert!(collector.header("x-team").await.iter().all(|team| team.as_deref() == Some("night shift")));
    assert!(collector.header("x-key").await.iter().all(|key| key.as_deref() == Some("k")));
}

async fn lines(pool: &PgPool) -> Vec<(String, String)> {
    let all = "SELECT level, line FROM longhaul.task_logs ORDER BY public_id, number";
    sqlx::query_as(all).fetch_all(pool).await.expect("lines")
}

#[tokio::test]
async fn what_a_handler_logs_with_tracing_goes_into_its_tasks_log_as_far_as_is_asked_for() {
    let (database, pool) = database().await;
    let worker = work(&database, &[]);
    known(&pool).await;
    let start = "SELECT longhaul.enqueue('Spread', '{\"leaves\": 1}')";
    sqlx::query(start).execute(&pool).await.expect("a task");
    all_succeeded(&pool, 2).await;
    let expected = [("Info", "spreading leaves=1 to=children"), ("Warn", "a\u{fffd}b")];
    let expected = expected.map(|(level, line)| (level.to_owned(), line.to_owned())).to_vec();
    assert_eq!(lines(&pool).await, expected, "the program lets its own crate through");
    drop(worker);

    let _worker = work(&database, &[("LONGHAUL_TASK_LOG", "elsewhere=info")]);
    sqlx::query(start).execute(&pool).await.expect("a task");
    all_succeeded(&pool, 4).await;
    let more = lines(&pool).await.split_off(2);
    assert_eq!(more, [("Info".to_owned(), "not of this crate".to_owned())], "what is set counts");
}
