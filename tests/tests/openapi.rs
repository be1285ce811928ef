//! The OpenAPI document: valid, complete, and what the tests' client makes of it.

use std::collections::BTreeSet;

use longhaul_model::Registry;
use longhaul_tests::{Described, Example, Exchange, Stage, address, shipped};
use reqwest::Method;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use serde_json::{Map, Value, json};

/// Paths and their methods with operations.
fn operations(document: &Value) -> Vec<(&str, &str, &Value)> {
    let paths = document["paths"].as_object().expect("paths");
    let items = paths.iter().map(|(path, item)| (path, item.as_object().expect("operations")));
    items.flat_map(|(path, item)| item.iter().map(|(method, it)| (path.as_str(), method.as_str(), it))).collect()
}

#[tokio::test]
async fn the_document_is_served_and_has_what_the_server_has() {
    let stage = Stage::new().await;
    let (status, document) = stage.get("/api/openapi.json").await;
    assert_eq!((status, &document), (200, &stage.openapi));
    assert_eq!(document["servers"][0]["url"], stage.base_url);
    let paths = document["paths"].as_object().expect("paths");
    assert!(paths.len() > 40, "{} paths", paths.len());
    for (path, item) in paths {
        let described: BTreeSet<String> = item.as_object().expect("operations").keys().cloned().collect();
        for method in
            [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::OPTIONS]
        {
            let url = format!("{}{}", stage.base_url, address(&document, path));
            // A client of its own: what is said here is what the server does.
            let client = longhaul_tests::http_client().no_proxy().redirect(reqwest::redirect::Policy::none()).build();
            let response = client.expect("a client").request(method.clone(), url).send().await.expect("an answer");
            let (status, allow) = (response.status().as_u16(), response.headers().get("allow").cloned());
            let text = response.text().await.unwrap_or_default();
            if described.contains(&method.as_str().to_lowercase()) {
                let known = status != 405
                    && (status != 404
                        || !text.contains("unknown-route")
                        || path == "/api/docs/{file}"
                        || path.starts_with("/docs/"));
                assert!(known, "{method} {path} is described and was answered {status}");
            } else {
                assert_eq!(status, 405, "{method} {path} is not described");
                let allow = allow.expect("Allow");
                let allowed: BTreeSet<String> =
                    allow.to_str().expect("text").split(", ").map(str::to_lowercase).collect();
                assert_eq!(allowed, described, "{path}");
            }
        }
    }
}

/// Calls `visit` with everything in a document, and its JSON pointer.
fn walk(value: &Value, place: &str, visit: &mut impl FnMut(&Value, &str)) {
    visit(value, place);
    match value {
        Value::Object(members) => {
            members.iter().for_each(|(name, value)| walk(value, &format!("{place}/{name}"), visit));
        }
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(at, value)| walk(value, &format!("{place}/{at}"), visit));
        }
        _ => {}
    }
}

/// What of the specification (OpenAPI 3.1.1, 4.8) can be told without its
/// meta-schema, and what that can't tell; `tests/openapi/run` asks a validator.
#[tokio::test]
async fn the_document_is_well_formed() {
    let stage = Stage::new().await;
    let document = &stage.openapi;
    assert_eq!(document["openapi"], "3.1.0");
    walk(document, "", &mut |value, place| {
        if let Some(target) = value.get("$ref").and_then(Value::as_str).filter(|_| !place.ends_with("/properties")) {
            let found = target.strip_prefix('#').and_then(|pointer| document.pointer(pointer));
            assert!(found.is_some(), "{place} refers to {target}");
        }
    });
    let mut ids = BTreeSet::new();
    for (path, method, operation) in operations(document) {
        let id = operation["operationId"].as_str().expect("an id");
        assert!(ids.insert(id), "{id} is there twice");
        assert!(operation["summary"].as_str().is_some_and(|text| text.ends_with('.')), "{method} {path}: a summary");
        let parameters = operation["parameters"].as_array().map(Vec::as_slice).unwrap_or_default();
        for parameter in parameters.iter().filter(|parameter| parameter["in"] == "path") {
            assert_eq!(parameter["required"], true);
            assert!(path.contains(&format!("{{{}}}", parameter["name"].as_str().expect("a name"))), "{path}");
        }
        let in_path = parameters.iter().filter(|parameter| parameter["in"] == "path").count();
        assert_eq!(path.matches('{').count(), in_path, "{method} {path} describes its placeholders");
        let answers = operation["responses"].as_object().expect("answers");
        assert!(answers.keys().any(|status| status < &"400".to_owned()), "{method} {path} has an answer");
        for (status, answer) in answers {
            assert!(answer["description"].as_str().is_some_and(|text| !text.is_empty()), "{method} {path} {status}");
            if status.as_str() >= "400" && answer["content"].get("text/html").is_none() {
                let codes = &answer["content"]["application/problem+json"]["schema"]["allOf"][1]["properties"]["code"];
                assert!(codes["enum"].as_array().is_some_and(|codes| !codes.is_empty()), "{method} {path} {status}");
            }
        }
    }
    let schemas = document["components"]["schemas"].as_object().expect("schemas");
    for (name, schema) in schemas {
        jsonschema::meta::validate(schema).unwrap_or_else(|error| panic!("{name} is no JSON Schema: {error}"));
    }
    let text = document.to_string();
    for name in schemas.keys() {
        assert!(text.contains(&format!("\"#/components/schemas/{name}\"")), "nothing refers to {name}");
    }
}

fn assert_fits(document: &Value, schema: &Value, value: &Value) {
    let root = json!({"$ref": "#/it", "it": schema, "components": document["components"]});
    let validator = jsonschema::options().should_validate_formats(true).build(&root).expect("a schema");
    let errors: Vec<String> = validator.iter_errors(value).map(|error| error.to_string()).collect();
    assert!(errors.is_empty(), "{value}: {errors:?}");
}

#[tokio::test]
async fn the_examples_are_the_seeds_and_fit_their_schemas() {
    let stage = Stage::new().await;
    let post = &stage.openapi["paths"]["/api/backgroundtask"]["post"];
    let request = &post["requestBody"]["content"]["application/json"];
    let mut given: Vec<&Value> =
        request["examples"].as_object().expect("examples").values().map(|example| &example["value"]).collect();
    for example in &given {
        assert_fits(&stage.openapi, &request["schema"], example);
    }
    let seed: Vec<Value> = Example::all().iter().map(Example::request).collect();
    assert_eq!(seed.len(), 7);
    for example in &seed {
        assert!(given.contains(&example), "the document lacks {example}");
    }
    given.retain(|example| !seed.contains(example));
    assert!(given.is_empty(), "not of the seed: {given:?}");

    let answer = &post["responses"]["202"]["content"]["application/json"];
    let example = &answer["examples"]["Reindex"]["value"];
    assert_fits(&stage.openapi, &answer["schema"], example);
    let seed = json!({
        "Complete": false, "TotalElements": 10, "ProcessedElements": 1, "StartedAt": "2011-12-31T21:50:00Z",
        "ProgressInPercent": 0.1, "Id": "reindex-7bdba522-590a-4df4-b409-a2939851241b",
        "Message": "Queuing index events",
        "Self": "http://localhost/api/backgroundtask/reindex-7bdba522-590a-4df4-b409-a2939851241b",
    });
    for (name, value) in seed.as_object().expect("an object") {
        assert_eq!(&example[name], value, "{name}");
    }
}

#[tokio::test]
async fn a_start_is_one_of_the_types_that_the_process_knows() {
    let stage = Stage::new().await;
    let schemas = &stage.openapi["components"]["schemas"];
    // The parents of batches come with their tasks, never alone.
    let registry = shipped::registry();
    let mapping = schemas["TaskRequest"]["discriminator"]["mapping"].as_object().expect("a mapping");
    assert_eq!(mapping.len(), registry.iter().count());
    for entry in registry.iter() {
        let name = entry.info().name;
        assert_eq!(mapping[name], format!("#/components/schemas/Start{name}"));
        let parameters = &schemas[format!("{name}Parameters")];
        assert_eq!(
            parameters["properties"].as_object().map(Map::len),
            entry.schema()["properties"].as_object().map(Map::len)
        );
    }
    let none = Stage::builder(Registry::new()).start().await;
    assert_eq!(none.openapi["components"]["schemas"]["TaskRequest"]["not"], json!({}), "nothing can be started");
}

#[tokio::test]
async fn the_page_shows_the_document_and_loads_nothing_from_elsewhere() {
    let stage = Stage::new().await;
    let get = async |path: &str| stage.http.get(format!("{}{path}", stage.base_url)).send().await.expect("an answer");
    let response = get("/api/docs").await;
    assert_eq!(response.status(), 308);
    assert_eq!(response.headers()["location"], "docs/index.html");
    let response = get("/api/docs/index.html").await;
    let policy = response.headers()["content-security-policy"].to_str().expect("text");
    assert!(policy.starts_with("default-src 'self';"), "{policy}");
    let page = response.text().await.expect("a page");
    assert!(!page.contains("https://") && !page.contains("http://"), "{page}");
    let mut parts = 0;
    for part in
        page.split(['"']).filter(|part| part.ends_with(".js") || part.ends_with(".css") || part.ends_with(".png"))
    {
        let file = part.trim_start_matches("./");
        let response = get(&format!("/api/docs/{file}")).await;
        assert_eq!(response.status(), 200, "{file}");
        assert!(!response.bytes().await.expect("a file").is_empty());
        parts += 1;
    }
    assert!(parts >= 4, "{page}");
    let script = get("/api/docs/swagger-initializer.js").await.text().await.expect("a script");
    assert!(script.contains("\"../openapi.json\""), "{script}");
    let (status, problem) = stage.get("/api/docs/nonsense").await;
    assert_eq!((status, &problem["code"]), (404, &json!("unknown-route")));
}

/// An answer of the tests' server as it was, for tampering.
struct Sample {
    described: Described,
    headers: HeaderMap,
    body: Value,
}

impl Sample {
    async fn new() -> Self {
        let stage = Stage::new().await;
        let body = stage.start(&json!({"Type": "Reindex"})).await;
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8"));
        Self { described: Described::new(&stage.openapi), headers, body }
    }

    fn check(&self, method: &str, path: &str, status: u16, body: &Value) -> Result<(), String> {
        let (query, request, headers, body) = (Vec::new(), None, &self.headers, body.to_string());
        self.described.check(&Exchange { method, path, query, request, status, headers, body: body.as_bytes() })
    }

    fn cancelled(&self, body: &Value) -> Result<(), String> {
        self.check("DELETE", "/api/backgroundtask/x", 200, body)
    }
}

#[tokio::test]
async fn whatever_is_not_as_described_is_reported() {
    let mut sample = Sample::new().await;
    let right = sample.body.clone();
    sample.cancelled(&right).expect("it is as described");
    let more = sample.check("GET", "/api/backgroundtask/x", 200, &right).expect_err("that answer has more");
    assert!(more.contains("Parameters"), "{more}");

    let members = right.as_object().expect("an object");
    for name in members.keys() {
        let mut lacking = members.clone();
        lacking.remove(name);
        let error = sample.cancelled(&lacking.into()).expect_err("a member is missing");
        assert!(error.contains(name.as_str()), "{error}");
        let mut wrong = members.clone();
        wrong.insert(name.clone(), json!([7]));
        sample.cancelled(&wrong.into()).expect_err("a member has another type");
    }
    for (name, value) in
        [("StartedAt", json!("2011-12-31 21:50")), ("ProgressInPercent", json!(10)), ("State", json!("Odd"))]
    {
        let mut wrong = right.clone();
        wrong[name] = value;
        sample.cancelled(&wrong).expect_err(name);
    }
    let mut wrong = right.clone();
    wrong["Links"][0]["Colour"] = json!("red");
    assert!(sample.cancelled(&wrong).expect_err("a member too many").contains("Colour"));

    for (method, path, status) in [
        ("GET", "/api/backgroundtask/x", 203),
        ("PUT", "/api/backgroundtask/x", 200),
        ("GET", "/api/backgroundtask/x/y/z", 200),
        ("POST", "/api/backgroundtasks", 202),
    ] {
        sample.check(method, path, status, &right).expect_err(path);
    }
    for content_type in ["application/json", "text/html; charset=utf-8"] {
        sample.headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        sample.cancelled(&right).expect_err(content_type);
    }

    sample.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json; charset=utf-8"));
    let problem = |code: &str| json!({"type": format!("urn:longhaul:problem:{code}"), "title": "t", "status": 404, "detail": "d", "code": code, "traceId": "1"});
    sample.check("GET", "/api/backgroundtask/x", 404, &problem("unknown-task")).expect("it is as described");
    sample.check("GET", "/api/backgroundtask/x", 404, &problem("unknown-queue")).expect_err("another's problem");
    sample.check("GET", "/api/nonsense", 404, &problem("unknown-route")).expect("nothing is there");
}

#[tokio::test]
async fn a_request_that_was_accepted_must_be_described() {
    let sample = Sample::new().await;
    let mut headers = sample.headers.clone();
    headers.insert("location", HeaderValue::from_static("x"));
    let check = |request: Value, query: &[&str]| {
        let (method, path, status) = ("POST", "/api/backgroundtasks", 202);
        let (query, body) = (query.iter().map(|name| (*name).to_owned()).collect(), sample.body.to_string());
        let (request, headers, body) = (Some(request), &headers, body.as_bytes());
        sample.described.check(&Exchange { method, path, query, request, status, headers, body })
    };
    check(json!({"Type": "Reindex", "Parameters": {"StreamProgress": true}, "DelaySeconds": 1}), &[]).expect("it is");
    check(json!({"Type": "Reindex", "Colour": "red"}), &[]).expect_err("a member too many");
    check(json!({"Type": "Odd"}), &[]).expect_err("another type");
    check(json!({"Type": "Reindex", "Parameters": {"ProjectId": 7}}), &[]).expect_err("a wrong parameter");
    check(json!({"Type": "Reindex"}), &["colour"]).expect_err("a parameter of the query");
}

#[tokio::test]
#[should_panic(expected = "not as the OpenAPI document says")]
async fn the_tests_client_reports_it() {
    let stage = Stage::new().await;
    let mut wrong = stage.openapi.clone();
    wrong["components"]["schemas"]["Health"]["properties"]["status"]["enum"] = json!(["dead"]);
    let client = longhaul_tests::strict_client(&wrong);
    let _never = client.get(format!("{}/health/live", stage.base_url)).send().await;
}
