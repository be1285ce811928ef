//! Cron schedules: each firing exactly once, whoever dies.

use std::collections::BTreeSet;
use std::time::Duration;

use longhaul_model::store::cron::{self, NewSchedule, fire};
use longhaul_model::store::task_type;
use longhaul_model::{Missed, Outcome, Registry, RunContext, RunError, TaskOptions, TaskType};
use longhaul_tests::{RunningWorker, Stage, quick_worker, until};
use reqwest::Method;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Does nothing, well.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Tick {
    number: Option<u8>,
}

impl TaskType for Tick {
    const NAME: &'static str = "Tick";
    const ID_PREFIX: &'static str = "tick-";

    async fn run(self, _context: RunContext) -> Result<Outcome, RunError> {
        Ok(Outcome::done())
    }
}

fn registry() -> Registry {
    Registry::new().with::<Tick>()
}

async fn stage() -> Stage {
    let stage = Stage::with_registry(registry()).await;
    task_type::register(&stage.pool, &registry()).await.expect("known types");
    stage
}

async fn send(stage: &Stage, method: Method, path: &str, body: Option<&Value>) -> (u16, Value) {
    let mut request = stage.http.request(method, format!("{}{path}", stage.base_url));
    if let Some(body) = body {
        request = request.json(body);
    }
    let response = request.send().await.expect("an answer");
    let status = response.status().as_u16();
    let text = response.text().await.expect("a body");
    (status, if text.is_empty() { Value::Null } else { serde_json::from_str(&text).expect("JSON") })
}

fn new_schedule(name: &str, cron: &str, missed: Missed) -> NewSchedule {
    NewSchedule {
        name: name.to_owned(),
        cron: cron.to_owned(),
        time_zone: "Europe/Berlin".to_owned(),
        type_name: "Tick".to_owned(),
        parameters: json!({}),
        options: TaskOptions::default(),
        key: None,
        unique_key: None,
        missed,
        paused: false,
        next_at: None,
    }
}

/// Stores a schedule that was due first `seconds` ago, on a whole second.
async fn due_since(stage: &Stage, name: &str, cron: &str, missed: Missed, seconds: i32) {
    let since: chrono::DateTime<chrono::Utc> =
        sqlx::query_scalar("SELECT date_trunc('second', now()) - $1 * interval '1 s'")
            .bind(seconds)
            .fetch_one(&stage.pool)
            .await
            .expect("a time");
    let schedule = NewSchedule { next_at: Some(since), ..new_schedule(name, cron, missed) };
    assert!(cron::create(&stage.pool, &schedule).await.expect("stored"));
}

/// How long the test with a killed worker goes on: 20 s, or as
/// `LONGHAUL_CRON_SECONDS` says.
fn seconds() -> i64 {
    std::env::var("LONGHAUL_CRON_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(20)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_second_fires_exactly_once_although_the_worker_that_fires_is_killed() {
    let stage = stage().await;
    // By name: a worker that was presumed dead goes on under another id.
    let mut workers: Vec<(String, RunningWorker)> = Vec::new();
    let mut names = (1..).map(|number| format!("worker {number}"));
    let mut start = async |workers: &mut Vec<(String, RunningWorker)>| {
        let name = names.next().expect("a name");
        let worker = stage.worker(longhaul_worker::Settings { name: name.clone(), ..quick_worker() }).await;
        workers.push((name, worker));
    };
    start(&mut workers).await;
    start(&mut workers).await;
    let body = json!({"Name": "every-second", "Cron": "* * * * * *", "Type": "Tick", "Missed": "All"});
    assert_eq!(send(&stage, Method::POST, "/api/schedules", Some(&body)).await.0, 201);
    let first: chrono::DateTime<chrono::Utc> = stage.value("SELECT next_at FROM longhaul.schedule").await;

    let fired = async || stage.value::<i64>("SELECT count(*) FROM longhaul.firing").await;
    let mut killed = 0;
    for part in 1..=4 {
        let target = seconds() * part / 4;
        while fired().await < target {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        if part < 4 {
            // The one that fired last is killed, and another takes its place.
            let acted: String = stage
                .value(
                    "SELECT w.name FROM longhaul.firing f JOIN longhaul.worker w ON w.id = f.fired_by
                      ORDER BY f.due_at DESC LIMIT 1",
                )
                .await;
            if let Some(at) = workers.iter().position(|(name, _)| *name == acted) {
                workers.remove(at).1.kill().await;
                killed += 1;
                start(&mut workers).await;
            }
        }
    }
    assert_eq!(killed, 3);
    for (_, worker) in workers {
        worker.stop().await;
    }

    // Every due time from the first to the last has one firing and one task.
    let (firings, times, tasks, span): (i64, i64, i64, i64) = sqlx::query_as(
        "SELECT count(*), count(DISTINCT due_at), (SELECT count(*) FROM longhaul.task WHERE created_by = 'schedule:every-second'),
                extract(epoch FROM max(due_at) - min(due_at))::bigint + 1 FROM longhaul.firing",
    )
    .fetch_one(&stage.pool)
    .await
    .expect("counts");
    assert_eq!((firings, times, tasks), (span, span, span), "each second once");
    assert_eq!(stage.value::<chrono::DateTime<chrono::Utc>>("SELECT min(due_at) FROM longhaul.firing").await, first);
    assert!(firings >= seconds());
    // One that a killed worker had begun starts over, and its message with it.
    let messages: i64 = stage
        .value(
            "SELECT count(DISTINCT message) + count(*) FILTER (WHERE message IS NULL AND attempt > 1)
               FROM longhaul.task",
        )
        .await;
    assert_eq!(messages, span, "each task tells for which due time it stands");
    let late: f64 = stage
        .value(
            "SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM fired_at - due_at))::float8
               FROM longhaul.firing",
        )
        .await;
    println!("{firings} firings, median lateness {:.1} ms", late * 1_000.0);
    assert!((0.0..0.5).contains(&late), "fired when due, not at the next poll: {late} s");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_processes_that_look_at_once_fire_each_due_time_once() {
    let stage = stage().await;
    for number in 0..5 {
        due_since(&stage, &format!("s{number}"), "* * * * * *", Missed::All, 99).await;
    }
    let looks = (0..6).map(|worker| fire(&stage.pool, worker));
    let fired: Vec<_> = join_all(looks).await;
    let tasks: i64 = fired.into_iter().map(|fired| fired.expect("a look").tasks).sum();
    let (firings, stored): (i64, i64) =
        sqlx::query_as("SELECT (SELECT count(*) FROM longhaul.firing), (SELECT count(*) FROM longhaul.task)")
            .fetch_one(&stage.pool)
            .await
            .expect("counts");
    assert_eq!((tasks, stored), (firings, firings));
    assert!((500..=515).contains(&firings), "{firings}: a hundred due times each, and what came due meanwhile");
    let counted: i64 = stage.value("SELECT sum(fired)::bigint FROM longhaul.schedules").await;
    assert_eq!(counted, firings);
}

async fn join_all<F: Future>(futures: impl Iterator<Item = F>) -> Vec<F::Output> {
    futures_util::future::join_all(futures).await
}

#[tokio::test]
async fn what_was_missed_is_skipped_or_fired_once_or_made_up_for() {
    let stage = stage().await;
    due_since(&stage, "all", "0 * * * * *", Missed::All, 600).await;
    due_since(&stage, "once", "0 * * * * *", Missed::Once, 600).await;
    // Due in one month only, and that was long ago.
    let long_ago = NewSchedule {
        next_at: Some("2020-02-01T00:00:00Z".parse().expect("a time")),
        ..new_schedule("skip", "0 0 1 2 *", Missed::Skip)
    };
    assert!(cron::create(&stage.pool, &long_ago).await.expect("stored"));
    fire(&stage.pool, 1).await.expect("a look");
    let count = async |name: &str| cron::schedule(&stage.pool, name).await.expect("an answer").expect("a schedule");
    let (all, once, skip) = (count("all").await, count("once").await, count("skip").await);
    assert!((10..=12).contains(&all.fired), "{}", all.fired);
    assert_eq!((once.fired, once.last_skipped_at), (1, None));
    assert_eq!((skip.fired, skip.last_task.is_none()), (0, true));
    assert!(skip.last_skipped_at.is_some() && skip.next_at > skip.last_skipped_at);
    assert!(fire(&stage.pool, 1).await.expect("a look").next_in.is_some());
}

#[tokio::test]
async fn a_due_time_that_was_fired_is_never_fired_again() {
    let stage = stage().await;
    due_since(&stage, "again", "* * * * * *", Missed::All, 5).await;
    fire(&stage.pool, 1).await.expect("a look");
    let before: i64 = stage.value("SELECT count(*) FROM longhaul.task").await;
    // As if the clock had been set back.
    sqlx::raw_sql("UPDATE longhaul.schedule SET next_at = next_at - interval '3 s'")
        .execute(&stage.pool)
        .await
        .expect("set back");
    fire(&stage.pool, 1).await.expect("a look");
    let (firings, times, tasks): (i64, i64, i64) = sqlx::query_as(
        "SELECT count(*), count(DISTINCT due_at), (SELECT count(*) FROM longhaul.task) FROM longhaul.firing",
    )
    .fetch_one(&stage.pool)
    .await
    .expect("counts");
    assert_eq!((firings, firings), (times, tasks));
    assert!(tasks <= before + 3);
}

#[tokio::test]
async fn schedules_are_made_read_replaced_paused_resumed_and_removed() {
    let stage = stage().await;
    let body = json!({"Name": "nightly", "Cron": "30 2 * * *", "TimeZone": "Europe/Berlin", "Type": "Tick",
                      "Parameters": {"number": 7}, "Priority": 2});
    let (status, made) = send(&stage, Method::POST, "/api/schedules", Some(&body)).await;
    assert_eq!(status, 201, "{made}");
    for (name, value) in body.as_object().expect("an object") {
        assert_eq!(&made[name], value, "{name}");
    }
    assert_eq!((&made["Missed"], &made["Paused"], &made["State"]), (&json!("Once"), &json!(false), &json!("active")));
    assert!(made["NextAt"].as_str().expect("a time").ends_with(":30:00Z"));
    assert_eq!(made["LastFiredAt"], Value::Null);
    let path = "/api/schedules/nightly";
    assert_eq!(made["Self"], format!("{}{path}", stage.base_url));
    assert_eq!(send(&stage, Method::GET, path, None).await, (200, made.clone()));
    let (status, problem) = send(&stage, Method::POST, "/api/schedules", Some(&body)).await;
    assert_eq!((status, &problem["code"]), (409, &json!("schedule-exists")));

    let (status, paused) = send(&stage, Method::POST, &format!("{path}/pause"), None).await;
    assert_eq!((status, &paused["State"], &paused["NextAt"]), (200, &json!("paused"), &Value::Null));
    let (status, resumed) = send(&stage, Method::POST, &format!("{path}/resume"), None).await;
    assert_eq!((status, &resumed["State"], &resumed["NextAt"]), (200, &json!("active"), &made["NextAt"]));

    let changed = json!({"Cron": "@hourly", "Type": "Tick", "Missed": "Skip", "Paused": true});
    assert_eq!(send(&stage, Method::PUT, path, Some(&changed)).await.0, 200);
    let (status, other) = send(&stage, Method::PUT, "/api/schedules/other", Some(&changed)).await;
    assert_eq!((status, &other["TimeZone"], &other["Missed"]), (201, &json!("UTC"), &json!("Skip")));
    let (_, list) = send(&stage, Method::GET, "/api/schedules?limit=1", None).await;
    assert_eq!((&list["Items"][0]["Name"], &list["Items"][0]["Cron"]), (&json!("nightly"), &json!("@hourly")));
    let next = list["Links"][0]["Href"].as_str().expect("a next page");
    let (_, list) = stage.get(next).await;
    assert_eq!((&list["Items"][0]["Name"], &list["Links"]), (&json!("other"), &json!([])));

    assert_eq!(send(&stage, Method::DELETE, path, None).await, (204, Value::Null));
    for (method, path) in [
        (Method::DELETE, path),
        (Method::GET, path),
        (Method::POST, "/api/schedules/nightly/pause"),
        (Method::POST, "/api/schedules/nightly/resume"),
        (Method::GET, "/api/schedules/a%00b"),
        (Method::DELETE, "/api/schedules/a%00b"),
    ] {
        let (status, problem) = send(&stage, method, path, None).await;
        assert_eq!((status, &problem["code"]), (404, &json!("unknown-schedule")), "{path}");
    }
    assert_eq!(send(&stage, Method::PATCH, path, None).await.0, 405);
}

#[tokio::test]
async fn a_paused_schedule_does_not_fire_and_makes_up_for_nothing() {
    let stage = stage().await;
    due_since(&stage, "paused", "* * * * * *", Missed::All, 50).await;
    assert_eq!(send(&stage, Method::POST, "/api/schedules/paused/pause", None).await.0, 200);
    assert_eq!(fire(&stage.pool, 1).await.expect("a look").tasks, 0);
    assert_eq!(send(&stage, Method::POST, "/api/schedules/paused/resume", None).await.0, 200);
    let worker = stage.worker(quick_worker()).await;
    until("it to fire", async || (stage.value::<i64>("SELECT count(*) FROM longhaul.firing").await > 0).then_some(()))
        .await;
    worker.stop().await;
    let from_the_pause: i64 =
        stage.value("SELECT count(*) FROM longhaul.firing f, longhaul.schedule s WHERE f.due_at < s.changed_at").await;
    assert_eq!(from_the_pause, 0);
}

#[tokio::test]
async fn everything_wrong_with_a_schedule_is_told_at_once() {
    let stage = stage().await;
    let (status, problem) = send(
        &stage,
        Method::POST,
        "/api/schedules",
        Some(&json!({"Name": "a b", "Cron": "61 * * * *", "TimeZone": "Berlin", "Type": "Tick",
                     "Parameters": {"number": 1000, "x": 1}, "Priority": 10, "Missed": "never", "Paused": 1, "Colour": 1})),
    )
    .await;
    assert_eq!((status, &problem["code"]), (400, &json!("invalid-request")));
    let pointers: BTreeSet<&str> = problem["errors"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|error| error["pointer"].as_str().expect("a pointer"))
        .collect();
    let expected =
        ["/Name", "/TimeZone", "/Parameters/number", "/Parameters/x", "/Priority", "/Missed", "/Paused", "/Colour"];
    assert_eq!(pointers, expected.into_iter().collect());
    for (cron, says) in
        [("61 * * * *", "five fields"), ("* * *", "five fields"), ("0 0 30 2 *", "never fires"), ("", "five fields")]
    {
        let body = json!({"Name": "x", "Cron": cron, "Type": "Tick"});
        let (status, problem) = send(&stage, Method::POST, "/api/schedules", Some(&body)).await;
        let error = &problem["errors"][0];
        assert_eq!((status, &error["pointer"]), (400, &json!("/Cron")), "{problem}");
        assert!(error["message"].as_str().expect("a message").contains(says), "{problem}");
    }
    let (status, problem) =
        send(&stage, Method::PUT, "/api/schedules/x", Some(&json!({"Name": "y", "Cron": "@daily", "Type": "Tock"})))
            .await;
    assert_eq!((status, problem["errors"].as_array().map(Vec::len)), (400, Some(2)), "{problem}");
    assert_eq!(stage.value::<i64>("SELECT count(*) FROM longhaul.schedule").await, 0);
}

#[tokio::test]
async fn a_schedule_that_can_not_be_read_any_more_is_set_aside_and_holds_up_no_other() {
    let stage = stage().await;
    due_since(&stage, "good", "* * * * * *", Missed::Once, 5).await;
    due_since(&stage, "odd", "every day", Missed::Once, 5).await;
    let fired = fire(&stage.pool, 1).await.expect("a look");
    assert_eq!((fired.tasks, fired.broken.len()), (1, 1));
    let (_, odd) = send(&stage, Method::GET, "/api/schedules/odd", None).await;
    assert_eq!(odd["State"], "broken");
    assert!(odd["Problem"].as_str().expect("a problem").contains("five fields"), "{odd}");
    let (_, good) = send(&stage, Method::GET, "/api/schedules/good", None).await;
    let last = good["Links"].as_array().and_then(|links| links.iter().find(|link| link["Rel"] == "LastTask"));
    let (status, task) = stage.get(last.expect("a link")["Href"].as_str().expect("an address")).await;
    assert_eq!((status, &task["Type"], &task["State"]), (200, &json!("Tick"), &json!("Queued")));
}

#[tokio::test]
async fn a_schedule_is_run_by_hand_besides_its_firings() {
    let stage = stage().await;
    let yearly = json!({"Name": "yearly", "Cron": "@yearly", "Type": "Tick", "Parameters": {"number": 7}, "Priority": 2, "Paused": true});
    assert_eq!(send(&stage, Method::POST, "/api/schedules", Some(&yearly)).await.0, 201);
    let (status, task) = send(&stage, Method::POST, "/api/schedules/yearly/run", None).await;
    assert_eq!((status, &task["State"]), (202, &json!("Queued")));
    let stored: String =
        stage.value("SELECT format('%s %s %s', parameters, priority, created_by) FROM longhaul.task").await;
    assert_eq!(stored, r#"{"number": 7} 2 schedule:yearly"#);
    let (_, schedule) = send(&stage, Method::GET, "/api/schedules/yearly", None).await;
    assert_eq!((&schedule["Fired"], &schedule["State"]), (&json!(0), &json!("paused")));
    assert_eq!(send(&stage, Method::POST, "/api/schedules/monthly/run", None).await.0, 404);
}
