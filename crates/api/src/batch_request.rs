//! Many tasks as a client asks for them: the body of a batch.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use longhaul_model::store::linked::{IfChildFailed, IfFailed};
use longhaul_model::{Entry, ParameterError, Registry, escape};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use crate::ApiError;
use crate::task_request::TaskRequest;

/// Tasks in one request at most.
pub(crate) const TASKS_AT_ONCE: usize = 10_000;

/// One task of a batch, its type found and its parameters checked.
pub(crate) struct Wanted<'a> {
    /// Where it stands, as a JSON pointer.
    pub(crate) place: String,
    pub(crate) entry: &'a Entry,
    pub(crate) request: TaskRequest,
}

/// What stands for all tasks together.
pub(crate) struct WantedParent<'a> {
    pub(crate) if_failed: IfChildFailed,
    /// The task that runs when the parent has ended.
    pub(crate) then: Option<(Wanted<'a>, IfFailed)>,
}

/// A batch whose envelope is in order.
pub(crate) struct BatchRequest<'a> {
    pub(crate) tasks: Vec<Wanted<'a>>,
    /// Which task has which name.
    pub(crate) names: HashMap<String, usize>,
    pub(crate) parent: Option<WantedParent<'a>>,
    /// The tasks were made from a list, so the answer need not list them.
    pub(crate) mapped: bool,
}

/// Everything that is wrong, and whether it is about parameters only.
struct Complaints {
    errors: Vec<ParameterError>,
    only_parameters: bool,
}

impl Complaints {
    fn add(&mut self, pointer: impl Into<String>, message: impl Into<String>) {
        self.only_parameters = false;
        self.errors.push(ParameterError { pointer: pointer.into(), message: message.into() });
    }
}

impl<'a> BatchRequest<'a> {
    /// Reads a batch, or says everything that is wrong with it.
    pub(crate) fn read(registry: &'a Registry, json: Value, now: DateTime<Utc>) -> Result<Self, ApiError> {
        let mut complaints = Complaints { errors: Vec::new(), only_parameters: true };
        let batch = Self::read_all(registry, json, now, &mut complaints);
        match (batch, complaints.errors.is_empty(), complaints.only_parameters) {
            (Some(batch), true, _) => Ok(batch),
            (_, false, true) => Err(ApiError::invalid_parameters(complaints.errors)),
            _ => Err(ApiError::invalid_request(complaints.errors)),
        }
    }

    fn read_all(registry: &'a Registry, json: Value, now: DateTime<Utc>, complaints: &mut Complaints) -> Option<Self> {
        let Value::Object(mut members) = json else {
            complaints.add("", "An object with the member Tasks is expected.");
            return None;
        };
        let map = members.remove("Map").filter(|value| !value.is_null());
        let list = members.remove("Tasks").filter(|value| !value.is_null());
        let parent = members.remove("Parent").filter(|value| !value.is_null());
        refuse_others(&members, "", "Tasks, Map, Parent", complaints);
        let mapped = map.is_some();
        let list: Vec<(String, Value)> = match (list, map) {
            (Some(_), Some(_)) => {
                complaints.add("/Map", "Give Tasks or Map, not both.");
                return None;
            }
            (None, None) => {
                complaints.add("/Tasks", "This member is required: a list of tasks.");
                return None;
            }
            (Some(list), None) => tasks(list, complaints)?,
            (None, Some(map)) => expand(map, complaints)?,
        };
        let mut names = HashMap::new();
        let mut wanted = Vec::with_capacity(list.len());
        for (place, mut json) in list {
            if let Some(name) = json.as_object_mut().and_then(|members| members.remove("Name"))
                && !name.is_null()
            {
                match name.as_str().filter(|name| (1..=100).contains(&name.chars().count())) {
                    Some(name) if names.contains_key(name) => {
                        complaints.add(format!("{place}/Name"), "Another task of this request has that name.");
                    }
                    Some(name) => drop(names.insert(name.to_owned(), wanted.len())),
                    None => complaints.add(format!("{place}/Name"), "A string of 1 to 100 characters is expected."),
                }
            }
            wanted.extend(read_task(registry, place, json, now, complaints));
        }
        let parent = match parent {
            None if mapped => Some(WantedParent { if_failed: IfChildFailed::default(), then: None }),
            None => None,
            Some(parent) => read_parent(registry, parent, now, complaints),
        };
        Some(BatchRequest { tasks: wanted, names, parent, mapped })
    }
}

fn tasks(list: Value, complaints: &mut Complaints) -> Option<Vec<(String, Value)>> {
    match list {
        Value::Array(list) if (1..=TASKS_AT_ONCE).contains(&list.len()) => {
            Some(list.into_iter().enumerate().map(|(number, task)| (format!("/Tasks/{number}"), task)).collect())
        }
        Value::Array(list) => {
            complaints.add("/Tasks", format!("1 to {TASKS_AT_ONCE} tasks are expected; there are {}.", list.len()));
            None
        }
        _ => {
            complaints.add("/Tasks", "A list of tasks is expected.");
            None
        }
    }
}

/// One task for each value of a list: `Parameters` with the member `Over` set to it.
fn expand(map: Value, complaints: &mut Complaints) -> Option<Vec<(String, Value)>> {
    const EXPECTED: &str = "An object with Type, Over (the name of a parameter), Values (a list), and Parameters for \
                            what they have in common is expected.";
    let Value::Object(mut members) = map else {
        complaints.add("/Map", EXPECTED);
        return None;
    };
    let (type_name, over, values) = (members.remove("Type"), members.remove("Over"), members.remove("Values"));
    let common = members.remove("Parameters").filter(|value| !value.is_null()).unwrap_or_else(|| json!({}));
    refuse_others(&members, "/Map", "Type, Over, Values, Parameters", complaints);
    match (type_name, over, values, common) {
        (Some(type_name), Some(Value::String(over)), Some(Value::Array(values)), Value::Object(common)) => {
            if !(1..=TASKS_AT_ONCE).contains(&values.len()) {
                let message = format!("1 to {TASKS_AT_ONCE} values are expected; there are {}.", values.len());
                complaints.add("/Map/Values", message);
                return None;
            }
            let task = |(number, value)| {
                let mut parameters = common.clone();
                parameters.insert(over.clone(), value);
                (format!("/Map/Values/{number}"), json!({"Type": type_name, "Parameters": parameters}))
            };
            Some(values.into_iter().enumerate().map(task).collect())
        }
        _ => {
            complaints.add("/Map", EXPECTED);
            None
        }
    }
}

fn read_parent<'a>(
    registry: &'a Registry,
    parent: Value,
    now: DateTime<Utc>,
    complaints: &mut Complaints,
) -> Option<WantedParent<'a>> {
    let Value::Object(mut members) = parent else {
        complaints.add("/Parent", "An object is expected; all of its members may be left out: IfFailed, Then.");
        return None;
    };
    let if_failed = take(&mut members, "/Parent", "Continue, Cancel or Ignore", complaints);
    let then = members.remove("Then").filter(|value| !value.is_null());
    refuse_others(&members, "/Parent", "IfFailed, Then", complaints);
    let then = then.and_then(|mut then| {
        // It is there to learn of the end, whatever that is.
        let if_failed = match &mut then {
            Value::Object(members) => take(members, "/Parent/Then", "Run, Cancel or Fail", complaints),
            _ => None,
        };
        let wanted = read_task(registry, "/Parent/Then".to_owned(), then, now, complaints)?;
        if !wanted.request.after.is_empty() {
            complaints.add("/Parent/Then/After", "It waits for the parent already; leave this out.");
        }
        Some((wanted, if_failed.unwrap_or(IfFailed::Run)))
    });
    Some(WantedParent { if_failed: if_failed.unwrap_or_default(), then })
}

/// Takes `IfFailed`.
fn take<T: DeserializeOwned>(
    members: &mut Map<String, Value>,
    place: &str,
    words: &str,
    complaints: &mut Complaints,
) -> Option<T> {
    let value = members.remove("IfFailed").filter(|value| !value.is_null())?;
    let word = T::deserialize(value).ok();
    if word.is_none() {
        complaints.add(format!("{place}/IfFailed"), format!("{words} is expected."));
    }
    word
}

fn read_task<'a>(
    registry: &'a Registry,
    place: String,
    json: Value,
    now: DateTime<Utc>,
    complaints: &mut Complaints,
) -> Option<Wanted<'a>> {
    let Some(request) = TaskRequest::read(json, &place, now, &mut complaints.errors) else {
        complaints.only_parameters = false;
        return None;
    };
    match registry.get(&request.type_name) {
        Ok(entry) => {
            let wrong = entry.validate(&request.parameters);
            complaints.errors.extend(wrong.into_iter().map(|error| error.below(&place)));
            Some(Wanted { place, entry, request })
        }
        Err(unknown) => {
            complaints.add(format!("{place}/Type"), format!("{unknown}."));
            None
        }
    }
}

fn refuse_others(members: &Map<String, Value>, place: &str, known: &str, complaints: &mut Complaints) {
    for name in members.keys() {
        complaints.add(format!("{place}/{}", escape(name)), format!("Unknown member; the known ones are {known}."));
    }
}
