//! Many tasks as a client asks for them: the body of a batch.

use std::collections::HashMap;
use std::sync::LazyLock;

use chrono::{DateTime, Utc};
use longhaul_model::store::linked::{IfChildFailed, IfFailed};
use longhaul_model::{Registry, Shape, closed};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use crate::ApiError;
use crate::complaints::Complaints;
use crate::negotiation::values;
use crate::task_request::{BatchedRequest, TaskRequest, Wanted, read_at};

/// Tasks in one request at most.
const TASKS_AT_ONCE: usize = 10_000;
/// So many others may all of its tasks together wait for.
const AFTER_AT_ONCE: usize = 100_000;

/// Tasks to start, in one transaction.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct BatchRequest {
    /// The tasks; either these or a `Map`.
    #[schemars(
        with = "Option<Vec<BatchedRequest>>",
        length(min = 1, max = TASKS_AT_ONCE),
        extend("x-expected" = format!("A list of 1 to {TASKS_AT_ONCE} tasks is expected."))
    )]
    tasks: Option<Vec<Value>>,
    #[schemars(with = "Option<MapRequest>")]
    map: Option<Value>,
    #[schemars(with = "Option<ParentRequest>")]
    parent: Option<Value>,
}

/// One task for each value of a list; all else that is asked is asked of each.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "PascalCase")]
#[schemars(transform = closed)]
pub(crate) struct MapRequest {
    #[serde(flatten)]
    task: TaskRequest,
    /// The parameter that is set to each of the values.
    #[schemars(extend("x-expected" = "The name of a parameter is expected."))]
    over: String,
    /// What it is set to.
    #[schemars(
        length(min = 1, max = TASKS_AT_ONCE),
        extend("x-expected" = format!("A list of 1 to {TASKS_AT_ONCE} values is expected."))
    )]
    values: Vec<Value>,
}

/// The tasks become the children of one more task of the type Batch.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct ParentRequest {
    /// If a child fails; `Continue` if left out.
    #[schemars(extend("x-expected" = "Continue, Cancel or Ignore is expected."))]
    if_failed: Option<IfChildFailed>,
    #[schemars(with = "Option<ThenRequest>")]
    then: Option<Value>,
}

/// A task that runs when the parent has completed.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "PascalCase")]
#[schemars(transform = closed)]
pub(crate) struct ThenRequest {
    #[serde(flatten)]
    task: TaskRequest,
    /// If the parent fails; `Run` if left out.
    #[schemars(extend("x-expected" = "Run, Cancel or Fail is expected."))]
    if_failed: Option<IfFailed>,
}

/// What stands for all tasks together.
pub(crate) struct WantedParent<'a> {
    pub(crate) if_failed: IfChildFailed,
    /// The task that runs when the parent has ended.
    pub(crate) then: Option<(Wanted<'a>, IfFailed)>,
}

/// A batch that was asked for, everything about it checked.
pub(crate) struct WantedBatch<'a> {
    pub(crate) tasks: Vec<Wanted<'a>>,
    /// Which task has which name.
    pub(crate) names: HashMap<String, usize>,
    pub(crate) parent: Option<WantedParent<'a>>,
    /// The tasks were made from a list, so the answer need not list them.
    pub(crate) mapped: bool,
}

impl BatchRequest {
    /// Reads a batch, or says everything that is wrong with it. What a `Map` stands for may
    /// have no more bytes and values than could have been sent, `limit` bytes.
    pub(crate) fn read(
        registry: &Registry,
        json: Value,
        limit: usize,
        now: DateTime<Utc>,
    ) -> Result<WantedBatch<'_>, ApiError> {
        let mut complaints = Complaints::default();
        let batch = Self::read_all(registry, json, limit, now, &mut complaints);
        complaints.into_result()?;
        batch.ok_or_else(|| ApiError::internal("a batch without a complaint could not be read"))
    }

    fn read_all<'a>(
        registry: &'a Registry,
        json: Value,
        limit: usize,
        now: DateTime<Utc>,
        complaints: &mut Complaints,
    ) -> Option<WantedBatch<'a>> {
        static SHAPE: LazyLock<Shape<BatchRequest>> =
            LazyLock::new(|| Shape::leaving(&["/properties/Tasks/items", "/properties/Map", "/properties/Parent"]));
        static TASK: LazyLock<Shape<BatchedRequest>> = LazyLock::new(Shape::new);
        static MAP: LazyLock<Shape<MapRequest>> = LazyLock::new(Shape::new);
        let given = |name: &str| json.get(name).is_some_and(|given| !given.is_null());
        match (given("Tasks"), given("Map")) {
            (true, true) => {
                complaints.add("/Map", "Give Tasks or Map, not both.");
                return None;
            }
            (false, false) if json.is_object() => {
                complaints.add("/Tasks", "This member is required: a list of tasks.");
            }
            _ => {}
        }
        if let Some(detail) = json.get("Map").and_then(|map| too_large(map, limit)) {
            complaints.add_size(detail);
            return None;
        }
        let request = read_at(&SHAPE, json, "", complaints)?;
        let mapped = request.map.is_some();
        let (mut tasks, mut names, mut after) = (Vec::new(), HashMap::new(), 0);
        let map = request.map.and_then(|map| read_at(&MAP, map, "/Map", complaints));
        if let Some(MapRequest { task, over, values }) = map {
            tasks = task.check_each(registry, (&over, values), now, complaints);
            if tasks.iter().map(|task| task.envelope.after.len()).sum::<usize>() > AFTER_AT_ONCE {
                complaints.add(
                    "/Map/After",
                    format!("All tasks of a request may have at most {AFTER_AT_ONCE} dependencies."),
                );
            }
        }
        for (number, json) in request.tasks.into_iter().flatten().enumerate() {
            let place = format!("/Tasks/{number}");
            if complaints.are_many() {
                break;
            }
            after += json["After"].as_array().map_or(0, Vec::len);
            if after > AFTER_AT_ONCE {
                let message = format!("All tasks of a request may have at most {AFTER_AT_ONCE} dependencies.");
                complaints.add(format!("{place}/After"), message);
                break;
            }
            let Some(BatchedRequest { task, name }) = read_at(&TASK, json, &place, complaints) else { continue };
            match name {
                Some(name) if names.contains_key(&name) => {
                    complaints.add(format!("{place}/Name"), "Another task of this request has that name.");
                }
                Some(name) => drop(names.insert(name, tasks.len())),
                None => {}
            }
            tasks.extend(task.check(registry, place, now, complaints));
        }
        let parent = match request.parent {
            None if mapped => Some(WantedParent { if_failed: IfChildFailed::default(), then: None }),
            None => None,
            Some(parent) => ParentRequest::read(registry, parent, now, complaints),
        };
        Some(WantedBatch { tasks, names, parent, mapped })
    }
}

impl ParentRequest {
    fn read<'a>(
        registry: &'a Registry,
        json: Value,
        now: DateTime<Utc>,
        complaints: &mut Complaints,
    ) -> Option<WantedParent<'a>> {
        static SHAPE: LazyLock<Shape<ParentRequest>> = LazyLock::new(|| Shape::leaving(&["/properties/Then"]));
        let ParentRequest { if_failed, then } = read_at(&SHAPE, json, "/Parent", complaints)?;
        let then = then.and_then(|then| ThenRequest::read(registry, then, now, complaints));
        Some(WantedParent { if_failed: if_failed.unwrap_or_default(), then })
    }
}

impl ThenRequest {
    fn read<'a>(
        registry: &'a Registry,
        json: Value,
        now: DateTime<Utc>,
        complaints: &mut Complaints,
    ) -> Option<(Wanted<'a>, IfFailed)> {
        static SHAPE: LazyLock<Shape<ThenRequest>> = LazyLock::new(Shape::new);
        const PLACE: &str = "/Parent/Then";
        let ThenRequest { task, if_failed } = read_at(&SHAPE, json, PLACE, complaints)?;
        let wanted = task.check(registry, PLACE.to_owned(), now, complaints)?;
        if !wanted.envelope.after.is_empty() {
            complaints.add("/Parent/Then/After", "It already waits for the parent; omit this member.");
        }
        // It is there to learn of the end, whatever that is.
        Some((wanted, if_failed.unwrap_or(IfFailed::Run)))
    }
}

/// What a `Map` would become as `Tasks`, if that is more than could have been sent.
fn too_large(map: &Value, limit: usize) -> Option<String> {
    let list = map.get("Values")?.as_array()?;
    let text = |value: &Value| serde_json::to_string(value).map_or(usize::MAX, |text| text.len());
    let of_each =
        || map.as_object().into_iter().flatten().filter(|(name, _)| !["Over", "Values"].contains(&name.as_str()));
    // As in `{"Type":…,"Parameters":{…,"over":…}},`.
    let over = map.get("Over").and_then(Value::as_str).map_or(0, str::len);
    let each = of_each()
        .fold(20 + over, |bytes, (name, value)| bytes.saturating_add(name.len() + 4).saturating_add(text(value)));
    let bytes = list.iter().fold(each.saturating_mul(list.len()), |bytes, value| bytes.saturating_add(text(value)));
    let each = 1 + of_each().map(|(_, value)| values(value)).sum::<usize>();
    let count = list.iter().fold(each.saturating_mul(list.len()), |count, value| count + values(value));
    (bytes > limit || count > limit / 10).then(|| {
        format!(
            "The Map expands to {bytes} bytes with {count} values; a batch may have at most {limit} bytes and {} \
             values. Send fewer Values at once, or smaller Parameters.",
            limit / 10
        )
    })
}

/// Type and parameters of the first task that a batch's `Map` stands for, if its form is
/// right: whoever may not start that one need not have the others made.
pub(crate) fn first_of_map(body: &Value) -> Option<(&str, Value)> {
    let map = body.get("Map")?;
    let mut parameters = map.get("Parameters").and_then(Value::as_object).cloned().unwrap_or_default();
    parameters.insert(map.get("Over")?.as_str()?.to_owned(), map.get("Values")?.get(0)?.clone());
    Some((map.get("Type")?.as_str()?, Value::Object(parameters)))
}
