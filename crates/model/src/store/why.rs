//! Why a task waits: what the SQL function `longhaul.why` answers
//! (migrations/current/functions/why.sql; docs/queues.md, "Why a task waits").

use schemars::{JsonSchema, Schema};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// A reason for which a task waits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "PascalCase")]
#[schemars(rename = "WaitReason")]
pub struct Reason {
    /// One of [`CODES`]. A later release of the database may know more.
    #[schemars(extend("enum" = codes()))]
    pub code: String,
    /// A sentence for people.
    pub says: String,
    /// Its parts for programs: docs/queues.md says which code has which.
    #[schemars(with = "Details")]
    pub details: Map<String, Value>,
}

/// The parts that there are.
#[derive(JsonSchema)]
#[schemars(rename = "WaitDetails", rename_all = "PascalCase", transform = absent_not_null)]
#[expect(dead_code, reason = "it says the form of what the database answers")]
struct Details {
    /// The queue that it waits in.
    queue: Option<String>,
    /// Its type, which is or was paused.
    r#type: Option<String>,
    /// Its key.
    key: Option<String>,
    /// The worker that has it.
    worker: Option<String>,
    /// The maintenance service that can't process it.
    service: Option<String>,
    /// How often that service has tried.
    tries: Option<i64>,
    /// UTC, whole seconds: since when it is so.
    since: Option<String>,
    /// UTC, whole seconds: until when it is so, at least.
    until: Option<String>,
    /// The attempt that failed.
    attempt: Option<i64>,
    /// The maximum number of attempts.
    max_attempts: Option<i64>,
    /// Tasks that it waits for and that have not ended.
    open: Option<i64>,
    /// How many children it has.
    children: Option<i64>,
    /// Tasks of the queue that may be at work at once.
    max_running: Option<i64>,
    /// Tasks of one key that may be at work at once.
    max_per_key: Option<i64>,
    /// So many tasks may begin …
    rate_count: Option<i64>,
    /// … in so many seconds.
    rate_seconds: Option<f64>,
    /// About how many tasks come before it; 10,000 at most.
    before: Option<i64>,
    /// True if there are more.
    more: Option<bool>,
    /// How many other keys have tasks that wait; 100 at most.
    keys: Option<i64>,
    /// True if there are more.
    more_keys: Option<bool>,
    /// Living workers that serve the queue; of `no-worker`, those of other queues.
    workers: Option<i64>,
    /// Their slots.
    slots: Option<i64>,
}

/// What does not belong to a code is absent.
fn absent_not_null(schema: &mut Schema) {
    schema.remove("required");
    let properties = schema.get_mut("properties").and_then(Value::as_object_mut);
    for property in properties.into_iter().flat_map(Map::values_mut) {
        if let Some(present) = property["type"].get(0).cloned() {
            property["type"] = present;
        }
    }
}

/// Every code, with what it means and which details it has. docs/queues.md has the same table;
/// a test compares them, and another one the function itself.
pub const CODES: [(&str, &str, &str); 17] = [
    ("cancelling", "It was cancelled, and its handler or its children have not stopped yet", "Since"),
    (
        "set-aside",
        "A maintenance service can't process it, or its queue's limits, and tries again ([operations](operations.md))",
        "Service, Tries, Since, Until, Queue",
    ),
    ("children", "Its children have not ended", "Open, Children"),
    ("dependencies", "Tasks that it [waits for](batches.md) have not ended", "Open"),
    ("time", "It is delayed, or its handler snoozed it", "Until"),
    (
        "retry",
        "Its last attempt failed, or the database interrupted it; the next attempt is scheduled",
        "Until, Attempt, MaxAttempts",
    ),
    ("type-paused", "Its type is paused", "Type, Since"),
    ("queue-paused", "Its queue is paused", "Queue, Since"),
    ("no-worker", "No live worker serves its queue", "Queue, Workers"),
    ("limit", "Its queue has reached Max concurrent (`MaxRunning`)", "Queue, MaxRunning"),
    ("key-limit", "Its key has reached Max concurrent per key (`MaxPerKey`)", "Queue, Key, MaxPerKey"),
    (
        "rate",
        "Its queue has reached its rate (Start at most N every S seconds)",
        "Queue, RateCount, RateSeconds, Until",
    ),
    ("turn", "Keys take turns, and other keys come first", "Queue, Key, Before, More, Keys, MoreKeys"),
    ("admission", "It is about to be admitted or returned to the queue", "Queue, Type"),
    ("line", "Its position in the queue", "Queue, Before, More, Workers, Slots"),
    ("worker-silent", "Its worker is silent, and no other worker has rescued it yet", "Worker, Since"),
    (
        "stranded",
        "It is in no place where a worker would find it; this is a defect of Longhaul, and a service repairs it",
        "–",
    ),
];

fn codes() -> Vec<&'static str> {
    CODES.iter().map(|(code, ..)| *code).collect()
}
