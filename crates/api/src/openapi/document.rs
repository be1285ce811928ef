//! The OpenAPI document of a table of routes.

use std::collections::BTreeMap;

use actix_web::http::Method;
use actix_web::web::Bytes;
use longhaul_model::{ProblemKind, Registry, X_EXPECTED};
use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};
use utoipa::openapi::example::{Example, ExampleBuilder};
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::path::{
    Operation as Described, OperationBuilder, ParameterBuilder, ParameterIn, PathItemBuilder, PathsBuilder,
};
use utoipa::openapi::request_body::{RequestBody, RequestBodyBuilder};
use utoipa::openapi::security::SecurityRequirement;
use utoipa::openapi::{
    AllOfBuilder, ContentBuilder, HttpMethod, InfoBuilder, LicenseBuilder, ObjectBuilder, OpenApiBuilder, Ref,
    Required, Response, ResponseBuilder, Schema, ServerBuilder, Tag, Type,
};

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
        let mut paths = PathsBuilder::new();
        let (mut tags, mut ids): (Vec<&str>, Vec<String>) = (Vec::new(), Vec::new());
        for resource in routes.resources() {
            for (alias, Path { template: path, only }) in resource.paths.iter().enumerate() {
                let mut item = PathItemBuilder::new();
                for served in &resource.methods {
                    let operation = &served.operation;
                    let great = resource.takes_great_bodies();
                    let mut described = writer.operation(&served.method, great, operation, *only);
                    if let (1.., Some(id)) = (alias, &mut described.operation_id) {
                        id.push_str(&"Alias".repeat(alias));
                        let same = format!("The same as `{} {}`.", served.method, resource.paths[0].template);
                        described.description = Some(same);
                    }
                    let id = described.operation_id.clone().unwrap_or_default();
                    assert!(!ids.contains(&id), "there are two operations {id}");
                    ids.push(id);
                    if !tags.contains(&operation.tag) {
                        tags.push(operation.tag);
                    }
                    item = item.operation(http_method(served.method.as_str()), described);
                }
                paths = paths.path(path.clone(), item.build());
            }
        }
        let license = LicenseBuilder::new().name("MIT OR Apache-2.0").identifier(Some("MIT OR Apache-2.0")).build();
        let info = InfoBuilder::new()
            .title("Longhaul")
            .version(env!("CARGO_PKG_VERSION"))
            .description(Some("Durable background tasks."))
            .license(Some(license))
            .build();
        let document = OpenApiBuilder::new()
            .info(info)
            .servers(Some([ServerBuilder::new().url(base_url).build()]))
            .paths(paths.build())
            .tags(Some(tags.into_iter().map(Tag::new)))
            .build();
        let mut value = serde_json::to_value(&document).unwrap_or_default();
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

fn http_method(name: &str) -> HttpMethod {
    match name {
        "GET" => HttpMethod::Get,
        "HEAD" => HttpMethod::Head,
        "POST" => HttpMethod::Post,
        "PUT" => HttpMethod::Put,
        "PATCH" => HttpMethod::Patch,
        "DELETE" => HttpMethod::Delete,
        other => unreachable!("a resource has no method {other}"),
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
    fn operation(
        &mut self,
        method: &Method,
        great: bool,
        operation: &Operation,
        only: Option<(&str, &str)>,
    ) -> Described {
        let mut described = OperationBuilder::new()
            .tag(operation.tag)
            .operation_id(Some(operation.id.as_str()))
            .summary(Some(operation.summary.as_str()))
            .description(operation.description.clone())
            .securities(self.securities(operation.needs))
            .request_body(operation.body.as_ref().map(|body| self.request_body(body)));
        if !operation.parameters.is_empty() {
            let narrowed = operation.parameters.iter().map(|one| {
                let pattern = only.filter(|(name, _)| one.place == Place::Path && one.name == *name);
                parameter(one, pattern.map(|(_, fits)| format!("^{fits}$")))
            });
            described = described.parameters(Some(narrowed));
        }
        for answer in &operation.answers {
            described = described.response(answer.status.to_string(), self.answer(answer));
        }
        let mut problems = self.problems(method, great, operation);
        // Nothing is there for what does not fit.
        problems.extend(only.map(|_| UNKNOWN_ROUTE).filter(|kind| !operation.problems.contains(kind)));
        for (status, kinds) in by_status(problems) {
            let refusal = if operation.page.is_some() { refusal_page(&kinds) } else { problem(status, &kinds) };
            described = described.response(status.to_string(), refusal);
        }
        described.build()
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
    fn securities(&self, needs: Access) -> Option<Vec<SecurityRequirement>> {
        let permissions: &[&str] = match &needs {
            _ if !self.nature.closed => return None,
            Access::Public => return Some(Vec::new()),
            Access::Caller => &[],
            Access::Permission(name) | Access::Somewhere(name) => &[*name],
            Access::Permissions(names) => names,
        };
        Some(SCHEMES.iter().map(|(name, _)| SecurityRequirement::new(*name, permissions.iter().copied())).collect())
    }

    fn request_body(&mut self, body: &Body) -> RequestBody {
        let mut content = ContentBuilder::new();
        if let Some(name) = self.name(body.source, true) {
            content = content
                .schema(Some(Ref::from_schema_name(&name)))
                .examples_from_iter(examples(self.schema(&name, true)));
        }
        RequestBodyBuilder::new()
            .description(body.description.map(str::to_owned))
            .required(Some(Required::True))
            .content(body.media_type, content.build())
            .build()
    }

    fn answer(&mut self, answer: &Answer) -> Response {
        let mut response = ResponseBuilder::new().description(answer.description);
        for (media_type, source) in &answer.bodies {
            let mut content = ContentBuilder::new();
            if let Some(name) = self.name(*source, false) {
                content = content.schema(Some(Ref::from_schema_name(&name)));
                if *media_type == "application/json" {
                    content = content.examples_from_iter(examples(self.schema(&name, false)));
                }
            }
            response = response.content(*media_type, content.build());
        }
        for (name, description) in &answer.headers {
            response = response.header(*name, HeaderBuilder::new().description(Some(*description)).build());
        }
        response.build()
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

fn parameter(parameter: &Parameter, pattern: Option<String>) -> utoipa::openapi::path::Parameter {
    let mut schema = parameter.schema.clone();
    if pattern.is_some() {
        schema.pattern = pattern;
    }
    ParameterBuilder::new()
        .name(parameter.name)
        .parameter_in(match parameter.place {
            Place::Path => ParameterIn::Path,
            Place::Query => ParameterIn::Query,
            Place::Header => ParameterIn::Header,
        })
        .required(if parameter.required { Required::True } else { Required::False })
        .description(Some(parameter.description.as_str()))
        .schema(Some(schema))
        .build()
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
fn refusal_page(kinds: &[ProblemKind]) -> Response {
    let described: Vec<String> = kinds.iter().map(|kind| format!("A page: {}.", kind.title)).collect();
    ResponseBuilder::new().description(described.join(" ")).content("text/html", ContentBuilder::new().build()).build()
}

/// The answer with one of these problems; its `code` is one of theirs.
fn problem(status: u16, kinds: &[ProblemKind]) -> Response {
    let codes = ObjectBuilder::new().schema_type(Type::String).enum_values(Some(kinds.iter().map(|kind| kind.code)));
    let statuses = ObjectBuilder::new().schema_type(Type::Integer).enum_values(Some([status]));
    let schema = AllOfBuilder::new()
        .item(Ref::from_schema_name("Problem"))
        .item(ObjectBuilder::new().property("status", statuses).property("code", codes))
        .build();
    let described: Vec<String> = kinds.iter().map(|kind| format!("`{}`: {}.", kind.code, kind.title)).collect();
    let mut response = ResponseBuilder::new()
        .description(described.join(" "))
        .content("application/problem+json", ContentBuilder::new().schema(Some(Schema::AllOf(schema))).build());
    if status == 401 {
        let challenge = HeaderBuilder::new().description(Some("How to authenticate (RFC 6750, 3)."));
        response = response.header("WWW-Authenticate", challenge.build());
    }
    if [429, 503].contains(&status) {
        let after = HeaderBuilder::new().description(Some("Seconds after which to try again."));
        response = response.header("Retry-After", after.build());
    }
    response.build()
}

/// The examples that a schema has, called by their `Type` where they have one.
fn examples(schema: Option<&Value>) -> Vec<(String, Example)> {
    let mut named: Vec<(String, Example)> = Vec::new();
    for value in schema.and_then(|schema| schema.get("examples")).and_then(Value::as_array).into_iter().flatten() {
        let name = value.get("Type").and_then(Value::as_str).unwrap_or("example");
        let count = named.iter().filter(|(other, _)| other.split('-').next() == Some(name)).count();
        let name = if count == 0 { name.to_owned() } else { format!("{name}-{}", count + 1) };
        named.push((name, ExampleBuilder::new().value(Some(value.clone())).build()));
    }
    named
}
