//! Every answer that a test sees, against the API's own OpenAPI document: its
//! status, its type, its headers, its body to the last member, and, of requests
//! that were accepted, theirs.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::StreamExt;
use jsonschema::Validator;
use longhaul_model::split_public_id;
use reqwest::header::{ALLOW, CONTENT_TYPE, HeaderMap};
use reqwest::{Request, Response, ResponseBuilderExt};
use reqwest_middleware::{ClientWithMiddleware, Middleware, Next};
use serde_json::{Map, Value, json};

/// An OpenAPI document that answers are held against.
pub struct Described {
    document: Value,
    /// Its components, with objects closed: what is not described may not be
    /// there. (The document itself leaves room for members of later versions.)
    components: Value,
    validators: Mutex<HashMap<String, Arc<Validator>>>,
}

/// A request and its answer.
pub struct Exchange<'a> {
    /// E.g. `GET`.
    pub method: &'a str,
    /// Without the query.
    pub path: &'a str,
    /// The names of the query's parameters.
    pub query: Vec<String>,
    /// The request's body, if it is JSON.
    pub request: Option<Value>,
    /// Of the answer.
    pub status: u16,
    /// Of the answer.
    pub headers: &'a HeaderMap,
    /// Of the answer; of a stream, what has come of it.
    pub body: &'a [u8],
}

impl Described {
    /// What this document describes.
    pub fn new(document: &Value) -> Self {
        let mut components = document["components"].clone();
        for schema in components["schemas"].as_object_mut().into_iter().flat_map(Map::values_mut) {
            close(schema, true);
        }
        Self { document: document.clone(), components, validators: Mutex::default() }
    }

    /// The same, made once for all tests of a process that have the same API.
    fn shared(document: &Value) -> Arc<Self> {
        static KNOWN: Mutex<Vec<Arc<Described>>> = Mutex::new(Vec::new());
        let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
        let same =
            |other: &&Arc<Described>| ["paths", "components"].iter().all(|part| other.document[part] == document[part]);
        if let Some(described) = known.iter().find(same) {
            return Arc::clone(described);
        }
        let described = Arc::new(Self::new(document));
        known.push(Arc::clone(&described));
        described
    }

    /// What of this exchange is not as described.
    ///
    /// # Errors
    /// In words.
    pub fn check(&self, exchange: &Exchange<'_>) -> Result<(), String> {
        let Some((path, item)) = self.item(exchange.path) else {
            return self.check_refusal(exchange, 404, "unknown-route");
        };
        let Some(operation) = item.get(&exchange.method.to_lowercase()) else {
            let described = item.keys().map(|method| method.to_uppercase());
            let allow = exchange.headers.get(ALLOW).and_then(|allow| allow.to_str().ok()).unwrap_or_default();
            let (mut described, mut allowed): (Vec<String>, Vec<String>) =
                (described.collect(), allow.split(", ").map(str::to_owned).collect());
            described.sort_unstable();
            allowed.sort_unstable();
            if described != allowed {
                return Err(format!("{path} is described with {described:?} and allows {allowed:?}"));
            }
            return self.check_refusal(exchange, 405, "method-not-allowed");
        };
        self.check_answer(path, operation, exchange)?;
        if exchange.status < 300 { self.check_request(path, operation, exchange) } else { Ok(()) }
    }

    /// The path of the document that an address belongs to; fixed ones go first.
    fn item(&self, path: &str) -> Option<(&str, &Map<String, Value>)> {
        let fits = |template: &str| {
            let narrowed = is_narrowed(&self.document, template);
            let stands_for = |given: &str| !given.is_empty() && (!narrowed || split_public_id(given).is_some());
            let (mut wanted, mut given) = (template.split('/'), path.split('/'));
            let all = wanted.by_ref().zip(given.by_ref());
            let same = all
                .into_iter()
                .all(|(wanted, given)| wanted == given || (wanted.starts_with('{') && stands_for(given)));
            same && template.split('/').count() == path.split('/').count()
        };
        let paths = self.document["paths"].as_object()?;
        let found =
            paths.keys().filter(|template| fits(template)).min_by_key(|template| template.matches('{').count())?;
        Some((found, paths[found].as_object()?))
    }

    fn check_refusal(&self, exchange: &Exchange<'_>, status: u16, code: &str) -> Result<(), String> {
        if exchange.status != status {
            return Err(format!("it is not described, so {status} was expected"));
        }
        if exchange.method == "HEAD" {
            return Ok(());
        }
        let body = read_json(exchange.body)?;
        if body["code"] != code {
            return Err(format!("it is not described, so {code} was expected"));
        }
        self.validate("problem", &json!({"$ref": "#/components/schemas/Problem"}), &body)
    }

    fn check_answer(&self, path: &str, operation: &Value, exchange: &Exchange<'_>) -> Result<(), String> {
        let answer = operation["responses"]
            .get(exchange.status.to_string())
            .ok_or_else(|| format!("the status {} is not described", exchange.status))?;
        for name in answer["headers"].as_object().into_iter().flat_map(Map::keys) {
            if !exchange.headers.contains_key(name) {
                return Err(format!("it is described with the header {name}"));
            }
        }
        if exchange.method == "HEAD" {
            return Ok(());
        }
        let Some(contents) = answer["content"].as_object() else {
            return if exchange.body.is_empty() { Ok(()) } else { Err("no body is described".to_owned()) };
        };
        let declared = exchange.headers.get(CONTENT_TYPE).and_then(|name| name.to_str().ok()).unwrap_or_default();
        let media_type = declared.split(';').next().unwrap_or_default();
        let content = contents.get(media_type).ok_or_else(|| format!("the type {declared} is not described"))?;
        if media_type.ends_with("json")
            && !media_type.starts_with("application/x-")
            && !declared.ends_with("; charset=utf-8")
        {
            return Err(format!("{declared} does not say charset=utf-8"));
        }
        let Some(schema) = content.get("schema") else { return Ok(()) };
        let key = format!("{} {path} {} {media_type}", exchange.method, exchange.status);
        match media_type {
            "application/x-ndjson" | "text/event-stream" => {
                let text = String::from_utf8_lossy(exchange.body);
                let prefix = if media_type == "text/event-stream" { "data: " } else { "{" };
                for line in text.split_inclusive('\n').filter(|line| line.ends_with('\n') && line.starts_with(prefix)) {
                    let body = if prefix == "{" { line } else { &line[prefix.len()..] };
                    self.validate(&key, schema, &read_json(body.as_bytes())?)?;
                }
                Ok(())
            }
            _ => self.validate(&key, schema, &read_json(exchange.body)?),
        }
    }

    /// What was accepted must be described, too.
    fn check_request(&self, path: &str, operation: &Value, exchange: &Exchange<'_>) -> Result<(), String> {
        let parameters = operation["parameters"].as_array().map(Vec::as_slice).unwrap_or_default();
        for name in &exchange.query {
            if !parameters.iter().any(|parameter| parameter["in"] == "query" && parameter["name"] == name.as_str()) {
                return Err(format!("the query parameter {name} was accepted and is not described"));
            }
        }
        let schema = operation["requestBody"]["content"]["application/json"].get("schema");
        let (Some(schema), Some(request)) = (schema, &exchange.request) else { return Ok(()) };
        let mut request = request.clone();
        // The place that the original has for it; ours is described.
        if let Some(parameters) = request.get_mut("Parameters").and_then(Value::as_object_mut) {
            parameters.remove("StreamProgress");
        }
        let key = format!("{} {path} request", exchange.method);
        self.validate(&key, schema, &request).map_err(|error| format!("the request was accepted, but {error}"))
    }

    fn validate(&self, key: &str, schema: &Value, value: &Value) -> Result<(), String> {
        let validator = {
            let mut validators = self.validators.lock().unwrap_or_else(PoisonError::into_inner);
            let known = validators.entry(key.to_owned());
            Arc::clone(known.or_insert_with(|| Arc::new(self.validator(schema))))
        };
        let errors: Vec<String> =
            validator.iter_errors(value).map(|error| format!("{}: {error}", error.instance_path())).collect();
        if errors.is_empty() { Ok(()) } else { Err(format!("{value} does not fit: {}", errors.join("; "))) }
    }

    fn validator(&self, schema: &Value) -> Validator {
        let root = json!({"$ref": "#/it", "it": schema, "components": self.components});
        jsonschema::options().should_validate_formats(true).build(&root).expect("the document's schemas are valid")
    }
}

/// An address of a path of the document, with something that fits for each placeholder.
pub fn address(document: &Value, path: &str) -> String {
    let something = if is_narrowed(document, path) { "x-00000000-0000-0000-0000-000000000000" } else { "x" };
    path.split('/').map(|part| if part.starts_with('{') { something } else { part }).collect::<Vec<_>>().join("/")
}

/// Whether the path's placeholder has a pattern. The only one there is is that of ids.
fn is_narrowed(document: &Value, path: &str) -> bool {
    let operation = document["paths"][path].as_object().and_then(|item| item.values().next());
    let parameters = operation.and_then(|operation| operation["parameters"].as_array());
    parameters.into_iter().flatten().any(|one| one["in"] == "path" && one["schema"]["pattern"].is_string())
}

/// Allows no members but those that are named, in this schema and those within.
fn close(schema: &mut Value, here: bool) {
    let Some(members) = schema.as_object_mut() else { return };
    let named = members.contains_key("properties");
    for (keyword, value) in members.iter_mut() {
        match keyword.as_str() {
            "properties" | "$defs" => {
                value.as_object_mut().into_iter().flat_map(Map::values_mut).for_each(|it| close(it, true))
            }
            "items" | "additionalProperties" => close(value, true),
            "oneOf" | "anyOf" | "allOf" => {
                let whole = keyword != "allOf" && !named;
                value.as_array_mut().into_iter().flatten().for_each(|it| close(it, whole));
            }
            _ => {}
        }
    }
    if here && named && !members.contains_key("additionalProperties") {
        members.insert("unevaluatedProperties".to_owned(), false.into());
    }
}

fn read_json(body: &[u8]) -> Result<Value, String> {
    serde_json::from_slice(body).map_err(|error| format!("it is not JSON: {error}"))
}

/// A client without proxies and redirects that panics when an answer is not as `document`
/// describes it.
pub fn strict_client(document: &Value) -> ClientWithMiddleware {
    let client = longhaul_outbound::http_client()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .expect("a client");
    reqwest_middleware::ClientBuilder::new(client).with(Strict(Described::shared(document))).build()
}

struct Strict(Arc<Described>);

#[async_trait::async_trait]
impl Middleware for Strict {
    async fn handle(
        &self,
        request: Request,
        extensions: &mut http::Extensions,
        next: Next<'_>,
    ) -> reqwest_middleware::Result<Response> {
        let asked = Asked {
            described: Arc::clone(&self.0),
            method: request.method().to_string(),
            path: request.url().path().to_owned(),
            query: request.url().query_pairs().map(|(name, _)| name.into_owned()).collect(),
            request: request.body().and_then(|body| body.as_bytes()).and_then(|body| serde_json::from_slice(body).ok()),
        };
        let response = next.run(request, extensions).await?;
        let (status, headers, url) = (response.status(), response.headers().clone(), response.url().clone());
        let mut rebuilt = http::Response::builder().status(status).url(url);
        if let Some(own) = rebuilt.headers_mut() {
            own.clone_from(&headers);
        }
        let media_type = headers.get(CONTENT_TYPE).and_then(|name| name.to_str().ok()).unwrap_or_default();
        let body = if ["application/x-ndjson", "text/event-stream"].contains(&media_type) {
            let mut line = Vec::new();
            reqwest::Body::wrap_stream(response.bytes_stream().inspect(move |chunk| {
                let Ok(chunk) = chunk else { return };
                line.extend_from_slice(chunk);
                asked.check(status.as_u16(), &headers, &line);
                if let Some(end) = line.iter().rposition(|byte| *byte == b'\n') {
                    line.drain(..=end);
                }
            }))
        } else {
            let body = response.bytes().await?;
            asked.check(status.as_u16(), &headers, &body);
            body.into()
        };
        Ok(rebuilt.body(body).expect("an answer with the status and headers of another").into())
    }
}

/// A request whose answer is still to come.
struct Asked {
    described: Arc<Described>,
    method: String,
    path: String,
    query: Vec<String>,
    request: Option<Value>,
}

impl Asked {
    fn check(&self, status: u16, headers: &HeaderMap, body: &[u8]) {
        let (method, path) = (self.method.as_str(), self.path.as_str());
        let (query, request) = (self.query.clone(), self.request.clone());
        let exchange = Exchange { method, path, query, request, status, headers, body };
        if let Err(error) = self.described.check(&exchange) {
            let body = String::from_utf8_lossy(body);
            panic!("{method} {path} was answered {status}, not as the OpenAPI document says: {error}\n{body}");
        }
    }
}
