//! Who did what is written down, and stays so.

use std::time::Duration;

use chrono::DateTime;
use longhaul_model::store::audit::{AuditEntry, prune};
use longhaul_model::store::enqueue::{NewTask, enqueue_recorded};
use longhaul_model::{Keyring, Resources, SecretKey, TaskOptions};
use longhaul_tests::{Stage, keys_only, shipped};
use longhaul_webhooks::{WebhookSettings, Webhooks};
use serde_json::{Value, json};

async fn stage() -> Stage {
    Stage::builder(longhaul::queue_task::register(shipped::registry()))
        .authenticators(keys_only)
        .api(|settings| settings.trusted_proxies = vec!["127.0.0.1/32".parse().expect("a network")])
        .start()
        .await
}

/// Deed and target of everything that was written down, the first first.
async fn deeds(stage: &Stage) -> Vec<(String, String)> {
    sqlx::query_as("SELECT deed, target FROM longhaul.audit WHERE who = 'key:operator' ORDER BY number")
        .fetch_all(&stage.pool)
        .await
        .expect("the audit")
}

#[tokio::test]
async fn whatever_changes_something_is_written_down_and_what_fails_is_not() {
    let stage = stage().await;
    let operator = stage.someone("operator", &["*"]).await;
    let reindex = json!({"Type": "Reindex"});
    let task = operator.started(&reindex).await;
    let id = task.rsplit('/').next().expect("an id").to_owned();
    let after = json!({"Type": "Reindex", "After": [id]});
    let waiting = operator.started(&after).await;
    let ask = async |method: &str, path: &str, body: Option<Value>, expected: u16| {
        let (status, answer) = operator.ask(method, path, body.as_ref()).await;
        assert_eq!(status, expected, "{method} {path}: {answer}");
        answer
    };
    let batch = ask("POST", "/api/backgroundtasks/batch", Some(json!({"Tasks": [reindex, reindex]})), 202).await;
    ask("DELETE", &task, None, 200).await;
    ask("POST", &format!("{task}/retry"), None, 202).await;
    ask("PATCH", "/api/queues/default", Some(json!({"Paused": true})), 200).await;
    ask("POST", "/api/tasktypes/Reindex/pause", None, 200).await;
    let schedule = json!({"Name": "nightly", "Cron": "0 0 * * *", "Type": "Reindex"});
    ask("POST", "/api/schedules", Some(schedule), 201).await;
    ask("DELETE", "/api/schedules/nightly", None, 204).await;
    // What changes nothing, or is refused.
    ask("GET", &task, None, 200).await;
    ask("POST", &format!("{task}/retry"), None, 409).await;
    ask("PATCH", "/api/queues/default", Some(json!({"Paused": 7})), 400).await;
    ask("POST", "/api/tasktypes/Nonsense/pause", None, 404).await;
    let weak = stage.someone("weak", &[]).await;
    assert_eq!(weak.start(&reindex).await.0, 403);

    let text = |text: &str| text.to_owned();
    let waiting = waiting.rsplit('/').next().expect("an id").to_owned();
    let first = batch["Tasks"][0]["Id"].as_str().expect("an id").to_owned();
    let expected = [
        (text("startTask"), id.clone()),
        (text("startTask"), waiting),
        (text("startTasks"), first),
        (text("cancelTask"), id.clone()),
        (text("retryTask"), id.clone()),
        (text("changeQueue"), text("default")),
        (text("pauseType"), text("Reindex")),
        (text("createSchedule"), text("nightly")),
        (text("deleteSchedule"), text("nightly")),
    ];
    assert_eq!(deeds(&stage).await, expected);
    let others: i64 = stage.value("SELECT count(*) FROM longhaul.audit WHERE who <> 'key:operator'").await;
    assert_eq!(others, 0);
}

#[tokio::test]
async fn the_audit_is_read_by_filter_a_page_at_a_time_with_the_clients_address() {
    let stage = stage().await;
    let operator = stage.someone("operator", &["*"]).await;
    let request = operator.request("POST", "/api/backgroundtasks").header("x-forwarded-for", "203.0.113.9");
    let response = request.json(&json!({"Type": "Reindex"})).send().await.expect("an answer");
    let body: Value = response.json().await.expect("JSON");
    let id = body["Id"].as_str().expect("an id");
    for _ in 0..2 {
        operator.started(&json!({"Type": "Reindex"})).await;
    }
    let (status, page) = operator.ask("GET", &format!("/api/audit?target={id}"), None).await;
    assert_eq!(status, 200, "{page}");
    let entry = &page["Items"][0];
    assert_eq!(page["Items"].as_array().map(Vec::len), Some(1));
    assert_eq!((&entry["Who"], &entry["Address"]), (&json!("key:operator"), &json!("203.0.113.9")));
    assert_eq!((&entry["Deed"], &entry["Details"]), (&json!("startTask"), &json!({"Type": "Reindex"})));
    let (mut path, mut seen) = ("/api/audit?who=key:operator&deed=startTask&limit=2".to_owned(), Vec::new());
    loop {
        let (status, page) = operator.ask("GET", &path, None).await;
        assert_eq!(status, 200, "{page}");
        seen.extend(page["Items"].as_array().expect("items").iter().map(|item| item["Number"].as_i64()));
        let Some(next) = page["Links"][0]["Href"].as_str() else { break };
        path = next.strip_prefix(&stage.base_url).expect("an address of ours").to_owned();
    }
    assert_eq!(seen.len(), 3);
    assert!(seen.is_sorted_by(|left, right| left > right), "the latest first: {seen:?}");
    assert_eq!(operator.ask("GET", "/api/audit?limit=0", None).await.0, 400);
    assert_eq!(operator.ask("GET", "/api/audit?who=%00", None).await.0, 400);
}

#[tokio::test]
async fn nobody_changes_what_was_written_down_and_only_what_is_old_is_forgotten() {
    let stage = stage().await;
    stage.someone("operator", &["*"]).await.started(&json!({"Type": "Reindex"})).await;
    let days = Duration::from_secs(24 * 3600);
    sqlx::query(
        "INSERT INTO longhaul.audit (at, who, deed) SELECT now() - d * interval '1 day', 'key:operator', 'old'
           FROM unnest(ARRAY[3, 400]) AS d",
    )
    .execute(&stage.pool)
    .await
    .expect("added");
    for sql in [
        "UPDATE longhaul.audit SET who = 'someone else'",
        "DELETE FROM longhaul.audit WHERE deed = 'startTask'",
        "TRUNCATE longhaul.audit",
    ] {
        let error = sqlx::query(sql).execute(&stage.pool).await.expect_err(sql);
        assert!(error.to_string().contains("longhaul.audit is not changed"), "{error}");
    }
    assert_eq!(prune(&stage.pool, 365 * days).await.expect("pruned"), 1);
    assert_eq!(prune(&stage.pool, 365 * days).await.expect("pruned"), 0);
    // A day is the least.
    assert_eq!(prune(&stage.pool, Duration::ZERO).await.expect("pruned"), 1);
    let left: i64 = stage.value("SELECT count(*) FROM longhaul.audit").await;
    assert_eq!(left, 1);
}

#[tokio::test]
async fn whoever_reads_a_webhook_s_secret_is_written_down() {
    let keyring = Keyring::new(SecretKey::parse(&"5a".repeat(32)).expect("a key"), Vec::new());
    let settings = WebhookSettings { allow_private: true, ..WebhookSettings::default() };
    let resources = Resources::new().with(keyring).with(Webhooks::new(settings).expect("a client"));
    let stage = Stage::builder(shipped::registry()).resources(resources).authenticators(keys_only).start().await;
    let operator = stage.someone("operator", &["*"]).await;
    let (status, webhook) = operator.ask("POST", "/api/webhooks", Some(&json!({"Url": "http://127.0.0.1:1/"}))).await;
    assert_eq!(status, 201, "{webhook}");
    let path = format!("/api/webhook/{}/secret", webhook["Id"].as_str().expect("an id"));
    assert_eq!(operator.ask("GET", &path, None).await.0, 200);
    assert_eq!(deeds(&stage).await.last(), Some(&("getWebhookSecret".to_owned(), path)));
}

#[tokio::test]
async fn where_nobody_says_who_it_is_nothing_is_written_down() {
    let stage = Stage::new().await;
    stage.start(&json!({"Type": "Reindex"})).await;
    let response = stage.http.post(format!("{}/api/tasktypes/Reindex/pause", stage.base_url)).send().await;
    assert_eq!(response.expect("an answer").status(), 200);
    let noted: i64 = stage.value("SELECT count(*) FROM longhaul.audit").await;
    assert_eq!(noted, 0);
}

/// One statement stores tasks and their entries, of whatever kind the tasks are: both or neither.
#[tokio::test]
async fn tasks_are_stored_together_with_their_entries() {
    let stage = stage().await;
    let clock = stage.clock().await;
    let task = || NewTask::new(clock.new_id(), *shipped::registry().get("Reindex").expect("a type").info(), json!({}));
    let later = NewTask { run_at: DateTime::from_timestamp_millis(clock.now_ms() + 3_600_000), ..task() };
    let options = TaskOptions { tags: vec!["red".to_owned()], ..TaskOptions::default() };
    let batches = [vec![task()], vec![task(), task()], vec![later, task()], vec![NewTask { options, ..task() }]];
    let entry = |task: &NewTask| AuditEntry {
        who: "key:someone".to_owned(),
        address: Some([192, 0, 2, 7].into()),
        deed: "createBackgroundTask".to_owned(),
        target: Some(task.id.to_string()),
        details: Some(json!({"Type": task.info.name})),
    };
    for batch in &batches {
        let entries: Vec<AuditEntry> = batch.iter().map(entry).collect();
        enqueue_recorded(&stage.pool, batch, &entries).await.expect("stored");
    }
    let together = "SELECT count(*) FROM longhaul.task t JOIN longhaul.audit a ON a.target = t.id::text
                     WHERE a.who = 'key:someone' AND a.address = '192.0.2.7' AND a.details = '{\"Type\": \"Reindex\"}'";
    assert_eq!(stage.value::<i64>(together).await, 6);
    let places: (i64, i64, i64) = sqlx::query_as(
        "SELECT (SELECT count(*) FROM longhaul.ready), (SELECT count(*) FROM longhaul.scheduled),
                (SELECT count(*) FROM longhaul.task_tag WHERE tag = 'red')",
    )
    .fetch_one(&stage.pool)
    .await
    .expect("counts");
    assert_eq!(places, (5, 1, 1));

    stage
        .execute(
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'refused'; END $$;
             CREATE TRIGGER refuse BEFORE INSERT ON longhaul.audit FOR EACH ROW EXECUTE FUNCTION refuse()",
        )
        .await;
    let refused = task();
    let error = enqueue_recorded(&stage.pool, std::slice::from_ref(&refused), &[entry(&refused)]).await;
    assert!(error.expect_err("no entry").to_string().contains("refused"));
    assert_eq!(stage.value::<i64>("SELECT count(*) FROM longhaul.task").await, 6, "no task without its entry");
}
