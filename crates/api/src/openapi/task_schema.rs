//! The forms of requests that name a task type: those that the requests are read by, with the
//! registered types, whose parameters' schemas are components of their own.

use std::collections::BTreeMap;

use longhaul_model::{Batch, Entry, Registry, Shape, TaskType};
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use crate::batch_request::BatchRequest;
use crate::schedule::ScheduleRequest;
use crate::task_request::{BatchedRequest, StartRequest};

/// The component that is the body of a request to start a task.
pub(crate) const TASK_REQUEST: &str = "TaskRequest";
/// The component that is the body of a request to start many.
pub(crate) const BATCH_REQUEST: &str = "BatchRequest";
/// The component that is the body of a request to make a schedule.
pub(crate) const NEW_SCHEDULE: &str = "NewSchedule";

/// Every component that the registered types make.
pub(super) fn components(registry: &Registry) -> BTreeMap<String, Value> {
    let mut components = BTreeMap::new();
    let (start, batched) = (form::<StartRequest>(), form::<BatchedRequest>());
    for entry in startable(registry) {
        components.insert(parameters_name(entry), parameters(entry));
        for (prefix, form) in [("Start", &start), ("Batched", &batched)] {
            let mut of_type = form.clone();
            let (required, properties) = typed(entry);
            of_type["required"] = json!(required);
            of_type["properties"].as_object_mut().into_iter().for_each(|own| own.extend(properties.clone()));
            components.insert(format!("{prefix}{}", entry.info().name), of_type);
        }
    }
    let mut single = alternatives(registry, "Start");
    single["description"] = "A task to start: its type, and the parameters of that type.".into();
    single["examples"] = startable(registry).flat_map(request_examples).collect();
    components.insert(TASK_REQUEST.to_owned(), single);
    components.insert(BATCH_REQUEST.to_owned(), batch(registry));
    components.insert(NEW_SCHEDULE.to_owned(), schedule(registry));
    components
}

/// The schema of a request as it is read, which is that of no type in particular.
fn form<T: DeserializeOwned + JsonSchema>() -> Value {
    let mut schema = Shape::<T>::schema();
    if let Some(members) = schema.as_object_mut() {
        members.retain(|name, _| !["$schema", "title"].contains(&name.as_str()));
    }
    schema
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

/// Many tasks: one of the types each.
fn batch(registry: &Registry) -> Value {
    let mut schema = form::<BatchRequest>();
    schema["oneOf"] = json!([{"required": ["Tasks"]}, {"required": ["Map"]}]);
    schema["examples"] = json!([{"Tasks": startable(registry).flat_map(request_examples).take(2).collect::<Vec<_>>()}]);
    let properties = &mut schema["properties"];
    properties["Tasks"]["items"] = alternatives(registry, "Batched");
    for place in ["/Map", "/Parent/properties/Then"] {
        if let Some(object) = properties.pointer_mut(place) {
            object["properties"]["Type"] = json!({"enum": names(registry)});
        }
    }
    schema
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
    let mut schema = form::<ScheduleRequest>();
    schema["oneOf"] = types.into();
    schema["examples"] = startable(registry)
        .filter_map(|entry| request_examples(entry).next())
        .take(1)
        .map(|mut example| {
            example["Name"] = "nightly".into();
            example["Cron"] = "30 2 * * *".into();
            example["TimeZone"] = "Europe/Berlin".into();
            example
        })
        .collect();
    schema
}
