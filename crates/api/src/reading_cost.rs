//! How the work of reading a batch grows with what it lists.

use std::time::Duration;

use chrono::{DateTime, Utc};
use longhaul_model::{Outcome, ParameterError, Registry, RunContext, RunError, TaskType};
use rustix::time::{ClockId, clock_gettime};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::batch_request::BatchRequest;

/// Does nothing with a text.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Idle {
    #[serde(default)]
    text: String,
}

impl TaskType for Idle {
    const NAME: &'static str = "Idle";
    const ID_PREFIX: &'static str = "idle-";

    async fn run(self, _context: RunContext) -> Result<Outcome, RunError> {
        Ok(Outcome::done())
    }
}

/// As many bytes as a batch may have.
const LIMIT: usize = 16 * 1024 * 1024;
const MANY: usize = 10_000;

fn read(body: Value) -> Result<usize, Vec<ParameterError>> {
    let now: DateTime<Utc> = DateTime::from_timestamp(1_800_000_000, 0).expect("a time");
    let registry = Registry::new().with::<Idle>();
    let read = BatchRequest::read(&registry, body, LIMIT, now);
    read.map(|batch| batch.tasks.len()).map_err(|refused| refused.errors().to_vec())
}

/// The processor's time that this thread took to read a body. Other threads and processes hardly
/// change it.
fn work(body: &Value) -> Duration {
    let once = || {
        let body = body.clone();
        let spent = || Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).expect("a time");
        let before = spent();
        let _accepted_or_not = read(body);
        spent() - before
    };
    (0..3).map(|_| once()).min().expect("three of them")
}

fn task(mut members: Value) -> Value {
    members["Type"] = json!("Idle");
    members
}

/// Names that nothing else has.
fn names(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("n{number}")).collect()
}

/// Where each is compared with each other one, ten times as many take a hundred times the work;
/// ten times is right.
#[test]
fn ten_times_as_many_take_less_than_forty_times_the_work() {
    let of_one = |members: fn(usize) -> Value| move |count: usize| json!({"Tasks": [task(members(count))]});
    let of_many = |member: fn(usize) -> Value| move |count: usize| json!({"Tasks": (0..count).map(|number| task(member(number))).collect::<Vec<_>>()});
    let bodies: [(&str, &dyn Fn(usize) -> Value); 8] = [
        ("different dependencies", &of_one(|count| json!({"After": names(count)}))),
        ("one dependency again and again", &of_one(|count| json!({"After": vec!["n"; count]}))),
        ("malformed dependencies", &of_one(|count| json!({"After": vec![7; count]}))),
        ("different tags", &of_one(|count| json!({"Tags": names(count)}))),
        ("unknown members", &of_one(|count| names(count).into_iter().map(|name| (name, json!(1))).collect())),
        ("different names", &of_many(|number| json!({"Name": format!("n{number}"), "After": ["n"]}))),
        ("one name again and again", &of_many(|_| json!({"Name": "n"}))),
        (
            "values of a map",
            &|count| json!({"Map": {"Type": "Idle", "Over": "text", "Values": names(count), "After": names(count / 1_000)}}),
        ),
    ];
    // What is made once.
    let _shapes = read(json!({"Tasks": [task(json!({}))]}));
    for (what, body) in bodies {
        let (few, many) = (work(&body(MANY / 10)), work(&body(MANY)));
        assert!(many < few * 40, "{what}: {few:?} for {}, {many:?} for {MANY}", MANY / 10);
    }
}

#[test]
fn all_tasks_of_a_batch_have_so_many_dependencies_together_at_most() {
    let tasks = |count: usize| json!({"Tasks": vec![task(json!({"After": names(MANY)})); count]});
    assert_eq!(read(tasks(10)), Ok(10));
    let map = |dependencies: usize| {
        let values = json!(names(MANY));
        json!({"Map": {"Type": "Idle", "Over": "text", "Values": values, "After": names(dependencies)}})
    };
    for (body, pointer) in [(tasks(11), "/Tasks/10/After"), (map(11), "/Map/After")] {
        let message = "All tasks of a request may have at most 100000 dependencies.".to_owned();
        let refused = read(body).expect_err(pointer);
        assert!(refused.contains(&ParameterError { pointer: pointer.to_owned(), message }), "{:?}", &refused[..1]);
    }
}
