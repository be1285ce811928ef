//! The lines of a task's log in its stream, `docs/progress.md`.

use longhaul_model::{Outcome, Registry, Resources, RunContext, RunError, TaskType};
use longhaul_tests::{DEADLINE, Stage, quick_worker, until};
use reqwest::Response;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::watch;

/// Logs a line for each step that it may take.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Tell {
    lines: i64,
}

struct Gate(watch::Receiver<i64>);

impl TaskType for Tell {
    const NAME: &'static str = "Tell";
    const ID_PREFIX: &'static str = "tell_";

    async fn run(self, context: RunContext) -> Result<Outcome, RunError> {
        let mut gate = context.resources().get::<Gate>().expect("a gate").0.clone();
        context.progress().set_total(self.lines);
        for line in 1..=self.lines {
            gate.wait_for(|allowed| *allowed >= line).await?;
            context.log().info(format_args!("line {line}\nof {}", self.lines));
            context.progress().advance(1);
        }
        Ok(Outcome::done())
    }
}

async fn tellers() -> (Stage, watch::Sender<i64>) {
    let (gate, allowed) = watch::channel(0);
    let registry = Registry::new().with::<Tell>();
    (Stage::builder(registry).resources(Resources::new().with(Gate(allowed))).start().await, gate)
}

async fn start(stage: &Stage, lines: i64) -> Value {
    stage.start(&json!({"Type": "Tell", "Parameters": {"lines": lines}})).await
}

/// A stream that is read as far as a test wants.
struct Reader {
    response: Response,
    text: String,
}

impl Reader {
    async fn open(stage: &Stage, task: &Value, query: &str, headers: &[(&str, &str)]) -> Self {
        let mut request = stage.http.get(format!("{}/events{query}", task["Self"].as_str().expect("an address")));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = request.send().await.expect("an answer");
        assert_eq!(response.status(), 200);
        Self { response, text: String::new() }
    }

    async fn until(&mut self, wanted: impl Fn(&str) -> bool) {
        while !wanted(&self.text) {
            let chunk = tokio::time::timeout(DEADLINE, self.response.chunk()).await.expect("more in time");
            let chunk = chunk.expect("the stream is whole").expect("it goes on");
            self.text.push_str(std::str::from_utf8(&chunk).expect("UTF-8"));
        }
    }

    /// The events up to the end: kind, id and data.
    async fn rest(mut self) -> Vec<(String, String, Value)> {
        while let Some(chunk) = self.response.chunk().await.expect("the stream is whole") {
            self.text.push_str(std::str::from_utf8(&chunk).expect("UTF-8"));
        }
        events(&self.text)
    }
}

fn events(text: &str) -> Vec<(String, String, Value)> {
    text.split("\n\n")
        .filter_map(|event| {
            let field = |name: &str| {
                event.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).map(str::to_owned)
            };
            let data = serde_json::from_str(&field("data")?).expect("data is JSON");
            Some((field("event").unwrap_or_else(|| "message".to_owned()), field("id").expect("an id"), data))
        })
        .collect()
}

const SSE: (&str, &str) = ("accept", "text/event-stream");

#[tokio::test]
async fn lines_come_in_order_and_before_the_state_that_follows_them() {
    let (stage, gate) = tellers().await;
    let worker = stage.worker(quick_worker()).await;
    let task = start(&stage, 200).await;
    let mut stream = Reader::open(&stage, &task, "?log=true", &[SSE]).await;
    let plain = Reader::open(&stage, &task, "", &[SSE]).await;
    for line in [1, 2, 50] {
        gate.send_replace(line);
        let last = format!("line {line}\\nof 200");
        stream.until(|text| text.contains(&last)).await;
    }
    gate.send_replace(200);
    let all = stream.rest().await;
    let numbers: Vec<i64> = all
        .iter()
        .filter(|(kind, ..)| kind == "log")
        .map(|(.., data)| data["Number"].as_i64().expect("a number"))
        .collect();
    assert_eq!(numbers, (1..=200).collect::<Vec<_>>());
    let (kind, _, ended) = all.last().expect("events");
    assert_eq!((kind.as_str(), &ended["State"]), ("message", &json!("Succeeded")));
    let mut told = 0;
    for (kind, id, data) in &all {
        if kind == "log" {
            told += 1;
        } else {
            let processed = data["ProcessedElements"].as_i64().expect("a number");
            assert!(processed <= told, "{processed} are done, and {told} lines told");
        }
        assert!(id.ends_with(&format!(".{told}")), "{id} tells how far the log was sent");
    }
    let plain = plain.rest().await;
    assert!(plain.iter().all(|(kind, id, _)| kind == "message" && !id.contains('.')), "only who asks is sent lines");
    worker.stop().await;
}

#[tokio::test]
async fn who_comes_back_is_sent_what_it_has_not_seen() {
    let (stage, gate) = tellers().await;
    let worker = stage.worker(quick_worker()).await;
    let task = start(&stage, 10).await;
    let mut stream = Reader::open(&stage, &task, "?log=true", &[SSE]).await;
    gate.send_replace(4);
    stream.until(|text| text.contains("line 4")).await;
    let seen = events(&stream.text);
    let (_, last_id, last) = seen.iter().rfind(|(kind, ..)| kind == "log").expect("a line").clone();
    drop(stream);
    let number = last["Number"].as_i64().expect("a number");
    gate.send_replace(10);
    stage.ended(&task).await;

    let rest = Reader::open(&stage, &task, "?log=true", &[SSE, ("last-event-id", &last_id)]).await.rest().await;
    let numbers: Vec<i64> = rest.iter().filter_map(|(.., data)| data["Number"].as_i64()).collect();
    assert_eq!(numbers, (number + 1..=10).collect::<Vec<_>>());
    let (_, final_id, ended) = rest.last().expect("the final state");
    assert_eq!(ended["Complete"], true);

    let address = format!("{}/events?log=true", task["Self"].as_str().expect("an address"));
    let request = stage.http.get(&address).header(SSE.0, SSE.1).header("last-event-id", final_id);
    assert_eq!(request.send().await.expect("an answer").status(), 204, "it has seen everything");

    // As lines of JSON, a line of the log is told by its one member.
    let text = stage.http.get(&address).send().await.expect("an answer").text().await.expect("text");
    let items: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(items.len(), 11);
    assert_eq!((&items[0]["Log"]["Line"], &items[10]["Complete"]), (&json!("line 1\nof 10"), &json!(true)));
    worker.stop().await;
}

#[tokio::test]
async fn a_client_that_leaves_in_the_middle_of_a_log_costs_nothing_more() {
    let (stage, gate) = tellers().await;
    let worker = stage.worker(quick_worker()).await;
    let task = start(&stage, 500).await;
    for _ in 0..5 {
        let mut stream = Reader::open(&stage, &task, "?log=true", &[]).await;
        gate.send_modify(|allowed| *allowed += 50);
        stream.until(|text| text.contains("\"Log\"")).await;
    }
    gate.send_replace(500);
    assert_eq!(stage.ended(&task).await["State"], "Succeeded");
    until("nobody to watch", async || {
        (stage.value::<i64>("SELECT count(*) FROM longhaul.watched").await == 0).then_some(())
    })
    .await;
    worker.stop().await;
}
