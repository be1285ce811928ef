//! What someone without credentials, another site's page or a former caller can do.

use std::io::Write;
use std::num::NonZeroU32;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as URL_SAFE_NO_PAD;
use flate2::Compression;
use flate2::write::GzEncoder;
use futures_util::future::LocalBoxFuture;
use longhaul_api::access::{Authentication, Authenticator, Keys};
use longhaul_api::session::{Login, SessionSettings};
use longhaul_api::{ApiError, Authenticators, Rate};
use longhaul_model::{CreateContext, CreateError, Outcome, Progress, Registry, RunContext, RunError, TaskType};
use longhaul_tests::{SERVER_SECRET, Stage, StageBuilder, address, keys_only, make_key, shipped};
use reqwest::{Client, Response};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

/// For whom may start it.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Item {
    number: i64,
    #[serde(default)]
    text: String,
}

impl TaskType for Item {
    const NAME: &'static str = "Item";
    const ID_PREFIX: &'static str = "item-";

    async fn create(&self, context: &CreateContext) -> Result<Progress, CreateError> {
        context.require("Items/Start")?;
        Ok(Progress::unknown())
    }

    async fn run(self, _context: RunContext) -> Result<Outcome, RunError> {
        Ok(Outcome::done())
    }
}

pub(crate) fn client() -> Client {
    longhaul_tests::http_client().no_proxy().redirect(reqwest::redirect::Policy::none()).build().expect("a client")
}

pub(crate) fn with_login(builder: StageBuilder) -> StageBuilder {
    let keys = |pool: &sqlx::PgPool| Keys::new(pool.clone(), Some(SERVER_SECRET));
    builder
        .authenticators(keys_only)
        .login(move |pool| Login::new(pool.clone(), SessionSettings::default(), Some(keys(pool)), None))
}

fn limited(builder: StageBuilder) -> StageBuilder {
    let many = NonZeroU32::new(1000).expect("many");
    builder.api(move |settings| settings.limits.rate = Some(Rate { per_second: many, burst: many }))
}

pub(crate) async fn body(response: Response) -> Value {
    serde_json::from_str(&response.text().await.expect("a body")).unwrap_or_default()
}

/// The cookie of a session that a key opened.
pub(crate) async fn log_in(stage: &Stage, key: &str) -> String {
    let request = client().post(format!("{}/login", stage.base_url)).header("sec-fetch-site", "same-origin");
    let response = request.body(format!("key={key}")).send().await.expect("an answer");
    assert_eq!(response.status(), 303);
    let cookies = response.headers().get_all("set-cookie").iter().filter_map(|cookie| cookie.to_str().ok());
    let cookie = cookies.into_iter().find(|cookie| cookie.starts_with("longhaul=")).expect("the session's cookie");
    cookie.split(';').next().expect("its value").to_owned()
}

#[tokio::test]
async fn a_compressed_body_is_refused_before_it_is_inflated() {
    let stage = with_login(Stage::builder(shipped::registry())).start().await;
    let key = make_key(&stage.pool, "all", &["*"], None, Some(SERVER_SECRET)).await;
    let mut zipped = GzEncoder::new(Vec::new(), Compression::best());
    for _ in 0..64 {
        zipped.write_all(&[b' '; 1 << 20]).expect("zipped");
    }
    let bomb = zipped.finish().expect("zipped");
    for path in ["/login", "/api/backgroundtasks", "/api/backgroundtasks/batch", "/api/upload?name=a", "/queues/x"] {
        for encoding in ["gzip", "GZIP", "br", "identity, gzip"] {
            let request = client().post(format!("{}{path}", stage.base_url)).bearer_auth(key.expose());
            let request = request
                .header("sec-fetch-site", "same-origin")
                .header("content-type", "application/json")
                .header("content-encoding", encoding)
                .body(bomb.clone());
            let response = request.send().await.expect("an answer");
            assert_eq!(response.status(), 415, "{path} {encoding}");
            assert_eq!(response.headers()["accept-encoding"], "identity");
            assert_eq!(body(response).await["code"], "unsupported-encoding", "{path} {encoding}");
        }
    }
    let charset = client().post(format!("{}/api/backgroundtasks", stage.base_url)).bearer_auth(key.expose());
    let charset = charset.header("content-type", "application/json").header("content-encoding", "UTF-8");
    let problem = body(charset.body("{}").send().await.expect("an answer")).await;
    let detail = problem["detail"].as_str().expect("a detail");
    assert!(detail.contains("'UTF-8' is not a compression"), "{detail}");
    let plain = client().post(format!("{}/api/backgroundtasks", stage.base_url)).bearer_auth(key.expose());
    let plain = plain.header("content-type", "application/json").header("content-encoding", "identity");
    let response = plain.body(r#"{"Type":"Nothing"}"#).send().await.expect("an answer");
    assert_eq!(body(response).await["code"], "unknown-task-type", "a body that is not compressed is read");
}

#[tokio::test]
async fn a_map_may_become_no_more_than_could_be_sent_and_asks_for_the_permission_first() {
    let builder = Stage::builder(Registry::new().with::<Item>()).authenticators(keys_only);
    let stage = builder.api(|settings| settings.batch_body_limit = 200_000).start().await;
    let (weak, entitled) = (stage.someone("weak", &[]).await, stage.someone("entitled", &["Items/Start"]).await);
    let map = |values: i64, text: usize| {
        let values: Vec<i64> = (0..values).collect();
        let common = json!({"text": "x".repeat(text)});
        json!({"Map": {"Type": "Item", "Over": "number", "Values": values, "Parameters": common}})
    };
    let path = "/api/backgroundtasks/batch";
    let ask = async |someone: &longhaul_tests::Someone<'_>, body: Value| {
        let (status, body) = someone.ask("POST", path, Some(&body)).await;
        (status, body["code"].as_str().unwrap_or_default().to_owned())
    };
    // 1,000 times 1,000 bytes, of 5 kB.
    assert_eq!(ask(&weak, map(1_000, 1_000)).await, (403, "forbidden".to_owned()));
    assert_eq!(ask(&entitled, map(1_000, 1_000)).await, (413, "payload-too-large".to_owned()));
    // Few bytes, and many values.
    let many: Vec<Value> = (0..300).map(|_| json!([])).collect();
    let wide = json!({"Map": {"Type": "Item", "Over": "number", "Values": (0..500).collect::<Vec<i64>>(),
                              "Parameters": {"text": many}}});
    assert_eq!(ask(&entitled, wide).await.0, 413);
    assert_eq!(ask(&entitled, map(100, 1_000)).await.0, 202);
    let count: i64 = stage.value("SELECT count(*) FROM longhaul.task WHERE type = 'Item'").await;
    assert_eq!(count, 100);
}

#[tokio::test]
async fn the_tasks_of_a_batch_may_wait_for_so_many_others_in_all() {
    let stage = Stage::builder(Registry::new().with::<Item>()).start().await;
    let after: Vec<String> = (0..10_000).map(|number| format!("t{number}")).collect();
    let task = json!({"Type": "Item", "Parameters": {"number": 1}, "After": after});
    let request = json!({"Tasks": vec![task; 11]});
    let response = client()
        .post(format!("{}/api/backgroundtasks/batch", stage.base_url))
        .json(&request)
        .send()
        .await
        .expect("an answer");
    assert_eq!(response.status(), 400);
    let body = body(response).await;
    assert_eq!(body["errors"][0]["pointer"], "/Tasks/10/After", "{body}");
}

#[tokio::test]
async fn only_wrong_credentials_are_guesses_and_right_ones_pass_all_the_same() {
    let stage = limited(with_login(Stage::builder(shipped::registry()))).start().await;
    let key = make_key(&stage.pool, "admin", &["*"], None, Some(SERVER_SECRET)).await;
    let cookie = log_in(&stage, key.expose()).await;
    let get = async |header: Option<(&str, &str)>| {
        let request = client().get(format!("{}/api/queues", stage.base_url));
        let request = header.into_iter().fold(request, |request, (name, value)| request.header(name, value));
        request.send().await.expect("an answer").status().as_u16()
    };
    for number in 0..100 {
        assert_eq!(get(None).await, 401, "without credentials, request {number}");
        let over = Some(("cookie", "longhaul=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"));
        assert_eq!(get(over).await, 401, "with a session that is over, request {number}");
    }
    let bearer = format!("Bearer {}", key.expose());
    assert_eq!(get(Some(("authorization", &bearer))).await, 200, "nobody guessed");
    let guess = async || get(Some(("authorization", "Bearer lh_guess"))).await;
    let refused = async || {
        longhaul_tests::until("the address to be refused", async || (guess().await == 429).then_some(())).await;
    };
    refused().await;
    assert_eq!(get(Some(("authorization", &bearer))).await, 200, "a key that is known");
    let fresh = make_key(&stage.pool, "fresh", &["*"], None, Some(SERVER_SECRET)).await;
    let fresh_bearer = format!("Bearer {}", fresh.expose());
    refused().await;
    assert_eq!(get(Some(("authorization", &fresh_bearer))).await, 200, "a key that was never shown before");
    assert_eq!(get(Some(("cookie", &cookie))).await, 200, "a session");
    refused().await;
    log_in(&stage, fresh.expose()).await;
}

/// An issuer that does not answer, so that nobody can tell whether a token is good.
struct Away;

impl Authenticator for Away {
    fn identify<'a>(&'a self, _request: &'a longhaul::actix_web::HttpRequest) -> LocalBoxFuture<'a, Authentication> {
        Box::pin(async { Authentication::Refused(ApiError::unavailable("The issuer does not answer.")) })
    }
}

#[tokio::test]
async fn credentials_that_can_t_be_checked_are_no_guesses() {
    let builder = limited(Stage::builder(shipped::registry()));
    let stage = builder
        .authenticators(|pool| Authenticators::default().with(Keys::new(pool.clone(), None)).with(Away))
        .start()
        .await;
    let get = async |token: &str| {
        client()
            .get(format!("{}/api/queues", stage.base_url))
            .bearer_auth(token)
            .send()
            .await
            .expect("an answer")
            .status()
    };
    for number in 0..100 {
        assert_eq!(get("a.b.c").await, 503, "request {number}");
    }
    assert_eq!(get("lh_guess").await, 401, "the address is listened to");
}

#[tokio::test]
async fn refused_logins_of_one_address_fill_the_audit_no_faster_than_they_may_guess() {
    let stage = limited(with_login(Stage::builder(shipped::registry()))).start().await;
    let mut answers = Vec::new();
    for _ in 0..120 {
        let request = client().post(format!("{}/login", stage.base_url)).header("sec-fetch-site", "same-origin");
        answers.push(request.body("key=lh_guess").send().await.expect("an answer").status().as_u16());
    }
    let refused: i64 = stage.value("SELECT count(*) FROM longhaul.audit WHERE deed = 'refuseLogIn'").await;
    let heard = answers.iter().filter(|status| **status == 401).count();
    assert_eq!(refused, i64::try_from(heard).expect("a few"));
    assert!(heard < 100, "{heard} of 120 were written down");
}

/// Method and path of every operation, with something for each placeholder.
fn operations(stage: &Stage) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for (path, item) in stage.openapi["paths"].as_object().expect("paths") {
        for method in item.as_object().expect("operations").keys() {
            found.push((method.to_uppercase(), address(&stage.openapi, path)));
        }
    }
    found
}

async fn asked(stage: &Stage, method: &str, path: &str, headers: &[(&str, &str)]) -> (u16, String) {
    let request = client().request(method.parse().expect("a method"), format!("{}{path}", stage.base_url));
    let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    let response = request.send().await.expect("an answer");
    (response.status().as_u16(), response.text().await.expect("a body"))
}

#[tokio::test]
async fn what_changes_something_is_not_taken_from_pages_of_other_sites() {
    let open = Stage::new().await;
    let closed = with_login(Stage::builder(shipped::registry())).start().await;
    let key = make_key(&closed.pool, "all", &["*"], None, Some(SERVER_SECRET)).await;
    let bearer = format!("Bearer {}", key.expose());
    for (stage, credentials) in [(&open, None), (&closed, Some(("authorization", bearer.as_str())))] {
        for (method, path) in operations(stage) {
            let safe = matches!(method.as_str(), "GET" | "HEAD");
            for foreign in [
                &[("origin", "https://evil.example")][..],
                &[("origin", "null")],
                &[("sec-fetch-site", "cross-site")],
                &[("sec-fetch-site", "same-site")],
                &[("origin", "https://evil.example"), ("sec-fetch-site", "cross-site")],
            ] {
                let headers: Vec<_> = foreign.iter().copied().chain(credentials).collect();
                let (status, text) = asked(stage, &method, &path, &headers).await;
                if safe {
                    assert!(status != 403 && status != 421, "{method} {path} {foreign:?}: {status} {text}");
                } else {
                    assert_eq!(status, 403, "{method} {path} {foreign:?}: {text}");
                }
            }
        }
    }
    let tasks: i64 = open.value("SELECT count(*) FROM longhaul.task").await;
    assert_eq!(tasks, 0);
    let origin = open.base_url.clone();
    for ours in
        [&[("origin", origin.as_str())][..], &[("sec-fetch-site", "same-origin")], &[("sec-fetch-site", "none")], &[]]
    {
        let (status, text) = asked(&open, "POST", "/api/schedules/x/pause", ours).await;
        assert_eq!(status, 404, "{ours:?}: {text}");
    }
}

#[tokio::test]
async fn a_name_that_is_not_ours_reads_and_changes_nothing() {
    let stage = Stage::builder(shipped::registry())
        .api(|settings| settings.hosts.push("Queue.internal".to_owned()))
        .start()
        .await;
    let public: Vec<&str> = vec!["/health/live", "/health/ready", "/api/openapi.json"];
    for (method, path) in operations(&stage) {
        for host in
            ["evil.example", "evil.example:8080", "localhost.evil.example", "127.0.0.1.evil.example", "a@localhost"]
        {
            let (status, text) = asked(&stage, &method, &path, &[("host", host)]).await;
            let tells_nothing =
                path.starts_with("/docs") || path.starts_with("/api/docs") || path.starts_with("/assets");
            if method != "GET" && method != "HEAD" || !(tells_nothing || public.contains(&path.as_str())) {
                assert_eq!(status, 421, "{method} {path} at {host}: {text}");
                assert!(method == "HEAD" || text.contains("foreign-host") || text.contains("<html"), "{text}");
            }
        }
    }
    let port = stage.base_url.rsplit_once(':').expect("a port").1.to_owned();
    for ours in [
        "localhost",
        "LOCALHOST.",
        &format!("localhost:{port}"),
        "127.0.0.1",
        "[::1]:1",
        "[::1]",
        "192.0.2.1:80",
        "queue.internal:80",
    ] {
        let (status, text) = asked(&stage, "GET", "/api/queues", &[("host", ours)]).await;
        assert_eq!(status, 200, "{ours}: {text}");
    }
}

#[tokio::test]
async fn a_session_that_someone_wrote_into_the_database_is_none() {
    let stage = with_login(Stage::builder(shipped::registry())).start().await;
    let id = [7_u8; 32];
    sqlx::query(
        "INSERT INTO longhaul.session (id_hash, subject, name, permissions, expires_at)
         VALUES (sha256($1), 'key:admin', 'admin', '{*}', now() + interval '1 day')",
    )
    .bind(id.as_slice())
    .execute(&stage.pool)
    .await
    .expect("written");
    let cookie = format!("longhaul={}", URL_SAFE_NO_PAD.encode(id));
    let request = client().get(format!("{}/api/queues", stage.base_url)).header("cookie", cookie);
    assert_eq!(request.send().await.expect("an answer").status(), 401);
}

#[tokio::test]
async fn a_caller_sends_so_many_great_bodies_at_once_and_no_more() {
    let stage = Stage::builder(Registry::new().with::<Item>()).authenticators(keys_only).start().await;
    let key = make_key(&stage.pool, "one", &["*"], None, Some(SERVER_SECRET)).await;
    let path = "/api/backgroundtasks/batch";
    let mut open = Vec::new();
    for _ in 0..8 {
        let mut stream = TcpStream::connect(stage.base_url.trim_start_matches("http://")).await.expect("a connection");
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\n\
             content-length: 1000\r\n\r\n",
            key.expose()
        );
        stream.write_all(head.as_bytes()).await.expect("sent");
        open.push(stream);
    }
    let one = async || {
        let request = client().post(format!("{}{path}", stage.base_url)).bearer_auth(key.expose());
        request.json(&json!({"Tasks": []})).send().await.expect("an answer").status().as_u16()
    };
    longhaul_tests::until("one too many", async || (one().await == 429).then_some(())).await;
    let other = stage.someone("other", &["*"]).await;
    assert_eq!(other.ask("POST", path, Some(&json!({"Tasks": []}))).await.0, 400);
    assert_eq!(other.start(&json!({"Type": "Item", "Parameters": {"number": 1}})).await.0, 202);
    drop(open);
    longhaul_tests::until("the others to be over", async || (one().await == 400).then_some(())).await;
}
