//! The OpenAPI document of a table of routes.

use std::collections::BTreeMap;

use actix_web::http::Method;
use actix_web::web::Bytes;
use longhaul_model::{ProblemKind, Registry, X_EXPECTED};
use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::operation::{Answer, Body, Operation, Parameter, Place, Source, Starts};
use super::route::Path;
use super::{Routes, task_schema};
use crate::access::Access;
use crate::error::{
    CROSS_SITE, ErrorBody, FORBIDDEN, FOREIGN_HOST, INTERNAL, NO_CREDENTIALS, TOO_MANY_REQUESTS, UNAVAILABLE,
    UNKNOWN_ROUTE, WRONG_CREDENTIALS,
};

/// What goes for all of an API.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Nature {
    /// Callers have to say who they are.
    pub(crate) closed: bool,
    /// They may not send as many requests as they like.
    pub(crate) limited: bool,
}

/// An OpenAPI 3.1 document.
pub(crate) struct Document {
    pub(crate) value: Value,
    /// The same as it is sent.
    pub(crate) text: Bytes,
}

/// The schemes of `Authorization` and what they carry.
const SCHEMES: [(&str, &str); 2] =
    [("bearer", "An API key or an access token."), ("basic", "An API key as the password; the name does not matter.")];

/// Where schemas refer to each other.
const SCHEMAS: &str = "/components/schemas";

impl Document {
    /// Describes these routes of an API of this nature that takes tasks of these types.
    ///
    /// # Panics
    /// When a body's type has no name of its own, or two have the same, or an
    /// operation's id is taken: defects of the program that its first start shows.
    pub(crate) fn new(routes: &Routes, registry: &Registry, base_url: &str, nature: Nature) -> Self {
        let mut writer = Writer::new(registry, nature);
        let mut paths = Map::new();
        let (mut tags, mut ids): (Vec<&str>, Vec<String>) = (Vec::new(), Vec::new());
        for resource in routes.resources() {
            for (alias, Path { template: path, only }) in resource.paths.iter().enumerate() {
                let mut item = Map::new();
                for served in &resource.methods {
                    let operation = &served.operation;
                    let great = resource.takes_great_bodies();
                    let mut described = writer.operation(&served.method, great, operation, *only);
                    let id = operation.id.clone() + &"Alias".repeat(alias);
                    if alias > 0 {
                        let same = format!("The same as `{} {}`.", served.method, resource.paths[0].template);
                        described["description"] = same.into();
                    }
                    assert!(!ids.contains(&id), "there are two operations {id}");
                    described["operationId"] = id.as_str().into();
                    ids.push(id);
                    if !tags.contains(&operation.tag) {
                        tags.push(operation.tag);
                    }
                    item.insert(served.method.as_str().to_ascii_lowercase(), described);
                }
                paths.insert(path.clone(), item.into());
            }
        }
        let tags: Vec<Value> = tags.into_iter().map(|name| json!({"name": name})).collect();
        let mut value = json!({
            "openapi": "3.1.0",
            "info": {
                "title": "Longhaul",
                "version": env!("CARGO_PKG_VERSION"),
                "description": "Durable background tasks.",
                "license": {"name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0"},
            },
            "servers": [{"url": base_url}],
            "paths": paths,
            "tags": tags,
        });
        value["components"] = json!({"schemas": writer.into_schemas()});
        if nature.closed {
            let schemes = SCHEMES.map(|(name, description)| {
                (name.to_owned(), json!({"type": "http", "scheme": name, "description": description}))
            });
            value["components"]["securitySchemes"] = Value::Object(schemes.into_iter().collect());
        }
        let text = value.to_string().into();
        Self { value, text }
    }
}

/// Writes operations and gathers the schemas that they refer to.
struct Writer<'a> {
    registry: &'a Registry,
    nature: Nature,
    /// How types look in answers, and in requests: defaults make the difference.
    answered: SchemaGenerator,
    read: SchemaGenerator,
    components: BTreeMap<String, Value>,
}

impl<'a> Writer<'a> {
    fn new(registry: &'a Registry, nature: Nature) -> Self {
        let settings = SchemaSettings::draft2020_12().with(|settings| {
            settings.definitions_path = SCHEMAS.into();
            settings.meta_schema = None;
        });
        let mut answered = settings.clone().for_serialize().into_generator();
        answered.subschema_for::<ErrorBody>();
        Self {
            registry,
            nature,
            answered,
            read: settings.for_deserialize().into_generator(),
            components: task_schema::components(registry),
        }
    }

    /// `only` names a placeholder of its address and what must fit it.
    fn operation(&mut self, method: &Method, great: bool, operation: &Operation, only: Option<(&str, &str)>) -> Value {
        let mut responses = Map::new();
        for answer in &operation.answers {
            responses.insert(answer.status.to_string(), self.answer(answer));
        }
        let mut problems = self.problems(method, great, operation);
        // Nothing is there for what does not fit.
        problems.extend(only.map(|_| UNKNOWN_ROUTE).filter(|kind| !operation.problems.contains(kind)));
        for (status, kinds) in by_status(problems) {
            let refusal = if operation.page.is_some() { refusal_page(&kinds) } else { problem(status, &kinds) };
            responses.insert(status.to_string(), refusal);
        }
        let parameters = operation.parameters.iter().map(|one| {
            let pattern = only.filter(|(name, _)| one.place == Place::Path && one.name == *name);
            parameter(one, pattern.map(|(_, fits)| format!("^{fits}$")))
        });
        let parameters: Vec<Value> = parameters.collect();
        object([
            ("tags", Some(json!([operation.tag]))),
            ("summary", Some(json!(operation.summary))),
            ("description", operation.description.as_ref().map(|text| json!(text))),
            ("security", self.securities(operation.needs)),
            ("parameters", (!parameters.is_empty()).then_some(parameters.into())),
            ("requestBody", operation.body.as_ref().map(|body| self.request_body(body))),
            ("responses", Some(responses.into())),
        ])
    }

    /// Its own problems and those of the `create` steps that it runs.
    fn problems(&self, method: &Method, great: bool, operation: &Operation) -> Vec<ProblemKind> {
        let mut problems = operation.problems.clone();
        let mut add = |kind| {
            if !problems.contains(&kind) {
                problems.push(kind);
            }
        };
        if operation.needs != Access::Public || !method.is_safe() {
            add(FOREIGN_HOST);
        }
        if !method.is_safe() {
            add(CROSS_SITE);
        }
        if self.nature.limited || (great && self.nature.closed) {
            add(TOO_MANY_REQUESTS);
        }
        if self.nature.closed && operation.needs != Access::Public {
            let refusals = [NO_CREDENTIALS, WRONG_CREDENTIALS, FORBIDDEN, INTERNAL, UNAVAILABLE];
            let named =
                matches!(operation.needs, Access::Permission(_) | Access::Permissions(_) | Access::Somewhere(_));
            for kind in refusals.into_iter().filter(|kind| named || *kind != FORBIDDEN) {
                if !problems.contains(&kind) {
                    problems.push(kind);
                }
            }
        }
        for entry in self.registry.iter() {
            let starts = match operation.starts {
                Starts::Nothing => false,
                Starts::Only(name) => name == entry.info().name,
                Starts::AnyType => true,
            };
            for kind in entry.problems().iter().filter(|_| starts) {
                if !problems.contains(kind) {
                    problems.push(*kind);
                }
            }
        }
        problems
    }

    /// How its caller says who it is, and (OpenAPI 3.1.1, 4.8.30) the permission that
    /// it needs.
    fn securities(&self, needs: Access) -> Option<Value> {
        let permissions: &[&str] = match &needs {
            _ if !self.nature.closed => return None,
            Access::Public => return Some(json!([])),
            Access::Caller => &[],
            Access::Permission(name) | Access::Somewhere(name) => &[*name],
            Access::Permissions(names) => names,
        };
        Some(SCHEMES.iter().map(|(name, _)| json!({*name: permissions})).collect())
    }

    fn request_body(&mut self, body: &Body) -> Value {
        let content = self.content(body.source, true, true);
        object([
            ("description", body.description.map(Value::from)),
            ("required", Some(true.into())),
            ("content", Some(json!({body.media_type: content}))),
        ])
    }

    fn answer(&mut self, answer: &Answer) -> Value {
        let content: Map<String, Value> = answer
            .bodies
            .iter()
            .map(|(form, source)| ((*form).to_owned(), self.content(*source, false, *form == "application/json")))
            .collect();
        response(answer.description, content, &answer.headers)
    }

    /// What a body may be; `shown` with its type's examples.
    fn content(&mut self, source: Source, read: bool, shown: bool) -> Value {
        let Some(name) = self.name(source, read) else { return json!({}) };
        let examples = if shown { examples(self.schema(&name, read)) } else { Map::new() };
        object([("schema", Some(refer_to(&name))), ("examples", (!examples.is_empty()).then_some(examples.into()))])
    }

    /// The component that is the schema; none for bytes.
    fn name(&mut self, source: Source, read: bool) -> Option<String> {
        let generator = if read { &mut self.read } else { &mut self.answered };
        match source {
            Source::Anything => None,
            Source::Component(name) => Some(name.to_owned()),
            Source::Type(schema) => {
                let schema = schema(generator);
                let name = schema.get("$ref").and_then(Value::as_str).and_then(|place| place.rsplit('/').next());
                Some(name.unwrap_or_else(|| panic!("a body needs a type with a name: {schema:?}")).to_owned())
            }
        }
    }

    fn schema(&self, name: &str, read: bool) -> Option<&Value> {
        let generator = if read { &self.read } else { &self.answered };
        generator.definitions().get(name).or_else(|| self.components.get(name))
    }

    /// Everything that was referred to, by name.
    fn into_schemas(mut self) -> Map<String, Value> {
        let mut schemas: Map<String, Value> = self.components.into_iter().collect();
        let (answered, read) = (self.answered.take_definitions(true), self.read.take_definitions(true));
        for (name, schema) in answered.into_iter().chain(read) {
            if let Some(other) = schemas.get(&name) {
                assert_eq!(*other, schema, "there are two schemas {name}");
            }
            schemas.insert(name, schema);
        }
        schemas.values_mut().for_each(strip);
        schemas
    }
}

/// Takes away what only complaints are made of.
fn strip(schema: &mut Value) {
    match schema {
        Value::Object(members) => {
            members.remove(X_EXPECTED);
            members.values_mut().for_each(strip);
        }
        Value::Array(items) => items.iter_mut().for_each(strip),
        _ => {}
    }
}

/// An object of those of these members that there are.
fn object<const N: usize>(members: [(&str, Option<Value>); N]) -> Value {
    members.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
}

/// The schema that is the component of this name.
fn refer_to(name: &str) -> Value {
    json!({"$ref": format!("#{SCHEMAS}/{name}")})
}

fn parameter(parameter: &Parameter, pattern: Option<String>) -> Value {
    let mut schema = parameter.schema.clone();
    if let Some(pattern) = pattern {
        schema.insert("pattern".to_owned(), pattern.into());
    }
    let place = match parameter.place {
        Place::Path => "path",
        Place::Query => "query",
        Place::Header => "header",
    };
    json!({
        "name": parameter.name,
        "in": place,
        "required": parameter.required,
        "description": parameter.description,
        "schema": schema,
    })
}

/// An answer with these forms of body and these headers, which are texts.
fn response(description: &str, content: Map<String, Value>, headers: &[(&str, &str)]) -> Value {
    let headers: Map<String, Value> = headers
        .iter()
        .map(|(name, text)| ((*name).to_owned(), json!({"description": text, "schema": {"type": "string"}})))
        .collect();
    object([
        ("description", Some(description.into())),
        ("headers", (!headers.is_empty()).then_some(headers.into())),
        ("content", (!content.is_empty()).then_some(content.into())),
    ])
}

/// Kinds of one status, in the order of the statuses.
fn by_status(kinds: Vec<ProblemKind>) -> BTreeMap<u16, Vec<ProblemKind>> {
    let mut by_status: BTreeMap<u16, Vec<ProblemKind>> = BTreeMap::new();
    for kind in kinds {
        by_status.entry(kind.status).or_default().push(kind);
    }
    by_status
}

/// The answer with one of these problems, as a page.
fn refusal_page(kinds: &[ProblemKind]) -> Value {
    let described: Vec<String> = kinds.iter().map(|kind| format!("A page: {}.", kind.title)).collect();
    response(&described.join(" "), Map::from_iter([("text/html".to_owned(), json!({}))]), &[])
}

/// The answer with one of these problems; its `code` is one of theirs.
fn problem(status: u16, kinds: &[ProblemKind]) -> Value {
    let codes: Vec<&str> = kinds.iter().map(|kind| kind.code).collect();
    let narrowed = json!({
        "type": "object",
        "properties": {
            "status": {"type": "integer", "enum": [status]},
            "code": {"type": "string", "enum": codes},
        },
    });
    let content = json!({"schema": {"allOf": [refer_to("Problem"), narrowed]}});
    let described: Vec<String> = kinds.iter().map(|kind| format!("`{}`: {}.", kind.code, kind.title)).collect();
    let headers: &[_] = match status {
        401 => &[("WWW-Authenticate", "How to authenticate (RFC 6750, 3).")],
        429 | 503 => &[("Retry-After", "Seconds after which to try again.")],
        _ => &[],
    };
    response(&described.join(" "), Map::from_iter([("application/problem+json".to_owned(), content)]), headers)
}

/// The examples that a schema has, called by their `Type` where they have one.
fn examples(schema: Option<&Value>) -> Map<String, Value> {
    let mut named = Map::new();
    for value in schema.and_then(|schema| schema.get("examples")).and_then(Value::as_array).into_iter().flatten() {
        let name = value.get("Type").and_then(Value::as_str).unwrap_or("example");
        let count = named.keys().filter(|other| other.split('-').next() == Some(name)).count();
        let name = if count == 0 { name.to_owned() } else { format!("{name}-{}", count + 1) };
        named.insert(name, json!({"value": value}));
    }
    named
}
