//! Each process has the rights that it needs, and no others. That they suffice is shown
//! by every other test: the stage gives API and workers no more.

use longhaul_devdb::{Options, Server};
use longhaul_model::store::roles::{self, Established};
use longhaul_tests::{Logins, Stage, quick_worker, shipped};
use serde_json::json;
use sqlx::{AssertSqlSafe, Connection, PgConnection, PgPool};

/// SQLSTATE insufficient_privilege.
const FORBIDDEN: &str = "42501";

async fn connect(url: &str) -> PgConnection {
    PgConnection::connect(url).await.expect("the login works")
}

/// `None` if it went through, else the SQLSTATE. What it did is undone.
async fn refused(connection: &mut PgConnection, sql: &str) -> Option<String> {
    let mut transaction = connection.begin().await.expect("a transaction");
    let result = sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&mut *transaction).await;
    transaction.rollback().await.expect("a rollback");
    result.err().map(|error| {
        error
            .as_database_error()
            .and_then(|error| error.code())
            .unwrap_or_else(|| panic!("{sql}: {error}"))
            .into_owned()
    })
}

async fn all_refused(url: &str, statements: &[&str]) {
    let mut connection = connect(url).await;
    for sql in statements {
        assert_eq!(refused(&mut connection, sql).await.as_deref(), Some(FORBIDDEN), "{sql}");
    }
}

async fn all_allowed(url: &str, statements: &[&str]) {
    let mut connection = connect(url).await;
    for sql in statements {
        assert_eq!(refused(&mut connection, sql).await, None, "{sql}");
    }
}

#[tokio::test]
async fn the_api_can_neither_remove_history_nor_write_outcomes_nor_take_tasks() {
    let stage = Stage::new().await;
    all_refused(
        &stage.logins().api,
        &[
            "DELETE FROM longhaul.task",
            "UPDATE longhaul.task SET state = 'Succeeded'",
            "UPDATE longhaul.task SET created_by = 'me'",
            "DELETE FROM longhaul.attempt_error",
            "DELETE FROM longhaul.task_log",
            "DELETE FROM longhaul.ready",
            "INSERT INTO longhaul.lease (worker_id, number, task_ids) VALUES (1, 1, '{}')",
            "UPDATE longhaul.worker SET lost_at = now()",
            "UPDATE longhaul.queue SET max_running = 1",
            "UPDATE longhaul.task_type SET paused_at = NULL",
            "INSERT INTO longhaul.audit (at, who, deed) VALUES (now() - interval '1 year', 'key:other', 'x')",
            "INSERT INTO longhaul.audit (number, who, deed) OVERRIDING SYSTEM VALUE VALUES (1, 'key:other', 'x')",
            "UPDATE longhaul.audit SET who = 'key:other'",
            "DELETE FROM longhaul.audit",
            "INSERT INTO longhaul.reader_tenant VALUES ('test_longhaul_api', 'acme')",
            "INSERT INTO longhaul.role_type VALUES ('public', 'CancelTasks')",
            "SELECT longhaul.grant_types('public', 'CancelTasks')",
            "SELECT longhaul.cancel_through(gen_random_uuid(), '{}')",
            "SELECT longhaul.note_change('key:other', 'x', '{}', NULL)",
            "DELETE FROM records.project",
            "INSERT INTO records.project VALUES (gen_random_uuid(), 'mine')",
            "INSERT INTO search.index VALUES (gen_random_uuid(), 1, 1)",
            "CREATE TABLE search.mine ()",
            "CREATE TABLE longhaul.mine ()",
            "TRUNCATE longhaul.task",
            "DROP TABLE longhaul.task",
            "ALTER TABLE longhaul.task DISABLE TRIGGER ALL",
            "CREATE ROLE more",
            "SET ROLE longhaul_worker",
            "SET ROLE longhaul_owner",
        ],
    )
    .await;
}

#[tokio::test]
async fn the_worker_can_set_neither_trackers_nor_schedules_nor_queues() {
    let stage = Stage::new().await;
    all_refused(
        &stage.logins().worker,
        &[
            "INSERT INTO records.external_system (id, name, kind, base_url) VALUES (gen_random_uuid(), 'x', 'Redmine', 'http://x')",
            "UPDATE records.external_system SET credentials = NULL",
            "UPDATE records.external_system SET base_url = 'http://elsewhere'",
            "DELETE FROM records.external_system",
            "INSERT INTO records.upload (id, name, content) VALUES (gen_random_uuid(), 'x', '')",
            "INSERT INTO longhaul.schedule (name, cron, time_zone, type, missed) VALUES ('x', '* * * * *', 'UTC', 'Reindex', 'Skip')",
            "DELETE FROM longhaul.schedule",
            "UPDATE longhaul.schedule SET parameters = '{}'",
            "UPDATE longhaul.schedule SET paused = false",
            "UPDATE longhaul.task_type SET paused_at = NULL",
            "INSERT INTO longhaul.audit (who, deed) VALUES ('key:other', 'x')",
            "CREATE TABLE search.document_1 ()",
            "CREATE VIEW search.mine AS SELECT 1",
            "CREATE FUNCTION search.now() RETURNS timestamptz LANGUAGE sql AS $$ SELECT clock_timestamp() + interval '2 days' $$",
            "SELECT longhaul.set_queue('default', paused => true)",
            "SELECT longhaul.pause_type('Reindex')",
            "UPDATE longhaul.queue SET max_running = 1",
            "UPDATE longhaul.attempt_error SET error = '{}'",
            "UPDATE longhaul.task_log SET line = ''",
            "INSERT INTO longhaul.reader_tenant VALUES ('test_longhaul_worker', 'acme')",
            "INSERT INTO longhaul.role_type VALUES ('public', 'CancelTasks')",
            "SELECT longhaul.grant_types('public', 'CancelTasks')",
            "SELECT longhaul.note_change('key:other', 'x', '{}', NULL)",
            "SELECT longhaul.enqueue('Reindex')",
            "CREATE TABLE longhaul.mine ()",
            "CREATE TABLE records.mine ()",
            "TRUNCATE longhaul.task",
            "DROP TABLE records.entity",
            "SET ROLE longhaul_api",
            "SET ROLE longhaul_owner",
        ],
    )
    .await;
}

#[tokio::test]
async fn a_reader_reads_views_and_nothing_else() {
    let stage = Stage::new().await;
    stage.start(&json!({ "Type": "Reindex", "Parameters": {} })).await;
    let views = ["tasks", "progress", "task_logs", "batches", "queues", "workers", "schedules"];
    let views: Vec<String> = views.iter().map(|view| format!("SELECT * FROM longhaul.{view}")).collect();
    all_allowed(&stage.logins().reader, &views.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let mut reader = connect(&stage.logins().reader).await;
    let seen: i64 =
        sqlx::query_scalar("SELECT count(*) FROM longhaul.tasks").fetch_one(&mut reader).await.expect("a view");
    assert_eq!(seen, 1);

    let tables: Vec<String> = sqlx::query_scalar(
        "SELECT format('SELECT * FROM %s.%I', c.relnamespace::regnamespace, c.relname) FROM pg_class c
          WHERE c.relnamespace IN ('longhaul'::regnamespace, 'records'::regnamespace, 'search'::regnamespace)
            AND (c.relkind = 'r' OR c.relname LIKE 'tenant%')",
    )
    .fetch_all(&stage.pool)
    .await
    .expect("tables");
    assert!(tables.len() > 40, "{tables:?}");
    all_refused(&stage.logins().reader, &tables.iter().map(String::as_str).collect::<Vec<_>>()).await;
    all_refused(
        &stage.logins().reader,
        &[
            "SELECT longhaul.enqueue('Reindex')",
            "SELECT longhaul.enqueue_after('{x}', 'Reindex')",
            "SELECT longhaul.enqueue_batch('Reindex', '{\"{}\"}')",
            "SELECT longhaul.cancel(gen_random_uuid())",
            "SELECT longhaul.retry(gen_random_uuid())",
            "SELECT longhaul.set_queue('default', paused => true)",
            "SELECT longhaul.pause_type('Reindex')",
            "SELECT longhaul.admit('default')",
            "SELECT longhaul.follow_ends('{}')",
            "UPDATE longhaul.task SET message = ''",
            "DELETE FROM longhaul.worker",
        ],
    )
    .await;
}

#[tokio::test]
async fn a_tenants_reader_sees_the_tasks_of_its_tenants_even_through_a_leaky_function() {
    let stage = Stage::new().await;
    let url = stage.database_url();
    for (key, message) in [(Some("acme"), "ours"), (Some("rival"), "theirs"), (None, "nobody's")] {
        sqlx::query("SELECT longhaul.enqueue('Reindex', jsonb_build_object('Note', $2::text), key => $1)")
            .bind(key)
            .bind(message)
            .execute(&stage.pool)
            .await
            .expect("a task");
    }
    sqlx::query("UPDATE longhaul.task SET message = parameters ->> 'Note'")
        .execute(&stage.pool)
        .await
        .expect("messages");
    sqlx::query("INSERT INTO longhaul.task_log SELECT id, 1, now(), 1, 1, message FROM longhaul.task")
        .execute(&stage.pool)
        .await
        .expect("logs");
    let acme = Logins::another_tenant_reader(&stage.pool, url, "test_reader_acme").await;
    sqlx::query("INSERT INTO longhaul.reader_tenant VALUES ('test_reader_acme', 'acme')")
        .execute(&stage.pool)
        .await
        .expect("a tenant");

    let seen = async |url: &str, sql: &'static str| -> Vec<String> {
        sqlx::query_scalar(sql).fetch_all(&mut connect(url).await).await.expect(sql)
    };
    assert_eq!(seen(&acme, "SELECT message FROM longhaul.tenant_tasks").await, ["ours"]);
    assert_eq!(seen(&acme, "SELECT message FROM longhaul.tenant_progress").await, ["ours"]);
    assert_eq!(seen(&acme, "SELECT line FROM longhaul.tenant_task_logs").await, ["ours"]);
    // One whom nobody gave a tenant sees nothing.
    let stranger = &stage.logins().tenant_reader;
    assert_eq!(seen(stranger, "SELECT message FROM longhaul.tenant_tasks").await, [""; 0]);
    all_refused(
        &acme,
        &[
            "SELECT * FROM longhaul.tasks",
            "SELECT * FROM longhaul.task_logs",
            "SELECT * FROM longhaul.tenant_task",
            "SELECT * FROM longhaul.task",
            "SELECT * FROM longhaul.reader_tenant",
            "INSERT INTO longhaul.reader_tenant VALUES ('test_reader_acme', 'rival')",
            "SET ROLE longhaul_reader",
        ],
    )
    .await;

    // A function that claims to cost nothing is tried first where the planner may.
    let mut spy = connect(&acme).await;
    for sql in [
        "CREATE TEMP TABLE heard (word text)",
        "CREATE FUNCTION pg_temp.leak(word text) RETURNS boolean LANGUAGE plpgsql COST 0.0000001
             AS $$ BEGIN INSERT INTO heard VALUES (word); RETURN true; END $$",
        "SELECT count(*) FROM longhaul.tenant_tasks WHERE pg_temp.leak(message)",
        "SELECT count(*) FROM longhaul.tenant_tasks WHERE pg_temp.leak(parameters::text)",
        "SELECT count(*) FROM longhaul.tenant_progress WHERE pg_temp.leak(message)",
        "SELECT count(*) FROM longhaul.tenant_task_logs WHERE pg_temp.leak(line)",
    ] {
        sqlx::raw_sql(sql).execute(&mut spy).await.expect(sql);
    }
    let heard: Vec<String> = sqlx::query_scalar("SELECT word FROM heard").fetch_all(&mut spy).await.expect("words");
    assert_eq!(heard.len(), 4, "{heard:?}");
    assert!(heard.iter().all(|word| word.contains("ours")), "{heard:?}");
}

/// A table that nobody decided about is closed to API and workers, which shows when it
/// is too late.
#[tokio::test]
async fn every_table_and_view_has_been_decided_about() {
    let stage = Stage::new().await;
    let forgotten: Vec<String> = sqlx::query_scalar(
        "SELECT format('%s.%s', c.relnamespace::regnamespace, c.relname) FROM pg_class c
          WHERE c.relnamespace IN ('longhaul'::regnamespace, 'records'::regnamespace, 'search'::regnamespace)
            AND c.relkind IN ('r', 'v')
            AND format('%s.%s', c.relnamespace::regnamespace, c.relname) <> ALL ($1)
            AND NOT EXISTS (SELECT FROM aclexplode(c.relacl) a JOIN pg_roles r ON r.oid = a.grantee
                             WHERE r.rolname IN ('longhaul_api', 'longhaul_worker', 'longhaul_reader', 'longhaul_tenant_reader'))
            AND NOT EXISTS (SELECT FROM pg_attribute t CROSS JOIN aclexplode(t.attacl) a JOIN pg_roles r ON r.oid = a.grantee
                             WHERE t.attrelid = c.oid AND r.rolname IN ('longhaul_api', 'longhaul_worker'))",
    )
    // For the owner alone.
    .bind(["longhaul.granted", "longhaul.reader_tenant", "longhaul.role_type", "longhaul.tenant_task"])
    .fetch_all(&stage.pool)
    .await
    .expect("tables");
    assert!(
        forgotten.is_empty(),
        "say in migrations/roles/*.sql who may do what with {forgotten:?}, or list them here if only the owner may"
    );
}

/// What does not pin its search_path runs what its caller puts there.
#[tokio::test]
async fn every_function_pins_its_search_path() {
    let stage = Stage::new().await;
    let unpinned: Vec<String> = sqlx::query_scalar(
        "SELECT p.oid::regprocedure::text FROM pg_proc p
          WHERE p.pronamespace IN ('longhaul'::regnamespace, 'records'::regnamespace, 'search'::regnamespace)
            AND NOT coalesce(p.proconfig, '{}') @> ARRAY['search_path=pg_catalog, pg_temp'] ORDER BY 1",
    )
    .fetch_all(&stage.pool)
    .await
    .expect("functions");
    assert_eq!(unpinned, [""; 0]);
}

/// As a worker that could create in some schema did: a clock of its own.
#[tokio::test]
async fn the_audit_goes_by_no_clock_but_the_server_s() {
    let stage = Stage::new().await;
    for sql in [
        "INSERT INTO longhaul.audit (who, deed) VALUES ('key:ci', 'startTask')",
        "CREATE SCHEMA elsewhere",
        "GRANT USAGE, CREATE ON SCHEMA elsewhere TO longhaul_worker",
    ] {
        sqlx::raw_sql(sql).execute(&stage.pool).await.expect(sql);
    }
    let mut worker = connect(&stage.logins().worker).await;
    for sql in [
        "CREATE FUNCTION elsewhere.now() RETURNS timestamptz LANGUAGE sql AS $$ SELECT clock_timestamp() + interval '2 days' $$",
        "SET search_path = elsewhere, pg_catalog",
    ] {
        sqlx::raw_sql(sql).execute(&mut worker).await.expect(sql);
    }
    assert_eq!(refused(&mut worker, "DELETE FROM longhaul.audit").await.as_deref(), Some(FORBIDDEN));
}

/// What workers of earlier releases could make in schema `search` stays theirs.
#[tokio::test]
async fn an_administrator_hands_over_nothing_that_is_not_known() {
    let server = Server::start(Options::temporary().durable(false)).await.expect("a server");
    server.ensure_database("ours").await.expect("a database");
    let admin = PgPool::connect(&server.url("ours")).await.expect("the database answers");
    shipped::migrate(&admin).await.expect("the migrations fit");
    sqlx::raw_sql(
        "GRANT CREATE ON SCHEMA search TO longhaul_worker;
         SET ROLE longhaul_worker;
         CREATE FUNCTION search.take() RETURNS void LANGUAGE sql SECURITY DEFINER AS $$ SELECT $$;
         CREATE VIEW search.mine AS SELECT 1 AS one;
         CREATE TABLE search.other ();
         CREATE TABLE search.document_1 (entity_id uuid NOT NULL, tsv tsvector NOT NULL);
         CREATE TABLE search.document_2 (entity_id uuid NOT NULL, tsv tsvector NOT NULL);
         ALTER TABLE search.document_2 ENABLE ROW LEVEL SECURITY;
         CREATE TABLE search.document_3 (entity_id uuid NOT NULL, tsv tsvector NOT NULL);
         CREATE TABLE search.child () INHERITS (search.document_3);
         CREATE TABLE search.document_4 () INHERITS (search.document_3);
         CREATE TABLE search.document_5 (entity_id uuid NOT NULL, tsv tsvector NOT NULL);
         CREATE STATISTICS search.five ON (entity_id::text), tsv FROM search.document_5;
         CREATE DOMAIN search.words AS tsvector;
         CREATE TABLE search.document_6 (entity_id uuid NOT NULL, tsv search.words NOT NULL);
         RESET ROLE",
    )
    .execute(&admin)
    .await
    .expect("made");
    let grants = shipped::GRANTS;
    sqlx::raw_sql(AssertSqlSafe(roles::script(&grants, true))).execute(&admin).await.expect("the script works");
    let theirs: Vec<String> = sqlx::query_scalar(
        "SELECT c.relname::text FROM pg_class c WHERE c.relnamespace = 'search'::regnamespace AND c.relkind IN ('r', 'v')
            AND c.relowner = 'longhaul_worker'::regrole
         UNION ALL
         SELECT p.proname::text FROM pg_proc p WHERE p.pronamespace = 'search'::regnamespace AND p.proowner = 'longhaul_worker'::regrole
          ORDER BY 1",
    )
    .fetch_all(&admin)
    .await
    .expect("owners");
    let expected =
        ["child", "document_2", "document_3", "document_4", "document_5", "document_6", "mine", "other", "take"];
    assert_eq!(theirs, expected);
    let may_create: bool = sqlx::query_scalar("SELECT has_schema_privilege('longhaul_worker', 'search', 'CREATE')")
        .fetch_one(&admin)
        .await
        .expect("an answer");
    assert!(!may_create);
}

#[tokio::test]
async fn functions_with_their_owners_rights_are_closed_to_everyone_else() {
    let stage = Stage::new().await;
    let open: Vec<String> = sqlx::query_scalar(
        "SELECT p.oid::regprocedure::text FROM pg_proc p
          WHERE p.pronamespace IN ('longhaul'::regnamespace, 'records'::regnamespace, 'search'::regnamespace) AND p.prosecdef
            AND (p.proacl IS NULL OR EXISTS (SELECT FROM aclexplode(p.proacl) a WHERE a.grantee = 0)
                 OR NOT coalesce(p.proconfig, '{}') @> ARRAY['search_path=pg_catalog, pg_temp'])",
    )
    .fetch_all(&stage.pool)
    .await
    .expect("functions");
    assert_eq!(open, [""; 0]);
}

#[tokio::test]
async fn roles_are_made_once_however_many_databases_are_migrated_at_once() {
    let server = Server::start(Options::temporary().durable(false)).await.expect("a server");
    let migrations = (0..4).map(async |number| {
        let name = format!("database_{number}");
        server.ensure_database(&name).await.expect("a database");
        let pool = PgPool::connect(&server.url(&name)).await.expect("the database answers");
        shipped::migrate(&pool).await.expect("the migrations fit");
        shipped::migrate(&pool).await.expect("they do again");
        pool
    });
    for pool in futures_util::future::join_all(migrations).await {
        let granted: bool = sqlx::query_scalar("SELECT has_table_privilege('longhaul_api', 'longhaul.task', 'INSERT')")
            .fetch_one(&pool)
            .await
            .expect("an answer");
        assert!(granted);
    }
}

#[tokio::test]
async fn an_owner_who_may_not_make_roles_migrates_and_an_administrator_adds_them_later() {
    let server = Server::start(Options::temporary().durable(false)).await.expect("a server");
    server.ensure_database("ours").await.expect("a database");
    let admin = PgPool::connect(&server.url("ours")).await.expect("the database answers");
    sqlx::raw_sql(
        "CREATE ROLE app LOGIN PASSWORD 'only-for-tests'; GRANT CREATE ON DATABASE ours TO app; GRANT CREATE ON SCHEMA public TO app",
    )
    .execute(&admin)
    .await
    .expect("a login");
    let url = server.url("ours");
    let host = url.split_once('@').expect("a login").1;
    let app = PgPool::connect(&format!("postgres://app:only-for-tests@{host}")).await.expect("the login works");
    shipped::migrate(&app).await.expect("no role is needed");
    let grants = shipped::GRANTS;
    assert_eq!(roles::establish(&app, &grants).await.expect("an answer"), Established::Missing(roles::ROLES.to_vec()));

    sqlx::raw_sql(AssertSqlSafe(roles::script(&grants, true))).execute(&admin).await.expect("the script works");
    let foreign: Vec<String> = sqlx::query_scalar(
        "SELECT c.oid::regclass::text FROM pg_class c
          WHERE c.relnamespace IN ('longhaul'::regnamespace, 'records'::regnamespace, 'search'::regnamespace)
            AND c.relowner <> 'longhaul_owner'::regrole",
    )
    .fetch_all(&admin)
    .await
    .expect("tables");
    assert_eq!(foreign, [""; 0], "the owner owns all");
    // Now a login with that role migrates, and the others work.
    sqlx::raw_sql("REVOKE CREATE ON DATABASE ours FROM app; GRANT longhaul_owner TO app")
        .execute(&admin)
        .await
        .expect("a grant");
    shipped::migrate(&app).await.expect("it may as the owner");
    assert_eq!(roles::establish(&app, &grants).await.expect("an answer"), Established::Granted);
    let stage = Stage::builder(shipped::registry()).database(&url).start().await;
    let _worker = stage.worker(quick_worker()).await;
    let body = stage.start(&json!({ "Type": "Reindex", "Parameters": {} })).await;
    assert_eq!(stage.ended(&body).await["State"], "Succeeded");
}

#[tokio::test]
async fn a_new_database_that_was_prepared_for_the_owner_is_migrated_by_a_login_with_that_role() {
    let server = Server::start(Options::temporary().durable(false)).await.expect("a server");
    server.ensure_database("ours").await.expect("a database");
    let url = server.url("ours");
    let admin = PgPool::connect(&url).await.expect("the database answers");
    let grants = shipped::GRANTS;
    sqlx::raw_sql(AssertSqlSafe(roles::script(&grants, false))).execute(&admin).await.expect("the script works");
    let logins = Logins::make(&admin, &url).await;
    let owner = PgPool::connect(&logins.owner).await.expect("the login works");
    shipped::migrate(&owner).await.expect("the owner migrates");
    let owners: Vec<String> = sqlx::query_scalar(
        "SELECT DISTINCT c.relowner::regrole::text FROM pg_class c
          WHERE c.relnamespace IN ('longhaul'::regnamespace, 'records'::regnamespace, 'search'::regnamespace)",
    )
    .fetch_all(&admin)
    .await
    .expect("owners");
    assert_eq!(owners, ["longhaul_owner"]);
    let stage = Stage::builder(shipped::registry()).database(&url).start().await;
    let _worker = stage.worker(quick_worker()).await;
    let body = stage.start(&json!({ "Type": "Reindex", "Parameters": {} })).await;
    assert_eq!(stage.ended(&body).await["State"], "Succeeded");
}
