//! Who may call which operation.

use futures_util::future::LocalBoxFuture;
use longhaul_api::access::{Authentication, Authenticator, CallerKind, bearer};
use longhaul_api::{ApiError, Authenticators, Caller};
use longhaul_model::Grants;
use longhaul_tests::{Stage, shipped};
use reqwest::StatusCode;
use reqwest_middleware::RequestBuilder;
use serde_json::{Value, json};

/// Takes the permissions themselves for a token: `may:A/View,B/*`.
struct Spoken;

impl Authenticator for Spoken {
    fn identify<'a>(&'a self, request: &'a longhaul::actix_web::HttpRequest) -> LocalBoxFuture<'a, Authentication> {
        let authentication = match bearer(request).and_then(|token| token.strip_prefix("may:")) {
            None => Authentication::Nothing,
            Some(list) => {
                let parsed: Result<Vec<_>, _> = list.split(',').filter(|it| !it.is_empty()).map(str::parse).collect();
                match parsed {
                    Ok(permissions) => {
                        let grants = permissions.into_iter().fold(Grants::nothing(), Grants::with);
                        Authentication::Caller(Caller::new(CallerKind::Token, format!("spoken:{list}"), list, grants))
                    }
                    Err(_) => Authentication::Refused(ApiError::wrong_credentials("It names what is no permission.")),
                }
            }
        };
        Box::pin(std::future::ready(authentication))
    }
}

async fn closed() -> Stage {
    Stage::builder(shipped::registry()).authenticators(|_| Authenticators::default().with(Spoken)).start().await
}

async fn ask(request: RequestBuilder) -> (StatusCode, Option<String>, Value) {
    let response = request.send().await.expect("an answer");
    let challenge = response.headers().get("www-authenticate");
    let challenge = challenge.map(|value| value.to_str().expect("text").to_owned());
    (response.status(), challenge, response.json().await.expect("JSON"))
}

#[tokio::test]
async fn whoever_says_nothing_is_asked_who_it_is_and_wrong_credentials_are_called_so() {
    let stage = closed().await;
    let url = format!("{}/api/queues", stage.base_url);
    let (status, challenge, body) = ask(stage.http.get(&url)).await;
    assert_eq!((status.as_u16(), body["code"].as_str()), (401, Some("no-credentials")));
    assert_eq!(challenge.as_deref(), Some("Bearer realm=\"longhaul\""));
    for value in ["Bearer nonsense", "Bearer may:A B", "Basic !", "Digest x", ""] {
        let (status, challenge, body) = ask(stage.http.get(&url).header("authorization", value)).await;
        assert_eq!((status.as_u16(), body["code"].as_str()), (401, Some("wrong-credentials")), "{value}");
        let begins = "Bearer realm=\"longhaul\", error=\"invalid_token\", error_description=\"";
        assert!(challenge.is_some_and(|challenge| challenge.starts_with(begins)), "{value}");
    }
    let (status, _, body) = ask(stage.http.get(&url).bearer_auth("may:Administration/Tasks/*")).await;
    assert_eq!((status.as_u16(), body["code"].as_str()), (403, Some("forbidden")));
    assert!(body["detail"].as_str().is_some_and(|detail| detail.contains("Administration/Queues/View")), "{body}");
    let (status, ..) = ask(stage.http.get(&url).bearer_auth("may:Administration/Queues/View")).await;
    assert_eq!(status, 200);
    for public in ["/health/live", "/health/ready", "/api/openapi.json"] {
        let (status, ..) = ask(stage.http.get(format!("{}{public}", stage.base_url))).await;
        assert_eq!(status, 200, "{public}");
    }
}

#[tokio::test]
async fn a_stranger_is_refused_before_the_body_is_read() {
    let stage = closed().await;
    // It never comes: an answer shows that nobody waited for it.
    let body = reqwest::Body::wrap_stream(futures_util::stream::pending::<Result<Vec<u8>, std::io::Error>>());
    let request = stage.http.post(format!("{}/api/backgroundtasks", stage.base_url));
    let request = request.header("content-type", "application/json").body(body);
    let (status, ..) = tokio::time::timeout(longhaul_tests::DEADLINE, ask(request)).await.expect("an answer in time");
    assert_eq!(status, 401);
}

#[tokio::test]
async fn the_document_says_what_each_operation_needs_and_nothing_where_there_is_no_authentication() {
    let stage = closed().await;
    let operation = |path: &str, method: &str| &stage.openapi["paths"][path][method];
    let schemes = stage.openapi["components"]["securitySchemes"].as_object().expect("schemes");
    assert!(schemes.contains_key("bearer") && schemes.contains_key("basic"));
    let permission = json!(["Administration/Queues/Edit"]);
    let patch = operation("/api/queues/{name}", "patch");
    assert_eq!(patch["security"], json!([{"bearer": permission}, {"basic": permission}]));
    assert!(patch["responses"]["401"].is_object() && patch["responses"]["403"].is_object());
    assert_eq!(operation("/api/backgroundtasks", "post")["security"], json!([{"bearer": []}, {"basic": []}]));
    assert_eq!(operation("/health/live", "get")["security"], json!([]));
    assert!(operation("/health/live", "get")["responses"]["401"].is_null());
    let open = Stage::new().await;
    assert!(!open.openapi.to_string().contains("\"security"), "everyone may do everything");
}
