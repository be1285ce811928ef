//! What one task has of its own instead of what its type says, whichever way it is started.

use std::time::Duration;

use longhaul_model::store::bulk::enqueue_many;
use longhaul_model::store::count::Count;
use longhaul_model::store::cron::fire;
use longhaul_model::store::enqueue::{NewTask, enqueue};
use longhaul_model::store::find::TaskFilter;
use longhaul_model::store::linked::enqueue_linked;
use longhaul_model::store::list::ListFilter;
use longhaul_model::store::retention::{Retention, remove_these};
use longhaul_model::store::task_type;
use longhaul_model::{
    ATTEMPTS, DatabaseClock, LAST_PRIORITY, NAME_BYTES, Outcome, Registry, RetryPolicy, RunContext, RunError, TAGS,
    TIMEOUT_SECONDS, TaskOptions, TaskType,
};
use longhaul_tests::{Stage, keys_only, quick_worker};
use reqwest::Method;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlx::AssertSqlSafe;
use uuid::Uuid;

/// Takes as long as it is told.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Nap {
    milliseconds: u64,
}

impl TaskType for Nap {
    const NAME: &'static str = "Nap";
    const ID_PREFIX: &'static str = "nap-";
    const QUEUE: &'static str = "beds";
    const PRIORITY: u8 = 3;
    const RETRY: RetryPolicy = RetryPolicy { max_attempts: 2, ..RetryPolicy::DEFAULT };
    const TIMEOUT: Option<Duration> = Some(Duration::from_millis(300));

    async fn run(self, _context: RunContext) -> Result<Outcome, RunError> {
        tokio::time::sleep(Duration::from_millis(self.milliseconds)).await;
        Ok(Outcome::done())
    }
}

fn registry() -> Registry {
    Registry::new().with::<Nap>()
}

async fn stage() -> Stage {
    let stage = Stage::with_registry(registry()).await;
    task_type::register(&stage.pool, &registry()).await.expect("known types");
    stage
}

async fn send(stage: &Stage, method: Method, path: &str, body: &Value) -> (u16, Value) {
    let response = stage.http.request(method, format!("{}{path}", stage.base_url)).json(body).send().await;
    let response = response.expect("an answer");
    (response.status().as_u16(), response.json().await.expect("JSON"))
}

fn with(members: Value) -> Value {
    let mut request = json!({"Type": "Nap", "Parameters": {"milliseconds": 1}});
    request.as_object_mut().expect("an object").extend(members.as_object().expect("an object").clone());
    request
}

fn everything() -> Value {
    json!({"Queue": "sofas", "Priority": 0, "Key": "acme", "UniqueKey": "u", "UniqueFor": 60, "MaxAttempts": 7,
           "TimeoutSeconds": 1.5, "Tags": ["urgent", "käse, \"{x}\" \\ NULL"]})
}

/// What is stored of the tasks, in the order of their ids.
async fn stored(stage: &Stage) -> Vec<String> {
    sqlx::query_scalar(
        "SELECT format('%s %s %s %s %s %s %s', queue, priority, key, unique_key, max_attempts, timeout_seconds, array_to_json(tags))
           FROM longhaul.task WHERE type = 'Nap' ORDER BY id",
    )
    .fetch_all(&stage.pool)
    .await
    .expect("tasks")
}

const STORED: &str = r#"sofas 0 acme u:Nap:u 7 1.5 ["urgent","käse, \"{x}\" \\ NULL"]"#;
const PLAIN: &str = "beds 3   2  ";

async fn tagged(stage: &Stage, tag: &str) -> Vec<String> {
    sqlx::query_scalar("SELECT public_id FROM longhaul.task_tags WHERE tag = $1 ORDER BY public_id DESC")
        .bind(tag)
        .fetch_all(&stage.pool)
        .await
        .expect("tasks with the tag")
}

#[tokio::test]
async fn a_request_has_every_option_and_what_it_leaves_out_is_the_types() {
    let stage = stage().await;
    let task = stage.start(&with(everything())).await;
    stage.start(&with(json!({"Queue": null, "Priority": null, "Tags": [], "TimeoutSeconds": null}))).await;
    assert_eq!(stored(&stage).await, [STORED, PLAIN]);
    let ready: Vec<(String, i16)> = sqlx::query_as("SELECT queue, priority FROM longhaul.ready ORDER BY id")
        .fetch_all(&stage.pool)
        .await
        .expect("rows");
    assert_eq!(ready, [("sofas".to_owned(), 0), ("beds".to_owned(), 3)]);
    let (_, shown) = stage.get(task["Self"].as_str().expect("an address")).await;
    let members = ["Queue", "Priority", "Key", "MaxAttempts", "TimeoutSeconds", "Tags"];
    for name in members {
        assert_eq!(shown[name], everything()[name], "{name}");
    }
    assert_eq!(tagged(&stage, "urgent").await, [task["Id"].as_str().expect("an id")]);
    let again = stage.start(&with(json!({"UniqueKey": "u"}))).await;
    assert_eq!(again["Id"], task["Id"], "its unique key is taken");
    let left: f64 = stage
        .value("SELECT extract(epoch FROM expires_at - now())::float8 FROM longhaul.task_key WHERE key = 'u:Nap:u'")
        .await;
    assert!((50.0..=60.0).contains(&left), "{left}");
    stage.strands_tasks();
}

#[tokio::test]
async fn everything_wrong_with_options_and_parameters_is_told_at_once() {
    let stage = stage().await;
    let many: Vec<String> = (0..=TAGS).map(|number| number.to_string()).collect();
    let wrong = json!({
        "Type": "Nap", "Parameters": {"milliseconds": -1}, "Queue": "ä".repeat(NAME_BYTES - 1), "Priority": LAST_PRIORITY + 1,
        "Key": 7, "UniqueKey": "", "UniqueFor": 0, "MaxAttempts": ATTEMPTS.end() + 1, "TimeoutSeconds": "1",
        "Tags": many, "Colour": "red", "RunAt": "2031-05-04T09:30:00Z", "DelaySeconds": 1,
    });
    let (status, problem) = send(&stage, Method::POST, "/api/backgroundtasks", &wrong).await;
    assert_eq!((status, &problem["code"]), (400, &json!("invalid-request")));
    let pointers: Vec<&str> =
        problem["errors"].as_array().expect("a list").iter().filter_map(|error| error["pointer"].as_str()).collect();
    assert_eq!(
        pointers,
        [
            "/DelaySeconds",
            "/Colour",
            "/Key",
            "/MaxAttempts",
            "/Priority",
            "/Tags",
            "/TimeoutSeconds",
            "/UniqueFor",
            "/UniqueKey",
            "/Queue",
            "/Parameters/milliseconds"
        ],
        "{problem}"
    );
    let message = problem["errors"].as_array().expect("a list")[4]["message"].as_str().expect("a message");
    assert_eq!(message, "A number from 0 (first) to 9 (last) is expected.");
    let (status, problem) = send(&stage, Method::POST, "/api/backgroundtasks", &with(json!({"UniqueFor": 60}))).await;
    assert_eq!((status, &problem["errors"][0]["pointer"]), (400, &json!("/UniqueFor")), "it has no unique key");
    assert_eq!(stage.value::<i64>("SELECT count(*) FROM longhaul.task").await, 0);
}

#[tokio::test]
async fn tasks_of_batches_and_maps_have_options() {
    let stage = stage().await;
    let list = json!({
        "Tasks": [with(everything()), with(json!({}))],
        "Parent": {"Then": with(json!({"Queue": "chairs", "Tags": ["then"]}))},
    });
    let (status, answer) = send(&stage, Method::POST, "/api/backgroundtasks/batch", &list).await;
    assert_eq!(status, 202, "{answer}");
    assert_eq!(stored(&stage).await, [STORED, PLAIN, r#"chairs 3   2  ["then"]"#]);
    assert_eq!(tagged(&stage, "urgent").await, [answer["Tasks"][0]["Id"].as_str().expect("an id")]);
    assert_eq!(tagged(&stage, "then").await, [answer["Then"]["Id"].as_str().expect("an id")]);
    let map = json!({"Map": {"Type": "Nap", "Over": "milliseconds", "Values": [1, 2], "Queue": "mats", "TimeoutSeconds": 9,
                             "Tags": ["mapped"], "RunAt": "2031-05-04T09:30:00Z"}});
    assert_eq!(send(&stage, Method::POST, "/api/backgroundtasks/batch", &map).await.0, 202);
    assert_eq!(stored(&stage).await[3..], [r#"mats 3   2 9 ["mapped"]"#, r#"mats 3   2 9 ["mapped"]"#]);
    assert_eq!(tagged(&stage, "mapped").await.len(), 2);
    let scheduled: i64 = stage.value("SELECT count(*) FROM longhaul.scheduled").await;
    assert_eq!(scheduled, 2);
    let map = json!({"Map": {"Type": "Nap", "Over": "milliseconds", "Values": [1, -2, "x"], "Priority": 10, "RunAt": "2300-01-01T00:00:00Z"}});
    let (status, problem) = send(&stage, Method::POST, "/api/backgroundtasks/batch", &map).await;
    assert_eq!(status, 400);
    let pointers: Vec<&str> =
        problem["errors"].as_array().expect("a list").iter().filter_map(|error| error["pointer"].as_str()).collect();
    assert_eq!(
        pointers,
        [
            "/Map/Priority",
            "/Map/RunAt",
            "/Map/Values/1/Parameters/milliseconds",
            "/Map/Values/2/Parameters/milliseconds"
        ],
        "{problem}"
    );
    stage.strands_tasks();
}

#[tokio::test]
async fn rust_stores_options_by_every_statement() {
    let stage = stage().await;
    let clock = stage.clock().await;
    let plain = |clock: &DatabaseClock| NewTask::of(clock.new_id(), &Nap { milliseconds: 1 }).expect("a task");
    let special = |clock: &DatabaseClock| {
        let options = TaskOptions {
            queue: Some("sofas".to_owned()),
            priority: Some(0),
            max_attempts: Some(7),
            timeout: Some(Duration::from_millis(1500)),
            tags: vec!["urgent".to_owned(), "käse, \"{x}\" \\ NULL".to_owned()],
            ..TaskOptions::default()
        };
        let task = NewTask { options, key: Some("acme".to_owned()), ..plain(clock) };
        task.with_unique_key("u")
    };
    let mut expected: Vec<&str> = Vec::new();
    for tasks in [vec![special(&clock)], vec![plain(&clock), special(&clock)], vec![plain(&clock)]] {
        enqueue(&stage.pool, &tasks).await.expect("stored");
        expected.extend(tasks.iter().map(|task| if task.options.tags.is_empty() { PLAIN } else { STORED }));
    }
    let mut transaction = stage.pool.begin().await.expect("a transaction");
    enqueue_linked(&mut transaction, &[special(&clock), plain(&clock)], &[], None).await.expect("stored");
    // COPY looks at no unique keys and stores none.
    let copied = [plain(&clock), NewTask { unique_key: None, ..special(&clock) }];
    enqueue_many(&mut transaction, copied).await.expect("stored");
    transaction.commit().await.expect("a commit");
    let copied = STORED.replace("u:Nap:u", "");
    expected.extend([STORED, PLAIN, PLAIN, copied.as_str()]);
    assert_eq!(stored(&stage).await, expected);
    assert_eq!(tagged(&stage, "urgent").await.len(), 4);
    assert_eq!(tagged(&stage, "käse, \"{x}\" \\ NULL").await.len(), 4);
    for wrong in [
        TaskOptions { queue: Some("x".repeat(NAME_BYTES + 1)), ..TaskOptions::default() },
        TaskOptions { priority: Some(LAST_PRIORITY + 1), ..TaskOptions::default() },
        TaskOptions { max_attempts: Some(0), ..TaskOptions::default() },
        TaskOptions { timeout: Some(Duration::ZERO), ..TaskOptions::default() },
        TaskOptions { unique_for: Some(Duration::from_secs(60)), ..TaskOptions::default() },
        TaskOptions { tags: vec!["a".to_owned(), "a".to_owned()], ..TaskOptions::default() },
        TaskOptions { tags: vec![String::new()], ..TaskOptions::default() },
    ] {
        let refused = enqueue(&stage.pool, &[NewTask { options: wrong.clone(), ..plain(&clock) }]).await;
        assert!(refused.is_err(), "{wrong:?}");
    }
    stage.strands_tasks();
}

#[tokio::test]
async fn sql_stores_options_and_refuses_what_the_others_refuse() {
    let stage = stage().await;
    let call = async |arguments: String| {
        let sql = format!(r#"SELECT longhaul.enqueue('Nap', '{{"milliseconds": 1}}', {arguments})"#);
        sqlx::query_scalar::<_, String>(AssertSqlSafe(sql)).fetch_one(&stage.pool).await
    };
    let id = call(
        r#"priority => 0, queue => 'sofas', max_attempts => 7, key => 'acme', unique_key => 'u', unique_for => '1 min',
           timeout => '1.5 s', tags => ARRAY['urgent', 'käse, "{x}" \ NULL']"#
            .to_owned(),
    )
    .await
    .expect("a task");
    call("tags => '{}'".to_owned()).await.expect("a task");
    assert_eq!(stored(&stage).await, [STORED, PLAIN]);
    assert_eq!(tagged(&stage, "urgent").await, [id]);
    let shown: String =
        stage.value("SELECT format('%s %s', tags, timeout) FROM longhaul.tasks ORDER BY id LIMIT 1").await;
    assert_eq!(shown, r#"{urgent,"käse, \"{x}\" \\ NULL"} 00:00:01.5"#);
    let (least, most) = (TIMEOUT_SECONDS.start(), TIMEOUT_SECONDS.end());
    for right in [
        format!("timeout => {least} * interval '1 s'"),
        format!("timeout => {most} * interval '1 s'"),
        format!("tags => ARRAY(SELECT repeat('x', {NAME_BYTES} - 2) || n FROM generate_series(10, {}) n)", TAGS + 9),
        format!("priority => {LAST_PRIORITY}, max_attempts => {}", ATTEMPTS.end()),
    ] {
        call(right.clone()).await.expect(&right);
    }
    for wrong in [
        format!("timeout => {least} * interval '0.9 s'"),
        format!("timeout => {most} * interval '1.1 s'"),
        "timeout => '-1 s'".to_owned(),
        format!("tags => ARRAY(SELECT n::text FROM generate_series(0, {TAGS}) n)"),
        format!("tags => ARRAY[repeat('x', {NAME_BYTES} + 1)]"),
        "tags => ARRAY['a', 'a']".to_owned(),
        "tags => ARRAY['a', NULL]".to_owned(),
        "tags => ARRAY['']".to_owned(),
        "tags => ARRAY[['a'], ['b']]".to_owned(),
        format!("priority => {LAST_PRIORITY} + 1"),
        format!("max_attempts => {} + 1", ATTEMPTS.end()),
    ] {
        assert!(call(wrong.clone()).await.is_err(), "{wrong}");
    }
    stage.strands_tasks();
}

#[tokio::test]
async fn lists_find_tasks_by_tag_exactly_a_page_at_a_time() {
    let stage = stage().await;
    let clock = stage.clock().await;
    let mut tasks = Vec::new();
    for number in 0..500 {
        let task = NewTask::of(clock.new_id(), &Nap { milliseconds: number }).expect("a task");
        let tags = if number % 100 == 7 { vec!["rare".to_owned()] } else { vec!["often".to_owned()] };
        tasks.push(NewTask { options: TaskOptions { tags, ..TaskOptions::default() }, ..task });
    }
    let rare: Vec<String> = tasks
        .iter()
        .rev()
        .filter(|task| task.options.tags == ["rare"])
        .map(|task| format!("nap-{}", task.id))
        .collect();
    enqueue(&stage.pool, &tasks).await.expect("stored");
    let ids = |page: &Value| -> Vec<String> {
        page["Items"]
            .as_array()
            .expect("items")
            .iter()
            .map(|item| item["Id"].as_str().expect("an id").to_owned())
            .collect()
    };
    let (status, page) = stage.get("/api/tasks?tag=rare&limit=2").await;
    assert_eq!((status, ids(&page)), (200, rare[..2].to_vec()));
    assert_eq!((&page["Total"], &page["TotalIsExact"]), (&json!(5), &json!(true)));
    assert_eq!(page["Items"][0]["Tags"], json!(["rare"]));
    let mut all = ids(&page);
    let mut page = page;
    while let Some(next) = page["Links"].as_array().and_then(|links| links.first()) {
        assert!(next["Href"].as_str().is_some_and(|href| href.contains("tag=rare")), "{next}");
        page = stage.get(next["Href"].as_str().expect("an address")).await.1;
        all.extend(ids(&page));
    }
    assert_eq!(all, rare);
    for (query, found) in [
        ("tag=rare&state=Queued", 5),
        ("tag=rare&state=Failed", 0),
        ("tag=rare&queue=beds&type=Nap", 5),
        ("tag=rare&queue=sofas", 0),
        ("tag=rare&text=207", 1),
        ("tag=rar", 0),
        ("tag=Rare", 0),
        ("tag=often&limit=1000", 495),
    ] {
        let (status, page) = stage.get(&format!("/api/tasks?{query}")).await;
        assert_eq!((status, ids(&page).len()), (200, found), "{query}");
    }
    // A client of its own: pages are not described.
    let browser = longhaul_tests::http_client().no_proxy().build().expect("a client");
    let html = browser.get(format!("{}/tasks?tag=rare", stage.base_url)).send().await.expect("a page");
    let html = html.text().await.expect("a page");
    assert!(rare.iter().all(|id| html.contains(id.as_str())) && html.contains("5 tasks"), "{html}");

    // The tasks that act on many tasks by a filter see the same.
    let filter = TaskFilter { tag: Some("rare".to_owned()), ..TaskFilter::default() };
    let found = filter.find(&stage.pool, Uuid::nil(), Uuid::max(), 3).await.expect("a look");
    let rest = filter.find(&stage.pool, found.last.expect("more"), Uuid::max(), 3).await.expect("a look");
    let both: Vec<String> = found.ids.iter().chain(&rest.ids).rev().map(|id| format!("nap-{id}")).collect();
    assert_eq!(both, rare);
    let list = ListFilter { tasks: filter, text: None };
    assert_eq!(list.count(&stage.pool).await.expect("a count"), Some(Count { tasks: 5, exact: true }));

    // What is removed is found no more.
    sqlx::raw_sql("DELETE FROM longhaul.ready; UPDATE longhaul.task SET state = 'Succeeded', finished_at = now() - interval '40 days';
                   DELETE FROM longhaul.successes")
        .execute(&stage.pool)
        .await
        .expect("they are over");
    let removed: Vec<Uuid> = tasks[..100].iter().map(|task| task.id).collect();
    assert_eq!(remove_these(&stage.pool, &Retention::default(), &removed).await.expect("removed"), 100);
    assert_eq!(stage.value::<i64>("SELECT count(*) FROM longhaul.task_tag").await, 400);
    assert_eq!(tagged(&stage, "rare").await, rare[..4]);
}

#[tokio::test]
async fn a_tasks_own_time_limit_and_attempts_go_before_the_types() {
    let stage = stage().await;
    let worker = stage.worker(quick_worker()).await;
    let nap = |milliseconds: u64, options: Value| {
        let mut request = with(options);
        request["Parameters"]["milliseconds"] = json!(milliseconds);
        request
    };
    let longer = stage.start(&nap(600, json!({"TimeoutSeconds": 20}))).await;
    let shorter = stage.start(&nap(250, json!({"TimeoutSeconds": 0.02, "MaxAttempts": 1}))).await;
    let types = stage.start(&nap(60_000, json!({"MaxAttempts": 1}))).await;
    let ended = stage.ended(&longer).await;
    assert_eq!((&ended["State"], &ended["Attempt"]), (&json!("Succeeded"), &json!(1)), "{ended}");
    for task in [&shorter, &types] {
        let ended = stage.ended(task).await;
        assert_eq!((&ended["State"], &ended["Attempt"]), (&json!("Failed"), &json!(1)), "{ended}");
        assert_eq!(ended["Error"]["code"], "attempt-timed-out");
    }
    let (_, ended) = stage.get(shorter["Self"].as_str().expect("an address")).await;
    assert!(ended["Error"]["detail"].as_str().expect("a detail").contains("0.02"), "{ended}");
    worker.stop().await;
}

#[tokio::test]
async fn where_a_task_stands_is_chosen_by_those_who_may() {
    let stage = Stage::builder(registry()).authenticators(keys_only).start().await;
    let (client, operator) =
        (stage.someone("client", &[]).await, stage.someone("operator", &["Administration/Tasks/Place"]).await);
    for place in [json!({"Queue": "sofas"}), json!({"Priority": 0}), json!({"Key": "acme"})] {
        let (status, problem) = client.start(&with(place.clone())).await;
        assert_eq!((status, &problem["code"]), (403, &json!("forbidden")), "{place}");
        let batch = json!({"Tasks": [with(json!({})), with(place.clone())]});
        assert_eq!(client.ask("POST", "/api/backgroundtasks/batch", Some(&batch)).await.0, 403, "{place}");
        let then = json!({"Tasks": [with(json!({}))], "Parent": {"Then": with(place.clone())}});
        assert_eq!(client.ask("POST", "/api/backgroundtasks/batch", Some(&then)).await.0, 403, "{place}");
        assert_eq!(operator.start(&with(place.clone())).await.0, 202, "{place}");
    }
    let own = json!({"UniqueKey": "u", "UniqueFor": 1, "MaxAttempts": 9, "TimeoutSeconds": 5, "Tags": ["mine"], "DelaySeconds": 1});
    assert_eq!(client.start(&with(own)).await.0, 202);
    stage.strands_tasks();
}

#[tokio::test]
async fn another_option_is_another_request() {
    let stage = stage().await;
    let post = async |options: Value| {
        let request = stage.http.post(format!("{}/api/backgroundtasks", stage.base_url)).header("Idempotency-Key", "k");
        let response = request.json(&with(options)).send().await.expect("an answer");
        (response.status().as_u16(), response.json::<Value>().await.expect("JSON")["Id"].clone())
    };
    let first = post(json!({"Tags": ["a"], "Priority": 1})).await;
    assert_eq!(first.0, 202);
    assert_eq!(post(json!({"Priority": 1, "Tags": ["a"], "Queue": null})).await, first);
    for other in [json!({}), json!({"Tags": ["a"]}), json!({"Tags": ["b"], "Priority": 1})] {
        assert_eq!(post(other.clone()).await.0, 409, "{other}");
    }
    stage.strands_tasks();
}

#[tokio::test]
async fn tasks_of_a_schedule_have_its_options() {
    let stage = stage().await;
    let mut schedule = json!({"Name": "naps", "Cron": "* * * * * *", "Type": "Nap", "Parameters": {"milliseconds": 1}});
    schedule.as_object_mut().expect("an object").extend(everything().as_object().expect("an object").clone());
    let (status, made) = send(&stage, Method::POST, "/api/schedules", &schedule).await;
    assert_eq!(status, 201, "{made}");
    for (name, value) in everything().as_object().expect("an object") {
        assert_eq!(
            made[name].as_f64().map(|number| json!(number)).unwrap_or(made[name].clone()),
            value.as_f64().map(|number| json!(number)).unwrap_or(value.clone()),
            "{name}"
        );
    }
    sqlx::raw_sql("UPDATE longhaul.schedule SET next_at = now() - interval '1 s'")
        .execute(&stage.pool)
        .await
        .expect("due");
    assert_eq!(fire(&stage.pool, 1).await.expect("fired").tasks, 1);
    assert_eq!(stored(&stage).await, [STORED]);
    assert_eq!(tagged(&stage, "urgent").await.len(), 1);
    sqlx::raw_sql("DELETE FROM longhaul.task_key").execute(&stage.pool).await.expect("free keys");
    let (status, task) = send(&stage, Method::POST, "/api/schedules/naps/run", &json!({})).await;
    assert_eq!(status, 202, "{task}");
    assert_eq!(stored(&stage).await, [STORED, STORED]);
    let (status, replaced) = send(
        &stage,
        Method::PUT,
        "/api/schedules/naps",
        &json!({"Cron": "@daily", "Type": "Nap", "Parameters": {"milliseconds": 1}}),
    )
    .await;
    assert_eq!((status, replaced.get("Tags"), replaced.get("MaxAttempts")), (200, None, None), "{replaced}");
    stage.strands_tasks();
}
