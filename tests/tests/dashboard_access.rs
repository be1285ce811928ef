//! On the dashboard everyone sees and does what the API would let them, no more and no
//! less; who logged in can leave from every page, and both are written down.

use longhaul_api::access::Keys;
use longhaul_api::session::{Login, SessionSettings};
use longhaul_tests::{SERVER_SECRET, Someone, Stage, keys_only, make_key, shipped};
use reqwest::header::{LOCATION, SET_COOKIE};
use reqwest::redirect::Policy;
use reqwest::{Client, Response};
use serde_json::json;

const DASHBOARD: &str = "Administration/Dashboard/View";
const VIEW_TASKS: &str = "Administration/Tasks/View";
const MANAGE_TASKS: &str = "Administration/Tasks/Manage";
const REINDEX: &str = "Administration/SearchIndex/Rebuild";

pub(crate) async fn stage() -> Stage {
    let login = |pool: &sqlx::PgPool| {
        Login::new(pool.clone(), SessionSettings::default(), Some(Keys::new(pool.clone(), Some(SERVER_SECRET))), None)
    };
    Stage::builder(longhaul::queue_task::register(shipped::registry()))
        .authenticators(keys_only)
        .login(login)
        .start()
        .await
}

/// A browser of someone who has logged in by a key of this name.
pub(crate) struct Browser<'a> {
    stage: &'a Stage,
    client: Client,
    cookie: String,
}

impl<'a> Browser<'a> {
    pub(crate) async fn of(stage: &'a Stage, name: &str, permissions: &[&str]) -> Self {
        let client = longhaul_tests::http_client().no_proxy().redirect(Policy::none()).build().expect("a client");
        let key = make_key(&stage.pool, name, permissions, None, Some(SERVER_SECRET)).await;
        let mut browser = Self { stage, client, cookie: String::new() };
        let response = browser.form("/login", &format!("key={}", key.expose())).await;
        assert_eq!(response.status(), 303);
        let set = response.headers()[SET_COOKIE].to_str().expect("ASCII");
        browser.cookie = set.split(';').next().expect("a value").to_owned();
        browser
    }

    async fn get(&self, path: &str) -> Response {
        let request = self.client.get(format!("{}{path}", self.stage.base_url)).header("cookie", &self.cookie);
        request.send().await.expect("an answer")
    }

    pub(crate) async fn text(&self, path: &str, status: u16) -> String {
        let response = self.get(path).await;
        assert_eq!(response.status(), status, "{path}");
        response.text().await.expect("text")
    }

    /// Sends a form as one of our pages does.
    pub(crate) async fn form(&self, path: &str, body: &str) -> Response {
        let request = self.client.post(format!("{}{path}", self.stage.base_url)).header("cookie", &self.cookie);
        let request = request.header("sec-fetch-site", "same-origin").body(body.to_owned());
        request.header("content-type", "application/x-www-form-urlencoded").send().await.expect("an answer")
    }
}

fn leads_to(response: &Response) -> &str {
    assert_eq!(response.status(), 303);
    response.headers()[LOCATION].to_str().expect("ASCII")
}

fn id(path: &str) -> &str {
    path.rsplit('/').next().expect("an id")
}

async fn started(who: &Someone<'_>) -> String {
    let path = who.started(&json!({"Type": "Reindex", "DelaySeconds": 3600})).await;
    id(&path).to_owned()
}

async fn state(stage: &Stage, id: &str) -> String {
    sqlx::query_scalar("SELECT state::text FROM longhaul.tasks WHERE public_id = $1")
        .bind(id)
        .fetch_one(&stage.pool)
        .await
        .expect("a task")
}

#[tokio::test]
async fn who_may_see_the_dashboard_alone_sees_its_own_tasks_there() {
    let stage = stage().await;
    let (own, others) = (
        started(&stage.someone("ada", &[REINDEX]).await).await,
        started(&stage.someone("bob", &[REINDEX]).await).await,
    );
    let never = "reindex-0190c0de-0000-7000-8000-000000000000";
    let ada = Browser::of(&stage, "ada", &[DASHBOARD]).await;
    for path in ["/tasks", "/tasks?state=Scheduled", "/tasks?by=key%3Aada", &format!("/tasks?text={own}")] {
        let text = ada.text(path, 200).await;
        assert!(text.contains(&own) && !text.contains(&others), "{path}");
        assert!(text.contains("1 task"), "{path} counts what is seen");
    }
    for path in ["/tasks?by=key%3Abob", &format!("/tasks?text={others}"), "/tasks?text=key%3Abob"] {
        let text = ada.text(path, 200).await;
        assert!(text.contains("No matching tasks") && !text.contains(&format!("/tasks/{others}")), "{path}");
    }
    assert!(ada.text(&format!("/tasks/{own}"), 200).await.contains("Created by"));
    // What is not one's own is not there, in the same words.
    let not_shown = ada.text(&format!("/tasks/{others}"), 404).await;
    assert_eq!(not_shown.replace(&others, "ID"), ada.text(&format!("/tasks/{never}"), 404).await.replace(never, "ID"));
    assert_eq!(leads_to(&ada.get(&format!("/search?q={own}")).await), format!("/tasks/{own}"));
    let found = ada.text(&format!("/search?q={others}"), 200).await;
    assert!(found.contains("No matching tasks") && !found.contains(&format!("/tasks/{others}")), "{found}");
    let found = ada.text("/search?q=e", 200).await;
    assert!(!found.contains("id=\"queues\"") && !found.contains("id=\"types\"") && !found.contains("id=\"workers\""));
    // Sums are about everyone's.
    let overview = ada.text("/", 200).await;
    assert!(!overview.contains("id=\"figures\"") && !overview.contains("id=\"depths\""));
    assert!(!overview.contains("href=\"/queues\"") && !overview.contains("href=\"/schedules\""));
    for path in ["/queues", "/workers", "/schedules"] {
        ada.text(path, 403).await;
    }

    let viewer = Browser::of(&stage, "viewer", &[DASHBOARD, VIEW_TASKS, "Administration/Queues/View"]).await;
    let text = viewer.text("/tasks", 200).await;
    assert!(text.contains(&own) && text.contains(&others) && !text.contains("name=\"id\""));
    assert!(viewer.text("/", 200).await.contains("id=\"figures\""));
    viewer.text("/queues", 200).await;
}

#[tokio::test]
async fn buttons_do_what_the_api_would_do_for_the_same_person() {
    let stage = stage().await;
    let ada = stage.someone("ada", &[REINDEX]).await;
    let (own, second) = (started(&ada).await, started(&ada).await);
    let others = started(&stage.someone("bob", &[REINDEX]).await).await;
    let browser = Browser::of(&stage, "ada", &[DASHBOARD, REINDEX]).await;
    assert!(browser.text(&format!("/tasks/{own}"), 200).await.contains("/cancel\"><button"));
    leads_to(&browser.form(&format!("/tasks/{own}/cancel"), "").await);
    assert_eq!(state(&stage, &own).await, "Cancelled");
    assert_eq!(browser.form(&format!("/tasks/{others}/cancel"), "").await.status(), 404);
    leads_to(&browser.form("/tasks/cancel", &format!("id={second}&id={others}")).await);
    assert_eq!([state(&stage, &second).await, state(&stage, &others).await], ["Cancelled", "Scheduled"]);
    // All matching tasks: one's own, whoever else has some.
    assert!(leads_to(&browser.form("/tasks/cancel", "all=yes&type=Reindex").await).starts_with("/tasks/canceltasks_"));
    let asked: serde_json::Value = stage.value("SELECT parameters FROM longhaul.task WHERE type = 'CancelTasks'").await;
    assert_eq!(asked["CreatedBy"], "key:ada");
    assert_eq!(browser.form("/tasks/cancel", "all=yes&type=Reindex&by=key%3Abob").await.status(), 403);
    assert_eq!(browser.form("/tasks/retry", "all=yes&type=Reindex").await.status(), 403);

    // Whoever sees and does not manage.
    let viewer = Browser::of(&stage, "viewer", &[DASHBOARD, VIEW_TASKS]).await;
    assert!(viewer.text(&format!("/tasks/{others}"), 200).await.contains("You have read-only access."));
    assert_eq!(viewer.form(&format!("/tasks/{others}/cancel"), "").await.status(), 403);
    leads_to(&viewer.form("/tasks/cancel", &format!("id={others}")).await);
    assert_eq!(state(&stage, &others).await, "Scheduled");
    let manager = Browser::of(&stage, "manager", &[DASHBOARD, VIEW_TASKS, MANAGE_TASKS]).await;
    leads_to(&manager.form("/tasks/cancel", &format!("id={others}&id={own}")).await);
    assert_eq!(state(&stage, &others).await, "Cancelled");

    // Each task that was changed is written down, as if the API had done it.
    let noted: Vec<(String, String)> = sqlx::query_as(
        "SELECT who, target FROM longhaul.audit WHERE deed = 'cancelTask' AND details = '{\"Type\": \"Reindex\"}' ORDER BY number",
    )
    .fetch_all(&stage.pool)
    .await
    .expect("the audit");
    let expected = [("key:ada", &own), ("key:ada", &second), ("key:manager", &others)];
    assert_eq!(noted, expected.map(|(who, id)| (who.to_owned(), id.clone())));
}

#[tokio::test]
async fn one_s_own_task_runs_again_only_if_one_could_start_it_now() {
    let stage = stage().await;
    let ada = stage.someone("ada", &[REINDEX]).await;
    let (one, other) = (started(&ada).await, started(&ada).await);
    for id in [&one, &other] {
        assert_eq!(ada.ask("DELETE", &format!("/api/backgroundtask/{id}"), None).await.0, 200);
    }
    // The same caller with another key, which has lost the permission.
    let weak = stage.someone("ada", &[]).await;
    let (status, body) = weak.ask("POST", &format!("/api/backgroundtask/{one}/retry"), None).await;
    assert_eq!((status, body["code"].as_str()), (403, Some("forbidden")), "{body}");
    assert!(body["detail"].as_str().is_some_and(|detail| detail.contains(REINDEX)), "{body}");
    let browser = Browser::of(&stage, "ada", &[DASHBOARD]).await;
    assert_eq!(browser.form(&format!("/tasks/{one}/retry"), "").await.status(), 403);
    assert_eq!(browser.form("/tasks/retry", &format!("id={one}&id={other}")).await.status(), 403);
    let all = json!({"Type": "RetryTasks", "Parameters": {"CreatedBy": "key:ada"}});
    assert_eq!(weak.start(&all).await.0, 403, "a worker could not ask");
    assert_eq!([state(&stage, &one).await, state(&stage, &other).await], ["Cancelled", "Cancelled"]);

    assert_eq!(ada.ask("POST", &format!("/api/backgroundtask/{one}/retry"), None).await.0, 202);
    // Who manages tasks repeats what was admitted once.
    let manager = stage.someone("manager", &[MANAGE_TASKS]).await;
    assert_eq!(manager.ask("POST", &format!("/api/backgroundtask/{other}/retry"), None).await.0, 202);
}

#[tokio::test]
async fn every_page_has_a_logout_and_logins_are_written_down() {
    let stage = stage().await;
    let own = started(&stage.someone("ada", &[REINDEX]).await).await;
    let ada = Browser::of(&stage, "ada", &["*"]).await;
    let pages = [
        "/",
        "/tasks",
        "/queues",
        "/schedules",
        "/workers",
        "/tasks/all?deed=cancel&type=Reindex",
        &format!("/tasks/{own}"),
    ];
    let refusals = ["/tasks/reindex-0", "/tasks?state=Broken", "/assets/nothing.css", "/tasks/all?deed=cancel"];
    for path in pages.into_iter().chain(refusals) {
        let text = ada.get(path).await.text().await.expect("text");
        let public = path.starts_with("/assets/");
        assert_eq!(text.contains("action=\"/logout\""), !public, "{path}");
    }
    let weak = Browser::of(&stage, "weak", &[]).await;
    assert!(weak.text("/tasks", 403).await.contains("action=\"/logout\""));
    for key in ["lh_wrong", "lh_0123456789_tooshort", "something else"] {
        assert_eq!(weak.form("/login", &format!("key={key}")).await.status(), 401);
    }
    assert_eq!(leads_to(&ada.form("/logout", "").await), "/login");
    assert_eq!(ada.get("/api/session").await.status(), 401);
    ada.form("/logout", "").await;

    let noted: Vec<(String, String, Option<String>, bool)> = sqlx::query_as(
        "SELECT who, deed, details ->> 'Key', address IS NOT NULL FROM longhaul.audit WHERE deed ~* 'log(in|out)' ORDER BY number",
    )
    .fetch_all(&stage.pool)
    .await
    .expect("the audit");
    let key: Vec<String> = ["ada", "weak"].map(|name| format!("key:{name}")).to_vec();
    let shown: Vec<(&str, &str)> = noted.iter().map(|(who, deed, ..)| (who.as_str(), deed.as_str())).collect();
    let refused = ("anonymous", "refuseLogIn");
    assert_eq!(
        shown,
        [
            (key[0].as_str(), "logIn"),
            (key[1].as_str(), "logIn"),
            refused,
            refused,
            refused,
            (key[0].as_str(), "logOut")
        ]
    );
    assert!(noted.iter().all(|(.., address)| *address));
    let prefixes: Vec<Option<&str>> = noted[2..5].iter().map(|(_, _, key, _)| key.as_deref()).collect();
    assert_eq!(prefixes, [None, Some("lh_0123456789"), None]);
    assert!(noted[0].2.as_deref().is_some_and(|prefix| prefix.len() == 13 && prefix.starts_with("lh_")));
}

#[tokio::test]
async fn a_schedule_is_resumed_by_who_could_start_its_task() {
    let stage = stage().await;
    let schedules = [DASHBOARD, "Administration/Schedules/View", "Administration/Schedules/Edit"];
    let entitled = stage.someone("entitled", &["*"]).await;
    let schedule = json!({"Name": "a", "Cron": "0 0 * * *", "Type": "Reindex", "Paused": true});
    assert_eq!(entitled.ask("POST", "/api/schedules", Some(&schedule)).await.0, 201);
    let weak = Browser::of(&stage, "weak", &schedules).await;
    assert_eq!(weak.form("/schedules/a", "deed=resume").await.status(), 403);
    let state = async || entitled.ask("GET", "/api/schedules/a", None).await.1["State"].clone();
    assert_eq!(state().await, "paused");
    let permissions = [&schedules[..], &[REINDEX]].concat();
    let strong = Browser::of(&stage, "strong", &permissions).await;
    assert_eq!(strong.form("/schedules/a", "deed=resume").await.status(), 303);
    assert_eq!(state().await, "active");
    assert_eq!(strong.form("/schedules/none", "deed=resume").await.status(), 404);
}
