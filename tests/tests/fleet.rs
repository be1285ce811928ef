//! Limits over a fleet of real processes.

use longhaul_devdb::testing::TestDatabase;
use longhaul_tests::until;
use sqlx::PgPool;

use crate::program::{Process, run};

const TASKS: i64 = 2_000;
const PLACES: i32 = 3;
/// How long the one task takes that dies with its process, in ms.
const LONG: i32 = 4_000;

const RECORD: &str = "
    CREATE TABLE record (
        task_id  uuid NOT NULL,
        attempt  integer NOT NULL,
        -- NULL: more were at work than may be.
        place    integer,
        process  bigint NOT NULL,
        began_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        ended_at timestamptz,
        -- An attempt that is not known to have begun when its process dies begins anew.
        PRIMARY KEY (task_id, attempt, process)
    )";

/// The most intervals that overlap: at each beginning, those begun and not ended. An
/// end at the very moment of a beginning comes first.
const MOST_AT_ONCE: &str = "
    SELECT max(at_once) FROM (
        SELECT sum(step) OVER (ORDER BY at, step ROWS UNBOUNDED PRECEDING) AS at_once
          FROM (SELECT began_at AS at, 1 AS step FROM record
                UNION ALL
                SELECT coalesce(ended_at, 'infinity'), -1 FROM record) AS steps) AS sums";

async fn value<T>(pool: &PgPool, sql: &'static str) -> T
where
    T: for<'r> sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres> + Send + Unpin,
{
    sqlx::query_scalar(sql).fetch_one(pool).await.expect(sql)
}

async fn limit(pool: &PgPool, paused: bool) {
    sqlx::query("SELECT longhaul.set_queue('records', paused => $1, max_running => $2)")
        .bind(paused)
        .bind(PLACES)
        .execute(pool)
        .await
        .expect("a limit");
}

/// As many processes of the fleet as are named, in this order.
async fn fleet(url: &str, names: &[&str]) -> Vec<Process> {
    let mut processes = Vec::new();
    for name in names {
        let work = ["work", "--name", name, "--slots", "8", "--heartbeat", "0.5"];
        processes.push(Process::start_until(&work, url, "worker started").await.0);
    }
    processes
}

/// Kills this process. What it had in its hands ended then.
async fn kill(pool: &PgPool, process: Process) {
    let id = i64::from(process.id());
    process.kill().await;
    sqlx::query("UPDATE record SET ended_at = clock_timestamp() WHERE process = $1 AND ended_at IS NULL")
        .bind(id)
        .execute(pool)
        .await
        .expect("the dead have ended");
}

/// How many are killed: each that was there at first.
const KILLED: usize = 4;

/// Each of four is killed while it runs a task that takes long, and another takes its place.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_limit_of_three_holds_while_each_of_four_processes_is_killed_in_turn() {
    let database = TestDatabase::new("empty", async |_url| Ok::<_, std::io::Error>(())).await.expect("a database");
    let url = database.url();
    let (code, _, error) = run(&["migrate"], url).await;
    assert_eq!(code, Some(0), "{error}");
    let pool = PgPool::connect(url).await.expect("the database answers");
    sqlx::raw_sql(RECORD).execute(&pool).await.expect("a table");
    let mut processes = fleet(url, &["one", "two", "three", "four"]).await;
    limit(&pool, true).await;
    // Short ones all the time, and long ones among them: one at work in whoever is killed.
    for (priority, milliseconds, count) in [(5, 2, TASKS - 60), (4, LONG / 8, 60)] {
        sqlx::query("SELECT count(longhaul.enqueue('Record', $1, priority => $2)) FROM generate_series(1, $3)")
            .bind(serde_json::json!({"places": PLACES, "milliseconds": milliseconds}))
            .bind(priority)
            .bind(count)
            .execute(&pool)
            .await
            .expect("the tasks are stored");
    }
    limit(&pool, false).await;
    for number in 0..KILLED {
        // Three such deaths of one task would make it one that kills its workers.
        let again = "SELECT count(*) FROM longhaul.task WHERE crashes > 0 AND finished_at IS NULL";
        until("what died to have run again", async || (value::<i64>(&pool, again).await == 0).then_some(())).await;
        let busy = until("one of the first four to be at work", async || {
            let busy: Vec<i64> = sqlx::query_scalar("SELECT DISTINCT process FROM record WHERE ended_at IS NULL")
                .fetch_all(&pool)
                .await
                .expect("an answer");
            // Those that have taken the places of the dead come last, and stay.
            processes[..KILLED - number].iter().position(|one| busy.contains(&i64::from(one.id())))
        })
        .await;
        kill(&pool, processes.remove(busy)).await;
        processes.extend(fleet(url, &[&format!("another {number}")]).await);
    }
    let ended = "SELECT count(*) FROM longhaul.tasks WHERE state = 'Succeeded'";
    until("all tasks to end", async || (value::<i64>(&pool, ended).await == TASKS).then_some(())).await;
    assert_eq!(value::<i64>(&pool, "SELECT count(*) FROM record WHERE place IS NULL").await, 0, "one too many at work");
    assert_eq!(value::<i64>(&pool, MOST_AT_ONCE).await, i64::from(PLACES), "as many as may be, and never more");
    assert_eq!(value::<i64>(&pool, "SELECT count(DISTINCT task_id) FROM record").await, TASKS);
    let again: i64 = value(&pool, "SELECT count(*) - count(DISTINCT task_id) FROM record").await;
    assert!(
        (1..=i64::from(PLACES) * 4).contains(&again),
        "what died with its process ran again, nothing else: {again}"
    );
    assert_eq!(value::<i64>(&pool, "SELECT count(*) FROM longhaul.admitted").await, 0);
    for process in processes {
        assert_eq!(process.terminate().await, Some(0));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_limit_of_three_holds_over_four_processes_also_when_one_is_killed() {
    let database = TestDatabase::new("empty", async |_url| Ok::<_, std::io::Error>(())).await.expect("a database");
    let url = database.url();
    let (code, _, error) = run(&["migrate"], url).await;
    assert_eq!(code, Some(0), "{error}");
    let pool = PgPool::connect(url).await.expect("the database answers");
    sqlx::raw_sql(RECORD).execute(&pool).await.expect("a table");

    let mut processes = fleet(url, &["one", "two", "three", "four"]).await;
    limit(&pool, true).await;
    // The one that takes long goes after some of the others, and dies with its process.
    for (priority, milliseconds, count) in [(5, 2, TASKS - 401), (4, LONG, 1), (3, 2, 400)] {
        sqlx::query("SELECT count(longhaul.enqueue('Record', $1, priority => $2)) FROM generate_series(1, $3)")
            .bind(serde_json::json!({"places": PLACES, "milliseconds": milliseconds}))
            .bind(priority)
            .bind(count)
            .execute(&pool)
            .await
            .expect("the tasks are stored");
    }

    limit(&pool, false).await;
    let process: i64 = until("the long one to be at work in the middle of the others", async || {
        sqlx::query_scalar(
            "SELECT r.process FROM record r JOIN longhaul.task t ON t.id = r.task_id
              WHERE r.ended_at IS NULL AND (t.parameters ->> 'milliseconds')::int = $1
                AND (SELECT count(*) FROM record WHERE ended_at IS NOT NULL) > 400",
        )
        .bind(LONG)
        .fetch_optional(&pool)
        .await
        .expect("an answer")
    })
    .await;
    let at = processes.iter().position(|one| i64::from(one.id()) == process).expect("one of ours");
    kill(&pool, processes.remove(at)).await;

    let ended = "SELECT count(*) FROM longhaul.tasks WHERE state = 'Succeeded'";
    until("all tasks to end", async || (value::<i64>(&pool, ended).await == TASKS).then_some(())).await;
    assert_eq!(value::<i64>(&pool, "SELECT count(*) FROM record WHERE place IS NULL").await, 0, "one too many at work");
    assert_eq!(value::<i64>(&pool, MOST_AT_ONCE).await, i64::from(PLACES), "as many as may be, and never more");
    assert_eq!(value::<i64>(&pool, "SELECT count(DISTINCT task_id) FROM record").await, TASKS);
    assert_eq!(
        value::<i64>(&pool, "SELECT count(DISTINCT process) FROM record").await,
        4,
        "each process had its share"
    );
    let again: i64 = value(&pool, "SELECT count(*) - count(DISTINCT task_id) FROM record").await;
    assert!((1..=i64::from(PLACES)).contains(&again), "what died with its process ran again, nothing else: {again}");
    assert_eq!(value::<i64>(&pool, "SELECT count(*) FROM longhaul.admitted").await, 0);
    for process in processes {
        assert_eq!(process.terminate().await, Some(0));
    }
}
