//! One row that can't be read, and one that no door takes: the others go on.

use longhaul_model::serde_json::{Value, json};
use longhaul_model::store::bulk::enqueue_many;
use longhaul_model::store::detail::detail;
use longhaul_model::store::enqueue::{NewTask, enqueue};
use longhaul_model::store::queue::{QueueSettings, set as set_queue};
use longhaul_model::{
    CREATED_BY_BYTES, DEEPEST, DatabaseClock, ELEMENTS_AT_MOST, KEY_BYTES, NAME_BYTES, Outcome, PARAMETERS_BYTES,
    RATE_SECONDS, Registry, RunContext, RunError, STORED_KEY_BYTES, TaskType, UNIQUE_KEY_BYTES,
};
use longhaul_tests::{Stage, quick_worker, until};
use longhaul_worker::Settings;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sqlx::AssertSqlSafe;
use uuid::Uuid;

/// Ends at once; its key is what it is given.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
struct Echo {
    #[serde(default)]
    number: i64,
    #[serde(default)]
    key: Option<String>,
    #[serde(default)]
    total: Option<i64>,
}

impl TaskType for Echo {
    const NAME: &'static str = "Echo";
    const ID_PREFIX: &'static str = "echo-";
    const QUEUE: &'static str = "echoes";

    fn key(&self) -> Option<String> {
        self.key.clone()
    }

    async fn run(self, context: RunContext) -> Result<Outcome, RunError> {
        context.log().info("at work");
        if let Some(total) = self.total {
            context.progress().set_total(total);
        }
        Outcome::with_result(json!({"number": self.number}))
    }
}

fn registry() -> Registry {
    Registry::new().with::<Echo>()
}

async fn stage() -> Stage {
    Stage::with_registry(registry()).await
}

fn echoes(clock: &DatabaseClock, number: usize) -> Vec<NewTask> {
    (0..number).map(|number| echo(clock, json!({"number": number}))).collect()
}

fn echo(clock: &DatabaseClock, parameters: Value) -> NewTask {
    NewTask::new(clock.new_id(), *registry().get("Echo").expect("a registered type").info(), parameters)
}

async fn refusal(stage: &Stage, sql: &str) -> String {
    let refused = sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&stage.pool).await;
    refused.expect_err(sql).into_database_error().expect("an error of the database").message().to_owned()
}

/// One slot: a row that holds up its lane holds up everything.
fn one_slot() -> Settings {
    Settings { slots: 1, ..quick_worker() }
}

/// JSON as SQL, nested deeper than serde_json reads.
const DEEP: &str = "('{\"a\":' || repeat('[', 130) || repeat(']', 130) || '}')::jsonb";
const HUGE: &str = "'{\"a\": 1e400}'::jsonb";

/// What one row holds, how that is said in SQL, and how its task ends.
pub(crate) const ROWS: [(&str, &str, &str); 51] = [
    ("parameters", DEEP, "Failed"),
    ("parameters", HUGE, "Failed"),
    ("parameters", "'[]'", "Failed"),
    ("parameters", "'{\"number\": 1e30}'", "Failed"),
    ("checkpoint", DEEP, "Failed"),
    ("checkpoint", HUGE, "Failed"),
    ("result", DEEP, "Succeeded"),
    ("error", DEEP, "Succeeded"),
    ("error", "'\"odd\"'", "Succeeded"),
    ("steps", DEEP, "Succeeded"),
    ("steps", "'{\"no\": \"list\"}'", "Succeeded"),
    ("trace_context", "repeat('x', 100000)", "Succeeded"),
    ("message", "repeat('ä', 1000000)", "Succeeded"),
    ("created_by", "repeat('c', 100000)", "Succeeded"),
    ("key", "repeat('k', 100000)", "Succeeded"),
    ("unique_key", "repeat('u', 100000)", "Succeeded"),
    ("total_elements", "9223372036854775807", "Succeeded"),
    ("fraction", "'NaN'", "Succeeded"),
    ("fraction", "'infinity'", "Succeeded"),
    ("attempt", "-32768", "Succeeded"),
    ("attempt", "32767", "Succeeded"),
    ("max_attempts", "-32768", "Succeeded"),
    ("crashes", "-32768", "Succeeded"),
    ("crashes", "32767", "Succeeded"),
    ("logged", "9223372036854775807", "Succeeded"),
    ("run_at", "'infinity'", "Succeeded"),
    ("accepted_at", "'infinity'", "Succeeded"),
    ("accepted_at", "'-infinity'", "Succeeded"),
    ("type", "repeat('T', 100000)", "Failed"),
    ("tags", "ARRAY[repeat('t', 100000)]", "Succeeded"),
    ("tags", "ARRAY[NULL, '']", "Succeeded"),
    ("tags", "ARRAY(SELECT 'a' FROM generate_series(1, 10000))", "Succeeded"),
    ("timeout_seconds", "'NaN'", "Succeeded"),
    ("timeout_seconds", "-1", "Succeeded"),
    ("timeout_seconds", "'infinity'", "Succeeded"),
    ("timeout_seconds", "1e-300", "Succeeded"),
    ("interruptions", "32767", "Succeeded"),
    ("interruptions", "-32768", "Succeeded"),
    ("priority", "0", "Succeeded"),
    ("processed_elements", "9223372036854775807, total_elements = 9223372036854775807", "Succeeded"),
    ("started_at", "'infinity'", "Succeeded"),
    ("started_at", "'-infinity'", "Succeeded"),
    ("worker_id", "2147483647", "Succeeded"),
    ("worker_id", "-2147483648", "Succeeded"),
    ("crashes", "3", "Succeeded"),
    ("logged", "-9223372036854775808", "Succeeded"),
    ("fraction", "3.4e38", "Succeeded"),
    ("fraction", "-3.4e38", "Succeeded"),
    ("run_at", "'-infinity'", "Succeeded"),
    ("trace_context", "''", "Succeeded"),
    ("max_attempts", "32767", "Succeeded"),
];

/// The poison suite: an extreme value in each column of a task's row that a user, a handler
/// or SQL can fill, in one row of a thousand.
#[tokio::test]
async fn a_row_with_an_extreme_value_ends_alone_and_the_others_as_if_it_were_not_there() {
    let stage = stage().await;
    let clock = stage.clock().await;
    let tasks = echoes(&clock, ROWS.len() * 1_000);
    enqueue(&stage.pool, &tasks).await.expect("stored");
    let planted: Vec<Uuid> = tasks.iter().map(|task| task.id).step_by(1_000).collect();
    for (id, (column, value, _)) in planted.iter().zip(ROWS) {
        stage.execute(format!("UPDATE longhaul.task SET {column} = {value} WHERE id = '{id}'")).await;
    }
    // Also in the first task, whose wait is shown.
    stage.execute(format!("UPDATE longhaul.task SET run_at = 'infinity' WHERE id = '{}'", tasks[1].id)).await;
    stage
        .execute(format!(
            "DELETE FROM longhaul.ready WHERE id = '{}'; INSERT INTO longhaul.ready VALUES ('echoes', 0, '{}')",
            tasks[1].id, tasks[1].id
        ))
        .await;
    for accepted_at in ["now()", "'infinity'", "'-infinity'"] {
        let first = tasks[1].id;
        stage.execute(format!("UPDATE longhaul.task SET accepted_at = {accepted_at} WHERE id = '{first}'")).await;
        longhaul_model::store::depth::read(&stage.pool).await.expect("how much waits");
        stage.execute("SELECT max(oldest_waiting) FROM longhaul.queues").await;
    }
    stage
        .execute(format!(
            "DELETE FROM longhaul.ready WHERE id = '{}'; INSERT INTO longhaul.ready VALUES ('echoes', 5, '{}')",
            tasks[1].id, tasks[1].id
        ))
        .await;
    // Every page shows what it can, before and after.
    let look = async |when: &str| {
        for (id, (column, value, _)) in planted.iter().zip(ROWS) {
            if column != "type" {
                let (status, body) = stage.get(&format!("/api/backgroundtask/echo-{id}")).await;
                assert_eq!(status, 200, "{when}: {column} {value}: {body}");
            }
            let page = format!("{}/tasks/echo-{id}", stage.base_url);
            let answer = longhaul_tests::get(&page).await.expect("an answer");
            assert_ne!(answer.status(), 500, "{when}: {column} {value}");
            assert!(detail(&stage.pool, *id).await.expect(column).is_some());
        }
        // The row with steps that are no list does not cost the view, nor do infinite times.
        stage.execute("SELECT count(path), count(steps) FROM longhaul.progress").await;
        stage.execute("SELECT max(age), count(*) FROM longhaul.tasks; SELECT * FROM longhaul.queues").await;
        for page in ["/api/tasks?limit=100", "/api/overview", "/api/queues", "/metrics"] {
            let answer = stage.http.get(format!("{}{page}", stage.base_url)).send().await.expect("an answer");
            assert_eq!(answer.status(), 200, "{when}: {page}");
        }
        for page in ["/tasks", "/", "/queues"] {
            let answer = longhaul_tests::get(format!("{}{page}", stage.base_url)).await.expect("an answer");
            assert_eq!(answer.status(), 200, "{when}: {page}");
        }
    };
    look("before").await;
    let worker = stage.worker(one_slot()).await;
    until("all to end", async || {
        (stage.value::<i64>("SELECT count(*) FROM longhaul.task WHERE finished_at IS NULL").await == 0).then_some(())
    })
    .await;
    for (id, (column, value, ends)) in planted.iter().zip(ROWS) {
        let (state, code): (String, Option<String>) =
            sqlx::query_as("SELECT state::text, error ->> 'code' FROM longhaul.task WHERE id = $1")
                .bind(id)
                .fetch_one(&stage.pool)
                .await
                .expect("a row");
        assert_eq!(state, ends, "{column} {value}");
        assert_eq!(code.as_deref(), (ends == "Failed").then_some("not-runnable"), "{column} {value}");
    }
    let succeeded: i64 = stage.value("SELECT count(*) FROM longhaul.task WHERE state = 'Succeeded'").await;
    let failed = ROWS.iter().filter(|(_, _, ends)| *ends == "Failed").count();
    assert_eq!(usize::try_from(succeeded).expect("a count"), tasks.len() - failed);
    let (_, body) = stage.get(&format!("/api/backgroundtask/echo-{}", planted[0])).await;
    let detail = body["Error"]["detail"].as_str().expect("a detail");
    assert!(detail.starts_with("The stored parameters can't be read: recursion limit exceeded"), "{detail}");
    look("after").await;
    assert_eq!(stage.value::<i64>("SELECT count(*) FROM longhaul.lease").await, 0, "nothing is claimed for ever");
    worker.stop().await;
}

#[tokio::test]
async fn an_end_at_infinity_costs_no_page() {
    let stage = stage().await;
    stage.strands_tasks();
    let clock = stage.clock().await;
    let tasks = echoes(&clock, 4);
    enqueue(&stage.pool, &tasks).await.expect("stored");
    let ends = [("now() + '1 h'", "now()"), ("'infinity'", "now()"), ("now() + '1 h'", "'-infinity'")];
    for (task, (until, from)) in tasks.iter().zip(ends) {
        let (id, at) = (task.id, if from == "now()" { until } else { from });
        stage
            .execute(format!(
                "DELETE FROM longhaul.ready WHERE id = '{id}';
                 UPDATE longhaul.task SET state = 'Running', attempt = 1, ends_at = {at}, ends_from = {from}, ends_until = {until}
                  WHERE id = '{id}'"
            ))
            .await;
    }
    for (number, task) in tasks.iter().enumerate() {
        let (status, body) = stage.get(&format!("/api/backgroundtask/echo-{}", task.id)).await;
        assert_eq!(status, 200, "{body}");
        assert_eq!(body.get("TimeLeft").is_some(), number == 0, "only what is known: {body}");
    }
    let (status, list) = stage.get("/api/tasks").await;
    assert_eq!((status, list["Items"].as_array().map(Vec::len)), (200, Some(4)), "{list}");
}

/// So many that every lane meets one at once.
#[tokio::test]
async fn forty_rows_that_cant_be_read_stop_no_lane() {
    let stage = stage().await;
    let clock = stage.clock().await;
    let tasks = echoes(&clock, 41);
    enqueue(&stage.pool, &tasks).await.expect("stored");
    stage.execute(format!("UPDATE longhaul.task SET parameters = {HUGE} WHERE parameters ->> 'number' <> '40'")).await;
    let worker = stage.worker(one_slot()).await;
    let last = json!({"Self": format!("{}/api/backgroundtask/echo-{}", stage.base_url, tasks[40].id)});
    assert_eq!(stage.ended(&last).await["State"], "Succeeded");
    assert_eq!(stage.value::<i64>("SELECT count(*) FROM longhaul.task WHERE state = 'Failed'").await, 40);
    worker.stop().await;
}

#[tokio::test]
async fn no_door_takes_parameters_that_no_worker_could_read() {
    let stage = stage().await;
    let clock = stage.clock().await;
    let id = clock.new_id();
    enqueue(&stage.pool, &[NewTask { id, ..echo(&clock, json!({})) }]).await.expect("stored");
    for (bad, says) in
        [(DEEP, "nested more than 100 levels"), (HUGE, "a number beyond"), ("NULL", "must be a JSON object")]
    {
        for call in [
            format!("longhaul.enqueue('Echo', {bad})"),
            format!("longhaul.enqueue_after(ARRAY['echo-{id}'], 'Echo', {bad})"),
        ] {
            let error = refusal(&stage, &format!("SELECT {call}")).await;
            assert!(error.contains(says), "{call}: {error}");
        }
    }
    for bad in [DEEP, HUGE] {
        refusal(&stage, &format!("SELECT longhaul.enqueue_batch('Echo', ARRAY['{{}}', {bad}])")).await;
    }
    let bytes =
        refusal(&stage, "SELECT longhaul.enqueue('Echo', jsonb_build_object('a', repeat('x', 16777216)))").await;
    assert!(bytes.contains("more than 16777216 bytes"), "{bytes}");

    let nested = |levels: usize| (0..levels).fold(json!(1), |inner, _| json!([inner]));
    let deep = json!({"a": nested(DEEPEST)});
    enqueue(&stage.pool, &[echo(&clock, deep.clone())]).await.expect_err("too deep");
    let mut transaction = stage.pool.begin().await.expect("a transaction");
    enqueue_many(&mut transaction, [echo(&clock, deep.clone())]).await.expect_err("too deep");
    drop(transaction);
    let answer = stage.post(&json!({"Type": "Echo", "Parameters": deep})).await;
    let (status, problem) = (answer.status().as_u16(), answer.json::<Value>().await.expect("JSON"));
    assert_eq!((status, &problem["errors"][0]["pointer"]), (400, &json!("/Parameters")), "{problem}");
    let schedule = json!({"Cron": "* * * * *", "Type": "Echo", "Parameters": deep});
    let url = format!("{}/api/schedules/deep", stage.base_url);
    let answer = stage.http.put(url).json(&schedule).send().await.expect("an answer");
    assert_eq!(answer.status(), 400);

    // What is just within the limits is taken, and can be read.
    let most = json!({"a": nested(DEEPEST - 1)});
    enqueue(&stage.pool, &[echo(&clock, most.clone())]).await.expect("stored");
    stage.execute(format!("SELECT longhaul.enqueue('Echo', '{most}')")).await;
    stage.execute("SELECT longhaul.enqueue('Echo', '{\"a\": 1.7e308}')").await;
    let worker = stage.worker(quick_worker()).await;
    until("all to end", async || {
        (stage.value::<i64>("SELECT count(*) FROM longhaul.task WHERE finished_at IS NULL").await == 0).then_some(())
    })
    .await;
    assert_eq!(stage.value::<i64>("SELECT count(*) FROM longhaul.task WHERE state <> 'Succeeded'").await, 0);
    worker.stop().await;
}

#[tokio::test]
async fn names_and_keys_have_the_same_limits_in_sql_and_rust() {
    let stage = stage().await;
    let clock = stage.clock().await;
    // Two bytes each.
    let text = |bytes: usize| format!("{}{}", "ä".repeat(bytes / 2), "x".repeat(bytes % 2));
    for (argument, most) in
        [("queue", NAME_BYTES), ("key", KEY_BYTES), ("unique_key", UNIQUE_KEY_BYTES), ("created_by", CREATED_BY_BYTES)]
    {
        stage.execute(format!("SELECT longhaul.enqueue('Echo', {argument} => '{}')", text(most))).await;
        let error =
            refusal(&stage, &format!("SELECT longhaul.enqueue('Echo', {argument} => '{}')", text(most + 1))).await;
        assert!(error.contains(&most.to_string()), "{argument}: {error}");
    }
    let sound = echo(&clock, json!({}));
    let variants = |more: usize| {
        [
            NewTask { id: clock.new_id(), key: Some(text(KEY_BYTES + more)), ..sound.clone() },
            NewTask { id: clock.new_id(), unique_key: Some(text(STORED_KEY_BYTES + more)), ..sound.clone() },
            NewTask { id: clock.new_id(), created_by: Some(text(CREATED_BY_BYTES + more)), ..sound.clone() },
        ]
    };
    for task in variants(0) {
        enqueue(&stage.pool, &[task]).await.expect("within the limit");
    }
    for task in variants(1) {
        enqueue(&stage.pool, std::slice::from_ref(&task)).await.expect_err("beyond it");
        let mut transaction = stage.pool.begin().await.expect("a transaction");
        enqueue_many(&mut transaction, [task]).await.expect_err("beyond it");
    }
    let answer = stage.post(&json!({"Type": "Echo", "Parameters": {"key": text(KEY_BYTES + 1)}})).await;
    assert_eq!(answer.status(), 400, "a key that the type makes of its parameters");
    let limits = format!("{} {}", DEEPEST, PARAMETERS_BYTES);
    let sql: String = stage
        .value(
            "SELECT substring(pg_get_functiondef('longhaul.check_parameters'::regproc) FROM 'more than (\\d+) levels')
                 || ' ' || substring(pg_get_functiondef('longhaul.check_parameters'::regproc) FROM 'octet_length\\(written\\) > (\\d+)')",
        )
        .await;
    assert_eq!(sql, limits);
    let (shortest, longest) = RATE_SECONDS.into_inner();
    for (name, seconds, fits) in [
        (text(NAME_BYTES), shortest, true),
        ("q".to_owned(), longest, true),
        (text(NAME_BYTES + 1), 1.0, false),
        (String::new(), 1.0, false),
        ("q".to_owned(), 0.0009, false),
        ("q".to_owned(), longest + 1.0, false),
        ("q".to_owned(), f64::NAN, false),
        ("q".to_owned(), f64::INFINITY, false),
    ] {
        let settings = QueueSettings { rate: Some((1, seconds)), ..QueueSettings::default() };
        let set = set_queue(&stage.pool, &name, &settings).await;
        assert_eq!(set.is_ok(), fits, "{name} {seconds}: {set:?}");
    }
    for (number, fits) in [
        ("18446744073709551615", true),
        ("-9223372036854775808", true),
        ("1e20", true),
        ("[1e300, {\"a\": -1e20}]", true),
        ("\"99999999999999999999\"", true),
        ("18446744073709551616", false),
        ("[{\"a\": -9223372036854775809}]", false),
        ("123456789012345678901234567890", false),
    ] {
        let sql = format!("SELECT longhaul.enqueue('Echo', '{{\"odd\": {number}}}')");
        let stored = sqlx::raw_sql(AssertSqlSafe(sql)).execute(&stage.pool).await;
        assert_eq!(stored.is_ok(), fits, "{number}: {stored:?}");
        // The document describes the members of parameters that there are.
        let answer = longhaul_tests::http_client()
            .build()
            .expect("a client")
            .post(format!("{}/api/backgroundtasks", stage.base_url));
        let answer = answer.header("content-type", "application/json");
        let answer = answer.body(format!("{{\"Type\": \"Echo\", \"Parameters\": {{\"odd\": {number}}}}}"));
        let answer = answer.send().await.expect("an answer");
        let (status, body) = (answer.status().as_u16(), answer.text().await.expect("a body"));
        assert_eq!(body.contains("would be rounded"), !fits, "{number}: {status} {body}");
        assert_eq!(status, if fits { 202 } else { 400 }, "{number}: {body}");
    }
    assert_eq!(stage.value::<i64>("SELECT least(9007199254740992, 9223372036854775807)").await, ELEMENTS_AT_MOST);
}

#[tokio::test]
async fn a_key_for_turns_fits_into_any_index() {
    let stage = stage().await;
    let lengths: Vec<(i32, bool)> = sqlx::query_as(
        "SELECT octet_length(longhaul.turn_key(k)), longhaul.turn_key(k) = k
           FROM unnest(ARRAY['', 'tenant', repeat('x', 200), repeat('x', 201), repeat('😀', 950)]) WITH ORDINALITY AS u(k, n) ORDER BY n",
    )
    .fetch_all(&stage.pool)
    .await
    .expect("lengths");
    assert_eq!(lengths, [(0, true), (6, true), (200, true), (73, false), (193, false)]);
    assert!(
        stage
            .value::<bool>(
                "SELECT longhaul.turn_key(repeat('x', 300) || 'a') <> longhaul.turn_key(repeat('x', 300) || 'b')"
            )
            .await
    );
}

/// A key that no index entry can hold, from before there were limits.
#[tokio::test]
async fn a_long_key_that_is_there_does_not_stop_the_promoter() {
    let stage = stage().await;
    let clock = stage.clock().await;
    stage.execute("SELECT longhaul.set_queue('echoes', max_running => 4)").await;
    let soon = clock.now_ms() + 300;
    let run_at = longhaul_model::chrono::DateTime::from_timestamp_millis(soon);
    let tasks: Vec<NewTask> = echoes(&clock, 50).into_iter().map(|task| NewTask { run_at, ..task }).collect();
    enqueue(&stage.pool, &tasks).await.expect("stored");
    stage
        .execute(
            "UPDATE longhaul.task SET key = (SELECT string_agg(md5(n::text), '') FROM generate_series(1, 120) n)
          WHERE parameters ->> 'number' = '7'",
        )
        .await;
    let worker = stage.worker(quick_worker()).await;
    until("the others to end", async || {
        let open = "SELECT count(*) FROM longhaul.task WHERE finished_at IS NULL AND parameters ->> 'number' <> '7'";
        (stage.value::<i64>(open).await == 0).then_some(())
    })
    .await;
    until("it to end or to be set aside", async || {
        let settled = "SELECT finished_at IS NOT NULL OR problem IS NOT NULL FROM longhaul.tasks WHERE parameters ->> 'number' = '7'";
        stage.value::<bool>(settled).await.then_some(())
    })
    .await;
    worker.stop().await;
}

/// The same for a task that is ready when its queue is paused.
#[tokio::test]
async fn a_long_key_that_is_there_does_not_keep_its_queue_from_being_paused() {
    let stage = stage().await;
    let clock = stage.clock().await;
    let tasks = echoes(&clock, 3);
    enqueue(&stage.pool, &tasks).await.expect("stored");
    stage
        .execute(
            "UPDATE longhaul.task SET key = (SELECT string_agg(md5(n::text), '') FROM generate_series(1, 120) n)
          WHERE parameters ->> 'number' < '2'",
        )
        .await;
    let patch = async |paused: bool| {
        let url = format!("{}/api/queues/echoes", stage.base_url);
        let answer = stage.http.patch(url).json(&json!({"Paused": paused})).send().await.expect("an answer");
        assert_eq!(answer.status(), 200);
    };
    patch(true).await;
    let cancelled = longhaul_model::store::cancel::cancel(&stage.pool, tasks[0].id).await.expect("an answer");
    assert_eq!(cancelled, Some(longhaul_model::store::cancel::Cancelled::AtOnce));
    patch(false).await;
    let worker = stage.worker(quick_worker()).await;
    until("the others to end", async || {
        (stage.value::<i64>("SELECT count(*) FROM longhaul.task WHERE finished_at IS NULL").await == 0).then_some(())
    })
    .await;
    worker.stop().await;
}

#[tokio::test]
async fn totals_beyond_any_count_are_shown_as_two_to_the_53rd_and_stop_no_family() {
    let stage = stage().await;
    let worker = stage.worker(quick_worker()).await;
    let batch = async |total: i64| {
        let sql = format!(
            "SELECT longhaul.enqueue_batch('Echo', ARRAY(SELECT jsonb_build_object('total', {total}) FROM generate_series(1, 3)))"
        );
        sqlx::query_scalar::<_, String>(AssertSqlSafe(sql)).fetch_one(&stage.pool).await.expect("a batch")
    };
    let (huge, small) = (batch(i64::MAX).await, batch(5).await);
    for (id, total) in [(huge, ELEMENTS_AT_MOST), (small, 15)] {
        let ended = stage.ended(&json!({"Self": format!("{}/api/backgroundtask/{id}", stage.base_url)})).await;
        assert_eq!((&ended["State"], &ended["TotalElements"]), (&json!("Succeeded"), &json!(total)));
    }
    // From before there was a limit: more than a bigint in two children.
    let id = batch(1).await;
    worker.stop().await;
    let parent = id.trim_start_matches("batch_").to_owned();
    stage
        .execute(format!(
            "DELETE FROM longhaul.ended; DELETE FROM longhaul.successes;
             UPDATE longhaul.family SET waiting = true, succeeded = 0, elements = 0
             WHERE parent_id = '{parent}';
        UPDATE longhaul.task SET state = 'Running', finished_at = NULL WHERE id = '{parent}';
        DELETE FROM longhaul.ready WHERE id IN (SELECT id FROM longhaul.child WHERE parent_id = '{parent}');
        UPDATE longhaul.task SET state = 'Succeeded', finished_at = now(), total_elements = 9223372036854775807 WHERE parent_id = '{parent}';
        SELECT longhaul.sum_children(); SELECT longhaul.note_missed_ends();
        INSERT INTO longhaul.ended (id) SELECT id FROM longhaul.child WHERE parent_id = '{parent}' ON CONFLICT DO NOTHING;
        UPDATE longhaul.family SET succeeded = 0, elements = 0 WHERE parent_id = '{parent}'; SELECT longhaul.follow()"
        ))
        .await;
    let shown: (String, i64) =
        sqlx::query_as("SELECT state::text, total_elements FROM longhaul.task WHERE id = $1::uuid")
            .bind(&parent)
            .fetch_one(&stage.pool)
            .await
            .expect("a row");
    assert_eq!(shown, ("Succeeded".to_owned(), ELEMENTS_AT_MOST));
}
