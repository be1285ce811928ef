//! `task`, `queue`, `schedule` and `worker`, by HTTP and straight to the database.

use longhaul_tests::{Stage, fill_project, quick_worker, until};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::program::{Interactive, Process, address_in, run_with};

/// The two ways to the tasks of a stage.
const WAYS: [Way; 2] = [Way::Http, Way::Database];

#[derive(Debug, Clone, Copy)]
enum Way {
    Http,
    Database,
}

/// What a command said.
struct Said {
    code: Option<i32>,
    out: String,
    error: String,
}

impl Said {
    /// Its standard output, if it went well.
    fn well(self) -> String {
        assert_eq!(self.code, Some(0), "{}{}", self.out, self.error);
        self.out
    }

    fn json(self) -> Value {
        let out = self.well();
        serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}"))
    }
}

impl Way {
    fn environment(self, stage: &Stage) -> [(&str, &str); 1] {
        match self {
            Way::Http => [("LONGHAUL_URL", &stage.base_url)],
            Way::Database => [("DATABASE_URL", stage.database_url())],
        }
    }

    async fn run(self, stage: &Stage, arguments: &[&str]) -> Said {
        let (code, out, error) = run_with(crate::PROGRAM, arguments, &self.environment(stage)).await;
        Said { code, out, error }
    }
}

#[tokio::test]
async fn a_task_is_run_and_watched_and_its_end_is_the_exit_code() {
    let stage = Stage::new().await;
    let project = Uuid::now_v7();
    fill_project(&stage.pool, project, 30).await;
    let _worker = stage.worker(quick_worker()).await;
    for way in WAYS {
        let parameter = format!("ProjectId={project}");
        let said =
            way.run(&stage, &["task", "run", "Reindex", "-p", &parameter, "-p", "Optimize=true", "--watch"]).await;
        let out = said.well();
        // No terminal: lines.
        assert!(out.contains("Succeeded 31/31"), "{way:?} {out}");
        let body = way.run(&stage, &["task", "run", "Reindex", "-p", &parameter, "--watch", "--json"]).await.json();
        assert_eq!(body["State"], "Succeeded");
        let id = body["Id"].as_str().expect("an id");
        let shown = way.run(&stage, &["task", "show", id]).await.well();
        assert!(shown.contains("Succeeded") && shown.contains("100 %, 31 of 31"), "{shown}");
        assert_eq!(way.run(&stage, &["task", "wait", id]).await.code, Some(0));

        let refused = way.run(&stage, &["task", "run", "Reindex", "-p", "ProjectId=7", "-p", "Optimise=true"]).await;
        assert_eq!(refused.code, Some(1));
        assert!(
            refused.error.contains("/Parameters/ProjectId") && refused.error.contains("Optimise"),
            "{}",
            refused.error
        );
        let unknown = way.run(&stage, &["task", "run", "Reindexx"]).await;
        assert_eq!(unknown.code, Some(1));
        assert!(unknown.error.contains("unknown-task-type"), "{}", unknown.error);
    }
}

#[tokio::test]
async fn a_task_is_shown_with_why_it_waits_and_what_was_asked_for() {
    let stage = Stage::new().await;
    let id: String =
        stage.value(r#"SELECT longhaul.enqueue('Reindex', '{"Optimize": true}', priority => 7, key => 'acme')"#).await;
    let pause = "SELECT longhaul.set_queue('default', paused => true)";
    sqlx::query(pause).execute(&stage.pool).await.expect("paused");
    let reasons: Vec<(String, String, Value)> =
        sqlx::query_as("SELECT w.* FROM longhaul.tasks t CROSS JOIN LATERAL longhaul.why(t.id) w")
            .fetch_all(&stage.pool)
            .await
            .expect("reasons");
    assert_eq!(reasons.iter().map(|(code, ..)| code.as_str()).collect::<Vec<_>>(), ["queue-paused", "no-worker"]);
    for way in WAYS {
        let body = way.run(&stage, &["task", "show", "--json", &id]).await.json();
        let told: Vec<Value> = reasons
            .iter()
            .map(|(code, says, details)| json!({"Code": code, "Says": says, "Details": details}))
            .collect();
        assert_eq!(body["WaitsBecause"], json!(told));
        let shown = way.run(&stage, &["task", "show", &id]).await.well();
        for (code, says, _) in &reasons {
            assert!(shown.contains(&format!("Waits      {says} ({code})\n")), "{way:?} {shown}");
        }
        for line in [
            "Queue      default",
            "Priority   7",
            "Key        acme",
            "Attempt    0 of 5",
            r#"Parameters {"Optimize":true}"#,
        ] {
            assert!(shown.contains(line), "{line}: {shown}");
        }
    }
    sqlx::query("SELECT longhaul.set_queue('default', paused => false)").execute(&stage.pool).await.expect("resumed");
    let _worker = stage.worker(quick_worker()).await;
    let failing: String = stage.value(r#"SELECT longhaul.enqueue('Reindex', '{"ProjectId": 1}')"#).await;
    until("the task to fail", async || {
        let failed = "SELECT count(*) FROM longhaul.tasks WHERE state = 'Failed'";
        (stage.value::<i64>(failed).await == 1).then_some(())
    })
    .await;
    for way in WAYS {
        let shown = way.run(&stage, &["task", "show", &failing]).await.well();
        assert!(shown.contains("Failed     attempt 1 at 20") && shown.contains("(not-runnable)"), "{way:?} {shown}");
        assert!(shown.contains("Worker     "), "{shown}");
    }
}

#[tokio::test]
async fn exit_codes_tell_failed_cancelled_and_not_yet_over() {
    let stage = Stage::new().await;
    let failing: String = stage.value(r#"SELECT longhaul.enqueue('Reindex', '{"ProjectId": 1}')"#).await;
    let waiting: String = stage.value("SELECT longhaul.enqueue('Reindex', run_at => now() + interval '1 hour')").await;
    for way in WAYS {
        let early = way.run(&stage, &["task", "wait", "--timeout", "0.2", &waiting]).await;
        assert_eq!(early.code, Some(5), "{}", early.error);
    }
    let cancelled = Way::Http.run(&stage, &["task", "cancel", "--wait", &waiting]).await.well();
    assert!(cancelled.contains("Cancelled"), "{cancelled}");
    let _worker = stage.worker(quick_worker()).await;
    for way in WAYS {
        let failed = way.run(&stage, &["task", "wait", &failing]).await;
        assert_eq!(failed.code, Some(3), "{}", failed.error);
        assert!(failed.out.contains("not-runnable"), "{}", failed.out);
        assert_eq!(way.run(&stage, &["task", "wait", &waiting, &failing]).await.code, Some(4));
        let unknown = way.run(&stage, &["task", "show", "reindex-00000000-0000-0000-0000-000000000000"]).await;
        assert_eq!(unknown.code, Some(1));
        assert!(unknown.error.contains("unknown-task"), "{}", unknown.error);
        assert_eq!(way.run(&stage, &["task", "cancel", &failing]).await.code, Some(1));
        assert_eq!(way.run(&stage, &["task", "wait"]).await.code, Some(2));
        // Both fail again.
        let again = way.run(&stage, &["task", "retry", "--watch", &failing]).await;
        assert_eq!(again.code, Some(3), "{}", again.error);
    }
}

#[tokio::test]
async fn ctrl_c_without_a_terminal_leaves_the_task_alone() {
    let stage = Stage::new().await;
    for way in WAYS {
        let mut watching = Interactive::start(&["task", "run", "Reindex", "--watch"], &way.environment(&stage));
        let line = watching.line("Queued").await;
        watching.interrupt().await;
        assert_eq!(watching.ended().await, Some(130));
        let id = line.split(' ').next().expect("an id");
        let body = way.run(&stage, &["task", "show", "--json", id]).await.json();
        assert_eq!(body["State"], "Queued");
    }
}

#[tokio::test]
async fn queues_are_listed_paused_resumed_and_limited() {
    let stage = Stage::new().await;
    stage.value::<String>("SELECT longhaul.enqueue('Reindex', queue => 'nobodys')").await;
    for way in WAYS {
        let paused = way.run(&stage, &["queue", "pause", "default", "--json"]).await.json();
        assert_eq!(paused["Paused"], true);
        let list = way.run(&stage, &["queue", "list"]).await.well();
        let line = list.lines().find(|line| line.starts_with("default ")).expect("the queue");
        assert!(line.contains("paused, no worker"), "{list}");
        // Nothing names it but its task.
        let line = list.lines().find(|line| line.starts_with("nobodys ")).expect("the queue");
        assert!(line.contains("open, no worker"), "{list}");
        assert_eq!(way.run(&stage, &["queue", "pause", "nobodys", "--json"]).await.json()["Held"], 1);
        assert_eq!(way.run(&stage, &["queue", "resume", "nobodys", "--json"]).await.json()["Ready"], 1);
        let resumed = way.run(&stage, &["queue", "resume", "default", "--json"]).await.json();
        assert_eq!(resumed["Paused"], false);
        let limits = ["queue", "limit", "default", "--max-running", "3", "--rate", "100/60", "--fair", "true"];
        let limits = [&limits[..], &["--max-waiting", "5000", "--json"]].concat();
        let limited = way.run(&stage, &limits).await.json();
        assert_eq!(
            (&limited["MaxRunning"], &limited["RateCount"], &limited["Fair"], &limited["MaxWaiting"]),
            (&json!(3), &json!(100), &json!(true), &json!(5000))
        );
        let list = way.run(&stage, &["queue", "list"]).await.well();
        assert!(
            list.contains("max concurrent 3, start at most 100 every 60 s, share fairly, max waiting 5000"),
            "{list}"
        );
        let free = ["queue", "limit", "default", "--max-running", "none", "--rate", "none", "--fair", "false"];
        let free = [&free[..], &["--max-waiting", "none", "--json"]].concat();
        let freed = way.run(&stage, &free).await.json();
        assert!(["MaxRunning", "RateCount", "MaxWaiting"].iter().all(|limit| freed[limit].is_null()), "{freed}");
        assert_eq!(way.run(&stage, &["queue", "limit", "default"]).await.code, Some(2));
        let wrong = way.run(&stage, &["queue", "limit", "default", "--rate", "many"]).await;
        assert_eq!(wrong.code, Some(2));
        assert!(wrong.error.contains("100/60"), "{}", wrong.error);
        assert_eq!(way.run(&stage, &["queue", "pause", "nowhere"]).await.code, Some(1));
    }
}

#[tokio::test]
async fn schedules_are_made_paused_run_and_removed() {
    let stage = Stage::new().await;
    for way in WAYS {
        let create = [
            "schedule",
            "create",
            "nightly",
            "30 2 * * *",
            "Reindex",
            "--time-zone",
            "Europe/Berlin",
            "-p",
            "Optimize=true",
        ];
        way.run(&stage, &create).await.well();
        assert_eq!(way.run(&stage, &create).await.code, Some(1), "there is one already");
        let replaced =
            way.run(&stage, &[&create[..], &["--replace", "--missed", "skip", "--json"]].concat()).await.json();
        assert_eq!((&replaced["Missed"], &replaced["Parameters"]["Optimize"]), (&json!("Skip"), &json!(true)));
        let paused = way.run(&stage, &["schedule", "pause", "nightly", "--json"]).await.json();
        assert_eq!(paused["State"], "paused");
        let id = way.run(&stage, &["schedule", "run", "nightly"]).await.well();
        let task = way.run(&stage, &["task", "show", "--json", id.trim()]).await.json();
        assert_eq!((&task["Type"], &task["State"]), (&json!("Reindex"), &json!("Queued")));
        let resumed = way.run(&stage, &["schedule", "resume", "nightly", "--json"]).await.json();
        assert_eq!(resumed["State"], "active");
        let list = way.run(&stage, &["schedule", "list"]).await.well();
        assert!(list.contains("nightly") && list.contains("Europe/Berlin"), "{list}");
        way.run(&stage, &["schedule", "delete", "nightly"]).await.well();
        assert_eq!(way.run(&stage, &["schedule", "show", "nightly"]).await.code, Some(1));
        assert_eq!(way.run(&stage, &["schedule", "run", "nightly"]).await.code, Some(1));
    }
    let by: i64 = stage.value("SELECT count(*) FROM longhaul.task WHERE created_by = 'schedule:nightly'").await;
    assert_eq!(by, 2);
}

#[tokio::test]
async fn the_log_of_a_task_is_printed_and_followed() {
    let stage = Stage::new().await;
    let project = Uuid::now_v7();
    fill_project(&stage.pool, project, 3).await;
    // Too long for a document: Reindex says so.
    sqlx::query(
        "UPDATE records.entity SET fields = jsonb_build_object('Text', many.words)
           FROM (SELECT string_agg('word' || n, ' ') AS words FROM generate_series(1, 200000) n) AS many
          WHERE project_id = $1",
    )
    .bind(project)
    .execute(&stage.pool)
    .await
    .expect("long texts");
    let id = Way::Http.run(&stage, &["task", "run", "Reindex", "-p", &format!("ProjectId={project}")]).await.well();
    let mut following = Interactive::start(&["task", "logs", "--follow", id.trim()], &Way::Http.environment(&stage));
    let _worker = stage.worker(quick_worker()).await;
    let line = following.line("Warn").await;
    assert_eq!(following.ended().await, Some(0));
    for way in WAYS {
        let printed = way.run(&stage, &["task", "logs", id.trim()]).await.well();
        assert!(printed.lines().any(|other| other == line), "{printed} lacks {line}");
        let lines = way.run(&stage, &["task", "logs", "--json", id.trim()]).await.well();
        let first: Value = serde_json::from_str(lines.lines().next().expect("a line")).expect("JSON");
        assert_eq!(first["Number"], 1);
    }
}

#[tokio::test]
async fn tasks_and_workers_are_listed() {
    let stage = Stage::new().await;
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(
            stage.value::<String>("SELECT longhaul.enqueue('Reindex', run_at => now() + interval '1 hour')").await,
        );
    }
    stage.value::<String>("SELECT longhaul.enqueue('Reindex')").await;
    let _worker = stage.worker(longhaul::Settings { name: "one".to_owned(), ..quick_worker() }).await;
    until("the worker to end the task that was ready", async || {
        let open: i64 = stage.value("SELECT count(*) FROM longhaul.tasks WHERE state = 'Queued'").await;
        (open == 0).then_some(())
    })
    .await;
    for way in WAYS {
        let list = way.run(&stage, &["task", "list", "--state", "Scheduled", "--json"]).await.json();
        let listed: Vec<&str> =
            list["Items"].as_array().expect("items").iter().filter_map(|task| task["Id"].as_str()).collect();
        assert_eq!(listed, ids.iter().rev().map(String::as_str).collect::<Vec<_>>(), "newest first");
        let short = way.run(&stage, &["task", "list", "--state", "Scheduled", "--limit", "2"]).await;
        assert!(short.error.contains("There are more"), "{}", short.error);
        assert_eq!(short.well().lines().count(), 3, "a heading and two tasks");
        let wrong = way.run(&stage, &["task", "list", "--state", "Sleeping"]).await;
        assert_eq!(wrong.code, Some(2));
        let workers = way.run(&stage, &["worker", "list", "--json"]).await.json();
        let one = &workers["Items"][0];
        assert_eq!((&one["Name"], &one["State"]), (&json!("one"), &json!("alive")));
        assert!(way.run(&stage, &["worker", "list"]).await.well().contains("one     alive"));
    }
}

#[tokio::test]
async fn what_was_said_more_directly_is_where_the_tasks_are() {
    let stage = Stage::new().await;
    let nowhere = "http://127.0.0.1:1";
    let database = stage.database_url();
    let run = async |arguments: &[&str], environment: &[(&str, &str)]| {
        let (code, _, error) = run_with(crate::PROGRAM, arguments, environment).await;
        (code, error)
    };
    let (code, error) = run(&["queue", "list"], &[("LONGHAUL_URL", nowhere), ("DATABASE_URL", database)]).await;
    assert_eq!(code, Some(1), "of equals, the API counts");
    assert!(error.contains("http://127.0.0.1:1/ could not be reached"), "{error}");
    let arguments = ["queue", "list", "--database-url", database];
    let (code, error) = run(&arguments, &[("LONGHAUL_URL", nowhere)]).await;
    assert_eq!(code, Some(0), "a flag wins over a variable: {error}");
    let (code, _) =
        run(&["queue", "list", "--url", &stage.base_url], &[("DATABASE_URL", "postgres://nobody@127.0.0.1:1/x")]).await;
    assert_eq!(code, Some(0));
    let (code, error) = run(&["queue", "list", "--url", "ftp://x"], &[]).await;
    assert_eq!(code, Some(1));
    assert!(error.contains("must begin with http"), "{error}");
}

#[tokio::test]
async fn a_key_opens_what_is_closed_without_one() {
    let stage = Stage::new().await;
    let database = [("DATABASE_URL", stage.database_url())];
    let arguments = ["serve", "--listen", "127.0.0.1:0", "--authenticate"];
    let (_api, line) = Process::start_until(&arguments, stage.database_url(), "the API listens").await;
    let address = address_in(&line);
    let (code, out, error) = run_with(crate::PROGRAM, &["task", "list"], &[("LONGHAUL_URL", &address)]).await;
    assert_eq!((code, out.as_str()), (Some(1), ""));
    assert!(error.contains("LONGHAUL_KEY"), "{error}");
    let (code, out, _) = run_with(crate::PROGRAM, &["doctor", "--json"], &[("LONGHAUL_URL", &address)]).await;
    assert_eq!(code, Some(6));
    assert!(out.contains("Set LONGHAUL_KEY"), "{out}");

    let create = ["key", "create", "--name", "ops", "--permission", "*"];
    let (code, key, error) = run_with(crate::PROGRAM, &create, &database).await;
    assert_eq!(code, Some(0), "{error}");
    let environment = [("LONGHAUL_URL", address.as_str()), ("LONGHAUL_KEY", key.trim())];
    let (code, id, error) = run_with(crate::PROGRAM, &["task", "run", "Reindex"], &environment).await;
    assert_eq!(code, Some(0), "{error}");
    let (code, list, _) = run_with(crate::PROGRAM, &["task", "list", "--created-by", "key:ops"], &environment).await;
    assert_eq!(code, Some(0));
    assert!(list.contains(id.trim()), "{list}");
}

#[tokio::test]
async fn task_types_are_listed_paused_and_resumed() {
    let stage = Stage::new().await;
    stage.value::<String>("SELECT longhaul.enqueue('Reindex')").await;
    for way in WAYS {
        let listed = way.run(&stage, &["type", "list"]).await.well();
        assert!(listed.contains("TYPE") && listed.contains("DeliverWebhook"), "{listed}");
        let said = way.run(&stage, &["type", "pause", "Reindex", "SyncIncidents"]).await.well();
        assert_eq!(said.matches("paused").count(), 2, "{said}");
        let all = way.run(&stage, &["type", "list", "--json"]).await.json();
        let reindex = json!({"Name": "Reindex", "Queue": "default", "Paused": true});
        assert!(all["Items"].as_array().expect("types").contains(&reindex), "{all}");
        let (_, found, _) = run_with(crate::PROGRAM, &["doctor"], &[("DATABASE_URL", stage.database_url())]).await;
        assert!(
            found.contains("fix: longhaul type resume Reindex") && !found.contains("resume SyncIncidents"),
            "{found}"
        );
        let said = way.run(&stage, &["type", "resume", "Reindex", "SyncIncidents", "--json"]).await.well();
        assert_eq!(said.lines().count(), 2, "{said}");
        let said = way.run(&stage, &["type", "pause", "Nonsense"]).await;
        assert_eq!(said.code, Some(1));
        assert!(
            said.error.contains("unknown-type") && said.error.contains("longhaul docs errors#unknown-type"),
            "{}",
            said.error
        );
    }
}
