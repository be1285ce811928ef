//! Migrations under load: of a great queue, that is at work.
//!
//! `LONGHAUL_UPGRADE_ROWS=10000000` tests it with ten million tasks (a million
//! otherwise).

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use longhaul_devdb::testing::TestDatabase;
use longhaul_model::store::migrate::{QUEUE, apply};
use longhaul_model::store::successes::{exact, recount, recount_is_due};
use longhaul_tests::until;
use sqlx::migrate::Migrator;
use sqlx::{AssertSqlSafe, PgPool};

/// Migrations up to here were the first release.
const FIRST_RELEASE: i64 = 20_261_124_235_959;

/// Longer than anything waits that takes a lock only to change the catalogue, even on
/// a busy machine, and shorter than whatever reads or writes all of a great table.
const BOUND: Duration = Duration::from_millis(750);

fn rows() -> i64 {
    std::env::var("LONGHAUL_UPGRADE_ROWS").ok().and_then(|rows| rows.parse().ok()).unwrap_or(1_000_000)
}

/// The queue's migrations of the first release.
fn first_release() -> Migrator {
    let migrations = QUEUE.iter().filter(|migration| migration.version <= FIRST_RELEASE).cloned().collect();
    Migrator { migrations: Cow::Owned(migrations), table_name: QUEUE.table_name.clone(), ..migrator() }
}

fn migrator() -> Migrator {
    Migrator { create_schemas: QUEUE.create_schemas.clone(), ..Migrator::DEFAULT }
}

async fn old_database() -> (TestDatabase, PgPool) {
    let database = TestDatabase::new("first-release", async |url: String| {
        let pool = PgPool::connect(&url).await?;
        first_release().run(&pool).await?;
        sqlx::raw_sql(
            "INSERT INTO longhaul.task_type (name, id_prefix, queue, max_attempts) VALUES
                ('T', 't-', 'q', 5), ('CancelTasks', 'canceltasks_', 'control', 5)",
        )
        .execute(&pool)
        .await?;
        pool.close().await;
        Ok::<_, anyhow::Error>(())
    })
    .await
    .expect("a database of the first release");
    let pool = PgPool::connect(database.url()).await.expect("the database answers");
    (database, pool)
}

/// Stores a task, takes it, writes to it, reads it, every 20 ms, as API and workers of
/// the first release do; keeps the longest wait for each.
struct Prober {
    stop: Arc<AtomicBool>,
    probing: tokio::task::JoinHandle<BTreeMap<&'static str, Duration>>,
}

const PROBES: [(&str, &str); 6] = [
    ("store", "SELECT longhaul.enqueue('T', '{\"probe\": true}')"),
    (
        "claim",
        "WITH taken AS (
             DELETE FROM longhaul.ready
              WHERE ctid = ANY (ARRAY(SELECT ctid FROM longhaul.ready WHERE queue = 'q' AND priority = 5
                                       ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED))
             RETURNING id)
         INSERT INTO longhaul.lease (worker_id, number, task_ids)
         SELECT 1, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint, array_agg(id) FROM taken HAVING count(*) > 0",
    ),
    (
        "write",
        "UPDATE longhaul.task SET state = 'Running', attempt = 1, message = 'probed'
          WHERE id = (SELECT task_ids[1] FROM longhaul.lease ORDER BY number DESC LIMIT 1)",
    ),
    ("read", "SELECT * FROM longhaul.tasks WHERE id = (SELECT task_ids[1] FROM longhaul.lease LIMIT 1)"),
    ("fire", "UPDATE longhaul.schedule SET fired = fired + 1"),
    ("register", "UPDATE longhaul.task_type SET registered_at = now()"),
];

impl Prober {
    fn start(pool: &PgPool) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let probing = tokio::spawn({
            let (pool, stop) = (pool.clone(), Arc::clone(&stop));
            async move {
                let mut longest = BTreeMap::new();
                let mut ticks = tokio::time::interval(Duration::from_millis(20));
                while !stop.load(Ordering::SeqCst) {
                    ticks.tick().await;
                    for (name, sql) in PROBES {
                        let began = Instant::now();
                        sqlx::raw_sql(sql).execute(&pool).await.unwrap_or_else(|error| panic!("{name}: {error}"));
                        let longest: &mut Duration = longest.entry(name).or_default();
                        *longest = (*longest).max(began.elapsed());
                    }
                }
                longest
            }
        });
        Self { stop, probing }
    }

    async fn stop(self) -> BTreeMap<&'static str, Duration> {
        self.stop.store(true, Ordering::SeqCst);
        self.probing.await.expect("no probe failed")
    }
}

async fn probes(pool: &PgPool) -> i64 {
    sqlx::query_scalar("SELECT count(*) FROM longhaul.lease").fetch_one(pool).await.expect("a count")
}

async fn go_on(pool: &PgPool) {
    let before = probes(pool).await;
    until("the prober to go on", async || (probes(pool).await > before + 5).then_some(())).await;
}

async fn fill(pool: &PgPool, rows: i64) {
    let part = 500_000;
    for from in (0..rows).step_by(part) {
        sqlx::query(
            "INSERT INTO longhaul.task (id, type, queue, priority, max_attempts, parameters, state, attempt, fraction,
                                        accepted_at, finished_at, message)
             SELECT (lpad(to_hex(1700000000000 + n), 12, '0') || '7' || substr(md5(n::text), 1, 19))::uuid,
                    'T', 'q', 5, 5, jsonb_build_object('number', n), 'Succeeded', 1, 1, now(), now(), 'Done'
               FROM generate_series($1, $2) AS n",
        )
        .bind(from + 1)
        .bind(rows.min(from + part as i64))
        .execute(pool)
        .await
        .expect("tasks");
    }
    sqlx::raw_sql("VACUUM ANALYZE longhaul.task").execute(pool).await.expect("vacuum");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn migrations_of_a_great_queue_keep_nobody_waiting() {
    let (_database, pool) = old_database().await;
    let began = Instant::now();
    fill(&pool, rows()).await;
    println!("{} tasks stored in {:.1} s", rows(), began.elapsed().as_secs_f64());
    sqlx::raw_sql("SELECT longhaul.enqueue('T')").execute(&pool).await.expect("a first one");

    let prober = Prober::start(&pool);
    go_on(&pool).await;
    let began = Instant::now();
    apply(&QUEUE, &pool).await.expect("the later migrations fit");
    let took = began.elapsed();
    go_on(&pool).await;
    let longest = prober.stop().await;
    println!("later migrations in {took:?}, longest waits {longest:?}");
    for (probe, waited) in &longest {
        assert!(*waited < BOUND, "{probe} waited {waited:?}");
    }
    // Nobody counted what succeeded before.
    assert_eq!(exact(&pool).await.expect("an answer"), None);
    assert!(recount_is_due(&pool).await.expect("an answer"));
    let began = Instant::now();
    assert!(recount(&pool).await.expect("they are counted"));
    println!("counted in {:?}", began.elapsed());
    assert_eq!(exact(&pool).await.expect("an answer"), Some(rows()));

    // That the bound tells a rewrite of the table from a change of the catalogue.
    let prober = Prober::start(&pool);
    go_on(&pool).await;
    let mut transaction = pool.begin().await.expect("a transaction");
    sqlx::raw_sql("ALTER TABLE longhaul.task ADD COLUMN nonsense uuid DEFAULT gen_random_uuid()")
        .execute(&mut *transaction)
        .await
        .expect("a rewrite");
    transaction.rollback().await.expect("a rollback");
    let longest = prober.stop().await;
    println!("a rewrite, longest waits {longest:?}");
    assert!(longest.values().any(|waited| *waited > BOUND), "a rewrite was not noticed: {longest:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_migration_that_does_not_get_its_lock_lets_others_pass_and_is_tried_again() {
    let (_database, pool) = old_database().await;
    let mut reader = pool.begin().await.expect("a transaction");
    sqlx::raw_sql("SELECT count(*) FROM longhaul.task; SELECT count(*) FROM longhaul.task_type; SELECT count(*) FROM longhaul.schedule")
        .execute(&mut *reader)
        .await
        .expect("a long look");
    let migrating = tokio::spawn({
        let pool = pool.clone();
        async move { apply(&QUEUE, &pool).await }
    });
    until("the migration to wait", async || {
        let waits = "SELECT count(*) > 0 FROM pg_stat_activity WHERE datname = current_database()
                        AND wait_event_type = 'Lock' AND query ILIKE '%lock_timeout%'";
        sqlx::query_scalar::<_, bool>(waits).fetch_one(&pool).await.expect("an answer").then_some(())
    })
    .await;
    let began = Instant::now();
    sqlx::raw_sql("SELECT longhaul.enqueue('T')").execute(&pool).await.expect("stored although a migration waits");
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    assert!(!migrating.is_finished(), "it is tried again");
    reader.rollback().await.expect("an end");
    migrating.await.expect("it ends").expect("it fits now");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_migration_of_a_view_does_not_lock_its_table_before_it() {
    let (_database, pool) = old_database().await;
    // As someone who reads the view, between its lock and that of the table.
    let mut reader = pool.begin().await.expect("a transaction");
    sqlx::raw_sql("COMMENT ON VIEW longhaul.tasks IS 'held'").execute(&mut *reader).await.expect("the view's lock");
    let migrating = tokio::spawn({
        let pool = pool.clone();
        async move { apply(&QUEUE, &pool).await }
    });
    until("the migration to wait for the view", async || {
        let waits = "SELECT count(*) > 0 FROM pg_locks
                      WHERE NOT granted AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
                        AND relation = 'longhaul.tasks'::regclass";
        sqlx::query_scalar::<_, bool>(waits).fetch_one(&pool).await.expect("an answer").then_some(())
    })
    .await;
    // What PostgreSQL would end as a deadlock, one or the other.
    sqlx::raw_sql("LOCK TABLE longhaul.task IN ACCESS SHARE MODE NOWAIT").execute(&mut *reader).await.expect("free");
    reader.commit().await.expect("an end");
    migrating.await.expect("it ends").expect("it fits");
}

#[tokio::test]
async fn rights_on_the_function_of_sql_outlive_its_replacement() {
    let (database, pool) = old_database().await;
    let role = format!("{}_app", database.name()).replace('-', "_");
    let run = async |sql: String| sqlx::raw_sql(AssertSqlSafe(sql)).execute(&pool).await.expect("it is done");
    run(format!(
        "CREATE ROLE {role}; GRANT USAGE ON SCHEMA longhaul TO {role}; GRANT EXECUTE ON FUNCTION longhaul.enqueue TO {role} WITH GRANT OPTION"
    ))
    .await;
    apply(&QUEUE, &pool).await.expect("the later migrations fit");
    let rights: Vec<(String, bool)> = sqlx::query_as(
        "SELECT coalesce(r.rolname, 'PUBLIC')::text, a.is_grantable
           FROM pg_proc p CROSS JOIN aclexplode(p.proacl) a LEFT JOIN pg_roles r ON r.oid = a.grantee
          WHERE p.pronamespace = 'longhaul'::regnamespace AND p.proname = 'enqueue' AND a.grantee <> p.proowner",
    )
    .fetch_all(&pool)
    .await
    .expect("rights");
    assert_eq!(rights, [(role.clone(), true)]);
    let comment: Option<String> = sqlx::query_scalar("SELECT obj_description('longhaul.enqueue'::regproc)")
        .fetch_one(&pool)
        .await
        .expect("an answer");
    assert!(comment.is_some());
    // What it could start it still can, but for what acts on the queue itself.
    let types: Vec<(String, String)> = sqlx::query_as("SELECT role, type FROM longhaul.role_type ORDER BY type")
        .fetch_all(&pool)
        .await
        .expect("grants");
    assert_eq!(types, [(role.clone(), "T".to_owned())]);
    run(format!("SET ROLE {role}; SELECT longhaul.enqueue('T'); RESET ROLE")).await;
    run(format!("DROP OWNED BY {role}; DROP ROLE {role}")).await;
}

/// A migration without what stands between dollar signs (bodies of functions run
/// later) and after dashes.
fn statements(sql: &str) -> Vec<String> {
    let code: String =
        sql.lines().map(|line| line.split("--").next().unwrap_or_default()).flat_map(|line| [line, "\n"]).collect();
    let outside: String = code.split("$$").step_by(2).collect();
    outside
        .split(';')
        .map(|statement| statement.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase())
        .collect()
}

#[test]
fn no_later_migration_reads_or_writes_a_whole_table_under_a_lock() {
    let mut looked_at = 0;
    for set in ["queue", "records"] {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../migrations").join(set);
        for file in std::fs::read_dir(directory).expect("migrations") {
            let path = file.expect("a file").path();
            let name = path.file_name().expect("a name").to_string_lossy().into_owned();
            let version: i64 = name.split('_').next().and_then(|number| number.parse().ok()).expect("a version");
            if version <= FIRST_RELEASE {
                continue;
            }
            looked_at += 1;
            let sql = std::fs::read_to_string(&path).expect("a readable file");
            let statements = statements(&sql);
            let made = |table: &str| {
                statements.iter().any(|one| one.starts_with("create") && one.contains(&format!("table {table} (")))
            };
            for statement in &statements {
                let words: Vec<&str> = statement.split(' ').collect();
                let complain = |why: &str| panic!("{name}: {why}: {statement}");
                if let ["alter", "table", rest @ ..] = &words[..] {
                    let table = rest.iter().find(|word| word.contains('.')).copied().unwrap_or_default();
                    if made(table) {
                        continue;
                    }
                    if statement.contains(" type ") && statement.contains("alter column") {
                        complain("it may rewrite the table");
                    }
                    if statement.contains("set not null")
                        || (statement.contains("add constraint") && !statement.contains("not valid"))
                    {
                        complain("it reads the whole table: add the constraint NOT VALID, and validate it later");
                    }
                    for volatile in ["gen_random_uuid(", "clock_timestamp(", "random(", "nextval(", "new_id("] {
                        if statement.contains(&format!("default {volatile}"))
                            || statement.contains(&format!("default longhaul.{volatile}"))
                        {
                            complain("a default that differs from row to row rewrites the table");
                        }
                    }
                }
                if let Some(at) = words.iter().position(|word| *word == "on")
                    && words.starts_with(&["create"])
                    && words.contains(&"index")
                    && !words.contains(&"concurrently")
                    && !made(words[at + 1])
                {
                    complain("it keeps writers out while it is made: CREATE INDEX CONCURRENTLY, in a file of its own");
                }
                for (verb, table) in [("update", 1), ("delete", 2)] {
                    if words.first() == Some(&verb) && words.get(table) == Some(&"longhaul.task") {
                        complain("it writes rows of the greatest table in one transaction: do it in batches");
                    }
                }
            }
        }
    }
    assert!(looked_at > 0, "there are later migrations");
}
