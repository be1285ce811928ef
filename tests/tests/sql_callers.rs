//! What a login may do that was granted the functions for applications, and as whom.

use longhaul_model::{Outcome, Registry, RunContext, RunError, TaskType};
use longhaul_tests::{Application, Stage, fill_project, keys_only, quick_worker, shipped, until};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use uuid::{Uuid, uuid};

const PROJECT: Uuid = uuid!("c651ed19-5375-475a-a539-9f6401467130");

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Item {}

impl TaskType for Item {
    const NAME: &'static str = "Item";
    const ID_PREFIX: &'static str = "item-";

    async fn run(self, _context: RunContext) -> Result<Outcome, RunError> {
        Ok(Outcome::done())
    }
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Errand {}

impl TaskType for Errand {
    const NAME: &'static str = "Errand";
    const ID_PREFIX: &'static str = "errand-";

    async fn run(self, _context: RunContext) -> Result<Outcome, RunError> {
        Ok(Outcome::done())
    }
}

async fn stage() -> Stage {
    let registry = longhaul::queue_task::register(shipped::registry().with::<Item>().with::<Errand>());
    Stage::builder(registry).authenticators(keys_only).start().await
}

/// An application's session.
struct Session {
    connection: PgConnection,
}

impl Session {
    async fn of(application: &Application) -> Self {
        Self { connection: PgConnection::connect(&application.url).await.expect("the login works") }
    }

    /// What an expression says; the SQLSTATE and hint of an error.
    async fn select(&mut self, expression: &str) -> Result<Option<String>, (String, String)> {
        let sql = format!("SELECT ({expression})::text");
        let said = sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(&mut self.connection).await;
        said.map_err(|error| {
            let error = error.into_database_error().expect("an error of the database");
            let error = error.downcast::<sqlx::postgres::PgDatabaseError>();
            (error.code().to_owned(), error.hint().unwrap_or_default().to_owned())
        })
    }

    /// The id of a task that it stores.
    async fn stores(&mut self, expression: &str) -> Uuid {
        let id = self.select(expression).await.expect(expression).expect("an id");
        id[id.len() - 36..].parse().expect("a guid")
    }

    async fn run(&mut self, sql: &str) {
        sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&mut self.connection).await.expect(sql);
    }
}

async fn run(stage: &Stage, sql: &str) {
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&stage.pool).await.expect(sql);
}

async fn grant(stage: &Stage, role: &str, type_name: &str) {
    sqlx::query("SELECT longhaul.grant_types($1, $2)")
        .bind(role)
        .bind(type_name)
        .execute(&stage.pool)
        .await
        .expect("granted");
}

async fn made_by(stage: &Stage, id: Uuid) -> String {
    sqlx::query_scalar("SELECT created_by FROM longhaul.task WHERE id = $1")
        .bind(id)
        .fetch_one(&stage.pool)
        .await
        .expect("a task")
}

async fn state(stage: &Stage, id: Uuid) -> String {
    sqlx::query_scalar("SELECT state::text FROM longhaul.tasks WHERE id = $1")
        .bind(id)
        .fetch_one(&stage.pool)
        .await
        .expect("a task")
}

/// A task that someone else started and that has not begun.
async fn of_administrator(stage: &Stage) -> Uuid {
    let admin = stage.someone("admin", &["*"]).await;
    let path = admin.started(&json!({"Type": "Item", "DelaySeconds": 3600})).await;
    path[path.len() - 36..].parse().expect("a guid")
}

const DENIED: &str = "42501";

#[tokio::test]
async fn a_login_starts_the_types_that_were_granted_to_it_and_is_who_it_is() {
    let stage = stage().await;
    let task = of_administrator(&stage).await;
    let app = Application::make(&stage.pool, stage.database_url()).await;
    let mut session = Session::of(&app).await;
    let every_way = [
        "longhaul.enqueue('Item')".to_owned(),
        "longhaul.enqueue('CancelTasks', '{\"Types\": [\"Item\"]}', created_by => 'key:low')".to_owned(),
        "longhaul.enqueue('RetryTasks', '{\"Types\": [\"Item\"]}')".to_owned(),
        "longhaul.enqueue('DeleteProject')".to_owned(),
        "longhaul.enqueue('Nonsense')".to_owned(),
        "longhaul.enqueue(NULL)".to_owned(),
        format!("longhaul.enqueue_after(ARRAY['item-{task}'], 'Item')"),
        "longhaul.enqueue_batch('Item', ARRAY['{}'::jsonb])".to_owned(),
    ];
    for way in &every_way {
        let (code, hint) = session.select(way).await.expect_err(way);
        assert!(code == DENIED || code == "42704", "{way}: {code}");
        assert!(code == "42704" || hint.contains("longhaul.grant_types"), "{way}: {hint}");
    }
    assert_eq!(stage.value::<i64>("SELECT count(*) FROM longhaul.task").await, 1);

    grant(&stage, &app.name, "Item").await;
    let own = format!("sql:{}", app.name);
    for (way, maker) in [
        ("longhaul.enqueue('Item')".to_owned(), own.clone()),
        ("longhaul.enqueue('Item', created_by => 'key:low')".to_owned(), format!("{own}:key:low")),
        ("longhaul.enqueue('Item', created_by => '')".to_owned(), format!("{own}:")),
        (format!("longhaul.enqueue_after(ARRAY['item-{task}'], 'Item')"), own.clone()),
        ("longhaul.enqueue_batch('Item', ARRAY['{}'::jsonb])".to_owned(), own.clone()),
    ] {
        let id = session.stores(&way).await;
        assert_eq!(made_by(&stage, id).await, maker, "{way}");
    }
    let of_parts: i64 = stage
        .value("SELECT count(DISTINCT created_by) FROM longhaul.task WHERE parent_id IS NOT NULL OR type = 'Batch'")
        .await;
    assert_eq!(of_parts, 1);
    for way in &every_way[1..5] {
        assert!(session.select(way).await.is_err(), "{way}: another type");
    }
    sqlx::query("SELECT longhaul.revoke_types($1, 'Item')")
        .bind(&app.name)
        .execute(&stage.pool)
        .await
        .expect("revoked");
    assert_eq!(session.select("longhaul.enqueue('Item')").await.expect_err("revoked").0, DENIED);
    // Whoever may write the table says itself whose a task is.
    for url in [stage.database_url(), &stage.logins().api] {
        let mut connection = PgConnection::connect(url).await.expect("the login works");
        let sql = "SELECT right(longhaul.enqueue('Item', created_by => 'schedule:a'), 36)::uuid";
        let id: Uuid = sqlx::query_scalar(sql).fetch_one(&mut connection).await.expect("stored");
        assert_eq!(made_by(&stage, id).await, "schedule:a");
    }
    for call in [
        "longhaul.grant_types('public', 'Item')",
        "longhaul.store_task('Item', '{}', NULL, NULL, NULL, NULL, 'key:a', NULL, NULL, NULL)",
        "longhaul.note_change('key:a', 'cancelTask', '{}', NULL)",
        "longhaul.retry_within(gen_random_uuid(), NULL)",
    ] {
        assert_eq!(session.select(call).await.expect_err(call).0, DENIED, "{call}");
    }
    drop(session);
    app.remove(&stage.pool).await;
}

#[tokio::test]
async fn types_are_granted_to_groups_and_to_all() {
    let stage = stage().await;
    let app = Application::make(&stage.pool, stage.database_url()).await;
    let group = format!("{}_group", app.name);
    run(&stage, &format!("CREATE ROLE {group}; GRANT USAGE ON SCHEMA longhaul TO {group}; GRANT EXECUTE ON FUNCTION longhaul.enqueue TO {group}")).await;
    grant(&stage, &group, "Item").await;
    let mut session = Session::of(&app).await;
    assert_eq!(session.select("longhaul.enqueue('Item')").await.expect_err("no member").0, DENIED);
    run(&stage, &format!("GRANT {group} TO {}", app.name)).await;
    let id = session.stores("longhaul.enqueue('Item')").await;
    assert_eq!(made_by(&stage, id).await, format!("sql:{}", app.name));
    // As the group, which is then who it is.
    session.run(&format!("SET ROLE {group}")).await;
    let id = session.stores("longhaul.enqueue('Item')").await;
    assert_eq!(made_by(&stage, id).await, format!("sql:{group}"));
    assert_eq!(session.select("longhaul.enqueue('Errand')").await.expect_err("not granted").0, DENIED);
    session.run("RESET ROLE").await;
    grant(&stage, "public", "Errand").await;
    session.stores("longhaul.enqueue('Errand')").await;
    let error = sqlx::query("SELECT longhaul.grant_types('nobody_at_all', 'Item')")
        .execute(&stage.pool)
        .await
        .expect_err("no role");
    assert!(error.to_string().contains("there is no role"), "{error}");
    drop(session);
    run(&stage, &format!("DROP OWNED BY {group}; DROP ROLE {group}")).await;
    app.remove(&stage.pool).await;
}

#[tokio::test]
async fn no_name_of_a_role_is_that_of_a_caller_of_the_api_or_of_another_role() {
    let stage = stage().await;
    let suffix = Uuid::now_v7().simple().to_string();
    let plain = Application::named(&stage.pool, stage.database_url(), &format!("a{suffix}")).await;
    let names = [format!("key:a{suffix}"), format!("a{suffix}:b"), format!("A {suffix}\"")];
    let mut own = Session::of(&plain).await;
    grant(&stage, &plain.name, "Item").await;
    let task = own.stores("longhaul.enqueue('Item', run_at => now() + interval '1 h')").await;
    for name in names {
        let app = Application::named(&stage.pool, stage.database_url(), &name).await;
        grant(&stage, &name, "Item").await;
        let mut session = Session::of(&app).await;
        let other = session.stores("longhaul.enqueue('Item', run_at => now() + interval '1 h')").await;
        assert_eq!(made_by(&stage, other).await, format!("sql:\"{}\"", name.replace('"', "\"\"")));
        assert_eq!(own.select(&format!("longhaul.cancel('{other}')")).await, Ok(None), "{name}");
        assert_eq!(session.select(&format!("longhaul.cancel('{task}')")).await, Ok(None), "{name}");
        drop(session);
        app.remove(&stage.pool).await;
    }
    drop(own);
    plain.remove(&stage.pool).await;
}

#[tokio::test]
async fn a_function_of_an_application_starts_what_its_caller_was_granted() {
    let stage = stage().await;
    let owner = Application::make(&stage.pool, stage.database_url()).await;
    let app = Application::make(&stage.pool, stage.database_url()).await;
    run(&stage, &format!("REVOKE EXECUTE ON FUNCTION longhaul.enqueue FROM {}", app.name)).await;
    run(
        &stage,
        &format!(
            "CREATE FUNCTION start_item() RETURNS text LANGUAGE sql SECURITY DEFINER AS $$ SELECT longhaul.enqueue('Item') $$;
             ALTER FUNCTION start_item() OWNER TO {}",
            owner.name
        ),
    )
    .await;
    grant(&stage, &owner.name, "Item").await;
    let mut session = Session::of(&app).await;
    assert_eq!(session.select("start_item()").await.expect_err("not granted").0, DENIED);
    grant(&stage, &app.name, "Item").await;
    assert_eq!(session.select("longhaul.enqueue('Item')").await.expect_err("it may not call it itself").0, DENIED);
    let id = session.stores("start_item()").await;
    assert_eq!(made_by(&stage, id).await, format!("sql:{}", app.name));
    drop(session);
    run(&stage, "DROP FUNCTION start_item()").await;
    app.remove(&stage.pool).await;
    owner.remove(&stage.pool).await;
}

#[tokio::test]
async fn a_login_cancels_and_retries_its_own_tasks_and_that_is_written_down() {
    let stage = stage().await;
    let foreign = of_administrator(&stage).await;
    let app = Application::make(&stage.pool, stage.database_url()).await;
    grant(&stage, &app.name, "Item").await;
    let mut session = Session::of(&app).await;
    let own = session.stores("longhaul.enqueue('Item', created_by => 'ada')").await;
    let waiting = session.stores(&format!("longhaul.enqueue_after(ARRAY['item-{own}'], 'Item')")).await;
    let admin = stage.someone("admin", &["*"]).await;
    let path = admin.started(&json!({"Type": "Item", "After": [format!("item-{own}")]})).await;
    let waiting_foreign: Uuid = path[path.len() - 36..].parse().expect("a guid");

    assert_eq!(session.select(&format!("longhaul.cancel('{foreign}')")).await, Ok(None));
    assert_eq!(session.select("longhaul.cancel(gen_random_uuid())").await, Ok(None));
    assert_eq!(state(&stage, foreign).await, "Scheduled");
    assert_eq!(session.select(&format!("longhaul.cancel('{own}')")).await, Ok(Some("Cancelled".to_owned())));
    sqlx::query("SELECT longhaul.follow()").execute(&stage.pool).await.expect("followed");
    for id in [waiting, waiting_foreign] {
        assert_eq!(state(&stage, id).await, "Cancelled");
    }
    // The other's task, which waited for this one, stays as it ended.
    assert_eq!(session.select(&format!("longhaul.retry('{waiting_foreign}')")).await, Ok(None));
    assert_eq!(session.select(&format!("longhaul.retry('{own}')")).await, Ok(Some("Queued".to_owned())));
    assert_eq!((state(&stage, own).await, state(&stage, waiting).await), ("Queued".to_owned(), "Queued".to_owned()));
    assert_eq!(state(&stage, waiting_foreign).await, "Cancelled");
    let deeds: Vec<(String, String)> =
        sqlx::query_as("SELECT deed, target FROM longhaul.audit WHERE who = $1 ORDER BY deed, target")
            .bind(format!("sql:{}", app.name))
            .fetch_all(&stage.pool)
            .await
            .expect("the audit");
    let deed = |deed: &str, id: Uuid| (deed.to_owned(), format!("item-{id}"));
    // Those that ended for want of it, too, the other's among them.
    let mut cancelled = [own, waiting, waiting_foreign].map(|id| deed("cancelTask", id)).to_vec();
    let mut retried = [own, waiting].map(|id| deed("retryTask", id)).to_vec();
    cancelled.sort();
    retried.sort();
    assert_eq!(deeds, [cancelled, retried].concat());

    // A type that was withdrawn does not run again.
    session.select(&format!("longhaul.cancel('{own}')")).await.expect("cancelled");
    sqlx::query("SELECT longhaul.revoke_types($1, 'Item')")
        .bind(&app.name)
        .execute(&stage.pool)
        .await
        .expect("revoked");
    assert_eq!(session.select(&format!("longhaul.retry('{own}')")).await.expect_err("withdrawn").0, DENIED);
    // Who may start CancelTasks and RetryTasks may do so to the tasks of others.
    grant(&stage, &app.name, "CancelTasks").await;
    grant(&stage, &app.name, "RetryTasks").await;
    assert_eq!(session.select(&format!("longhaul.cancel('{foreign}')")).await, Ok(Some("Cancelled".to_owned())));
    assert_eq!(session.select(&format!("longhaul.retry('{foreign}')")).await, Ok(Some("Queued".to_owned())));
    drop(session);
    app.remove(&stage.pool).await;
}

#[tokio::test]
async fn a_batch_of_a_login_runs_again_while_its_type_is_granted() {
    let stage = stage().await;
    let app = Application::make(&stage.pool, stage.database_url()).await;
    grant(&stage, &app.name, "Item").await;
    let mut session = Session::of(&app).await;
    let batch = session.stores("longhaul.enqueue_batch('Item', ARRAY['{}', '{}']::jsonb[])").await;
    assert_eq!(session.select(&format!("longhaul.cancel('{batch}')")).await, Ok(Some("Requested".to_owned())));
    until("the batch to be cancelled", async || {
        sqlx::query("SELECT longhaul.follow()").execute(&stage.pool).await.expect("followed");
        (state(&stage, batch).await == "Cancelled").then_some(())
    })
    .await;
    let noted = "SELECT count(*) FROM longhaul.audit WHERE deed = 'cancelTask'";
    assert_eq!(stage.value::<i64>(noted).await, 3, "with its parts");
    let retry = format!("longhaul.retry('{batch}')");
    sqlx::query("SELECT longhaul.revoke_types($1, 'Item')")
        .bind(&app.name)
        .execute(&stage.pool)
        .await
        .expect("revoked");
    assert_eq!(session.select(&retry).await.expect_err("withdrawn").0, DENIED);
    assert_eq!(state(&stage, batch).await, "Cancelled");
    grant(&stage, &app.name, "Item").await;
    assert_eq!(session.select(&retry).await, Ok(Some("Queued".to_owned())));
    assert_eq!(stage.value::<i64>("SELECT count(*) FROM longhaul.task WHERE finished_at IS NULL").await, 3);
    drop(session);
    app.remove(&stage.pool).await;
}

#[tokio::test]
async fn a_webhook_is_told_of_what_a_login_cancels() {
    let stage = stage().await;
    let app = Application::make(&stage.pool, stage.database_url()).await;
    grant(&stage, &app.name, "Item").await;
    run(
        &stage,
        "INSERT INTO records.webhook (id, url, states, secret) VALUES (gen_random_uuid(), 'https://example.com', '{Cancelled}', 'x')",
    )
    .await;
    let mut session = Session::of(&app).await;
    let own = session.stores("longhaul.enqueue('Item')").await;
    assert_eq!(session.select(&format!("longhaul.cancel('{own}')")).await, Ok(Some("Cancelled".to_owned())));
    assert_eq!(stage.value::<i64>("SELECT count(*) FROM longhaul.task WHERE type = 'DeliverWebhook'").await, 1);
    drop(session);
    app.remove(&stage.pool).await;
}

#[tokio::test]
async fn a_task_that_came_from_sql_reads_no_file_that_someone_uploaded() {
    let stage = stage().await;
    fill_project(&stage.pool, PROJECT, 1).await;
    let app = Application::make(&stage.pool, stage.database_url()).await;
    grant(&stage, &app.name, "AutomatedTestImport").await;
    let (adas, nobodys) = (Uuid::now_v7(), Uuid::now_v7());
    for (id, maker) in [(adas, Some("key:ada")), (nobodys, None)] {
        sqlx::query(
            "INSERT INTO records.upload (id, name, content, created_by) VALUES ($1, 'a.xml', '<testsuites/>', $2)",
        )
        .bind(id)
        .bind(maker)
        .execute(&stage.pool)
        .await
        .expect("uploaded");
    }
    let _worker = stage.worker(quick_worker()).await;
    let mut session = Session::of(&app).await;
    for (file, said_by, expected) in [(adas, "key:ada", "Failed"), (nobodys, "ada", "Succeeded")] {
        let import = format!(
            "longhaul.enqueue('AutomatedTestImport', '{{\"ProjectId\": \"{PROJECT}\", \"UploadId\": \"{file}\"}}', created_by => '{said_by}')"
        );
        let id = session.stores(&import).await;
        let ended = until("the import to end", async || {
            let state = state(&stage, id).await;
            matches!(state.as_str(), "Failed" | "Succeeded").then_some(state)
        })
        .await;
        assert_eq!(ended, expected);
    }
    let code: String = stage.value("SELECT error ->> 'code' FROM longhaul.task WHERE state = 'Failed'").await;
    assert_eq!(code, "unknown-upload");
    drop(session);
    app.remove(&stage.pool).await;
}

/// As before the grants: a registry for what a type of its own program needs.
#[tokio::test]
async fn types_that_no_process_knows_yet_can_be_granted() {
    let stage = Stage::with_registry(Registry::new().with::<Item>()).await;
    let app = Application::make(&stage.pool, stage.database_url()).await;
    grant(&stage, &app.name, "ToCome").await;
    let mut session = Session::of(&app).await;
    assert_eq!(session.select("longhaul.enqueue('ToCome')").await.expect_err("not yet").0, "42704");
    drop(session);
    app.remove(&stage.pool).await;
}

#[tokio::test]
async fn what_an_application_pauses_and_limits_is_written_down() {
    let stage = stage().await;
    let app = Application::make(&stage.pool, stage.database_url()).await;
    run(&stage, &format!("GRANT EXECUTE ON FUNCTION longhaul.set_queue, longhaul.pause_type TO {}", app.name)).await;
    let mut session = Session::of(&app).await;
    session
        .run(
            "SELECT longhaul.set_queue('default', max_running => 3, fair => true);
             SELECT longhaul.pause_type('Item'); SELECT longhaul.pause_type('Item', false)",
        )
        .await;
    let noted: Vec<(String, String, Option<serde_json::Value>)> =
        sqlx::query_as("SELECT deed, target, details FROM longhaul.audit WHERE who = $1 ORDER BY number")
            .bind(format!("sql:{}", app.name))
            .fetch_all(&stage.pool)
            .await
            .expect("the audit");
    let row = |deed: &str, target: &str, details| (deed.to_owned(), target.to_owned(), details);
    assert_eq!(
        noted,
        [
            row("changeQueue", "default", Some(json!({"Fair": true, "MaxRunning": 3}))),
            row("pauseType", "Item", None),
            row("resumeType", "Item", None),
        ]
    );
    app.remove(&stage.pool).await;
}
