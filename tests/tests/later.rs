//! Tasks that run later, that SQL stores, and that come in bulk.

use longhaul_model::store::bulk::enqueue_many;
use longhaul_model::store::enqueue::{NewTask, enqueue};
use longhaul_model::{DatabaseClock, Outcome, Progress, Registry, RunContext, RunError, TaskType};
use longhaul_tests::{Stage, fill_project, quick_worker, until};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlx::AssertSqlSafe;
use uuid::{Uuid, uuid};

const PROJECT: Uuid = uuid!("c651ed19-5375-475a-a539-9f6401467130");

/// Returns its number, which must be from 1 to 10.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Echo {
    #[schemars(range(min = 1, max = 10))]
    number: i64,
    text: Option<String>,
}

impl TaskType for Echo {
    const NAME: &'static str = "Echo";
    const ID_PREFIX: &'static str = "echo-";
    const QUEUE: &'static str = "echoes";
    const PRIORITY: u8 = 3;

    async fn run(self, _context: RunContext) -> Result<Outcome, RunError> {
        Outcome::with_result(json!({"number": self.number, "text": self.text}))
    }
}

fn registry() -> Registry {
    Registry::new().with::<Echo>()
}

fn echo(clock: &DatabaseClock, parameters: Value) -> NewTask {
    let info = *registry().get("Echo").expect("a registered type").info();
    NewTask::new(clock.new_id(), info, parameters)
}

async fn refused(stage: &Stage, request: &Value) -> (u16, Value) {
    let response = stage.post(request).await;
    (response.status().as_u16(), response.json().await.expect("a problem"))
}

async fn post_batch(stage: &Stage, body: &Value) -> (u16, Value) {
    let url = format!("{}/api/backgroundtasks/batch", stage.base_url);
    let response = stage.http.post(url).json(body).send().await.expect("an answer");
    (response.status().as_u16(), response.json().await.expect("JSON"))
}

fn pointers(problem: &Value) -> Vec<&str> {
    let errors = problem["errors"].as_array().expect("a list of errors");
    errors.iter().map(|error| error["pointer"].as_str().expect("a pointer")).collect()
}

async fn sql_error(stage: &Stage, sql: &str) -> String {
    let error = sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&stage.pool).await.expect_err("refused");
    error.into_database_error().expect("an error of the database").message().to_owned()
}

#[tokio::test]
async fn a_delayed_task_is_scheduled_and_runs_when_it_is_due() {
    let stage = Stage::with_registry(registry()).await;
    let worker = stage.worker(quick_worker()).await;
    let soon = stage.start(&json!({"Type": "Echo", "Parameters": {"number": 1}, "DelaySeconds": 0.5})).await;
    assert_eq!((&soon["State"], &soon["Complete"]), (&json!("Scheduled"), &json!(false)));
    assert!(soon["RunAt"].as_str().expect("a time").ends_with('Z'));
    let late =
        stage.start(&json!({"Type": "Echo", "Parameters": {"number": 2}, "RunAt": "2031-05-04T09:30:00+02:00"})).await;
    assert_eq!((&late["State"], &late["RunAt"]), (&json!("Scheduled"), &json!("2031-05-04T07:30:00Z")));
    let past =
        stage.start(&json!({"Type": "Echo", "Parameters": {"number": 3}, "RunAt": "1999-12-31T23:59:59Z"})).await;
    assert_eq!((&past["State"], past.get("RunAt")), (&json!("Queued"), None), "what is due already waits for nothing");

    assert_eq!(stage.ended(&soon).await["Result"]["number"], 1);
    assert_eq!(stage.ended(&past).await["Result"]["number"], 3);
    let on_time: bool = stage
        .value("SELECT started_at BETWEEN accepted_at + interval '0.49 s' AND accepted_at + interval '5 s' FROM longhaul.task WHERE parameters ->> 'number' = '1'")
        .await;
    assert!(on_time, "not before its time and not long after");
    let (_, late) = stage.get(late["Self"].as_str().expect("an address")).await;
    assert_eq!((&late["State"], &late["RunAt"]), (&json!("Scheduled"), &json!("2031-05-04T07:30:00Z")));
    worker.stop().await;
}

#[tokio::test]
async fn bad_delays_are_refused_with_their_pointers() {
    let stage = Stage::with_registry(registry()).await;
    let request =
        json!({"Type": "Echo", "Parameters": {"number": 1}, "RunAt": "2300-01-01T00:00:00Z", "DelaySeconds": -1});
    let (status, problem) = refused(&stage, &request).await;
    assert_eq!((status, &problem["code"]), (400, &json!("invalid-request")));
    assert_eq!(pointers(&problem), ["/DelaySeconds", "/DelaySeconds", "/RunAt"]);
    assert_eq!(stage.value::<i64>("SELECT count(*) FROM longhaul.task").await, 0);
}

#[tokio::test]
async fn a_look_for_due_tasks_steps_over_no_future() {
    let stage = Stage::with_registry(registry()).await;
    sqlx::raw_sql(
        "INSERT INTO longhaul.scheduled (run_at, id)
         SELECT now() + n * interval '1 h', gen_random_uuid() FROM generate_series(1, 20000) n;
         ANALYZE longhaul.scheduled",
    )
    .execute(&stage.pool)
    .await
    .expect("a future");
    // Of no tasks.
    stage.strands_tasks();
    let rows =
        "SELECT sum(idx_tup_read + idx_scan)::bigint FROM pg_stat_user_indexes WHERE indexrelname = 'scheduled_pkey'";
    let mut connection = stage.pool.acquire().await.expect("a connection");
    let read = async |connection: &mut sqlx::PgConnection| -> i64 {
        sqlx::raw_sql("SELECT pg_stat_clear_snapshot()").execute(&mut *connection).await.expect("fresh numbers");
        sqlx::query_scalar(rows).fetch_one(&mut *connection).await.expect("a number")
    };
    let before = read(&mut connection).await;
    longhaul_model::store::schedule::promote(&mut *connection).await.expect("a look");
    // Counters arrive when the connection that counted is idle or closes.
    let seen = until("the counters to move", async || {
        let now = read(&mut connection).await;
        (now > before).then_some(now - before)
    })
    .await;
    assert!(seen < 100, "{seen} entries of 20,000 were read");
}

#[tokio::test]
async fn sql_stores_a_task_in_the_callers_transaction() {
    let stage = Stage::new().await;
    fill_project(&stage.pool, PROJECT, 30).await;
    let worker = stage.worker(quick_worker()).await;
    sqlx::raw_sql(
        "CREATE TABLE project_change (project uuid);
         CREATE FUNCTION reindex_it() RETURNS trigger LANGUAGE plpgsql AS $$
         BEGIN
             PERFORM longhaul.enqueue('Reindex', jsonb_build_object('ProjectId', NEW.project), created_by => 'trigger');
             RETURN NEW;
         END $$;
         CREATE TRIGGER reindex AFTER INSERT ON project_change FOR EACH ROW EXECUTE FUNCTION reindex_it()",
    )
    .execute(&stage.pool)
    .await
    .expect("a trigger");
    let mut transaction = stage.pool.begin().await.expect("a transaction");
    let insert = "INSERT INTO project_change VALUES ('c651ed19-5375-475a-a539-9f6401467130')";
    sqlx::raw_sql(insert).execute(&mut *transaction).await.expect("a change");
    transaction.rollback().await.expect("a rollback");
    assert_eq!(stage.value::<i64>("SELECT count(*) FROM longhaul.task").await, 0, "rolled back, so there is no task");

    sqlx::raw_sql(insert).execute(&stage.pool).await.expect("a change");
    let id: String = stage.value("SELECT public_id FROM longhaul.tasks WHERE created_by = 'trigger'").await;
    let ended = stage.ended(&json!({"Self": format!("{}/api/backgroundtask/{id}", stage.base_url)})).await;
    assert_eq!((&ended["State"], &ended["TotalElements"]), (&json!("Succeeded"), &json!(31)));
    worker.stop().await;
}

#[tokio::test]
async fn sql_takes_queue_priority_attempts_and_time_from_the_type_unless_told() {
    let stage = Stage::with_registry(registry()).await;
    let usual: String = stage.value("SELECT longhaul.enqueue('Echo', '{\"number\": 1}')").await;
    let own: String = stage
        .value(
            "SELECT longhaul.enqueue('Echo', '{\"number\": 2}', queue => 'other', priority => 0, max_attempts => 7,
                                     run_at => now() + interval '1 h', created_by => 'me')",
        )
        .await;
    type Row = (String, String, i16, i16, String, bool, String);
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT public_id, queue, priority, max_attempts, state::text, run_at IS NOT NULL, created_by
           FROM longhaul.tasks ORDER BY id",
    )
    .fetch_all(&stage.pool)
    .await
    .expect("rows");
    let user: String = stage.value("SELECT 'sql:' || quote_ident(session_user)").await;
    let attempts = i16::try_from(longhaul_model::RetryPolicy::DEFAULT.max_attempts).expect("a small number");
    assert_eq!(
        rows,
        [
            (usual, "echoes".to_owned(), 3, attempts, "Queued".to_owned(), false, user),
            (own, "other".to_owned(), 0, 7, "Scheduled".to_owned(), true, "me".to_owned()),
        ]
    );
}

#[tokio::test]
async fn sql_says_what_is_wrong_with_its_arguments() {
    let stage = Stage::new().await;
    for (call, says) in [
        ("longhaul.enqueue('Reindx')", "'Reindx' is not a task type; the known ones are "),
        ("longhaul.enqueue(NULL)", "NULL is not a task type"),
        ("longhaul.enqueue('Reindex', '[]')", "parameters must be a JSON object"),
        ("longhaul.enqueue('Reindex', priority => 10)", "priority 10 is not from 0 (first) to 9 (last)"),
        ("longhaul.enqueue('Reindex', max_attempts => 0)", "max_attempts 0 is not from 1 to 1000"),
        ("longhaul.enqueue('Reindex', queue => '')", "a queue has a name of 1 to 100 characters"),
        ("longhaul.enqueue('Reindex', run_at => now() + interval '11 years')", "more than 3652 days ahead"),
    ] {
        let error = sql_error(&stage, &format!("SELECT {call}")).await;
        assert!(error.contains(says), "{call}: {error}");
    }
}

#[tokio::test]
async fn an_application_needs_no_rights_on_the_tables() {
    let stage = Stage::with_registry(registry()).await;
    let role = format!("app_{}", Uuid::now_v7().simple());
    let as_role = async |sql: &str| {
        let sql = format!("SET ROLE {role}; {sql}");
        let mut connection = stage.pool.acquire().await.expect("a connection").detach();
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await.map(|_| ())
    };
    let run = async |sql: String| sqlx::raw_sql(AssertSqlSafe(sql)).execute(&stage.pool).await.expect("it is done");
    run(format!("CREATE ROLE {role}; GRANT USAGE ON SCHEMA longhaul TO {role}")).await;
    let call = "SELECT longhaul.enqueue('Echo', '{\"number\": 1}')";
    assert!(as_role(call).await.is_err(), "nobody may by default");
    run(format!("GRANT EXECUTE ON FUNCTION longhaul.enqueue TO {role}")).await;
    assert!(as_role(call).await.is_err(), "no type was granted");
    run(format!("SELECT longhaul.grant_types('{role}', 'Echo')")).await;
    as_role(call).await.expect("it may now");
    assert!(as_role("SELECT * FROM longhaul.task").await.is_err());
    run(format!("DROP OWNED BY {role}; DROP ROLE {role}")).await;
}

#[tokio::test]
async fn parameters_from_sql_are_checked_when_the_task_runs() {
    let stage = Stage::with_registry(registry()).await;
    let worker = stage.worker(quick_worker()).await;
    let id: String = stage.value("SELECT longhaul.enqueue('Echo', '{\"number\": 11, \"txt\": 1}')").await;
    let ended = stage.ended(&json!({"Self": format!("{}/api/backgroundtask/{id}", stage.base_url)})).await;
    assert_eq!((&ended["State"], &ended["Attempt"]), (&json!("Failed"), &json!(1)), "no attempt could go better");
    assert_eq!(ended["Error"]["code"], "not-runnable");
    let detail = ended["Error"]["detail"].as_str().expect("a detail");
    assert!(detail.contains("/Parameters/number: ") && detail.contains("/Parameters/txt: Unknown"), "{detail}");
    worker.stop().await;
}

#[tokio::test]
async fn ids_made_by_sql_grow_with_time_beside_those_of_the_program() {
    let stage = Stage::with_registry(registry()).await;
    let clock = stage.clock().await;
    let grows: bool = stage
        .value(
            "SELECT bool_and(id > before) FROM (SELECT id, lag(id) OVER (ORDER BY n) AS before
               FROM (SELECT n, longhaul.new_id() AS id FROM generate_series(1, 20000) n) i) j WHERE before IS NOT NULL",
        )
        .await;
    assert!(grows);
    let id: Uuid = stage.value("SELECT longhaul.new_id()").await;
    assert_eq!((id.get_version_num(), id.get_variant()), (7, uuid::Variant::RFC4122));
    let millis = |id: Uuid| i64::try_from(id.as_u128() >> 80).expect("a time");
    assert!((millis(id) - millis(clock.new_id())).abs() < 1_000);
}

#[tokio::test]
async fn rust_stores_tasks_in_the_callers_transaction() {
    let stage = Stage::with_registry(registry()).await;
    let clock = stage.clock().await;
    for commits in [false, true] {
        let mut transaction = stage.pool.begin().await.expect("a transaction");
        enqueue(&mut *transaction, &[echo(&clock, json!({"number": 1}))]).await.expect("stored");
        enqueue_many(&mut transaction, [echo(&clock, json!({"number": 2}))]).await.expect("stored");
        if commits {
            transaction.commit().await.expect("a commit");
        } else {
            transaction.rollback().await.expect("a rollback");
        }
        let stored: i64 = stage.value("SELECT count(*) FROM longhaul.tasks WHERE state = 'Queued'").await;
        assert_eq!(stored, if commits { 2 } else { 0 });
    }
}

#[tokio::test]
async fn very_many_tasks_are_stored_as_one_by_one() {
    let stage = Stage::with_registry(registry()).await;
    let clock = stage.clock().await;
    let due: chrono::DateTime<chrono::Utc> = stage.value("SELECT now() + interval '1 h'").await;
    // What the text format of COPY gives a meaning to.
    let odd = "tab\t line\n return\r back\\slash \\N \\. \"quoted\" ü";
    let tasks = |last: i64| {
        let clock = &clock;
        (1..=last).map(move |number| {
            let mut task = echo(clock, json!({"number": number, "text": odd}));
            task.created_by = (number == 2).then(|| odd.to_owned());
            task.progress = Progress::of(1, 3).with_message(odd);
            task.run_at = (number == 3).then_some(due);
            task
        })
    };
    let mut transaction = stage.pool.begin().await.expect("a transaction");
    assert_eq!(enqueue_many(&mut transaction, tasks(60_001)).await.expect("stored"), 60_001);
    transaction.commit().await.expect("a commit");
    let few: Vec<NewTask> = tasks(3).collect();
    enqueue(&stage.pool, &few).await.expect("stored");

    let same: bool = stage
        .value(
            "SELECT count(*) = 3 AND bool_and(n = 2) FROM (
                 SELECT count(*) AS n FROM longhaul.tasks WHERE (parameters ->> 'number')::int <= 3
                  GROUP BY type, state, parameters, message, total_elements, processed_elements, progress, queue,
                           priority, max_attempts, created_by, run_at, attempt) AS alike",
        )
        .await;
    assert!(same);
    let states: Vec<(String, i64)> =
        sqlx::query_as("SELECT state::text, count(*) FROM longhaul.tasks GROUP BY tasks.state ORDER BY tasks.state")
            .fetch_all(&stage.pool)
            .await
            .expect("counts");
    assert_eq!(states, [("Scheduled".to_owned(), 2), ("Queued".to_owned(), 60_002)]);
}

#[tokio::test]
async fn a_batch_is_stored_whole_and_answered_in_order() {
    let stage = Stage::with_registry(registry()).await;
    let mut tasks: Vec<Value> =
        (0..2_000).map(|n| json!({"Type": "Echo", "Parameters": {"number": 1 + n % 10}})).collect();
    tasks[7]["DelaySeconds"] = json!(3600);
    let (status, body) = post_batch(&stage, &json!({"Tasks": tasks})).await;
    assert_eq!(status, 202);
    let bodies = body["Tasks"].as_array().expect("a list");
    assert_eq!(bodies.len(), 2_000);
    assert_eq!((&bodies[6]["State"], &bodies[7]["State"]), (&json!("Queued"), &json!("Scheduled")));
    let ids: Vec<String> = sqlx::query_scalar("SELECT public_id FROM longhaul.tasks ORDER BY id")
        .fetch_all(&stage.pool)
        .await
        .expect("ids");
    assert!(bodies.iter().map(|body| body["Id"].as_str().expect("an id")).eq(ids.iter()));
    let worker = stage.worker(quick_worker()).await;
    for number in [0, 6, 1_999] {
        assert_eq!(stage.ended(&bodies[number]).await["Result"]["number"], 1 + number % 10);
    }
    worker.stop().await;
}

#[tokio::test]
async fn one_bad_task_in_a_batch_stores_none_and_every_complaint_has_its_pointer() {
    let stage = Stage::with_registry(registry()).await;
    let good = json!({"Type": "Echo", "Parameters": {"number": 1}});
    let mut tasks = vec![good.clone(); 20];
    tasks[3] = json!({"Type": "Ekko"});
    tasks[17] = json!({"Type": "Echo", "Parameters": {"number": 0, "extra": 1}});
    tasks[18] = json!({"Type": "Echo", "Parameters": {"number": 1}, "DelaySeconds": "x", "Color": 1});
    tasks[19] = json!(1);
    let (status, problem) = post_batch(&stage, &json!({"Tasks": tasks})).await;
    assert_eq!((status, &problem["code"]), (400, &json!("invalid-request")));
    assert_eq!(
        pointers(&problem),
        [
            "/Tasks/3/Type",
            "/Tasks/17/Parameters/extra",
            "/Tasks/17/Parameters/number",
            "/Tasks/18/Color",
            "/Tasks/18/DelaySeconds",
            "/Tasks/19"
        ]
    );
    let (status, problem) = post_batch(&stage, &json!({"Tasks": [good, {"Type": "Echo"}]})).await;
    assert_eq!((status, &problem["code"]), (400, &json!("invalid-parameters")));
    assert_eq!(pointers(&problem), ["/Tasks/1/Parameters/number"]);
    for (body, pointer) in [
        (json!({"Tasks": []}), "/Tasks"),
        (json!({"Tasks": vec![1; 10_001]}), "/Tasks"),
        (json!({"Tasks": {}}), "/Tasks"),
        (json!({}), "/Tasks"),
        (json!([]), ""),
        (json!({"Tasks": [good], "Atomic": true}), "/Atomic"),
    ] {
        let (status, problem) = post_batch(&stage, &body).await;
        assert_eq!((status, pointers(&problem)), (400, vec![pointer]), "{problem}");
    }
    assert_eq!(stage.value::<i64>("SELECT count(*) FROM longhaul.task").await, 0);
}

/// One of a kind at a time.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Single {
    kind: String,
}

impl TaskType for Single {
    const NAME: &'static str = "Single";
    const ID_PREFIX: &'static str = "single-";

    fn key(&self) -> Option<String> {
        Some("tenant".to_owned())
    }

    fn unique_key(&self) -> Option<String> {
        longhaul_model::same_parameters(self)
    }

    async fn run(self, _context: RunContext) -> Result<Outcome, RunError> {
        Ok(Outcome::done())
    }
}

#[tokio::test]
async fn a_batch_starts_no_second_of_what_may_be_there_once() {
    let stage = Stage::with_registry(Registry::new().with::<Single>()).await;
    let of = |kind: &str| json!({"Type": "Single", "Parameters": {"kind": kind}});
    let first = stage.start(&of("b")).await;
    let (status, body) = post_batch(&stage, &json!({"Tasks": [of("a"), of("b"), of("c"), of("a")]})).await;
    assert_eq!(status, 202, "{body}");
    let ids: Vec<&str> = (0..4).map(|number| body["Tasks"][number]["Id"].as_str().expect("an id")).collect();
    assert_eq!(ids[1], first["Id"]);
    assert!(ids[0] == ids[3] && ids[0] != ids[2]);
    assert_eq!(stage.value::<i64>("SELECT count(*) FROM longhaul.task WHERE key = 'tenant'").await, 3);
}

#[tokio::test]
async fn a_repeated_request_with_a_delay_gets_the_same_task() {
    let stage = Stage::with_registry(registry()).await;
    let post = async |delay: u32| {
        let url = format!("{}/api/backgroundtasks", stage.base_url);
        let body = json!({"Type": "Echo", "Parameters": {"number": 1}, "DelaySeconds": delay});
        let response = stage.http.post(url).header("Idempotency-Key", "k").json(&body).send().await.expect("an answer");
        (response.status().as_u16(), response.json::<Value>().await.expect("JSON"))
    };
    let (first, second) = (post(600).await, post(600).await);
    assert_eq!((first.0, &first.1["State"], second), (202, &json!("Scheduled"), first.clone()));
    let (status, problem) = post(601).await;
    assert_eq!((status, &problem["code"]), (409, &json!("idempotency-key-reused")));
    let url = format!("{}/api/backgroundtasks/batch", stage.base_url);
    let batch = json!({"Tasks": [{"Type": "Echo", "Parameters": {"number": 1}}]});
    let response = stage.http.post(url).header("Idempotency-Key", "k").json(&batch).send().await.expect("an answer");
    assert_eq!(response.status(), 400, "better than to start everything twice");
}

#[tokio::test]
async fn what_sql_and_bulk_store_passes_the_gate_of_its_queue() {
    let stage = Stage::with_registry(registry()).await;
    sqlx::raw_sql("SELECT longhaul.set_queue('echoes', paused => true)").execute(&stage.pool).await.expect("paused");
    let clock = stage.clock().await;
    let mut transaction = stage.pool.begin().await.expect("a transaction");
    enqueue_many(&mut transaction, [echo(&clock, json!({"number": 1}))]).await.expect("stored");
    transaction.commit().await.expect("a commit");
    let _id: String = stage.value("SELECT longhaul.enqueue('Echo', '{\"number\": 2}', key => 'tenant')").await;
    let (ready, held): (i64, i64) = sqlx::query_as("SELECT ready, held FROM longhaul.queues WHERE queue = 'echoes'")
        .fetch_one(&stage.pool)
        .await
        .expect("counts");
    assert_eq!((ready, held), (0, 2));
}

#[tokio::test]
async fn a_refused_create_step_in_a_batch_stores_none_and_names_the_task() {
    let stage = Stage::new().await;
    fill_project(&stage.pool, PROJECT, 3).await;
    let of = |id: &str| json!({"Type": "Reindex", "Parameters": {"ProjectId": id}});
    let unknown = "00000000-0000-4000-8000-000000000000";
    let (status, problem) =
        post_batch(&stage, &json!({"Tasks": [of(&PROJECT.to_string()), of(unknown), of(unknown)]})).await;
    assert_eq!((status, &problem["code"]), (500, &json!("unknown-project")));
    assert_eq!(pointers(&problem), ["/Tasks/1", "/Tasks/2"]);
    assert_eq!(stage.value::<i64>("SELECT count(*) FROM longhaul.task").await, 0);
}

#[tokio::test]
async fn a_batch_may_be_larger_than_other_bodies_up_to_a_limit_of_its_own() {
    let stage = Stage::with_registry(registry()).await;
    let of_bytes =
        |bytes: usize| json!({"Tasks": [{"Type": "Echo", "Parameters": {"number": 1, "text": "x".repeat(bytes)}}]});
    assert_eq!(post_batch(&stage, &of_bytes(2 * 1024 * 1024)).await.0, 202);
    let (status, problem) = post_batch(&stage, &of_bytes(17 * 1024 * 1024)).await;
    assert_eq!((status, &problem["code"]), (413, &json!("payload-too-large")));
}
