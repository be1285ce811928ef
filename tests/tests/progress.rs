//! Steps within steps, logs, the time left, and limits: `docs/progress.md`.

use std::time::Duration;

use longhaul_model::store::enqueue::{NewTask, enqueue};
use longhaul_model::store::log::{kept, lines};
use longhaul_model::store::retention::{Retention, Walk};
use longhaul_model::{
    Limits, LogLevel, Outcome, ProblemKind, Registry, Resources, RetryPolicy, RunContext, RunError, StepHandle,
    TaskType,
};
use longhaul_tests::{Stage, quick_worker, until};
use longhaul_worker::Settings;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::watch;
use uuid::Uuid;

/// Does what it is told.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Play {
    moves: Vec<Move>,
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
enum Move {
    /// Begins a step of the task, or of the step that was the so-manieth to begin.
    Step(String, u32, Option<usize>),
    Divide(usize, usize),
    Set(usize, i64, i64),
    Elements(i64, i64),
    Log(LogWord, String, u32),
    /// Waits until the test has opened the gate this far.
    Wait(i64),
    Checkpoint(Value),
    Result(Shape),
    /// Fails, but for the attempt with this number.
    FailUnless(u16, String),
    Panic,
    /// Reports one element every so many milliseconds.
    Pace(u64, i64),
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
enum LogWord {
    Info,
    Warn,
    Error,
}

/// What can't be written down in parameters.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
enum Shape {
    Bytes(usize),
    Nul,
    Deep(usize),
}

impl Shape {
    fn make(&self) -> Value {
        match self {
            Shape::Bytes(bytes) => json!("x".repeat(*bytes)),
            Shape::Nul => json!({"text": "a\0b"}),
            Shape::Deep(levels) => (0..*levels).fold(json!(1), |inner, _| json!([inner])),
        }
    }
}

struct Gate(watch::Receiver<i64>);

const TOLD: ProblemKind = ProblemKind { code: "told", title: "Told to fail", status: 500 };

impl TaskType for Play {
    const NAME: &'static str = "Play";
    const ID_PREFIX: &'static str = "play_";
    const RETRY: RetryPolicy =
        RetryPolicy { max_attempts: 3, first_delay: Duration::from_millis(1), max_delay: Duration::from_millis(1) };

    async fn run(self, context: RunContext) -> Result<Outcome, RunError> {
        let mut gate = context.resources().get::<Gate>().expect("a gate").0.clone();
        let mut steps: Vec<StepHandle<'_>> = Vec::new();
        let mut result = None;
        for step in self.moves {
            match step {
                Move::Step(name, weight, None) => steps.push(context.progress().step(name, weight)),
                Move::Step(name, weight, Some(parent)) => steps.push(steps[parent].step(name, weight)),
                Move::Divide(step, parts) => {
                    steps[step].divide_into(parts);
                }
                Move::Set(step, processed, total) => steps[step].set(processed, total),
                Move::Elements(processed, total) => {
                    context.progress().set_total(total);
                    context.progress().set_processed(processed);
                }
                Move::Log(level, text, times) => {
                    for _ in 0..times {
                        match level {
                            LogWord::Info => context.log().info(&text),
                            LogWord::Warn => context.log().warn(&text),
                            LogWord::Error => context.log().error(&text),
                        }
                    }
                }
                Move::Wait(far) => {
                    gate.wait_for(|open| *open >= far).await?;
                }
                Move::Checkpoint(value) => {
                    let value = match Shape::deserialize(&value) {
                        Ok(shape) => shape.make(),
                        Err(_) => value,
                    };
                    context.save_checkpoint(&value)?;
                }
                Move::Result(shape) => result = Some(shape.make()),
                Move::FailUnless(attempt, why) if context.attempt() != attempt => {
                    return Err(RunError::transient(TOLD, why));
                }
                Move::FailUnless(..) => {}
                Move::Panic => panic!("a\0b{}", "x".repeat(40_000)),
                Move::Pace(milliseconds, elements) => {
                    for _ in 0..elements {
                        tokio::time::sleep(Duration::from_millis(milliseconds)).await;
                        context.progress().advance(1);
                    }
                }
            }
        }
        Ok(Outcome::Done(result))
    }
}

async fn play() -> (Stage, watch::Sender<i64>) {
    let (gate, open) = watch::channel(0);
    let registry = Registry::new().with::<Play>();
    (Stage::builder(registry).resources(Resources::new().with(Gate(open))).start().await, gate)
}

async fn start(stage: &Stage, moves: Value) -> Value {
    stage.start(&json!({"Type": "Play", "Parameters": {"moves": moves}})).await
}

/// The body, once it is as wanted.
async fn body_when(stage: &Stage, started: &Value, wanted: impl Fn(&Value) -> bool) -> Value {
    let address = started["Self"].as_str().expect("an address");
    until("the body to be as wanted", async || Some(stage.get(address).await.1).filter(&wanted)).await
}

async fn log(stage: &Stage, started: &Value, query: &str) -> Value {
    let (status, body) = stage.get(&format!("{}/log{query}", started["Self"].as_str().expect("an address"))).await;
    assert_eq!(status, 200, "{body}");
    body
}

fn guid(started: &Value) -> Uuid {
    started["Id"].as_str().expect("an id").trim_start_matches("play_").parse().expect("a guid")
}

#[tokio::test]
async fn the_steps_at_work_are_shown_and_the_fraction_follows_them() {
    let (stage, gate) = play().await;
    let worker = stage.worker(quick_worker()).await;
    let started = start(
        &stage,
        json!([
            {"Step": ["Reading", 30, null]},
            {"Set": [0, 1, 2]},
            {"Wait": 1},
            {"Step": ["Indexing", 70, null]},
            {"Divide": [1, 4]},
            {"Step": ["Project A", 1, 1]},
            {"Set": [2, 5, 10]},
            {"Wait": 2},
        ]),
    )
    .await;
    assert!(started.get("Steps").is_none());
    let reading = body_when(&stage, &started, |body| body["ProgressInPercent"] == 0.15).await;
    assert_eq!(
        reading["Steps"],
        json!([{"Name": "Reading", "Weight": 30, "Of": 100, "Fraction": 0.5, "TotalElements": 2, "ProcessedElements": 1}])
    );
    assert_eq!((&reading["Message"], &reading["State"]), (&json!("Reading"), &json!("Running")));
    assert_eq!((&reading["TotalElements"], &reading["ProcessedElements"]), (&json!(100), &json!(15)));

    gate.send_replace(1);
    let indexing =
        body_when(&stage, &started, |body| body["Steps"].as_array().is_some_and(|path| path.len() == 2)).await;
    let indexing = match indexing["Steps"][1]["ProcessedElements"].as_i64() {
        Some(5) => indexing,
        _ => body_when(&stage, &started, |body| body["Steps"][1]["ProcessedElements"] == 5).await,
    };
    assert_eq!(indexing["ProgressInPercent"], 0.39, "30 and an eighth of 70");
    assert_eq!(indexing["Steps"][0]["Fraction"], 0.13);
    assert_eq!((&indexing["Steps"][1]["Name"], &indexing["Steps"][1]["Of"]), (&json!("Project A"), &json!(4)));
    assert_eq!(stage.value::<String>("SELECT path FROM longhaul.progress").await, "Indexing > Project A");

    gate.send_replace(2);
    let ended = stage.ended(&started).await;
    assert_eq!((&ended["State"], &ended["ProgressInPercent"]), (&json!("Succeeded"), &json!(1.0)));
    assert!(ended.get("Steps").is_none(), "it is at no step any more");
    assert!(stage.value::<bool>("SELECT steps IS NULL FROM longhaul.progress").await);
    worker.stop().await;
}

#[tokio::test]
async fn a_task_that_failed_shows_the_steps_that_it_failed_at() {
    let (stage, _gate) = play().await;
    let worker = stage.worker(quick_worker()).await;
    let moves = json!([{"Step": ["Reading", 30, null]}, {"Step": ["File 7", 50, 0]}, {"FailUnless": [9, "torn"]}]);
    let ended = stage.ended(&start(&stage, moves).await).await;
    assert_eq!((&ended["State"], &ended["Attempt"]), (&json!("Failed"), &json!(3)));
    let names: Vec<_> = ended["Steps"].as_array().expect("steps").iter().map(|step| &step["Name"]).collect();
    assert_eq!(names, ["Reading", "File 7"]);
    worker.stop().await;
}

#[tokio::test]
async fn the_time_left_is_told_while_it_is_known() {
    let (stage, gate) = play().await;
    let worker = stage.worker(quick_worker()).await;
    let started = start(&stage, json!([{"Elements": [0, 100_000]}, {"Pace": [2, 100_000]}])).await;
    let body = body_when(&stage, &started, |body| body.get("TimeLeft").is_some()).await;
    let [seconds, low, high] =
        ["Seconds", "Low", "High"].map(|name| body["TimeLeft"][name].as_i64().expect("a number"));
    assert!(0 <= low && low <= seconds && seconds <= high, "{body}");
    // 2 ms at least for each of the rest, whatever the machine is busy with.
    assert!(high > 100, "{body}");
    let in_order: bool = stage
        .value("SELECT time_left_low <= time_left AND time_left <= time_left_high AND time_left > '10 s' FROM longhaul.progress")
        .await;
    assert!(in_order, "the view says the same");
    let response = stage.http.delete(started["Self"].as_str().expect("an address")).send().await.expect("an answer");
    assert_eq!(response.status(), 202);
    // The handler ignores its token, and is given up.
    let ended = stage.ended(&started).await;
    assert_eq!(ended["State"], "Cancelled");
    assert!(ended.get("TimeLeft").is_none(), "{ended}");
    drop(gate);
    worker.stop().await;
}

#[tokio::test]
async fn what_a_handler_logs_is_read_a_page_at_a_time() {
    let (stage, gate) = play().await;
    let worker = stage.worker(quick_worker()).await;
    let started = start(
        &stage,
        json!([{"Log": ["Info", "begun", 1]}, {"Wait": 1}, {"Log": ["Warn", "no name\r\nleft out", 2]}, {"Log": ["Error", "torn", 1]}]),
    )
    .await;
    let one = until("the first line", async || {
        let body = log(&stage, &started, "").await;
        (!body["Items"].as_array().expect("items").is_empty()).then_some(body)
    })
    .await;
    let first = &one["Items"][0];
    assert_eq!(
        (&first["Number"], &first["Level"], &first["Line"], &first["Attempt"]),
        (&json!(1), &json!("Info"), &json!("begun"), &json!(1))
    );
    chrono::DateTime::parse_from_rfc3339(first["At"].as_str().expect("a time")).expect("UTC");
    gate.send_replace(1);
    let ended = stage.ended(&started).await;
    assert_eq!(
        ended["Links"][1],
        json!({"Rel": "Log", "Href": format!("{}/log", ended["Self"].as_str().expect("Self"))})
    );

    let page = log(&stage, &started, "?after=1&limit=2").await;
    assert_eq!(page["Items"].as_array().expect("items").iter().map(|line| &line["Number"]).collect::<Vec<_>>(), [2, 3]);
    assert_eq!((&page["Items"][0]["Level"], &page["Dropped"]), (&json!("Warn"), &json!(0)));
    let next = page["Links"][0]["Href"].as_str().expect("the next page");
    let (_, last) = stage.get(next).await;
    assert_eq!((&last["Items"][0]["Line"], &last["Items"][0]["Level"]), (&json!("torn"), &json!("Error")));
    assert_eq!((&last["Links"], last["Items"].as_array().map(Vec::len)), (&json!([]), Some(1)));

    let text = stage
        .http
        .get(format!("{}/log?limit=3", started["Self"].as_str().expect("Self")))
        .header("accept", "text/plain")
        .send()
        .await
        .expect("an answer");
    assert_eq!(text.headers()["content-type"], "text/plain; charset=utf-8");
    assert!(text.headers()["link"].to_str().expect("text").contains("/log?after=3&limit=3>; rel=\"next\""));
    let text = text.text().await.expect("text");
    let said: Vec<&str> = text.lines().map(|line| line.get(25..).unwrap_or(line)).collect();
    assert_eq!(said[..2], ["Info  begun", "Warn  no name"]);
    assert_eq!(text.lines().nth(2), Some("    left out"));

    let rows: i64 = stage
        .value("SELECT count(*) FROM longhaul.task_logs WHERE level = 'Warn' AND line = E'no name\\nleft out' AND public_id LIKE 'play_%'")
        .await;
    assert_eq!(rows, 2, "the view has them, too");
    worker.stop().await;
}

#[tokio::test]
async fn a_log_is_bounded_whatever_is_written_to_it() {
    let (stage, gate) = play().await;
    let limits = Limits { log_lines: 50, log_line_bytes: 100, ..Limits::DEFAULT };
    let worker = stage.worker(Settings { limits, ..quick_worker() }).await;
    let odd = "a\u{1b}[31m\u{9b}b\u{7f}";
    let started = start(
        &stage,
        json!([
            {"Log": ["Info", "early", 40]}, {"Wait": 1}, {"Log": ["Info", "later", 30]}, {"Wait": 2},
            {"Log": ["Warn", "many", 5_000]}, {"Log": ["Warn", odd, 1]}, {"Log": ["Error", "ä".repeat(10_000), 1]},
        ]),
    )
    .await;
    let id = guid(&started);
    for (gate_to, lines_so_far) in [(1, 40), (2, 70)] {
        until("lines to be stored", async || {
            let logged: i64 = stage.value("SELECT coalesce(logged, 0) FROM longhaul.task").await;
            (logged == lines_so_far).then_some(())
        })
        .await;
        assert_eq!(kept(&stage.pool, id).await.expect("a count"), lines_so_far.min(50));
        gate.send_replace(gate_to);
    }
    stage.ended(&started).await;
    let body = log(&stage, &started, "?limit=1000").await;
    let items = body["Items"].as_array().expect("items");
    assert_eq!((items.len(), &body["Dropped"], &items[49]["Number"]), (50, &json!(5_022), &json!(5_072)));
    assert_eq!(items[48]["Line"], "a\u{fffd}[31m\u{fffd}b\u{fffd}");
    assert_eq!(items[49]["Line"].as_str().map(str::len), Some(99), "48 letters of two bytes and an ellipsis of three");
    worker.stop().await;
}

#[tokio::test]
async fn numbers_go_on_over_attempts_and_the_last_lines_of_each_are_kept() {
    let (stage, _gate) = play().await;
    let worker = stage.worker(quick_worker()).await;
    let fails = start(&stage, json!([{"Log": ["Info", "try", 2]}, {"FailUnless": [3, "torn"]}])).await;
    let ended = stage.ended(&fails).await;
    assert_eq!(ended["State"], "Succeeded");
    let stored = lines(&stage.pool, guid(&fails), 0, 100).await.expect("lines");
    let seen: Vec<(i64, u16)> = stored.iter().map(|line| (line.number, line.attempt)).collect();
    assert_eq!(seen, [(1, 1), (2, 1), (3, 2), (4, 2), (5, 3), (6, 3)]);
    assert!(stored.iter().all(|line| line.level == LogLevel::Info && line.line == "try"));
    assert!(stored.is_sorted_by_key(|line| line.at), "{stored:?}");

    let panics = start(&stage, json!([{"Log": ["Error", "now", 1]}, "Panic"])).await;
    let ended = stage.ended(&panics).await;
    assert_eq!(ended["Error"]["code"], "attempt-panicked");
    assert_eq!(kept(&stage.pool, guid(&panics)).await.expect("a count"), 3, "one of each attempt");
    let longest: i32 = stage
        .value("SELECT max(length(error ->> 'detail' || coalesce(error ->> 'cause', ''))) FROM longhaul.attempt_error")
        .await;
    assert!(longest < 20_000, "the panic's text is cut: {longest}");
    worker.stop().await;
}

#[tokio::test]
async fn many_short_tasks_that_log_all_have_their_lines() {
    let (stage, _gate) = play().await;
    let info = *Registry::new().with::<Play>().get("Play").expect("registered").info();
    let clock = stage.clock().await;
    let parameters = json!({"moves": [{"Log": ["Info", "one", 1]}, {"Log": ["Warn", "two", 1]}]});
    let tasks: Vec<NewTask> = (0..2_000).map(|_| NewTask::new(clock.new_id(), info, parameters.clone())).collect();
    enqueue(&stage.pool, &tasks).await.expect("an enqueue");
    let one = stage.worker(quick_worker()).await;
    let two = stage.worker(quick_worker()).await;
    until("all tasks to end", async || {
        let left: i64 = stage.value("SELECT count(*) FROM longhaul.task WHERE state <> 'Succeeded'").await;
        (left == 0).then_some(())
    })
    .await;
    let whole: i64 = stage
        .value("SELECT count(*) FROM (SELECT task_id FROM longhaul.task_log GROUP BY 1 HAVING array_agg(line ORDER BY number) = '{one,two}') AS w")
        .await;
    assert_eq!(whole, 2_000);
    one.stop().await;
    two.stop().await;
}

#[tokio::test]
async fn the_log_goes_with_its_task() {
    let (stage, _gate) = play().await;
    let worker = stage.worker(quick_worker()).await;
    for _ in 0..3 {
        stage.ended(&start(&stage, json!([{"Log": ["Info", "line", 10]}])).await).await;
    }
    worker.stop().await;
    let stays = start(&stage, json!([])).await;
    sqlx::query("INSERT INTO longhaul.task_log VALUES ($1, 1, now(), 1, 1, 'stays')")
        .bind(guid(&stays))
        .execute(&stage.pool)
        .await
        .expect("a line of an open task");
    let none = Retention {
        succeeded: Duration::ZERO,
        cancelled: Duration::ZERO,
        failed: Duration::ZERO,
        ..Retention::default()
    };
    let now_ms: i64 = stage.value("SELECT (extract(epoch FROM now()) * 1000)::bigint + 10000").await;
    let (mut walk, mut removed) = (Walk::default(), 0);
    loop {
        let flushed = walk.step(&stage.pool, &none, now_ms, 1_000).await.expect("a step");
        removed += flushed.removed;
        if !flushed.more {
            break;
        }
    }
    assert_eq!(removed, 3);
    assert_eq!(stage.value::<i64>("SELECT count(*) FROM longhaul.task_log").await, 1);
}

#[tokio::test]
async fn a_result_or_checkpoint_that_cant_be_kept_fails_the_task_at_once() {
    let (stage, _gate) = play().await;
    let limits = Limits { result_bytes: 1_000, checkpoint_bytes: 100, ..Limits::DEFAULT };
    let worker = stage.worker(Settings { limits, ..quick_worker() }).await;
    for (moves, code, says) in [
        (json!([{"Result": {"Bytes": 999}}]), "result-too-large", "1000 bytes"),
        (json!([{"Result": "Nul"}]), "not-storable", "U+0000"),
        (json!([{"Result": {"Deep": 101}}]), "not-storable", "levels deep"),
        (json!([{"Result": {"Deep": 400}}]), "not-storable", "levels deep"),
        (json!([{"Checkpoint": {"Bytes": 99}}]), "checkpoint-too-large", "100 bytes"),
        (json!([{"Checkpoint": "Nul"}]), "not-storable", "U+0000"),
    ] {
        let ended = stage.ended(&start(&stage, moves.clone()).await).await;
        assert_eq!(
            (&ended["State"], &ended["Error"]["code"], &ended["Attempt"]),
            (&json!("Failed"), &json!(code), &json!(1)),
            "{moves}"
        );
        assert!(ended["Error"]["detail"].as_str().expect("a detail").contains(says), "{ended}");
    }
    for moves in [
        json!([{"Result": {"Bytes": 998}}]),
        json!([{"Checkpoint": {"Bytes": 98}}]),
        json!([{"Result": {"Deep": 100}}]),
    ] {
        assert_eq!(stage.ended(&start(&stage, moves).await).await["State"], "Succeeded");
    }
    worker.stop().await;
}

#[tokio::test]
async fn a_checkpoint_that_the_database_refuses_fails_its_task_and_no_other() {
    let (stage, gate) = play().await;
    sqlx::raw_sql(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
         BEGIN RAISE EXCEPTION 'refused' USING ERRCODE = 'check_violation'; END $$;
         CREATE TRIGGER refuse BEFORE UPDATE ON longhaul.task FOR EACH ROW
         WHEN (NEW.checkpoint = '\"refuse me\"') EXECUTE FUNCTION refuse()",
    )
    .execute(&stage.pool)
    .await
    .expect("a trigger");
    let worker = stage.worker(quick_worker()).await;
    let good = start(&stage, json!([{"Elements": [1, 2]}, {"Log": ["Info", "here", 1]}, {"Wait": 1}])).await;
    let bad = start(&stage, json!([{"Log": ["Info", "before", 1]}, {"Checkpoint": "refuse me"}, {"Wait": 1}])).await;
    let ended = stage.ended(&bad).await;
    assert_eq!((&ended["State"], &ended["Error"]["code"]), (&json!("Failed"), &json!("not-storable")));
    body_when(&stage, &good, |body| body["ProcessedElements"] == 1).await;
    gate.send_replace(1);
    assert_eq!(stage.ended(&good).await["State"], "Succeeded");
    worker.stop().await;
}

#[tokio::test]
async fn bad_requests_for_a_log_are_told_what_is_wrong() {
    let (stage, _gate) = play().await;
    let started = start(&stage, json!([])).await;
    let address = started["Self"].as_str().expect("an address");
    for (query, code) in
        [("?limit=0", 400), ("?limit=1001", 400), ("?after=x", 400), ("?page=2", 400), ("?after=-5", 200)]
    {
        assert_eq!(stage.get(&format!("{address}/log{query}")).await.0, code, "{query}");
    }
    assert_eq!(stage.get(&format!("/api/backgroundtask/play_{}/log", Uuid::nil())).await.1["code"], "unknown-task");
    assert_eq!(stage.get(&format!("{address}/events?log=maybe")).await.1["code"], "invalid-request");
    let response =
        stage.http.get(format!("{address}/log")).header("accept", "image/png").send().await.expect("an answer");
    assert_eq!(response.status(), 406);
    let response = stage.http.post(format!("{address}/log")).send().await.expect("an answer");
    assert_eq!(
        (response.status().as_u16(), &response.headers()["allow"]),
        (405, &"GET, HEAD".parse().expect("a header"))
    );
}
