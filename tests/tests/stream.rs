//! Streams of task bodies, `docs/streaming.md`.

use std::time::Duration;

use longhaul_devdb::{Options, Server};
use longhaul_model::{
    Outcome, ProblemKind, Progress, Registry, Resources, RetryPolicy, RunContext, RunError, TaskType,
};
use longhaul_tests::{DEADLINE, Stage, StageBuilder, assert_shows, fill_project, quick_worker, shipped, until};
use reqwest::header::{ACCEPT, CONTENT_TYPE, LOCATION};
use reqwest::{Response, StatusCode};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlx::postgres::PgListener;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;
use tokio::sync::watch;
use uuid::{Uuid, uuid};

const PROJECT: Uuid = uuid!("c651ed19-5375-475a-a539-9f6401467130");

/// Takes as many steps as the test lets it.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Walk {
    steps: i64,
    #[serde(default)]
    message: String,
    #[serde(default)]
    stumble: bool,
}

/// How many steps may be taken.
struct Gate(watch::Receiver<i64>);

const STUMBLED: ProblemKind = ProblemKind { code: "stumbled", title: "Stumbled", status: 500 };

impl TaskType for Walk {
    const NAME: &'static str = "Walk";
    const ID_PREFIX: &'static str = "walk_";
    const RETRY: RetryPolicy =
        RetryPolicy { max_attempts: 5, first_delay: Duration::from_millis(20), max_delay: Duration::from_millis(50) };

    async fn create(&self, _: &longhaul_model::CreateContext) -> Result<Progress, longhaul_model::CreateError> {
        Ok(Progress::of(0, self.steps).with_message("At the start"))
    }

    async fn run(self, context: RunContext) -> Result<Outcome, RunError> {
        let mut gate = context.resources().get::<Gate>().expect("a gate").0.clone();
        for step in context.checkpoint::<i64>()?.unwrap_or(0)..self.steps {
            gate.wait_for(|allowed| *allowed > step).await?;
            context.progress().set_message(format!("Step {} {}", step + 1, self.message));
            context.progress().set_processed(step + 1);
            context.save_checkpoint(&(step + 1))?;
        }
        if self.stumble {
            return Err(RunError::permanent(STUMBLED, "A stone lay in the way."));
        }
        Ok(Outcome::done())
    }
}

/// A stage with `Walk`, and the gate that lets it go on.
async fn walkers(heartbeat: Duration, database: Option<&str>) -> (Stage, watch::Sender<i64>) {
    let (builder, gate) = walking(heartbeat);
    let builder = match database {
        Some(url) => builder.database(url),
        None => builder,
    };
    (builder.start().await, gate)
}

fn walking(heartbeat: Duration) -> (StageBuilder, watch::Sender<i64>) {
    let (gate, allowed) = watch::channel(0);
    let builder = Stage::builder(shipped::registry().with::<Walk>())
        .resources(Resources::new().with(Gate(allowed)))
        .api(move |settings| settings.stream_heartbeat = heartbeat);
    (builder, gate)
}

const QUIET: Duration = Duration::from_secs(600);

/// Reads a stream line by line.
struct Lines {
    response: Response,
    buffer: Vec<u8>,
}

impl Lines {
    fn of(response: Response) -> Self {
        Self { response, buffer: Vec::new() }
    }

    /// The next line without its break; `None` at the end of the stream.
    async fn next(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                return Some(String::from_utf8(line[..end].to_vec()).expect("UTF-8"));
            }
            let chunk = tokio::time::timeout(DEADLINE, self.response.chunk()).await.expect("something in time");
            match chunk.expect("the stream is not broken off") {
                Some(chunk) => self.buffer.extend_from_slice(&chunk),
                None => {
                    assert!(self.buffer.is_empty(), "the last line is whole");
                    return None;
                }
            }
        }
    }

    /// The next body of a stream of newline-delimited JSON, over heartbeats.
    async fn body(&mut self) -> Option<Value> {
        loop {
            let line = self.next().await?;
            if !line.is_empty() {
                return Some(serde_json::from_str(&line).expect("a line is JSON"));
            }
        }
    }

    /// The next server-sent event with data: its id and body.
    async fn event(&mut self) -> Option<(String, Value)> {
        let (mut id, mut data) = (None, None);
        loop {
            let line = self.next().await?;
            match line.split_once(": ") {
                Some(("id", value)) => id = Some(value.to_owned()),
                Some(("data", value)) => data = Some(serde_json::from_str(value).expect("data is JSON")),
                Some(("retry" | "", _)) => {}
                None if line.is_empty() => {
                    if let Some(data) = data.take() {
                        return Some((id.expect("every event has an id"), data));
                    }
                }
                _ => panic!("a line that no server-sent event has: {line}"),
            }
        }
    }

    async fn rest(&mut self) -> Vec<Value> {
        let mut bodies = Vec::new();
        while let Some(body) = self.body().await {
            bodies.push(body);
        }
        bodies
    }

    /// Bodies up to the one with that many elements done.
    async fn until_processed(&mut self, processed: i64) -> Value {
        loop {
            let body = self.body().await.expect("the stream goes on");
            if body["ProcessedElements"] == processed {
                return body;
            }
        }
    }
}

async fn start(stage: &Stage, request: Value) -> Lines {
    let response = stage.post(&request).await;
    assert_eq!(response.status(), 202);
    Lines::of(response)
}

async fn events(stage: &Stage, body: &Value, headers: &[(&str, &str)]) -> Response {
    let mut request = stage.http.get(format!("{}/events", body["Self"].as_str().expect("Self")));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.send().await.expect("the API answers")
}

fn header(response: &Response, name: impl reqwest::header::AsHeaderName) -> String {
    response.headers().get(name).expect("the header is there").to_str().expect("text").to_owned()
}

#[tokio::test]
async fn a_post_with_stream_progress_answers_with_bodies_until_the_task_ends() {
    let stage = Stage::new().await;
    fill_project(&stage.pool, PROJECT, 9_000).await;
    let response = stage.post(&json!({"Type": "Reindex", "StreamProgress": true})).await;
    assert_eq!(response.status(), 202);
    assert_eq!(header(&response, CONTENT_TYPE), "application/x-ndjson");
    let location = header(&response, LOCATION);
    let mut lines = Lines::of(response);
    let first = lines.body().await.expect("the 202 body comes first");
    assert_eq!(first["Self"], location);
    assert_eq!(
        (&first["State"], &first["Message"], &first["TotalElements"]),
        (&json!("Queued"), &json!("Queuing index events"), &json!(9_001))
    );
    let (status, stored) = stage.get(&location).await;
    assert_eq!((status, &stored["Id"]), (200, &first["Id"]), "it is durable when the answer begins");

    let worker = stage.worker(quick_worker()).await;
    let bodies = lines.rest().await;
    let ended = bodies.last().expect("more than the first body");
    assert_eq!((&ended["State"], &ended["ProgressInPercent"]), (&json!("Succeeded"), &json!(1.0)));
    assert_shows(&stage.get(&location).await.1, ended);
    assert!(bodies.iter().any(|body| body["State"] == "Running"), "the way there is shown");
    assert!(bodies.iter().rev().skip(1).all(|body| body["Complete"] == false), "only the last one is final");
    let processed: Vec<i64> = bodies.iter().filter_map(|body| body["ProcessedElements"].as_i64()).collect();
    assert!(processed.is_sorted(), "{processed:?}");
    worker.stop().await;
}

#[tokio::test]
async fn server_sent_events_come_if_the_client_asks_for_them() {
    let (stage, gate) = walkers(QUIET, None).await;
    let worker = stage.worker(quick_worker()).await;
    let response = stage
        .http
        .post(format!("{}/api/backgroundtask", stage.base_url))
        .header(ACCEPT, "text/event-stream")
        .json(&json!({"Type": "Walk", "Parameters": {"Steps": 3, "StreamProgress": true}}))
        .send()
        .await
        .expect("an answer");
    assert_eq!(response.status(), 202, "taken out of the parameters before they are validated");
    assert_eq!(header(&response, CONTENT_TYPE), "text/event-stream");
    assert_eq!(header(&response, "cache-control"), "no-store, no-transform");
    let mut lines = Lines::of(response);
    let (_, first) = lines.event().await.expect("the 202 body");
    assert_eq!((&first["State"], &first["Message"]), (&json!("Queued"), &json!("At the start")));
    let mut seen = std::collections::HashSet::new();
    let mut last = first;
    for step in 0..=3 {
        // Each step is let through when the one before has been streamed.
        while last["ProcessedElements"] != step || last["State"] != if step < 3 { "Running" } else { "Succeeded" } {
            let (id, body) = lines.event().await.expect("the stream goes on");
            assert!(seen.insert(id), "every state has an id of its own");
            last = body;
        }
        gate.send_replace(step + 1);
    }
    assert!(lines.event().await.is_none(), "the stream ends after the final event");
    let stored: Value = stage.value("SELECT parameters FROM longhaul.task").await;
    assert_eq!(stored, json!({"Steps": 3}));
    worker.stop().await;
}

#[tokio::test]
async fn everyone_who_streams_a_failing_task_sees_why_it_failed() {
    let (stage, gate) = walkers(QUIET, None).await;
    let worker = stage.worker(quick_worker()).await;
    let request = json!({"Type": "Walk", "StreamProgress": true, "Parameters": {"Steps": 1, "Stumble": true}});
    let mut one = start(&stage, request).await;
    let accepted = one.body().await.expect("the 202 body");
    let mut other = Lines::of(events(&stage, &accepted, &[]).await);
    other.body().await.expect("the state it is in");
    gate.send_replace(1);
    for lines in [&mut one, &mut other] {
        let bodies = lines.rest().await;
        let ended = bodies.last().expect("a final body");
        assert_eq!((&ended["State"], &ended["Error"]["code"]), (&json!("Failed"), &json!("stumbled")));
    }
    worker.stop().await;
}

#[tokio::test]
async fn a_client_that_goes_away_leaves_the_task_running() {
    let (stage, gate) = walkers(Duration::from_millis(20), None).await;
    let worker = stage.worker(quick_worker()).await;
    let mut lines = start(&stage, json!({"Type": "Walk", "Parameters": {"Steps": 2}, "StreamProgress": true})).await;
    let accepted = lines.body().await.expect("the 202 body");
    gate.send_replace(1);
    lines.until_processed(1).await;
    drop(lines);
    until("the API to notice that nobody streams the task", async || {
        (stage.value::<i64>("SELECT count(*) FROM longhaul.watched").await == 0).then_some(())
    })
    .await;
    let (_, body) = stage.get(accepted["Self"].as_str().expect("Self")).await;
    assert_eq!(body["State"], "Running");
    gate.send_replace(2);
    assert_eq!(stage.ended(&accepted).await["State"], "Succeeded");
    worker.stop().await;
}

#[tokio::test]
async fn a_client_that_comes_back_is_not_sent_what_it_has_seen() {
    let (stage, gate) = walkers(QUIET, None).await;
    let worker = stage.worker(quick_worker()).await;
    let accepted = stage.start(&json!({"Type": "Walk", "Parameters": {"Steps": 2}})).await;
    gate.send_replace(1);
    let sse = ("accept", "text/event-stream");
    let mut lines = Lines::of(events(&stage, &accepted, &[sse]).await);
    let mut event = lines.event().await.expect("an event");
    while event.1["ProcessedElements"] != 1 {
        event = lines.event().await.expect("the stream goes on");
    }
    drop(lines);

    let back = events(&stage, &accepted, &[sse, ("last-event-id", &event.0)]).await;
    assert_eq!(back.status(), 200);
    gate.send_replace(2);
    let mut lines = Lines::of(back);
    let (mut id, mut body) = lines.event().await.expect("an event");
    assert_ne!(id, event.0, "the state that it has seen is not sent again");
    while body["Complete"] == false {
        (id, body) = lines.event().await.expect("the stream goes on");
    }
    assert!(lines.event().await.is_none());

    // The task has completed: one event for who has not seen it, and no content for
    // who has, which stops a browser from asking again.
    let late = events(&stage, &accepted, &[sse, ("last-event-id", &event.0)]).await;
    assert_eq!(late.status(), 200);
    let mut lines = Lines::of(late);
    assert_eq!(lines.event().await.expect("the final event"), (id.clone(), body));
    assert!(lines.event().await.is_none());
    let known = events(&stage, &accepted, &[sse, ("last-event-id", &id)]).await;
    assert_eq!(known.status(), StatusCode::NO_CONTENT);
    worker.stop().await;
}

#[tokio::test]
async fn a_finished_task_yields_its_final_body_and_ends() {
    let (stage, _gate) = walkers(QUIET, None).await;
    let worker = stage.worker(quick_worker()).await;
    let accepted = stage.start(&json!({"Type": "Walk", "Parameters": {"Steps": 0}})).await;
    let ended = stage.ended(&accepted).await;
    let response = events(&stage, &accepted, &[]).await;
    assert_eq!((response.status().as_u16(), header(&response, CONTENT_TYPE)), (200, "application/x-ndjson".to_owned()));
    let bodies = Lines::of(response).rest().await;
    assert_eq!(bodies.len(), 1);
    assert_shows(&ended, &bodies[0]);
    worker.stop().await;
}

#[tokio::test]
async fn a_slow_reader_gets_the_newest_state_and_no_backlog() {
    const STEPS: i64 = 400;
    let (builder, gate) = walking(QUIET);
    // Connections inherit the listener's buffer.
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_send_buffer_size(4 * 1024).expect("a small buffer");
    socket.bind(([127, 0, 0, 1], 0).into()).expect("a free port");
    let listener = socket.listen(16).and_then(|listener| listener.into_std()).expect("a listener");
    let stage = builder.listener(listener).start().await;
    let worker = stage.worker(quick_worker()).await;
    // About 2 KB a state, so that buffers are soon full.
    let message = "ä".repeat(990);
    let accepted = stage.start(&json!({"Type": "Walk", "Parameters": {"Steps": STEPS, "Message": message}})).await;

    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4 * 1024).expect("a small buffer");
    let address = stage.base_url.strip_prefix("http://").expect("http").parse().expect("an address");
    let mut slow = socket.connect(address).await.expect("a connection");
    let head = format!(
        "GET /api/backgroundtask/{}/events HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        accepted["Id"].as_str().expect("an id")
    );
    slow.write_all(head.as_bytes()).await.expect("a request");
    let mut quick = Lines::of(events(&stage, &accepted, &[]).await);
    let mut changes = 0;
    for step in 1..=STEPS {
        gate.send_replace(step);
        while quick.body().await.expect("the stream goes on")["ProcessedElements"] != step {
            changes += 1;
        }
        changes += 1;
    }
    let ended = stage.ended(&accepted).await;

    let mut received = String::new();
    tokio::time::timeout(DEADLINE, slow.read_to_string(&mut received)).await.expect("it ends").expect("text");
    let bodies: Vec<Value> = received
        .lines()
        .filter(|line| line.starts_with('{'))
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    // The newest state, which is the final one.
    assert_shows(&ended, bodies.last().expect("a body"));
    assert!(bodies.len() < changes / 2, "{} of {changes} states were sent", bodies.len());
    worker.stop().await;
}

#[tokio::test]
async fn a_silent_stream_says_that_it_is_still_there() {
    let (stage, _gate) = walkers(Duration::from_millis(20), None).await;
    let accepted = stage.start(&json!({"Type": "Walk", "Parameters": {"Steps": 1}})).await;
    let mut lines = Lines::of(events(&stage, &accepted, &[]).await);
    lines.body().await.expect("the state it is in");
    assert_eq!(lines.next().await.as_deref(), Some(""), "an empty line");
    let mut lines = Lines::of(events(&stage, &accepted, &[("accept", "text/event-stream")]).await);
    lines.event().await.expect("the state it is in");
    let comment = lines.next().await.expect("a heartbeat");
    assert!(comment.starts_with(": "), "a comment: {comment}");
}

#[tokio::test]
async fn a_stream_survives_a_restart_of_the_database() {
    let mut server = Server::start(Options::temporary().durable(false)).await.expect("a server of its own");
    server.ensure_database("restarted").await.expect("a database");
    let (stage, gate) = walkers(QUIET, Some(&server.url("restarted"))).await;
    let worker = stage.worker(quick_worker()).await;
    let mut lines = start(&stage, json!({"Type": "Walk", "StreamProgress": true, "Parameters": {"Steps": 3}})).await;
    gate.send_replace(1);
    lines.until_processed(1).await;
    server.restart_immediate().await.expect("a restart");
    gate.send_replace(2);
    lines.until_processed(2).await;
    // What the crash took is entered again.
    until("the task to be watched again", async || {
        let watched = sqlx::query_scalar::<_, i64>("SELECT count(*) FROM longhaul.watched").fetch_one(&stage.pool);
        watched.await.is_ok_and(|count| count == 1).then_some(())
    })
    .await;
    gate.send_replace(3);
    let bodies = lines.rest().await;
    assert_eq!(bodies.last().expect("a final body")["State"], "Succeeded");
    worker.stop().await;
    drop(stage);
    server.stop().await.expect("the server stops");
}

#[tokio::test]
async fn streams_end_when_the_server_stops() {
    let (stage, _gate) = walkers(QUIET, None).await;
    let mut lines = start(&stage, json!({"Type": "Walk", "StreamProgress": true, "Parameters": {"Steps": 1}})).await;
    lines.body().await.expect("the 202 body");
    drop(stage);
    assert_eq!(lines.body().await, None);
}

#[tokio::test]
async fn the_stream_of_a_flushed_task_ends() {
    let (stage, _gate) = walkers(QUIET, None).await;
    // It waits, so what says where it is stays behind.
    stage.strands_tasks();
    let mut lines = start(&stage, json!({"Type": "Walk", "StreamProgress": true, "Parameters": {"Steps": 1}})).await;
    lines.body().await.expect("the 202 body");
    sqlx::query("DELETE FROM longhaul.task").execute(&stage.pool).await.expect("it is deleted");
    assert_eq!(lines.body().await, None);
}

#[tokio::test]
async fn only_watched_tasks_are_told_and_nothing_stays_behind() {
    let (stage, gate) = walkers(QUIET, None).await;
    let worker = stage.worker(quick_worker()).await;
    let mut listener = PgListener::connect(stage.database_url()).await.expect("a connection");
    listener.listen(longhaul_model::store::wakeup::PROGRESS).await.expect("LISTEN");
    let walk = json!({"Type": "Walk", "Parameters": {"Steps": 1}});
    gate.send_replace(1);
    for _ in 0..10 {
        let accepted = stage.start(&walk).await;
        stage.ended(&accepted).await;
    }
    let streamed = json!({"Type": "Walk", "Parameters": {"Steps": 2}, "StreamProgress": true});
    let mut lines = start(&stage, streamed).await;
    let accepted = lines.body().await.expect("the 202 body");
    until("the task to be watched", async || {
        (stage.value::<i64>("SELECT count(*) FROM longhaul.watched").await == 1).then_some(())
    })
    .await;
    gate.send_replace(2);
    lines.rest().await;
    let told = tokio::time::timeout(DEADLINE, listener.recv()).await.expect("in time").expect("a notification");
    let id = accepted["Id"].as_str().expect("an id").replace("walk_", "").replace('-', "");
    assert_eq!(told.payload(), id, "the first that anyone was told of");
    until("the task to be struck", async || {
        (stage.value::<i64>("SELECT count(*) FROM longhaul.watched").await == 0).then_some(())
    })
    .await;
    worker.stop().await;
}

#[tokio::test]
async fn a_thousand_changes_are_told_in_a_few_notifications() {
    let stage = Stage::with_registry(Registry::new()).await;
    let mut listener = PgListener::connect(stage.database_url()).await.expect("a connection");
    listener.listen(longhaul_model::store::wakeup::PROGRESS).await.expect("LISTEN");
    let ids: Vec<Uuid> = (0..1_000).map(|_| Uuid::now_v7()).collect();
    // Two processes watch the same tasks.
    for _ in 0..2 {
        longhaul_model::store::watch::watch(&stage.pool, Uuid::now_v7(), &ids, DEADLINE).await.expect("watched");
    }
    sqlx::query("SELECT longhaul.tell_watchers($1)").bind(&ids).execute(&stage.pool).await.expect("told");
    let mut told = Vec::new();
    for _ in 0..5 {
        let notification = listener.recv().await.expect("a notification");
        told.extend(longhaul_model::store::wakeup::changed_tasks(notification.payload()));
    }
    told.sort_unstable();
    assert_eq!(told, ids);
    sqlx::query("UPDATE longhaul.watched SET until = now() - interval '1 second'")
        .execute(&stage.pool)
        .await
        .expect("they run out");
    assert_eq!(longhaul_model::store::watch::purge(&stage.pool).await.expect("purged"), 2_000);
}

#[tokio::test]
async fn bad_requests_for_a_stream_are_refused_and_store_nothing() {
    let (stage, _gate) = walkers(QUIET, None).await;
    for (request, pointer) in [
        (json!({"Type": "Walk", "StreamProgress": "yes", "Parameters": {"Steps": 1}}), "/StreamProgress"),
        (json!({"Type": "Walk", "StreamProgress": null, "Parameters": {"Steps": 1}}), "/StreamProgress"),
        (json!({"Type": "Walk", "Parameters": {"Steps": 1, "StreamProgress": 1}}), "/Parameters/StreamProgress"),
        (
            json!({"Type": "Walk", "StreamProgress": true, "Parameters": {"Steps": 1, "StreamProgress": false}}),
            "/Parameters/StreamProgress",
        ),
    ] {
        let response = stage.post(&request).await;
        assert_eq!(response.status(), 400, "{request}");
        let body: Value = response.json().await.expect("a problem");
        assert_eq!((&body["code"], &body["errors"][0]["pointer"]), (&json!("invalid-request"), &json!(pointer)));
    }
    let request = json!({"Type": "Walk", "StreamProgress": true, "Parameters": {"Steps": 1}});
    for accept in ["application/json", "text/html", "application/x-ndjson;q=0, text/event-stream;q=0"] {
        let url = format!("{}/api/backgroundtasks", stage.base_url);
        let response = stage.http.post(url).header(ACCEPT, accept).json(&request).send().await.expect("an answer");
        assert_eq!(response.status(), 406, "{accept}");
        let body: Value = response.json().await.expect("a problem");
        assert_eq!(body["code"], "not-acceptable");
    }
    let parameters = json!({"Type": "Walk", "StreamProgress": true, "Parameters": {}});
    let response = stage.post(&parameters).await;
    assert_eq!(response.status(), 400, "an error is no stream");
    assert!(header(&response, CONTENT_TYPE).starts_with("application/problem+json"));
    assert_eq!(stage.value::<i64>("SELECT count(*) FROM longhaul.task").await, 0);

    let accepted = stage.start(&json!({"Type": "Walk", "StreamProgress": false, "Parameters": {"Steps": 1}})).await;
    let path = format!("/api/backgroundtasks/{}/events", accepted["Id"].as_str().expect("an id"));
    let address = format!("{}{path}", stage.base_url);
    let refused = stage.http.post(&address).send().await.expect("an answer");
    assert_eq!((refused.status().as_u16(), header(&refused, "allow")), (405, "GET, HEAD".to_owned()));
    let refused = stage.http.get(&address).header(ACCEPT, "application/json").send().await.expect("an answer");
    assert_eq!(refused.status(), 406);
    for unknown in [
        path.replace("walk_", "reindex-"),
        path.replace("walk_", ""),
        format!("/api/backgroundtask/walk_{PROJECT}/events"),
        "/api/backgroundtask/nonsense/events".to_owned(),
    ] {
        let (status, body) = stage.get(&unknown).await;
        assert_eq!((status, &body["code"]), (404, &json!("unknown-task")), "{unknown}");
    }
}
