//! Secret parameters: encrypted at rest, redacted wherever someone looks, known to the
//! handler alone.

use std::sync::{Arc, Mutex};

use longhaul_devdb::{Options, Server};
use longhaul_model::schemars::{self, JsonSchema};
use longhaul_model::store::enqueue::{NewTask, enqueue};
use longhaul_model::{
    CreateContext, CreateError, Keyring, Outcome, Progress, Registry, Resources, RunContext, RunError, Secret,
    SecretKey, TaskType, redacted,
};
use longhaul_tests::{Stage, quick_worker};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, PgPool};
use tracing_subscriber::fmt::MakeWriter;

const PASSWORD: &str = "correct-horse-battery-staple";

/// What the handlers were given, to see that it was the password.
#[derive(Default)]
struct Given(Mutex<Vec<String>>);

/// Talks about its password in every way that there is.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct FetchMail {
    user: String,
    password: Secret<String>,
    #[serde(default)]
    fail: bool,
    #[serde(default)]
    children: u32,
}

impl TaskType for FetchMail {
    const NAME: &'static str = "FetchMail";
    const ID_PREFIX: &'static str = "fetchmail_";

    fn unique_key(&self) -> Option<String> {
        (self.user == "once").then(|| longhaul_model::same_parameters(self)).flatten()
    }

    async fn create(&self, _context: &CreateContext) -> Result<Progress, CreateError> {
        match self.password.expose().as_str() {
            "" => Err(CreateError::Internal(format!("{self:?} has no password").into())),
            _ => Ok(Progress::unknown()),
        }
    }

    async fn run(self, context: RunContext) -> Result<Outcome, RunError> {
        let password = self.password.expose();
        if let Some(given) = context.resources().get::<Arc<Given>>() {
            given.0.lock().expect("not poisoned").push(password.clone());
        }
        context.log().info(format!("logging in with {password}"));
        context.log().info(format!("{self:?}"));
        context.progress().step(format!("step of {password}"), 50);
        context.progress().set_message(format!("as {}:{password}", self.user));
        tracing::info!(task = ?self, "fetching");
        if self.children > 0 && context.family().await?.children == 0 {
            let child =
                || FetchMail { user: "child".into(), password: self.password.clone(), fail: false, children: 0 };
            context.fan_out((0..self.children).map(|_| child()), &json!({"said": password})).await?;
            return Ok(Outcome::AwaitChildren);
        }
        if self.children == 0 {
            context.save_checkpoint(&json!({"said": password}))?;
        }
        assert!(self.user != "panics", "{password} was too much: {:?}", [password]);
        if self.fail {
            return Err(RunError::from(std::io::Error::other(format!("{password} was refused"))));
        }
        Outcome::with_result(json!({"greeting": format!("hello {password}"), password: 1}))
    }
}

fn key(digit: char) -> SecretKey {
    SecretKey::parse(&digit.to_string().repeat(64)).expect("a key")
}

fn keyring() -> Keyring {
    Keyring::new(key('a'), Vec::new())
}

async fn stage(keyring: Option<Keyring>) -> (Stage, Arc<Given>) {
    let given = Arc::new(Given::default());
    let mut resources = Resources::new().with(Arc::clone(&given));
    if let Some(keyring) = keyring {
        resources = resources.with(keyring);
    }
    let stage = Stage::builder(Registry::new().with::<FetchMail>()).resources(resources).start().await;
    (stage, given)
}

fn request(parameters: Value) -> Value {
    json!({"Type": "FetchMail", "Parameters": parameters})
}

/// Every value of every row of every table and view, as text.
async fn everything(pool: &PgPool) -> String {
    let relations: Vec<(String, bool)> = sqlx::query_as(
        "SELECT c.oid::regclass::text, c.relkind = 'v' FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
          WHERE c.relkind IN ('r', 'v') AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')",
    )
    .fetch_all(pool)
    .await
    .expect("tables");
    let mut all = String::new();
    for (relation, is_view) in relations {
        let sql = format!("SELECT coalesce(string_agg(t::text, chr(10)), '') FROM {relation} t");
        let rows: String = sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(pool).await.expect(&relation);
        assert!(!is_view || !rows.contains("$sealed"), "what people read shows a sealed secret: {relation}");
        all.push_str(&format!("== {relation}\n{rows}\n"));
    }
    all
}

/// What this test's thread logs.
#[derive(Clone, Default)]
struct Logged(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Logged {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("not poisoned").extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Logged {
    type Writer = Logged;
    fn make_writer(&self) -> Logged {
        self.clone()
    }
}

#[tokio::test]
async fn a_secret_reaches_the_handler_and_nothing_else() {
    let logged = Logged::default();
    // A test's runtime has one thread, so this sees API and worker.
    let _guard = tracing::subscriber::set_default(
        tracing_subscriber::fmt().with_max_level(tracing::Level::DEBUG).with_writer(logged.clone()).finish(),
    );
    let (stage, given) = stage(Some(keyring())).await;
    let mut bodies = String::new();
    for parameters in [
        json!({"user": "ada", "password": PASSWORD}),
        json!({"user": "bob", "password": PASSWORD, "fail": true}),
        json!({"user": "panics", "password": PASSWORD}),
        json!({"user": "once", "password": PASSWORD, "children": 3}),
    ] {
        bodies.push_str(&stage.start(&request(parameters)).await.to_string());
    }
    let batch = json!({"Map": {"Type": "FetchMail", "Over": "user", "Values": ["x", "y"], "Parameters": {"password": PASSWORD}}});
    let response = stage.http.post(format!("{}/api/backgroundtasks/batch", stage.base_url)).json(&batch).send().await;
    assert_eq!(response.expect("an answer").status(), 202);
    let schedule = json!({"Name": "nightly", "Cron": "0 0 3 * * *", "Type": "FetchMail",
                          "Parameters": {"user": "cron", "password": PASSWORD}});
    let response = stage.http.post(format!("{}/api/schedules", stage.base_url)).json(&schedule).send().await;
    let response = response.expect("an answer");
    assert_eq!(response.status(), 201);
    bodies.push_str(&response.text().await.expect("a body"));

    let url = format!("{}/api/schedules/nightly/run", stage.base_url);
    let response = stage.http.post(url).send().await.expect("an answer");
    let status = response.status();
    let body = response.text().await.expect("a body");
    assert_eq!(status, 202, "{body}");
    bodies.push_str(&body);

    // Before anything has run.
    let waiting = everything(&stage.pool).await;
    assert!(waiting.contains("$sealed") && waiting.contains("[redacted]"), "{waiting}");
    assert!(!waiting.contains(PASSWORD));

    let _worker = stage.worker(quick_worker()).await;
    longhaul_tests::until("all tasks but the failing one to end", async || {
        let open: i64 = stage
            .value("SELECT count(*) FROM longhaul.task WHERE finished_at IS NULL AND parameters ->> 'user' NOT IN ('bob', 'panics')")
            .await;
        let failed: i64 = stage.value("SELECT count(DISTINCT task_id) FROM longhaul.attempt_error").await;
        (open == 0 && failed == 2).then_some(())
    })
    .await;
    let given = given.0.lock().expect("not poisoned").clone();
    assert!(given.len() >= 8 && given.iter().all(|password| password == PASSWORD), "{given:?}");

    for path in ["/api/backgroundtasks?limit=100", "/api/schedules/nightly", "/api/openapi.json"] {
        let response = stage.http.get(format!("{}{path}", stage.base_url)).send().await.expect("an answer");
        bodies.push_str(&response.text().await.expect("a body"));
    }
    let ids: Vec<String> =
        sqlx::query_scalar("SELECT public_id FROM longhaul.tasks").fetch_all(&stage.pool).await.expect("ids");
    for id in ids {
        for path in ["", "/log"] {
            let (_, body) = stage.get(&format!("/api/backgroundtask/{id}{path}")).await;
            bodies.push_str(&body.to_string());
        }
        // Parameters and failed attempts are shown as on the page, by the same rule.
        let page = longhaul_tests::get(format!("{}/tasks/{id}", stage.base_url)).await.expect("a page");
        bodies.push_str(&page.text().await.expect("text"));
        let shown: Value = sqlx::query_scalar("SELECT parameters FROM longhaul.tasks WHERE public_id = $1")
            .bind(&id)
            .fetch_one(&stage.pool)
            .await
            .expect("parameters");
        let (_, body) = stage.get(&format!("/api/backgroundtask/{id}")).await;
        assert_eq!(body["Parameters"], shown);
        if id.starts_with("fetchmail") {
            assert_eq!(body["Parameters"]["password"], "[redacted]", "{body}");
        }
    }
    assert!(bodies.contains("[redacted]"), "{bodies}");
    assert!(!bodies.contains(PASSWORD));
    let stored = everything(&stage.pool).await;
    assert!(stored.contains("logging in with [redacted]"), "{stored}");
    assert!(stored.contains("as ada:[redacted]"), "{stored}");
    assert!(stored.contains("hello [redacted]"), "{stored}");
    assert!(stored.contains("[redacted] was refused") || !stored.contains("was refused"), "{stored}");
    assert!(stored.contains("[redacted] was too much"), "{stored}");
    let leak = stored.lines().find(|line| line.contains(PASSWORD));
    assert!(leak.is_none(), "{leak:?}");
    let logged = String::from_utf8(logged.0.lock().expect("not poisoned").clone()).expect("text");
    assert!(logged.contains("attempt failed") && logged.contains("[redacted] was refused"), "{logged}");
    let leak = logged.lines().find(|line| line.contains(PASSWORD));
    assert!(leak.is_none(), "{leak:?}");
}

#[tokio::test]
async fn complaints_do_not_repeat_what_may_be_a_secret() {
    let (stage, _) = stage(Some(keyring())).await;
    for parameters in [
        json!({"user": "ada", "password": [PASSWORD]}),
        json!({"user": [PASSWORD], "password": PASSWORD}),
        json!({"user": "ada", "password": {"$sealed": PASSWORD}}),
    ] {
        let response = stage.post(&request(parameters)).await;
        assert_eq!(response.status(), 400);
        let body = response.text().await.expect("a body");
        assert!(body.contains("invalid-parameters") && !body.contains(PASSWORD), "{body}");
    }
}

#[tokio::test]
async fn without_a_key_a_task_with_secrets_is_refused_in_words_that_help() {
    let (stage, _) = stage(None).await;
    let response = stage.post(&request(json!({"user": "ada", "password": PASSWORD}))).await;
    assert_eq!(response.status(), 500);
    let body: Value = response.json().await.expect("a problem");
    assert_eq!(body["code"], "no-secret-key");
    assert!(body["detail"].as_str().is_some_and(|detail| detail.contains("LONGHAUL_SECRET_KEY")), "{body}");
    assert_eq!(stage.value::<i64>("SELECT count(*) FROM longhaul.task").await, 0);
}

#[tokio::test]
async fn an_idempotency_key_knows_the_same_request_and_another_by_its_secret() {
    let (stage, _) = stage(Some(keyring())).await;
    let send = async |password: &str| {
        let url = format!("{}/api/backgroundtasks", stage.base_url);
        let body = request(json!({"user": "ada", "password": password}));
        let response = stage.http.post(url).header("Idempotency-Key", "k").json(&body).send().await.expect("an answer");
        (response.status().as_u16(), response.json::<Value>().await.expect("a body"))
    };
    let (status, first) = send(PASSWORD).await;
    assert_eq!(status, 202);
    let (status, again) = send(PASSWORD).await;
    assert_eq!((status, &again["Id"]), (202, &first["Id"]));
    let (status, other) = send("another").await;
    assert_eq!((status, &other["code"]), (409, &json!("idempotency-key-reused")));
}

#[tokio::test]
async fn after_a_change_of_keys_what_the_old_one_sealed_still_runs() {
    let (stage, _) = stage(Some(keyring())).await;
    let body = stage.start(&request(json!({"user": "ada", "password": PASSWORD}))).await;
    let lost = stage.start(&request(json!({"user": "ada", "password": PASSWORD, "children": 1}))).await;
    let run = async |keyring: Keyring, body: &Value| {
        let given = Arc::new(Given::default());
        let next = Stage::builder(Registry::new().with::<FetchMail>())
            .resources(Resources::new().with(keyring).with(Arc::clone(&given)))
            .database(stage.database_url())
            .start()
            .await;
        let worker = next.worker(quick_worker()).await;
        let (_, ended) = {
            let id = body["Id"].as_str().expect("an id").to_owned();
            let body = json!({"Self": format!("{}/api/backgroundtask/{id}", next.base_url)});
            (0, next.ended(&body).await)
        };
        worker.stop().await;
        ended
    };
    sqlx::query("UPDATE longhaul.queue SET max_running = max_running").execute(&stage.pool).await.expect("nothing");
    let rotated = Keyring::new(key('b'), vec![key('a')]);
    assert_eq!(run(rotated.clone(), &body).await["State"], "Succeeded");
    assert_eq!(run(rotated, &lost).await["State"], "Succeeded");
    // A host that does not have the old key any more says which key it was.
    let late = stage.start(&request(json!({"user": "ada", "password": PASSWORD}))).await;
    let failed = run(Keyring::new(key('b'), Vec::new()), &late).await;
    assert_eq!(failed["Error"]["code"], "not-runnable");
    let detail = failed["Error"]["detail"].as_str().expect("a detail");
    assert!(detail.contains("LONGHAUL_OLDER_SECRET_KEYS"), "{detail}");
}

#[tokio::test]
async fn sql_can_not_store_a_secret_in_plain_text_and_rust_seals_it() {
    let (stage, given) = stage(Some(keyring())).await;
    for sql in [
        "SELECT longhaul.enqueue('FetchMail', '{\"user\": \"ada\", \"password\": \"x\"}')",
        "SELECT longhaul.enqueue_batch('FetchMail', ARRAY['{\"user\": \"ada\", \"password\": \"x\"}'::jsonb])",
        "SELECT longhaul.enqueue_after(ARRAY['fetchmail_' || gen_random_uuid()], 'FetchMail', '{\"password\": \"x\"}')",
    ] {
        let error = sqlx::query(sql).execute(&stage.pool).await.expect_err(sql);
        let error = error.as_database_error().expect("of the database");
        assert_eq!(error.code().as_deref(), Some("0A000"), "{error}");
    }
    let clock = stage.clock().await;
    let task = FetchMail { user: "ada".into(), password: Secret::new(PASSWORD.into()), fail: false, children: 0 };
    let error = NewTask::of(clock.new_id(), &task).expect_err("it has a secret");
    assert!(error.to_string().contains("NewTask::sealed"), "{error}");
    let task = NewTask::sealed(clock.new_id(), &task, &keyring()).expect("sealed");
    assert_eq!(redacted(&task.parameters)["password"], "[redacted]");
    enqueue(&stage.pool, &[task]).await.expect("stored");
    let _worker = stage.worker(quick_worker()).await;
    longhaul_tests::until("the task to run", async || {
        let given = given.0.lock().expect("not poisoned");
        (given.as_slice() == [PASSWORD]).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_dump_of_the_whole_server_has_no_secret_in_plain_text() {
    // With everything that the server writes down: data files, WAL and log.
    let server = Server::start(Options::temporary().durable(false)).await.expect("a server");
    server.ensure_database("ours").await.expect("a database");
    let given = Arc::new(Given::default());
    let stage = Stage::builder(Registry::new().with::<FetchMail>())
        .resources(Resources::new().with(keyring()).with(Arc::clone(&given)))
        .database(&server.url("ours"))
        .start()
        .await;
    let _worker = stage.worker(quick_worker()).await;
    let body = stage.start(&request(json!({"user": "ada", "password": PASSWORD}))).await;
    assert_eq!(stage.ended(&body).await["State"], "Succeeded");
    sqlx::query("CHECKPOINT").execute(&stage.pool).await.expect("a checkpoint");
    let directory: String = stage.value("SHOW data_directory").await;
    let mut files = vec![std::path::PathBuf::from(directory)];
    let (mut seen, mut user) = (0, false);
    while let Some(path) = files.pop() {
        if path.is_dir() {
            files.extend(std::fs::read_dir(&path).into_iter().flatten().flatten().map(|entry| entry.path()));
        } else if let Ok(bytes) = std::fs::read(&path) {
            seen += 1;
            user |= bytes.windows(9).any(|window| window == b"FetchMail");
            let found = bytes.windows(PASSWORD.len()).any(|window| window == PASSWORD.as_bytes());
            assert!(!found, "{} has it", path.display());
        }
    }
    assert!(seen > 500 && user, "{seen} files");
}

/// A stolen login of the API may store tasks and change schedules; what was sealed for
/// others it can neither use for a task of its own nor send elsewhere.
#[tokio::test]
async fn what_was_sealed_for_one_task_or_schedule_opens_for_no_other_and_beside_nothing_else() {
    let (stage, given) = stage(Some(keyring())).await;
    let first = stage.start(&request(json!({"user": "ada", "password": PASSWORD}))).await;
    let schedule = json!({"Name": "nightly", "Cron": "0 0 3 * * *", "Type": "FetchMail",
                          "Parameters": {"user": "cron", "password": PASSWORD}});
    let made = stage.http.post(format!("{}/api/schedules", stage.base_url)).json(&schedule).send().await;
    assert_eq!(made.expect("an answer").status(), 201);
    let api = PgPool::connect(&stage.logins().api).await.expect("the API's login");
    let copy = |from: &str, made_by: &str, change: &str| {
        format!(
            "WITH copied AS (
                INSERT INTO longhaul.task (id, type, queue, priority, max_attempts, parameters, created_by, state)
                SELECT longhaul.new_id(), 'FetchMail', 'default', 5, 1, parameters || '{change}', '{made_by}', 'Queued'
                  FROM {from} RETURNING id)
             INSERT INTO longhaul.ready (queue, priority, id) SELECT 'default', 5, id FROM copied"
        )
    };
    for sql in [
        copy("longhaul.task WHERE created_by IS NULL", "key:eve", "{}"),
        copy("longhaul.task WHERE created_by IS NULL", "schedule:nightly", "{}"),
        copy("longhaul.schedule", "key:eve", "{}"),
        copy("longhaul.schedule", "schedule:other", "{}"),
        copy("longhaul.schedule", "schedule:nightly", "{\"user\": \"eve\"}"),
    ] {
        sqlx::raw_sql(AssertSqlSafe(sql.clone())).execute(&api).await.expect(&sql);
    }
    let moved = "UPDATE longhaul.schedule SET parameters = parameters || '{\"user\": \"mallory\"}'";
    let run = async || {
        let url = format!("{}/api/schedules/nightly/run", stage.base_url);
        let response = stage.http.post(url).send().await.expect("an answer");
        response.json::<Value>().await.expect("a body")
    };
    let honest = run().await;
    sqlx::raw_sql(moved).execute(&api).await.expect("changed");
    let sent_elsewhere = run().await;

    let worker = stage.worker(quick_worker()).await;
    for body in [&first, &honest] {
        assert_eq!(stage.ended(body).await["State"], "Succeeded");
    }
    let ended = stage.ended(&sent_elsewhere).await;
    assert_eq!(ended["Error"]["code"], "not-runnable", "{ended}");
    longhaul_tests::until("all to end", async || {
        (stage.value::<i64>("SELECT count(*) FROM longhaul.task WHERE finished_at IS NULL").await == 0).then_some(())
    })
    .await;
    let failed: i64 = stage.value("SELECT count(*) FROM longhaul.task WHERE error ->> 'code' = 'not-runnable'").await;
    assert_eq!(failed, 6);
    assert_eq!(given.0.lock().expect("not poisoned").as_slice(), [PASSWORD, PASSWORD]);
    worker.stop().await;
}

/// As a release stored them that bound a secret to type and place.
#[tokio::test]
async fn what_earlier_releases_sealed_still_opens() {
    let (stage, given) = stage(Some(keyring())).await;
    let text = serde_json::to_vec(PASSWORD).expect("JSON");
    for bound_to in [&b"FetchMail\0/password"[..], b"FetchMail"] {
        let sealed = keyring().seal(bound_to, text.clone()).expect("sealed");
        sqlx::query(
            "WITH stored AS (
                INSERT INTO longhaul.task (id, type, queue, priority, max_attempts, parameters, state)
                VALUES (longhaul.new_id(), 'FetchMail', 'default', 5, 1, $1, 'Queued') RETURNING id)
             INSERT INTO longhaul.ready (queue, priority, id) SELECT 'default', 5, id FROM stored",
        )
        .bind(json!({"user": "ada", "password": {"$sealed": sealed}}))
        .execute(&stage.pool)
        .await
        .expect("stored");
    }
    let worker = stage.worker(quick_worker()).await;
    longhaul_tests::until("both to run", async || {
        let given = given.0.lock().expect("not poisoned");
        (given.as_slice() == [PASSWORD, PASSWORD]).then_some(())
    })
    .await;
    worker.stop().await;
}
