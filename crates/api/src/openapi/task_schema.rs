//! The forms of requests that name a task type: they follow from the registered
//! types, whose parameters' schemas are components of their own.

use std::collections::BTreeMap;

use longhaul_model::{Batch, Entry, Registry, TaskType};
use serde_json::{Map, Value, json};

use crate::endpoint::TASKS_AT_ONCE;

/// The component that is the body of a request to start a task.
pub(crate) const TASK_REQUEST: &str = "TaskRequest";
/// The component that is the body of a request to start many.
pub(crate) const BATCH_REQUEST: &str = "BatchRequest";
/// The component that is the body of a request to make a schedule.
pub(crate) const NEW_SCHEDULE: &str = "NewSchedule";

/// Every component that the registered types make.
pub(super) fn components(registry: &Registry) -> BTreeMap<String, Value> {
    let mut components = BTreeMap::new();
    for entry in startable(registry) {
        components.insert(parameters_name(entry), parameters(entry));
        components.insert(format!("Start{}", entry.info().name), one(entry, true));
        components.insert(format!("Batched{}", entry.info().name), one(entry, false));
    }
    let mut single = alternatives(registry, "Start");
    single["description"] = "A task to start: its type, and the parameters of that type.".into();
    single["examples"] = startable(registry).flat_map(request_examples).collect();
    components.insert(TASK_REQUEST.to_owned(), single);
    let batch = json!({
        "type": "object",
        "description": "Tasks to start: all of them or none.",
        "oneOf": [{"required": ["Tasks"]}, {"required": ["Map"]}],
        "properties": {
            "Tasks": {"type": "array", "minItems": 1, "maxItems": TASKS_AT_ONCE, "items": alternatives(registry, "Batched")},
            "Map": map(registry),
            "Parent": parent(registry),
        },
        "additionalProperties": false,
        "examples": [{"Tasks": startable(registry).flat_map(request_examples).take(2).collect::<Vec<_>>()}],
    });
    components.insert(BATCH_REQUEST.to_owned(), batch);
    components.insert(NEW_SCHEDULE.to_owned(), schedule(registry));
    components
}

/// The types that a request may name: a Batch comes with its tasks only.
fn startable(registry: &Registry) -> impl Iterator<Item = &Entry> {
    registry.iter().filter(|entry| entry.info().name != Batch::NAME)
}

fn parameters_name(entry: &Entry) -> String {
    format!("{}Parameters", entry.info().name)
}

fn reference(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

/// The schema of a type's parameters, as it stands in the registry but for the
/// place that its own definitions have here.
fn parameters(entry: &Entry) -> Value {
    let mut schema = entry.schema().clone();
    if let Some(members) = schema.as_object_mut() {
        members.remove("$schema");
    }
    move_references(&mut schema, &format!("#/components/schemas/{}/$defs/", parameters_name(entry)));
    schema
}

fn move_references(schema: &mut Value, place: &str) {
    match schema {
        Value::Object(members) => {
            for (name, value) in members {
                match value {
                    Value::String(text) if name == "$ref" => {
                        if let Some(definition) = text.strip_prefix("#/$defs/") {
                            *text = format!("{place}{definition}");
                        }
                    }
                    value => move_references(value, place),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| move_references(item, place)),
        _ => {}
    }
}

/// Whether a task of this type can be started without parameters.
fn needs_parameters(entry: &Entry) -> bool {
    entry.schema().get("required").and_then(Value::as_array).is_some_and(|required| !required.is_empty())
}

/// `Type` and `Parameters` of one type, for an object with more members.
fn typed(entry: &Entry) -> (Vec<&'static str>, Map<String, Value>) {
    let (mut required, mut properties) = (vec!["Type"], Map::new());
    properties.insert("Type".to_owned(), json!({"type": "string", "const": entry.info().name}));
    let own = reference(&parameters_name(entry));
    let own = if needs_parameters(entry) {
        required.push("Parameters");
        own
    } else {
        json!({"anyOf": [own, {"type": "null"}]})
    };
    properties.insert("Parameters".to_owned(), own);
    (required, properties)
}

/// A request to start a task of this type, alone or in a batch.
fn one(entry: &Entry, alone: bool) -> Value {
    let (required, mut properties) = typed(entry);
    properties.insert(
        "RunAt".to_owned(),
        json!({"type": ["string", "null"], "format": "date-time", "description": "Not before this time; at most ten years ahead."}),
    );
    properties.insert(
        "DelaySeconds".to_owned(),
        json!({"type": ["number", "null"], "minimum": 0, "description": "Not before so many seconds have passed; instead of RunAt."}),
    );
    properties.insert("After".to_owned(), after());
    if !alone {
        let description = "What `After` calls it in the same request.";
        let name = json!({"type": ["string", "null"], "minLength": 1, "maxLength": 100, "description": description});
        properties.insert("Name".to_owned(), name);
    }
    if alone {
        let description =
            "Answer with a stream of bodies until the task ends. It is understood among the parameters, too.";
        properties.insert("StreamProgress".to_owned(), json!({"type": "boolean", "description": description}));
    }
    json!({"type": "object", "required": required, "properties": properties, "additionalProperties": false})
}

/// The tasks that one waits for.
fn after() -> Value {
    let description = "The id of a task, or in a batch the Name of another one.";
    let task = json!({"type": "string", "description": description});
    let both = json!({
        "type": "object", "required": ["Task"], "additionalProperties": false,
        "properties": {"Task": task, "IfFailed": {"enum": ["Cancel", "Fail", "Run"], "default": "Cancel"}},
    });
    json!({
        "type": ["array", "null"], "maxItems": TASKS_AT_ONCE, "items": {"anyOf": [task, both]},
        "description": "It does not begin before all of these have ended.",
    })
}

/// What makes the tasks of a batch the children of one more.
fn parent(registry: &Registry) -> Value {
    let if_failed = json!({"enum": ["Run", "Cancel", "Fail"], "default": "Run"});
    let then = json!({
        "type": ["object", "null"], "required": ["Type"],
        "properties": {"IfFailed": if_failed, "Type": {"enum": names(registry)}, "Parameters": {"type": ["object", "null"]}},
        "description": "A task, as those of the batch, that runs when the parent has ended.",
    });
    json!({
        "type": ["object", "null"], "additionalProperties": false,
        "properties": {"IfFailed": {"enum": ["Continue", "Cancel", "Ignore"], "default": "Continue"}, "Then": then},
        "description": "The tasks become the children of one more task of the type Batch.",
    })
}

/// One task for each value of a list.
fn map(registry: &Registry) -> Value {
    json!({
        "type": ["object", "null"], "required": ["Type", "Over", "Values"], "additionalProperties": false,
        "properties": {
            "Type": {"enum": names(registry)},
            "Over": {"type": "string", "description": "The parameter that is set to each of the values."},
            "Values": {"type": "array", "minItems": 1, "maxItems": TASKS_AT_ONCE},
            "Parameters": {"type": ["object", "null"], "description": "The parameters that all of them have."},
        },
    })
}

fn names(registry: &Registry) -> Vec<&'static str> {
    startable(registry).map(|entry| entry.info().name).collect()
}

fn alternatives(registry: &Registry, prefix: &str) -> Value {
    let names = || startable(registry).map(|entry| (entry.info().name, format!("{prefix}{}", entry.info().name)));
    let mapping: Map<String, Value> = names()
        .map(|(name, component)| (name.to_owned(), format!("#/components/schemas/{component}").into()))
        .collect();
    if startable(registry).next().is_none() {
        return json!({"not": {}});
    }
    json!({
        "type": "object",
        "oneOf": names().map(|(_, component)| reference(&component)).collect::<Vec<_>>(),
        "discriminator": {"propertyName": "Type", "mapping": mapping},
    })
}

/// Requests made of the examples that a type gives for its parameters.
fn request_examples(entry: &Entry) -> impl Iterator<Item = Value> {
    let examples = entry.schema().get("examples").and_then(Value::as_array).into_iter().flatten();
    examples.map(|parameters| json!({"Type": entry.info().name, "Parameters": parameters}))
}

fn schedule(registry: &Registry) -> Value {
    let types: Vec<Value> = startable(registry)
        .map(|entry| {
            let (required, properties) = typed(entry);
            json!({"required": required, "properties": properties})
        })
        .collect();
    json!({
        "type": "object",
        "description": "When to start which task.",
        "required": ["Cron", "Type"],
        "properties": {
            "Name": {
                "type": ["string", "null"], "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$",
                "description": "It may be left out where it stands in the address.",
            },
            "Cron": {"type": "string", "description": "Five fields, or six with seconds first, or a nickname such as @daily."},
            "TimeZone": {"type": ["string", "null"], "description": "A name of the IANA database; UTC if left out."},
            "Type": {"type": "string"},
            "Parameters": {"type": ["object", "null"], "description": "Of each task, checked like those of a task."},
            "Queue": {"type": ["string", "null"], "minLength": 1, "maxLength": 100, "description": "If not the type's."},
            "Priority": {"type": ["integer", "null"], "minimum": 0, "maximum": 9, "description": "0 goes first; if not the type's."},
            "Missed": {
                "enum": ["Skip", "Once", "All", null],
                "description": "What becomes of firings that no worker was there for; Once if left out.",
            },
            "Paused": {"type": ["boolean", "null"], "description": "It waits to be resumed."},
        },
        "oneOf": types,
        "additionalProperties": false,
        "examples": startable(registry).filter_map(|entry| request_examples(entry).next()).take(1).map(|mut example| {
            example["Name"] = "nightly".into();
            example["Cron"] = "30 2 * * *".into();
            example["TimeZone"] = "Europe/Berlin".into();
            example
        }).collect::<Vec<_>>(),
    })
}
