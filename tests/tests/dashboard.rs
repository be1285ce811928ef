//! The dashboard's pages: what they show, without a script; what their forms do; and
//! what keeps them safe.

use futures_util::future::LocalBoxFuture;
use longhaul::queue_task;
use longhaul_api::access::{Authentication, Authenticator, CallerKind};
use longhaul_api::{Authenticators, Caller};
use longhaul_model::problem::ProblemKind;
use longhaul_model::store::enqueue::{NewTask, enqueue};
use longhaul_model::{Grants, Outcome, Registry, RunContext, RunError, TaskType};
use longhaul_tests::{Stage, quick_worker, until};
use reqwest::header::LOCATION;
use reqwest::redirect::Policy;
use reqwest::{Client, Response};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use uuid::Uuid;

const BROKEN: ProblemKind = ProblemKind { code: "broken", title: "Broken", status: 500 };
const HOSTILE: &str = "\"><script>alert(1)</script><img src=x onerror=alert(2)>'";

/// Fails, waits to be cancelled, or is done at once.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Job {
    fails: bool,
    waits: bool,
    note: String,
}

impl TaskType for Job {
    const NAME: &'static str = "Job";
    const ID_PREFIX: &'static str = "job-";
    const QUEUE: &'static str = "jobs";

    async fn run(self, context: RunContext) -> Result<Outcome, RunError> {
        context.progress().set_message(format!("at work on {}", self.note));
        context.log().warn(format!("noted {}", self.note));
        if self.fails {
            return Err(RunError::permanent(BROKEN, format!("The pump is broken: {}", self.note)));
        }
        if self.waits {
            context.progress().set_total(4);
            context.progress().set_processed(1);
            context.cancellation().cancelled().await;
            return Ok(Outcome::Cancelled);
        }
        Outcome::with_result(json!({"Echo": self.note}))
    }
}

fn registry() -> Registry {
    queue_task::register(Registry::new().with::<Job>())
}

async fn stage() -> Stage {
    Stage::with_registry(registry()).await
}

fn browser() -> Client {
    longhaul_tests::http_client().no_proxy().redirect(Policy::none()).build().expect("a client")
}

async fn jobs(stage: &Stage, jobs: &[Job]) -> Vec<String> {
    let clock = stage.clock().await;
    let tasks: Vec<NewTask> = jobs.iter().map(|job| NewTask::of(clock.new_id(), job).expect("JSON")).collect();
    enqueue(&stage.pool, &tasks).await.expect("stored");
    tasks.iter().map(|task| format!("job-{}", task.id)).collect()
}

async fn get(stage: &Stage, path: &str) -> Response {
    browser().get(format!("{}{path}", stage.base_url)).send().await.expect("an answer")
}

/// The text of a page that must be there; every page keeps these rules.
async fn page(stage: &Stage, path: &str) -> String {
    let response = get(stage, path).await;
    assert_eq!(response.status(), 200, "{path}");
    assert_guarded(&response);
    let text = response.text().await.expect("text");
    assert!(text.starts_with("<!DOCTYPE html>"), "{path}");
    for inline in ["<style", " style=", "onclick=", "onload=", "javascript:", "<script>"] {
        assert!(!text.contains(inline), "{path} has {inline}");
    }
    text
}

fn assert_guarded(response: &Response) {
    let header = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let policy = header("content-security-policy");
    assert!(policy.starts_with("default-src 'none'; script-src 'self'; style-src 'self';"), "{policy}");
    assert!(policy.contains("frame-ancestors 'none'") && !policy.contains("unsafe"), "{policy}");
    assert_eq!(header("x-content-type-options"), "nosniff");
    assert_eq!(header("referrer-policy"), "same-origin");
    assert_eq!(header("cache-control"), "no-store");
    assert_eq!(header("content-type"), "text/html; charset=utf-8");
}

/// Sends a form as a browser does that shows one of our pages.
async fn send(stage: &Stage, path: &str, fields: &[(&str, &str)]) -> Response {
    let form = fields.iter().map(|(name, value)| format!("{name}={}", value.replace(' ', "+"))).collect::<Vec<_>>();
    browser()
        .post(format!("{}{path}", stage.base_url))
        .header("sec-fetch-site", "same-origin")
        .header("content-type", "application/x-www-form-urlencoded")
        .body(form.join("&"))
        .send()
        .await
        .expect("an answer")
}

/// The page that a form leads to, loaded as a browser does: with the cookies that the form's
/// answer set, if they are not taken away by the page itself.
async fn page_after(stage: &Stage, response: &Response) -> String {
    let set: Vec<&str> = response.headers().get_all("set-cookie").iter().map(|it| it.to_str().expect("text")).collect();
    assert!(set.iter().all(|cookie| cookie.ends_with("; Path=/; Max-Age=60; HttpOnly; SameSite=Strict")), "{set:?}");
    let cookies: Vec<&str> = set.iter().filter_map(|cookie| cookie.split(';').next()).collect();
    let request = browser().get(format!("{}{}", stage.base_url, leads_to(response)));
    let page = request.header("cookie", cookies.join("; ")).header("sec-fetch-mode", "navigate").send().await;
    let page = page.expect("an answer");
    assert_eq!(page.status(), 200);
    let taken = page.headers()["set-cookie"].to_str().expect("text");
    assert!(taken.starts_with("longhaul-notice=; ") && taken.contains("Max-Age=0"), "{taken}");
    page.text().await.expect("text")
}

fn leads_to(response: &Response) -> &str {
    assert_eq!(response.status(), 303);
    response.headers()[LOCATION].to_str().expect("text")
}

async fn in_state(stage: &Stage, id: &str, state: &str) {
    until(&format!("{id} to be {state}"), async || {
        let (_, body) = stage.get(&format!("/api/backgroundtask/{id}")).await;
        (body["State"] == state).then_some(())
    })
    .await;
}

#[tokio::test]
async fn pages_of_an_empty_queue_say_what_to_do() {
    let stage = stage().await;
    for (path, says) in [
        ("/", "Nothing runs"),
        ("/tasks", "No tasks yet"),
        ("/tasks?state=Failed", "No matching tasks"),
        ("/queues", "jobs"),
        ("/schedules", "No schedules"),
        ("/workers", "No workers"),
    ] {
        let text = page(&stage, path).await;
        assert!(text.contains(says), "{path} says {says}");
        assert!(text.contains("aria-current=\"page\""), "{path} says where one is");
    }
}

#[tokio::test]
async fn a_page_shows_what_a_task_did_and_what_is_hostile_in_it_is_text() {
    let stage = stage().await;
    let note = || HOSTILE.to_owned();
    let ids = jobs(
        &stage,
        &[
            Job { note: note(), ..Job::default() },
            Job { note: note(), fails: true, ..Job::default() },
            Job { note: note(), waits: true, ..Job::default() },
        ],
    )
    .await;
    let _worker = stage.worker(quick_worker()).await;
    in_state(&stage, &ids[0], "Succeeded").await;
    in_state(&stage, &ids[1], "Failed").await;
    in_state(&stage, &ids[2], "Running").await;
    let (done, failed, running) = (
        page(&stage, &format!("/tasks/{}", ids[0])).await,
        page(&stage, &format!("/tasks/{}", ids[1])).await,
        until("the progress to be seen", async || {
            let text = page(&stage, &format!("/tasks/{}", ids[2])).await;
            text.contains("1 of 4").then_some(text)
        })
        .await,
    );
    assert!(done.contains("Succeeded") && done.contains("&quot;Echo&quot;") && done.contains("noted "));
    assert!(failed.contains("The pump is broken") && failed.contains("Failed attempts") && failed.contains("/retry"));
    assert!(running.contains("value=\"0.250\"") && running.contains("/cancel") && running.contains("data-events"));
    assert!(!done.contains("data-events") && !done.contains("/cancel\""));
    assert!(running.contains("data-live-page") && !done.contains("data-live-page"), "what is over is not polled");
    let poll = browser().get(format!("{}/tasks/{}", stage.base_url, ids[2])).header("longhaul-refresh", "1");
    let polled = poll.send().await.expect("an answer").text().await.expect("text");
    assert!(polled.contains("id=\"head\"") && polled.contains("id=\"facts\""));
    assert!(!polled.contains("noted ") && !polled.contains("aria-label=\"Parameters\""), "only what changes");
    let header = failed.split("id=\"message\">").nth(1).and_then(|rest| rest.split("</p>").next()).expect("a message");
    assert_eq!(header, "It failed: Broken");
    assert!(failed.contains("Its last message: at work on"));
    for text in [&done, &failed, &running, &page(&stage, "/tasks").await, &page(&stage, "/").await] {
        assert!(!text.contains("<script>alert") && !text.contains("<img src=x"), "it is shown as text");
    }
    assert!(done.contains("&lt;script&gt;alert(1)&lt;/script&gt;"));
    let sought = page(&stage, &format!("/tasks?text={}", HOSTILE.replace('#', "%23").replace(' ', "%20"))).await;
    assert!(sought.contains(&ids[0]) && !sought.contains("<script>alert"));
}

#[tokio::test]
async fn lists_are_filtered_and_paged_without_a_script() {
    let stage = stage().await;
    let ids = jobs(&stage, &(0..60).map(|_| Job::default()).collect::<Vec<_>>()).await;
    let first = page(&stage, "/tasks?state=Queued&type=Job").await;
    assert!(first.contains(&ids[59]) && first.contains(&ids[10]) && !first.contains(&ids[9]));
    assert!(first.contains("60 tasks"), "they are counted");
    let next = first.split("href=\"").find(|link| link.contains("after=")).and_then(|link| link.split('"').next());
    let second = page(&stage, &next.expect("a link to older ones").replace("&amp;", "&")).await;
    assert!(second.contains(&ids[9]) && second.contains(&ids[0]) && !second.contains(&ids[10]));
    assert!(page(&stage, "/tasks?queue=elsewhere").await.contains("No matching tasks"));
    let response = get(&stage, &format!("/search?q={}", ids[7])).await;
    assert_eq!(leads_to(&response), format!("/tasks/{}", ids[7]));
    assert_eq!(leads_to(&get(&stage, "/search?q=%20").await), "/tasks");
}

#[tokio::test]
async fn a_search_finds_tasks_queues_types_schedules_and_workers() {
    let stage = stage().await;
    jobs(&stage, &[Job { note: "quicksilver".to_owned(), ..Job::default() }]).await;
    let schedule = json!({"Name": "nightly-job", "Cron": "30 2 * * *", "Type": "Job"});
    let made = stage.http.post(format!("{}/api/schedules", stage.base_url)).json(&schedule).send().await;
    assert_eq!(made.expect("an answer").status(), 201);
    let _worker = stage.worker(longhaul_worker::Settings { name: "jobber-1".to_owned(), ..quick_worker() }).await;
    until("the worker to be known", async || {
        (stage.value::<i64>("SELECT count(*) FROM longhaul.worker").await == 1).then_some(())
    })
    .await;
    let found = page(&stage, "/search?q=JOB").await;
    for link in ["/queues#q-jobs", "/tasks?type=Job", "/schedules?name=nightly-job", "/workers#w-"] {
        assert!(found.contains(&format!("href=\"{link}")), "{link} is missing in {found}");
    }
    assert!(found.contains("Tasks of the type Job") && found.contains("href=\"/tasks/job-"), "{found}");
    let found = page(&stage, "/search?q=quicksilver").await;
    assert!(found.contains("href=\"/tasks/job-") && !found.contains("/queues#q-"), "{found}");
    assert!(page(&stage, "/schedules?name=nightly-job").await.contains("30 2 * * *"));
    assert!(page(&stage, "/schedules?name=other").await.contains("There is no schedule other"));
    assert!(page(&stage, "/search?q=%3Cscript%3E").await.contains("No matching tasks"));
    let wrong = get(&stage, "/search?q=a%00b").await;
    assert_eq!(wrong.status(), 400);
    assert_guarded(&wrong);
}

#[tokio::test]
async fn a_task_is_cancelled_and_retried_by_its_buttons() {
    let stage = stage().await;
    let ids = jobs(&stage, &[Job::default()]).await;
    let address = format!("/tasks/{}", ids[0]);
    let response = send(&stage, &format!("{address}/cancel"), &[]).await;
    assert_eq!(leads_to(&response), address);
    let text = page_after(&stage, &response).await;
    assert!(text.contains("The task has been cancelled.") && text.contains("Cancelled"));
    let twice = send(&stage, &format!("{address}/retry"), &[]).await;
    assert_eq!(leads_to(&twice), address);
    assert!(page_after(&stage, &twice).await.contains("The task is queued again"));
    let again = page(&stage, leads_to(&twice)).await;
    assert!(!again.contains("class=\"notice"), "it is said once");
    let refused = send(&stage, &format!("{address}/retry"), &[]).await;
    assert_eq!(refused.status(), 409);
    assert_guarded(&refused);
    assert!(refused.text().await.expect("text").contains("It has not completed"));
}

#[tokio::test]
async fn ticked_tasks_and_all_that_fit_are_changed() {
    let stage = stage().await;
    let ids = jobs(&stage, &[Job::default(), Job::default(), Job::default(), Job::default()]).await;
    let response = send(&stage, "/tasks/cancel", &[("type", "Job"), ("id", &ids[0]), ("id", &ids[1])]).await;
    assert_eq!(leads_to(&response), "/tasks?type=Job");
    assert!(page_after(&stage, &response).await.contains("<p class=\"notice\" role=\"status\">2 tasks are cancelled"));
    let none_left = send(&stage, "/tasks/cancel", &[("id", &ids[0])]).await;
    assert!(
        page_after(&stage, &none_left)
            .await
            .contains("class=\"notice warn\" role=\"status\">None of the selected tasks")
    );
    in_state(&stage, &ids[0], "Cancelled").await;
    in_state(&stage, &ids[2], "Queued").await;
    let none = send(&stage, "/tasks/retry", &[]).await;
    assert_eq!(leads_to(&none), "/tasks");
    assert!(page_after(&stage, &none).await.contains("class=\"notice warn\" role=\"status\">No task is selected"));

    let asked = page(&stage, "/tasks/all?type=Job&state=Queued&deed=cancel").await;
    assert!(asked.contains("<b>2</b> tasks match") && asked.contains("Cancel them all"));
    let response = send(&stage, "/tasks/cancel", &[("type", "Job"), ("state", "Queued"), ("all", "yes")]).await;
    assert!(leads_to(&response).starts_with("/tasks/canceltasks_"));
    let control = longhaul_worker::Settings { queues: vec![queue_task::QUEUE.to_owned()], ..quick_worker() };
    let _worker = stage.worker(control).await;
    in_state(&stage, &ids[2], "Cancelled").await;
    in_state(&stage, &ids[3], "Cancelled").await;
    let everything = send(&stage, "/tasks/cancel", &[("all", "yes")]).await;
    assert_eq!(everything.status(), 409, "not everything at once");
}

#[tokio::test]
async fn queues_are_paused_and_limited_by_their_forms() {
    let stage = stage().await;
    let paused = send(&stage, "/queues/jobs", &[("deed", "pause")]).await;
    assert_eq!(leads_to(&paused), "/queues");
    let text = page_after(&stage, &paused).await;
    assert!(text.contains("apply on every worker") && text.contains("Resume"), "{text}");
    assert_eq!(stage.get("/api/queues/jobs").await.1["Paused"], true);
    send(&stage, "/queues/jobs", &[("deed", "resume")]).await;
    let limits =
        [("deed", "limit"), ("max_running", "3"), ("rate_count", "5"), ("rate_seconds", "2.5"), ("fair", "yes")];
    leads_to(&send(&stage, "/queues/jobs", &limits).await);
    let (_, queue) = stage.get("/api/queues/jobs").await;
    assert_eq!(
        (
            &queue["Paused"],
            &queue["MaxRunning"],
            &queue["MaxPerKey"],
            &queue["RateCount"],
            &queue["RateSeconds"],
            &queue["Fair"]
        ),
        (&json!(false), &json!(3), &json!(null), &json!(5), &json!(2.5), &json!(true))
    );
    for wrong in [("max_running", "-1"), ("max_per_key", "many"), ("rate_count", "")] {
        let refused = send(&stage, "/queues/jobs", &[("deed", "limit"), wrong]).await;
        assert_eq!(refused.status(), 400, "{wrong:?}");
        assert_guarded(&refused);
        let page = refused.text().await.expect("a page");
        assert!(page.contains("A field is invalid") && page.contains("href=\"/queues\""), "{page}");
        let label = if wrong.0 == "rate_count" { "Start at most N every S seconds: " } else { "Max concurrent" };
        assert!(page.contains(label), "{page}");
        assert!(page.contains("href=\"/docs/errors#wrong-field\""), "{page}");
    }
    assert_eq!(send(&stage, "/queues/nowhere", &[("deed", "pause")]).await.status(), 404);
}

#[tokio::test]
async fn schedules_are_paused_and_resumed() {
    let stage = stage().await;
    let schedule = json!({"Name": "nightly", "Cron": "30 2 * * *", "Type": "Job"});
    let made = stage.http.post(format!("{}/api/schedules", stage.base_url)).json(&schedule).send().await;
    assert_eq!(made.expect("an answer").status(), 201);
    assert!(page(&stage, "/schedules").await.contains("30 2 * * *"));
    leads_to(&send(&stage, "/schedules/nightly", &[("deed", "pause")]).await);
    assert!(page(&stage, "/schedules").await.contains("Resume"));
    leads_to(&send(&stage, "/schedules/nightly", &[("deed", "resume")]).await);
    assert_eq!(stage.get("/api/schedules/nightly").await.1["State"], "active");
    assert_eq!(send(&stage, "/schedules/nope", &[("deed", "pause")]).await.status(), 404);
}

#[tokio::test]
async fn forms_of_other_sites_are_refused() {
    let stage = stage().await;
    let ids = jobs(&stage, &[Job::default()]).await;
    for path in [
        format!("/tasks/{}/cancel", ids[0]),
        format!("/tasks/{}/retry", ids[0]),
        "/tasks/cancel".to_owned(),
        "/tasks/retry".to_owned(),
        "/queues/jobs".to_owned(),
        "/schedules/x".to_owned(),
    ] {
        for (name, value) in [("sec-fetch-site", "cross-site"), ("origin", "https://evil.example"), ("x-nothing", "1")]
        {
            let request = browser().post(format!("{}{path}", stage.base_url)).header(name, value);
            let request =
                request.header("content-type", "application/x-www-form-urlencoded").body("deed=pause&all=yes&type=Job");
            let response = request.send().await.expect("an answer");
            assert_eq!(response.status(), 403, "{path} {name}");
            assert_guarded(&response);
        }
    }
    in_state(&stage, &ids[0], "Queued").await;
}

#[tokio::test]
async fn pages_that_are_not_there_say_so_as_pages() {
    let stage = stage().await;
    for path in
        [format!("/tasks/job-{}", Uuid::nil()), "/tasks/nonsense".to_owned(), "/assets/dashboard.0.css".to_owned()]
    {
        let response = get(&stage, &path).await;
        assert_eq!(response.status(), 404, "{path}");
        assert_guarded(&response);
        assert!(response.text().await.expect("text").contains("Page not found"));
    }
    let wrong = get(&stage, "/tasks?state=Broken").await;
    assert_eq!(wrong.status(), 400);
    assert_guarded(&wrong);
    let browses = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
    for (path, status) in [("/taks", 404), ("/api/nothing", 404), ("/docs/nothing", 404), ("/tasks/cancel", 405)] {
        let address = format!("{}{path}", stage.base_url);
        let shown = browser().get(&address).header("accept", browses).send().await.expect("an answer");
        assert_eq!(shown.status(), status, "{path}");
        assert_guarded(&shown);
        assert!(shown.text().await.expect("text").contains("<!DOCTYPE html>"), "{path}");
        for accept in ["application/json", "*/*"] {
            let told = browser().get(&address).header("accept", accept).send().await.expect("an answer");
            assert_eq!(told.status(), status, "{path}");
            let kind = told.headers()["content-type"].to_str().expect("text");
            assert!(kind.starts_with("application/problem+json"), "{path}: {kind}");
        }
    }
}

/// Tells callers by a header; real ways to say who one is are tested elsewhere.
struct ByHeader;

impl Authenticator for ByHeader {
    fn identify<'a>(&'a self, request: &'a longhaul::actix_web::HttpRequest) -> LocalBoxFuture<'a, Authentication> {
        let granted = request.headers().get("x-granted").and_then(|value| value.to_str().ok());
        let authentication = match granted {
            Some(list) => {
                let permissions = list.split(',').map(|name| name.parse().expect("a permission"));
                let grants = permissions.fold(Grants::nothing(), Grants::with);
                Authentication::Caller(Caller::new(CallerKind::Key, "key:1", "Ada <b>", grants))
            }
            None => Authentication::Nothing,
        };
        Box::pin(std::future::ready(authentication))
    }
}

#[tokio::test]
async fn who_may_only_look_sees_no_buttons_and_who_may_not_look_is_told_what_is_missing() {
    let stage = Stage::builder(registry()).authenticators(|_| Authenticators::default().with(ByHeader)).start().await;
    let ids = jobs(&stage, &[Job::default()]).await;
    let ask = async |path: &str, granted: &str| {
        let request = browser().get(format!("{}{path}", stage.base_url)).header("x-granted", granted);
        request.send().await.expect("an answer")
    };
    let looking = "Administration/Dashboard/View";
    for path in ["/", "/tasks", "/queues", "/schedules", "/workers", &format!("/tasks/{}", ids[0])] {
        let refused = ask(path, "Something/Else").await;
        assert_eq!(refused.status(), 403, "{path}");
        assert_guarded(&refused);
        let text = refused.text().await.expect("text");
        assert!(text.contains("You may not see this") && text.contains(looking));
        let all = "Administration/Dashboard/View,Administration/Tasks/View,Administration/Queues/View,Administration/Schedules/View";
        let seen = ask(path, all).await;
        assert_eq!(seen.status(), 200, "{path}");
        let text = seen.text().await.expect("text");
        assert!(!text.contains("method=\"post\" action=\"/queues") && !text.contains("/cancel\"><button"), "{path}");
        assert!(text.contains("Ada &lt;b&gt;"));
    }
    let stranger = get(&stage, "/tasks").await;
    assert_eq!(stranger.status(), 401);
    assert_guarded(&stranger);
    let change = async |path: String| {
        let request = browser().post(format!("{}{path}", stage.base_url)).header("x-granted", looking);
        request.header("sec-fetch-site", "same-origin").send().await.expect("an answer").status()
    };
    // Whose it is not, and who may see no others: there is no such task.
    assert_eq!(change(format!("/tasks/{}/cancel", ids[0])).await, 404);
    assert_eq!(change("/queues/jobs".to_owned()).await, 403);
}

#[tokio::test]
async fn the_first_page_with_all_it_loads_is_under_100_kilobytes_and_what_it_loads_is_kept() {
    let stage = stage().await;
    jobs(&stage, &(0..60).map(|_| Job { note: "x".repeat(100), ..Job::default() }).collect::<Vec<_>>()).await;
    let mut most = 0;
    for path in ["/", "/tasks"] {
        let text = page(&stage, path).await;
        let mut bytes = text.len();
        let assets: Vec<&str> = text.split('"').filter(|part| part.starts_with("/assets/")).collect();
        assert_eq!(assets.len(), 3);
        for asset in assets {
            let response = get(&stage, asset).await;
            assert_eq!(response.status(), 200);
            assert_eq!(response.headers()["cache-control"], "public, max-age=31536000, immutable");
            bytes += response.bytes().await.expect("bytes").len();
        }
        most = most.max(bytes);
    }
    assert!(most < 100_000, "{most} bytes, uncompressed");
}

#[tokio::test]
async fn what_workers_end_is_counted_and_queues_are_sampled_by_the_minute() {
    let stage = stage().await;
    let fails = || Job { fails: true, ..Job::default() };
    jobs(&stage, &[Job::default(), Job::default(), fails()]).await;
    let worker = stage.worker(quick_worker()).await;
    until("the ends to be counted", async || {
        let (_, overview) = stage.get("/api/overview").await;
        let minutes = overview["Minutes"].as_array().expect("minutes");
        assert_eq!(minutes.len(), 60);
        let sum = |name: &str| minutes.iter().filter_map(|minute| minute[name].as_i64()).sum::<i64>();
        let sampled = minutes.iter().any(|minute| minute["Waiting"].is_i64());
        (sum("Succeeded") == 2 && sum("Failed") == 1 && sampled).then_some(())
    })
    .await;
    assert!(page(&stage, "/").await.contains("2 succeeded"));
    jobs(&stage, &[Job::default()]).await;
    until("the last one to end", async || {
        (stage.value::<i64>("SELECT count(*) FROM longhaul.task WHERE finished_at IS NOT NULL").await == 4)
            .then_some(())
    })
    .await;
    worker.stop().await;
    let counted: i64 = stage.value("SELECT sum(succeeded)::bigint FROM longhaul.pulse").await;
    assert_eq!(counted, 3, "a worker that stops writes down what it has counted");
}
