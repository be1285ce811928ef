//! The settings of queues, and whatever else the dashboard and the API both change: by the same
//! functions, written down alike, in the transaction of the change.

use futures_util::StreamExt;
use futures_util::future::join_all;
use futures_util::stream;
use longhaul_tests::{Someone, Stage, until};
use serde_json::{Value, json};
use sqlx::AssertSqlSafe;

use crate::dashboard_access::{Browser, stage};

const QUEUES: usize = 40;

async fn queues_with_rates(stage: &Stage) {
    let sql = "SELECT longhaul.set_queue('q' || n, rate_count => 1, rate_seconds => 1) FROM generate_series(0, ";
    stage.execute(format!("{sql}{}) AS n", QUEUES - 1)).await;
}

async fn settings(operator: &Someone<'_>, queue: usize) -> Value {
    let (status, body) = operator.ask("GET", &format!("/api/queues/q{queue}"), None).await;
    assert_eq!(status, 200, "{body}");
    let members = ["Paused", "MaxRunning", "MaxPerKey", "Fair", "RateCount", "RateSeconds", "MaxWaiting"];
    members.into_iter().map(|member| (member.to_owned(), body[member].clone())).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hundreds_of_changes_of_different_settings_at_once_are_all_kept() {
    let stage = stage().await;
    let operator = stage.someone("operator", &["*"]).await;
    let browser = Browser::of(&stage, "browser", &["*"]).await;
    queues_with_rates(&stage).await;
    let expected = |queue: usize| {
        json!({
            "Paused": true, "MaxRunning": queue + 2, "MaxPerKey": queue + 1, "Fair": true,
            "RateCount": queue + 3, "RateSeconds": 2.5, "MaxWaiting": queue + 4,
        })
    };
    let changes = (0..QUEUES).flat_map(|queue| {
        let members = ["Paused", "MaxRunning", "MaxPerKey", "Fair", "RateCount", "MaxWaiting"];
        members.map(|member| (queue, json!({member: expected(queue)[member].clone()})))
    });
    // On a busy machine some get no connection in time: these changed nothing, and are sent again.
    let patches = changes.map(async |(queue, change)| {
        until("a change by the API", async || {
            let (status, body) = operator.ask("PATCH", &format!("/api/queues/q{queue}"), Some(&change)).await;
            assert!(status == 200 || status == 503, "{body}");
            (status == 200).then_some(())
        })
        .await;
    });
    let patches: Vec<_> = patches.collect();
    assert_eq!(patches.len(), 240);
    // Meanwhile someone has the page as it was before, and changes one field.
    let shown = "deed=limit&was_max_running=&max_running=&was_max_per_key=&max_per_key=&was_rate_count=1&rate_count=1\
                 &was_rate_seconds=1&was_fair=&rate_seconds=2.5&was_max_waiting=&max_waiting=";
    let forms = join_all((0..QUEUES).map(async |queue| {
        until("a change by the page", async || {
            let status = browser.form(&format!("/queues/q{queue}"), shown).await.status();
            assert!(status == 303 || status == 503, "{status}");
            (status == 303).then_some(())
        })
        .await;
    }));
    // So many at a time, that a slow machine answers each before its deadline.
    let patches = stream::iter(patches).buffer_unordered(20).collect::<Vec<()>>();
    tokio::join!(patches, forms);
    for queue in 0..QUEUES {
        assert_eq!(settings(&operator, queue).await, expected(queue), "q{queue}");
    }
    let noted: i64 = stage.value("SELECT count(*) FROM longhaul.audit WHERE deed = 'changeQueue'").await;
    assert_eq!(noted, 280);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_sql_a_page_and_the_api_change_at_once_is_kept() {
    let stage = stage().await;
    let operator = stage.someone("operator", &["*"]).await;
    let browser = Browser::of(&stage, "browser", &["*"]).await;
    queues_with_rates(&stage).await;
    // One queue after the other: six at once are for the same row.
    for queue in 0..QUEUES {
        let path = format!("/api/queues/q{queue}");
        let change = json!({"Fair": true});
        tokio::join!(
            stage.execute(format!("SELECT longhaul.set_queue('q{queue}', max_running => 3)")),
            stage.execute(format!("SELECT longhaul.set_queue('q{queue}', max_waiting => 9)")),
            stage.execute(format!("SELECT longhaul.set_queue('q{queue}', rate_count => NULL, rate_seconds => NULL)")),
            async { assert_eq!(operator.ask("PATCH", &path, Some(&change)).await.0, 200) },
            async {
                let path = format!("/queues/q{queue}");
                assert_eq!(browser.form(&path, "deed=limit&was_max_per_key=&max_per_key=4").await.status(), 303);
                assert_eq!(browser.form(&path, "deed=pause").await.status(), 303);
            },
        );
    }
    let expected = json!({
        "Paused": true, "MaxRunning": 3, "MaxPerKey": 4, "Fair": true, "RateCount": null, "RateSeconds": null,
        "MaxWaiting": 9,
    });
    for queue in 0..QUEUES {
        assert_eq!(settings(&operator, queue).await, expected, "q{queue}");
    }
}

#[tokio::test]
async fn wrong_settings_are_refused_in_the_same_words_at_every_door() {
    let stage = stage().await;
    let operator = stage.someone("operator", &["*"]).await;
    let browser = Browser::of(&stage, "browser", &["*"]).await;
    stage.execute("SELECT longhaul.set_queue('q', max_running => 5)").await;
    for (argument, field, member, value, label) in [
        ("max_running => -1", "max_running=-1", "MaxRunning", json!(-1), "Max concurrent"),
        ("max_per_key => -1", "max_per_key=-1", "MaxPerKey", json!(-1), "Max concurrent per key"),
        ("max_waiting => -1", "max_waiting=-1", "MaxWaiting", json!(-1), "Max waiting"),
        ("rate_count => 0", "rate_count=0", "RateCount", json!(0), "Start at most N every S seconds"),
        ("rate_count => 1", "rate_count=1", "RateCount", json!(1), "Start at most N every S seconds"),
        ("rate_seconds => 1e9", "rate_seconds=1e9", "RateSeconds", json!(1e9), "Start at most N every S seconds"),
    ] {
        let (status, body) = operator.ask("PATCH", "/api/queues/q", Some(&json!({member: value}))).await;
        assert_eq!((status, &body["code"]), (400, &json!("invalid-request")), "{body}");
        let errors = body["errors"].as_array().expect("errors");
        assert_eq!((errors.len(), &errors[0]["pointer"]), (1, &json!(format!("/{member}"))), "{body}");
        let message = errors[0]["message"].as_str().expect("a message");
        let sql = format!("SELECT longhaul.set_queue('q', {argument})");
        let error = sqlx::raw_sql(AssertSqlSafe(sql)).execute(&stage.pool).await.expect_err("refused");
        let error = error.into_database_error().expect("an error of the database");
        assert_eq!(error.code().as_deref(), Some("22023"));
        assert!(error.message().contains(message), "{error} / {message}");
        let page = browser.form("/queues/q", &format!("deed=limit&{field}")).await;
        assert_eq!(page.status(), 400);
        let page = page.text().await.expect("a page");
        assert!(page.contains(&format!("{label}: {message}")), "{page} / {message}");
    }
    // Only SQL has numbers that are none.
    for number in ["NaN", "infinity", "-infinity"] {
        let sql = format!("SELECT longhaul.set_queue('q', rate_count => 1, rate_seconds => '{number}')");
        let error = sqlx::raw_sql(AssertSqlSafe(sql)).execute(&stage.pool).await.expect_err("refused");
        assert_eq!(
            error.into_database_error().and_then(|error| Some(error.code()?.into_owned())).as_deref(),
            Some("22023")
        );
    }
    let all = json!({"Paused": 7, "MaxRunning": 1.5, "Colour": 1, "RateSeconds": "x", "Fair": null, "\0": 1});
    assert_eq!(operator.ask("PATCH", "/api/queues/q", Some(&all)).await.0, 400);
    let (_, body) = operator.ask("GET", "/api/queues/q", None).await;
    assert_eq!((&body["MaxRunning"], &body["RateCount"]), (&json!(5), &Value::Null));
    let noted: i64 = stage.value("SELECT count(*) FROM longhaul.audit WHERE deed = 'changeQueue'").await;
    assert_eq!(noted, 0);
}

/// Everything that the requests of the next test could change.
const STATE: &str = "SELECT jsonb_build_array(
    (SELECT jsonb_agg(to_jsonb(q) ORDER BY q.name) FROM longhaul.queue q),
    (SELECT jsonb_agg(jsonb_build_array(y.name, y.paused_at) ORDER BY y.name) FROM longhaul.task_type y),
    (SELECT jsonb_agg(to_jsonb(s) ORDER BY s.name) FROM longhaul.schedule s),
    (SELECT jsonb_agg(jsonb_build_array(t.id, t.state) ORDER BY t.id) FROM longhaul.task t),
    (SELECT jsonb_agg(to_jsonb(a) ORDER BY a.id) FROM records.agile_run a),
    (SELECT jsonb_agg(u.id ORDER BY u.id) FROM records.upload u))";

#[tokio::test]
async fn what_can_not_be_written_down_is_not_done() {
    let stage = stage().await;
    let operator = stage.someone("operator", &["*"]).await;
    let browser = Browser::of(&stage, "browser", &["*"]).await;
    let task = operator.started(&json!({"Type": "Reindex", "DelaySeconds": 3600})).await;
    let id = task.rsplit('/').next().expect("an id").to_owned();
    let ended = operator.started(&json!({"Type": "Reindex", "DelaySeconds": 3600})).await;
    assert_eq!(operator.ask("DELETE", &ended, None).await.0, 200);
    let schedule = |name: &str| json!({"Name": name, "Cron": "0 0 * * *", "Type": "Reindex"});
    for name in ["a", "b"] {
        assert_eq!(operator.ask("POST", "/api/schedules", Some(&schedule(name))).await.0, 201);
    }
    assert_eq!(operator.ask("POST", "/api/schedules/b/pause", None).await.0, 200);
    stage.execute(format!("INSERT INTO records.project (id, name) VALUES ('{PROJECT}', 'a project')")).await;
    let run = json!({"ProjectId": PROJECT, "Name": "one", "Steps": []});
    let (status, made) = operator.ask("POST", "/api/agileruns", Some(&run)).await;
    assert_eq!(status, 201, "{made}");
    let run_path = format!("/api/agilerun/{}", made["Id"].as_str().expect("an id"));
    stage
        .execute(
            "CREATE FUNCTION public.refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no paper'; END $$;
         CREATE TRIGGER refuse BEFORE INSERT ON longhaul.audit FOR EACH ROW EXECUTE FUNCTION public.refuse()",
        )
        .await;
    let before: Value = stage.value(STATE).await;
    for (method, path, body) in [
        ("PATCH", "/api/queues/default", Some(json!({"MaxRunning": 3}))),
        ("POST", "/api/tasktypes/Reindex/pause", None),
        ("POST", "/api/tasktypes/Reindex/resume", None),
        ("POST", "/api/schedules", Some(schedule("c"))),
        ("PUT", "/api/schedules/c", Some(schedule("c"))),
        ("POST", "/api/schedules/a/pause", None),
        ("POST", "/api/schedules/b/resume", None),
        ("POST", "/api/schedules/a/run", None),
        ("DELETE", "/api/schedules/a", None),
        ("DELETE", &task, None),
        ("POST", &format!("{ended}/retry"), None),
        ("POST", "/api/backgroundtasks", Some(json!({"Type": "Reindex"}))),
        ("POST", "/api/agileruns", Some(run.clone())),
        ("DELETE", &run_path, None),
    ] {
        let (status, answer) = operator.ask(method, path, body.as_ref()).await;
        assert_eq!(status, 500, "{method} {path}: {answer}");
        assert_eq!(stage.value::<Value>(STATE).await, before, "{method} {path}");
    }
    let file = operator.request("POST", "/api/upload").header("content-type", "application/octet-stream").body("x");
    assert_eq!(file.send().await.expect("an answer").status(), 500);
    for (path, body) in [
        ("/queues/default", "deed=pause"),
        ("/queues/default", "deed=limit&max_running=3"),
        ("/schedules/a", "deed=pause"),
        ("/schedules/b", "deed=resume"),
        (&format!("/tasks/{id}/cancel"), ""),
        ("/tasks/cancel", &format!("id={id}")),
        ("/tasks/cancel", "all=yes&type=Reindex"),
    ] {
        assert_eq!(browser.form(path, body).await.status(), 500, "{path} {body}");
        assert_eq!(stage.value::<Value>(STATE).await, before, "{path} {body}");
    }
    assert_eq!(stage.value::<Value>(STATE).await, before);
}

const PROJECT: &str = "0190c0de-0000-7000-8000-000000000000";

#[tokio::test]
async fn pages_write_down_what_the_api_writes_down() {
    let stage = stage().await;
    let operator = stage.someone("operator", &["*"]).await;
    let browser = Browser::of(&stage, "browser", &["*"]).await;
    let schedule = json!({"Name": "a", "Cron": "0 0 * * *", "Type": "Reindex"});
    assert_eq!(operator.ask("POST", "/api/schedules", Some(&schedule)).await.0, 201);
    stage.execute("SELECT longhaul.set_queue('q', max_running => 5)").await;
    let first: i64 = stage.value("SELECT max(number) FROM longhaul.audit").await;
    let queue = "/api/queues/q";
    for (method, path, body) in [
        ("PATCH", queue, Some(json!({"Paused": true}))),
        ("PATCH", queue, Some(json!({"Paused": false}))),
        ("PATCH", queue, Some(json!({"MaxRunning": null, "MaxPerKey": 2, "Fair": true}))),
        ("PATCH", queue, Some(json!({"MaxPerKey": null, "RateCount": 5, "RateSeconds": 2.5}))),
        ("POST", "/api/schedules/a/pause", None),
        ("POST", "/api/schedules/a/resume", None),
    ] {
        assert_eq!(operator.ask(method, path, body.as_ref()).await.0, 200, "{method} {path}");
    }
    stage.execute("SELECT longhaul.set_queue('q', false, 5, NULL, false, NULL, NULL)").await;
    for (path, body) in [
        ("/queues/q", "deed=pause"),
        ("/queues/q", "deed=resume"),
        ("/queues/q", "deed=limit&was_max_running=5&max_running=&was_max_per_key=&max_per_key=2&was_fair=&fair=yes"),
        ("/queues/q", "deed=limit&was_max_per_key=2&max_per_key=&rate_count=5&rate_seconds=2.5&was_fair=yes&fair=yes"),
        ("/schedules/a", "deed=pause"),
        ("/schedules/a", "deed=resume"),
    ] {
        assert_eq!(browser.form(path, body).await.status(), 303, "{path} {body}");
    }
    // Nothing was changed, so nothing is written down.
    assert_eq!(browser.form("/queues/q", "deed=limit&was_fair=yes&fair=yes").await.status(), 303);
    let noted = async |who: &str| -> Vec<(String, Option<String>, Option<Value>)> {
        sqlx::query_as(
            "SELECT deed, target, details FROM longhaul.audit WHERE who = $1 AND number > $2 ORDER BY number",
        )
        .bind(who)
        .bind(first)
        .fetch_all(&stage.pool)
        .await
        .expect("the audit")
    };
    let (by_api, by_page) = (noted("key:operator").await, noted("key:browser").await);
    assert_eq!(by_api.len(), 6, "{by_api:?}");
    assert_eq!(by_api, by_page);
    let targets: Vec<&str> = by_api.iter().filter_map(|(_, target, _)| target.as_deref()).collect();
    assert_eq!(targets, ["q", "q", "q", "q", "a", "a"]);
}

#[tokio::test]
async fn pages_call_limits_as_the_command_line_does() {
    let stage = stage().await;
    stage.execute("SELECT longhaul.set_queue('q', max_running => 5, rate_count => 5, rate_seconds => 2.5)").await;
    let labels = [
        "Max concurrent",
        "Max concurrent per key",
        "Max waiting",
        "Start at most N every S seconds",
        "Share fairly between keys",
    ];
    let page = Browser::of(&stage, "editor", &["*"]).await.text("/queues", 200).await;
    for label in labels {
        assert!(page.contains(&format!(">{label}<")), "{label}: {page}");
    }
    assert!(page.contains("name=\"was_rate_seconds\" value=\"2.5\""), "{page}");
    let viewer = ["Administration/Dashboard/View", "Administration/Queues/View"];
    let page = Browser::of(&stage, "viewer", &viewer).await.text("/queues", 200).await;
    assert!(
        page.contains("Max concurrent: 5. Max concurrent per key: no limit. Start at most 5 every 2.5 seconds."),
        "{page}"
    );
}
