//! Why a task waits: each reason comes about in a real engine, and SQL, the API and the page
//! tell the same (docs/queues.md, "Why a task waits").

mod line;
mod scene;

use std::collections::BTreeSet;

use longhaul_model::split_public_id;
use longhaul_model::store::queue::{QueueSettings, pause_type};
use longhaul_model::store::why::CODES;
use longhaul_tests::{mortal_worker, quick_worker, until};
use longhaul_worker::Settings;
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};
use uuid::Uuid;

use self::scene::{
    Does, HOUR, by_sql, details, hanging, in_state, job, limit, of_jobs, public, says, stage, takes_turns, waits,
};

#[tokio::test]
async fn a_pause_and_the_want_of_a_worker_are_told_all_at_once_and_go_one_by_one() {
    let stage = stage().await;
    limit(&stage, QueueSettings { paused: true, ..QueueSettings::default() }).await;
    pause_type(&stage.pool, "Job", true).await.expect("paused");
    let id = job(&stage, Does::End, None).await;
    let reasons = waits(&stage, id, &["type-paused", "queue-paused", "no-worker"]).await;
    assert!(says(&reasons, "type-paused").starts_with("The type Job has been paused since 20"), "{reasons:?}");
    assert!(says(&reasons, "queue-paused").starts_with("The queue jobs has been paused since 20"), "{reasons:?}");
    assert_eq!(says(&reasons, "no-worker"), "No worker is alive.");
    assert_eq!(details(&reasons, "queue-paused")["Queue"], "jobs");
    let _worker = stage.worker(of_jobs(quick_worker())).await;
    waits(&stage, id, &["type-paused", "queue-paused"]).await;
    limit(&stage, QueueSettings::default()).await;
    waits(&stage, id, &["type-paused"]).await;
    until("the task to be held", async || {
        (stage.value::<i64>("SELECT count(*) FROM longhaul.held").await == 1).then_some(())
    })
    .await;
    waits(&stage, id, &["type-paused"]).await;
    pause_type(&stage.pool, "Job", false).await.expect("resumed");
    in_state(&stage, id, "Succeeded").await;
    assert_eq!(waits(&stage, id, &[]).await, Vec::<Value>::new());
}

#[tokio::test]
async fn a_queue_that_nobody_serves_is_told_with_those_who_live() {
    let stage = stage().await;
    let id = job(&stage, Does::End, None).await;
    let reasons = waits(&stage, id, &["no-worker"]).await;
    assert_eq!(*details(&reasons, "no-worker"), json!({"Queue": "jobs", "Workers": 0}));
    let others = Settings { queues: vec!["others".to_owned()], ..quick_worker() };
    let other = stage.worker(others).await;
    until("the other worker to live", async || {
        let reasons = waits(&stage, id, &["no-worker"]).await;
        (details(&reasons, "no-worker")["Workers"] == 1).then_some(())
    })
    .await;
    let reasons = waits(&stage, id, &["no-worker"]).await;
    assert_eq!(
        says(&reasons, "no-worker"),
        "No worker serves the queue jobs; those that are alive (1) serve other queues."
    );
    other.stop().await;
    let worker = stage.worker(of_jobs(mortal_worker())).await;
    in_state(&stage, id, "Succeeded").await;
    worker.kill().await;
    let id = job(&stage, Does::End, None).await;
    let reasons = waits(&stage, id, &["no-worker"]).await;
    assert_eq!(
        says(&reasons, "no-worker"),
        "No worker serves the queue jobs: the one that did has not been heard from lately."
    );
}

#[tokio::test]
async fn a_limit_is_told_with_the_place_in_line() {
    let stage = stage().await;
    limit(&stage, QueueSettings { max_running: Some(1), ..QueueSettings::default() }).await;
    let _worker = stage.worker(of_jobs(quick_worker())).await;
    hanging(&stage, None).await;
    let (next, last) = (job(&stage, Does::End, None).await, job(&stage, Does::End, None).await);
    let reasons = waits(&stage, next, &["limit", "line"]).await;
    assert_eq!(
        says(&reasons, "limit"),
        "The queue jobs runs at most 1 task at once, and all of these places are taken."
    );
    assert_eq!(*details(&reasons, "limit"), json!({"Queue": "jobs", "MaxRunning": 1}));
    assert_eq!(says(&reasons, "line"), "It stands first in the queue jobs, served by 1 worker with 8 slots.");
    let reasons = waits(&stage, last, &["limit", "line"]).await;
    assert_eq!(*details(&reasons, "line"), json!({"Queue": "jobs", "Before": 1, "Workers": 1, "Slots": 8}));
    assert!(says(&reasons, "line").starts_with("It stands in the queue jobs behind about 1 task, "), "{reasons:?}");
    limit(&stage, QueueSettings { max_running: Some(2), ..QueueSettings::default() }).await;
    in_state(&stage, last, "Succeeded").await;
}

#[tokio::test]
async fn a_keys_limit_and_the_turns_of_others_are_told() {
    let stage = stage().await;
    limit(&stage, QueueSettings { max_per_key: Some(1), ..QueueSettings::default() }).await;
    let _worker = stage.worker(of_jobs(quick_worker())).await;
    hanging(&stage, Some("acme")).await;
    let next = job(&stage, Does::Hang, Some("acme")).await;
    let reasons = waits(&stage, next, &["key-limit"]).await;
    assert_eq!(*details(&reasons, "key-limit"), json!({"Queue": "jobs", "Key": "acme", "MaxPerKey": 1}));
    assert!(says(&reasons, "key-limit").contains("the key acme are taken"), "{reasons:?}");
    let last = job(&stage, Does::Hang, Some("acme")).await;
    let turn = json!({"Queue": "jobs", "Key": "acme", "Before": 1, "Keys": 0});
    takes_turns(&stage, last, &["key-limit", "turn"], turn).await;

    // One place, and another key's turn.
    limit(&stage, QueueSettings { max_running: Some(1), fair: true, ..QueueSettings::default() }).await;
    let other = job(&stage, Does::Hang, Some("zenith")).await;
    let turn = json!({"Queue": "jobs", "Key": "acme", "Before": 1, "Keys": 1});
    let reasons = takes_turns(&stage, last, &["limit", "turn"], turn).await;
    assert_eq!(
        says(&reasons, "turn"),
        "Keys take turns in the queue jobs; before this task are about 1 task with the key acme and the turns of \
         1 other key."
    );
    let turn = json!({"Queue": "jobs", "Key": "zenith", "Before": 0, "Keys": 1});
    takes_turns(&stage, other, &["limit", "turn"], turn).await;
    // Of no key.
    let keyless = job(&stage, Does::Hang, None).await;
    let turn = json!({"Queue": "jobs", "Before": 0, "Keys": 2});
    takes_turns(&stage, keyless, &["limit", "turn"], turn).await;
}

#[tokio::test]
async fn a_rate_is_told_with_about_the_time_at_which_the_task_can_begin() {
    let stage = stage().await;
    limit(&stage, QueueSettings { rate: Some((1, 3600.0)), ..QueueSettings::default() }).await;
    let _worker = stage.worker(of_jobs(quick_worker())).await;
    let first = job(&stage, Does::End, None).await;
    in_state(&stage, first, "Succeeded").await;
    let (next, last) = (job(&stage, Does::End, None).await, job(&stage, Does::End, None).await);
    for (id, hours, before) in [(next, 1, 0), (last, 2, 1)] {
        let reasons = waits(&stage, id, &["rate", "line"]).await;
        assert_eq!(details(&reasons, "line")["Before"], before);
        let rate = details(&reasons, "rate");
        assert_eq!((&rate["RateCount"], &rate["RateSeconds"]), (&json!(1), &json!(3600)));
        let until: chrono::DateTime<chrono::Utc> = rate["Until"].as_str().expect("a time").parse().expect("a time");
        let away: f64 = sqlx::query_scalar("SELECT extract(epoch FROM $1 - now())::float8")
            .bind(until)
            .fetch_one(&stage.pool)
            .await
            .expect("seconds");
        assert!((away - f64::from(hours) * 3600.0).abs() < 120.0, "{away} {reasons:?}");
    }
}

#[tokio::test]
async fn what_waits_for_the_gatekeeper_alone_says_so() {
    let stage = stage().await;
    limit(&stage, QueueSettings { max_running: Some(100), ..QueueSettings::default() }).await;
    let _worker = stage.worker(of_jobs(quick_worker())).await;
    let first = job(&stage, Does::End, None).await;
    in_state(&stage, first, "Succeeded").await;
    // Another one is at the gate, and takes long.
    let mut at_it = PgConnection::connect(stage.database_url()).await.expect("a connection");
    let lock = "SELECT pg_advisory_lock(hashtextextended('longhaul.admit:jobs', 0))";
    sqlx::query(lock).execute(&mut at_it).await.expect("a lock");
    let id = job(&stage, Does::End, None).await;
    let reasons = waits(&stage, id, &["admission"]).await;
    assert!(says(&reasons, "admission").starts_with("The queue jobs has limits;"), "{reasons:?}");
    sqlx::query("SELECT pg_advisory_unlock_all()").execute(&mut at_it).await.expect("unlocked");
    in_state(&stage, id, "Succeeded").await;

    // Held for its type, which is resumed.
    limit(&stage, QueueSettings::default()).await;
    pause_type(&stage.pool, "Job", true).await.expect("paused");
    let id = job(&stage, Does::End, None).await;
    until("the task to be held", async || {
        (stage.value::<i64>("SELECT count(*) FROM longhaul.held").await == 1).then_some(())
    })
    .await;
    sqlx::query(lock).execute(&mut at_it).await.expect("a lock");
    pause_type(&stage.pool, "Job", false).await.expect("resumed");
    let reasons = waits(&stage, id, &["admission"]).await;
    assert_eq!(*details(&reasons, "admission"), json!({"Queue": "jobs", "Type": "Job"}));
    sqlx::query("SELECT pg_advisory_unlock_all()").execute(&mut at_it).await.expect("unlocked");
    in_state(&stage, id, "Succeeded").await;
}

#[tokio::test]
async fn tasks_that_others_wait_for_and_children_are_counted() {
    let stage = stage().await;
    let worker = stage.worker(of_jobs(quick_worker())).await;
    let (one, two) = (hanging(&stage, None).await, hanging(&stage, None).await);
    let request = json!({"Type": "Job", "After": [public(one), public(two)]});
    let body = stage.start(&request).await;
    let (_, id) = split_public_id(body["Id"].as_str().expect("an id")).expect("an id");
    let reasons = waits(&stage, id, &["dependencies"]).await;
    assert_eq!(says(&reasons, "dependencies"), "It waits until 2 other tasks have ended.");
    assert_eq!(*details(&reasons, "dependencies"), json!({"Open": 2}));

    let parent = job(&stage, Does::Divide, None).await;
    let reasons = waits(&stage, parent, &["children"]).await;
    assert_eq!(says(&reasons, "children"), "It waits until its children have ended; 2 of 2 have not.");
    assert_eq!(*details(&reasons, "children"), json!({"Open": 2, "Children": 2}));
    worker.stop().await;
}

#[tokio::test]
async fn time_retries_and_what_is_due_are_told() {
    let stage = stage().await;
    let later: String = stage.value("SELECT longhaul.enqueue('Job', run_at => now() + interval '1 hour')").await;
    let (_, later) = split_public_id(&later).expect("an id");
    let reasons = waits(&stage, later, &["time"]).await;
    assert!(says(&reasons, "time").starts_with("It waits until 20"), "{reasons:?}");
    let (_, body) = stage.get(&format!("/api/backgroundtask/{}", public(later))).await;
    assert_eq!(body["RunAt"], details(&reasons, "time")["Until"], "{body}");

    // Due, and nobody is there.
    let due: String = stage.value("SELECT longhaul.enqueue('Job', run_at => now() + interval '0.3 s')").await;
    let (_, due) = split_public_id(&due).expect("an id");
    let reasons = waits(&stage, due, &["time", "no-worker"]).await;
    assert!(says(&reasons, "time").starts_with("It was due at 20"), "{reasons:?}");

    let _worker = stage.worker(of_jobs(quick_worker())).await;
    in_state(&stage, due, "Succeeded").await;
    let failing = job(&stage, Does::Fail, None).await;
    let reasons = waits(&stage, failing, &["retry"]).await;
    assert!(says(&reasons, "retry").starts_with("Attempt 1 of 5 failed; the next one is due at 20"), "{reasons:?}");
    assert_eq!(
        (&details(&reasons, "retry")["Attempt"], &details(&reasons, "retry")["MaxAttempts"]),
        (&json!(1), &json!(5))
    );
    let snoozing = job(&stage, Does::Snooze, None).await;
    waits(&stage, snoozing, &["time"]).await;
    // As after an error of the database's own.
    stage.execute(format!("UPDATE longhaul.task SET interruptions = 1 WHERE id = '{snoozing}'")).await;
    let reasons = waits(&stage, snoozing, &["retry"]).await;
    assert!(says(&reasons, "retry").starts_with("The database interrupted its attempt"), "{reasons:?}");
}

#[tokio::test]
async fn what_was_set_aside_says_by_whom_and_not_why() {
    let stage = stage().await;
    // So that the function of the trigger may be made once for both.
    stage
        .execute(
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql
             AS $$ BEGIN RAISE EXCEPTION 'a planted row'; END $$",
        )
        .await;
    let due: String = stage.value("SELECT longhaul.enqueue('Job', run_at => now() + interval '0.1 s')").await;
    let (_, due) = split_public_id(&due).expect("an id");
    let refuse = format!(
        "CREATE TRIGGER refuse BEFORE INSERT ON longhaul.ready FOR EACH ROW WHEN (NEW.id = '{due}') EXECUTE FUNCTION refuse()"
    );
    stage.execute(&refuse).await;
    let worker = stage.worker(of_jobs(quick_worker())).await;
    let reasons = waits(&stage, due, &["set-aside", "time"]).await;
    assert_eq!(details(&reasons, "set-aside")["Service"], "promoter");
    assert!(!reasons.iter().any(|reason| reason.to_string().contains("planted")), "nothing internal: {reasons:?}");
    stage.execute("DROP TRIGGER refuse ON longhaul.ready; UPDATE longhaul.set_aside SET next_at = now()").await;
    in_state(&stage, due, "Succeeded").await;

    stage
        .execute("CREATE TRIGGER refuse BEFORE INSERT ON longhaul.admitted FOR EACH ROW EXECUTE FUNCTION refuse()")
        .await;
    limit(&stage, QueueSettings { max_running: Some(9), ..QueueSettings::default() }).await;
    let id = job(&stage, Does::End, None).await;
    let reasons = waits(&stage, id, &["set-aside"]).await;
    assert_eq!(details(&reasons, "set-aside")["Service"], "gatekeeper/tasks");
    stage.execute("DROP TRIGGER refuse ON longhaul.admitted; UPDATE longhaul.set_aside SET next_at = now()").await;
    in_state(&stage, id, "Succeeded").await;

    stage.execute("CREATE TRIGGER refuse BEFORE UPDATE ON longhaul.gate FOR EACH ROW EXECUTE FUNCTION refuse()").await;
    limit(&stage, QueueSettings { max_running: Some(8), ..QueueSettings::default() }).await;
    let id = job(&stage, Does::End, None).await;
    let reasons = waits(&stage, id, &["set-aside", "line"]).await;
    assert_eq!(details(&reasons, "set-aside")["Service"], "gatekeeper");
    assert!(
        says(&reasons, "set-aside").starts_with("The limits of the queue jobs can't be looked after ("),
        "{reasons:?}"
    );
    stage.execute("DROP TRIGGER refuse ON longhaul.gate; UPDATE longhaul.set_aside SET next_at = now()").await;
    in_state(&stage, id, "Succeeded").await;
    worker.stop().await;
}

#[tokio::test]
async fn a_task_that_does_not_stop_and_one_whose_worker_is_silent_say_so() {
    let stage = stage().await;
    let worker = stage.worker(Settings { grace: HOUR, ..of_jobs(mortal_worker()) }).await;
    let id = job(&stage, Does::Ignore, None).await;
    in_state(&stage, id, "Running").await;
    assert_eq!(waits(&stage, id, &[]).await, Vec::<Value>::new(), "it runs");
    let cancelled = stage.http.delete(format!("{}/api/backgroundtask/{}", stage.base_url, public(id))).send().await;
    assert_eq!(cancelled.expect("an answer").status(), 202);
    let reasons = waits(&stage, id, &["cancelling"]).await;
    assert!(says(&reasons, "cancelling").ends_with("it ends once its handler has stopped."), "{reasons:?}");
    worker.kill().await;
    let reasons = waits(&stage, id, &["cancelling", "worker-silent", "no-worker"]).await;
    assert!(says(&reasons, "worker-silent").contains(" has not been heard from since 20"), "{reasons:?}");
    assert_eq!(says(&reasons, "no-worker"), "No worker is alive.");
    let _worker = stage.worker(of_jobs(quick_worker())).await;
    in_state(&stage, id, "Cancelled").await;
}

#[tokio::test]
async fn a_task_in_no_place_says_so() {
    let stage = stage().await;
    stage.strands_tasks();
    let id = job(&stage, Does::End, None).await;
    stage.execute("DELETE FROM longhaul.ready").await;
    let reasons = waits(&stage, id, &["stranded", "no-worker"]).await;
    assert!(says(&reasons, "stranded").contains("a fault of Longhaul"), "{reasons:?}");
}

#[tokio::test]
async fn one_more_look_at_a_task_reads_what_belongs_to_it_and_no_other() {
    let stage = stage().await;
    limit(&stage, QueueSettings { paused: true, ..QueueSettings::default() }).await;
    let own = job(&stage, Does::End, None).await;
    job(&stage, Does::End, None).await;
    assert_eq!(by_sql(&stage, Uuid::now_v7()).await, Vec::<Value>::new(), "of a task that is not there");
    // Lists, streams and answers to POST do without.
    let (_, list) = stage.get("/api/tasks").await;
    assert!(list["Items"].as_array().expect("items").iter().all(|item| item.get("WaitsBecause").is_none()));
    let started = stage.start(&json!({"Type": "Job"})).await;
    assert!(started.get("WaitsBecause").is_none() && started.get("Parameters").is_none(), "{started}");
    // With a reader's login, and not with a tenant's.
    for (url, may) in [(&stage.logins().reader, true), (&stage.logins().tenant_reader, false)] {
        let mut connection = PgConnection::connect(url).await.expect("a connection");
        let told = sqlx::query_scalar::<_, String>("SELECT code FROM longhaul.why($1)")
            .bind(own)
            .fetch_all(&mut connection)
            .await;
        assert_eq!(told.is_ok_and(|codes| codes[0] == "queue-paused"), may);
    }
}

#[tokio::test]
async fn the_codes_are_those_of_the_function() {
    let stage = stage().await;
    let found: Vec<String> = sqlx::query_scalar(
        "SELECT DISTINCT m[1] FROM pg_proc p CROSS JOIN regexp_matches(p.prosrc, 'code := ''([a-z-]+)''', 'g') AS m
          WHERE p.proname LIKE 'why%' AND p.pronamespace = 'longhaul'::regnamespace",
    )
    .fetch_all(&stage.pool)
    .await
    .expect("codes");
    let listed: BTreeSet<&str> = CODES.iter().map(|(code, ..)| *code).collect();
    assert_eq!(found.iter().map(String::as_str).collect::<BTreeSet<_>>(), listed);
    assert_eq!(listed.len(), CODES.len());
}
