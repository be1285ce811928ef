//! What processes tell Prometheus.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use longhaul_model::store::depth::{self, COUNTED_AT_MOST};
use longhaul_model::{Outcome, Registry, RetryPolicy, RunContext, RunError, TaskType};
use longhaul_telemetry::table::METRICS;
use longhaul_tests::{Scrape, Stage, quick_worker, until};
use reqwest::header::{ACCEPT, CONTENT_TYPE};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

/// Fails as often as it is told.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Stumble {
    failures: u16,
}

impl TaskType for Stumble {
    const NAME: &'static str = "Stumble";
    const ID_PREFIX: &'static str = "stumble-";
    const QUEUE: &'static str = "stumbling";
    const RETRY: RetryPolicy =
        RetryPolicy { max_attempts: 2, first_delay: Duration::from_millis(10), max_delay: Duration::from_millis(10) };

    async fn run(self, context: RunContext) -> Result<Outcome, RunError> {
        context.progress().set_message("stumbling");
        if context.attempt() <= self.failures {
            return Err(std::io::Error::other("stumbled").into());
        }
        Ok(Outcome::done())
    }
}

async fn scrape(stage: &Stage, accept: &str) -> (String, String) {
    let request = stage.http.get(format!("{}/metrics", stage.base_url)).header(ACCEPT, accept);
    let response = request.send().await.expect("an answer");
    assert_eq!(response.status(), 200);
    let content_type = response.headers()[CONTENT_TYPE].to_str().expect("text").to_owned();
    (content_type, response.text().await.expect("text"))
}

#[tokio::test]
async fn what_happens_to_tasks_is_counted_and_timed() {
    let stage = Stage::with_registry(Registry::new().with::<Stumble>()).await;
    let _worker = stage.worker(quick_worker()).await;
    for failures in [0, 0, 1, 2] {
        let started = stage.start(&json!({"Type": "Stumble", "Parameters": {"failures": failures}})).await;
        stage.ended(&started).await;
    }
    stage.post(&json!({"Type": "Unknown"})).await;
    let found = until("the last end to be counted", async || {
        let found = Scrape::read(&scrape(&stage, "*/*").await.1);
        (found.sum("longhaul_finish_tasks_sum", &[]) >= 6.0).then_some(found)
    })
    .await;
    let of_type = "type=\"Stumble\"";
    assert_eq!(found.sum("longhaul_tasks_accepted_total", &[of_type]), 4.0);
    assert_eq!(found.sum("longhaul_attempts_started_total", &[of_type]), 6.0);
    for (end, times) in [("succeeded", 3.0), ("retrying", 2.0), ("failed", 1.0), ("cancelled", 0.0)] {
        let labels = [of_type, &format!("end=\"{end}\"")];
        assert_eq!(found.sum("longhaul_attempts_ended_total", &labels), times, "{end}");
    }
    assert_eq!(found.sum("longhaul_run_seconds_count", &[of_type]), 6.0);
    assert_eq!(found.sum("longhaul_wait_seconds_count", &["queue=\"stumbling\""]), 6.0);
    let waited = found.sum("longhaul_wait_seconds_sum", &["queue=\"stumbling\""]);
    assert!((0.0..60.0).contains(&waited), "retries wait from when they are due: {waited}");
    assert_eq!(found.sum("longhaul_store_tasks_sum", &[]), 4.0);
    let route = ["method=\"POST\"", "route=\"/api/backgroundtasks\""];
    assert_eq!(found.sum("longhaul_http_request_seconds_count", &[route[0], route[1], "status=\"202\""]), 4.0);
    assert_eq!(found.sum("longhaul_http_request_seconds_count", &[route[0], route[1], "status=\"400\""]), 1.0);
    assert!(found.sum("longhaul_claim_tasks_sum", &[]) >= 6.0);
    assert!(found.sum("longhaul_maintenance_seconds_count", &[]) >= 1.0);
    assert_eq!(found.sum("longhaul_worker_slots", &[]), 8.0);
    assert_eq!(found.sum("longhaul_worker_running", &[]), 0.0);
    assert_eq!(found.sum("longhaul_workers", &["state=\"alive\""]), 1.0);
    assert!(found.sum("longhaul_pool_connections", &["pool=\"api\""]) >= 1.0);
    assert_eq!(found.sum("longhaul_pool_max_connections", &["pool=\"engine\""]), 8.0);
}

#[tokio::test]
async fn both_text_forms_have_what_the_table_of_metrics_says_and_no_ids() {
    let stage = Stage::with_registry(Registry::new().with::<Stumble>()).await;
    let _worker = stage.worker(quick_worker()).await;
    let started = stage.start(&json!({"Type": "Stumble", "Parameters": {"failures": 1}})).await;
    stage.ended(&started).await;
    let open = "application/openmetrics-text;version=1.0.0;q=0.8,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
    let (content_type, text) = scrape(&stage, open).await;
    assert_eq!(content_type, "application/openmetrics-text; version=1.0.0; charset=utf-8");
    assert!(text.ends_with("# EOF\n"));
    let (content_type, plain) = scrape(&stage, "text/plain").await;
    assert_eq!(content_type, "text/plain; version=0.0.4; charset=utf-8");
    let id = started["Id"].as_str().expect("an id").split_once('-').expect("a prefix").1;
    for text in [&text, &plain] {
        assert!(!text.contains(id), "no ids");
        for (name, mut labels) in Scrape::read(text).names() {
            let metric = METRICS.iter().find(|metric| metric.series().iter().any(|series| series == name));
            let metric = metric.unwrap_or_else(|| panic!("{name} is not in the table"));
            labels.retain(|label| *label != "le");
            assert_eq!(labels, metric.labels, "{name}");
        }
        for metric in METRICS {
            let rare = ["longhaul_listen_lost", "longhaul_queue_full_refusals"].contains(&metric.name);
            assert!(rare || text.contains(&format!("# HELP {}", metric.name)), "{} is not shown", metric.name);
        }
    }
}

#[tokio::test]
async fn a_deep_queue_is_estimated_quickly_and_a_shallow_one_counted() {
    let stage = Stage::with_registry(Registry::new().with::<Stumble>()).await;
    for (queue, tasks) in [("stumbling", 200_000), ("shallow", 700)] {
        sqlx::query(
            "WITH made AS (SELECT uuidv7 AS id FROM generate_series(1, $2) AS n
                            CROSS JOIN LATERAL (SELECT (lpad(to_hex((extract(epoch FROM now() - interval '90 s') * 1000)::bigint), 12, '0')
                                                        || '7000' || '8' || substr(md5($1 || n), 1, 15))::uuid AS uuidv7) AS u
                 ), stored AS (
                     INSERT INTO longhaul.task (id, type, queue, priority, max_attempts, state, accepted_at)
                     SELECT id, 'Stumble', $1, 5, 1, 'Queued', now() - interval '90 s' FROM made
                 )
             INSERT INTO longhaul.ready (queue, priority, id) SELECT $1, 5, id FROM made",
        )
        .bind(queue)
        .bind(tasks)
        .execute(&stage.pool)
        .await
        .expect("the tasks are stored");
    }
    sqlx::query("SELECT longhaul.set_queue('shallow', max_running => 1000000)")
        .execute(&stage.pool)
        .await
        .expect("set");
    let began = Instant::now();
    let read = depth::read(&stage.pool).await.expect("a depth");
    let took = began.elapsed();
    assert!(took < Duration::from_secs(2), "{took:?}");
    let of = |name: &str| read.queues.iter().find(|queue| queue.queue == name).expect("the queue").clone();
    assert_eq!(of("shallow").ready + of("shallow").held, 700);
    let deep = of("stumbling");
    assert!(deep.ready > COUNTED_AT_MOST && (150_000..250_000).contains(&deep.ready), "{deep:?}");
    let oldest = deep.oldest_seconds.expect("an age");
    assert!((90.0..600.0).contains(&oldest), "{oldest}");
}

#[tokio::test]
async fn scrapes_ask_the_database_once_in_five_seconds() {
    let stage = Stage::with_registry(Registry::new().with::<Stumble>()).await;
    let first = Scrape::read(&scrape(&stage, "*/*").await.1);
    assert_eq!(first.sum("longhaul_queue_tasks", &["state=\"ready\""]), 0.0);
    stage.start(&json!({"Type": "Stumble", "Parameters": {"failures": 0}})).await;
    let second = Scrape::read(&scrape(&stage, "*/*").await.1);
    assert_eq!(second.sum("longhaul_queue_tasks", &["state=\"ready\""]), 0.0, "still the first answer");
    assert_eq!(second.sum("longhaul_tasks_accepted_total", &[]), 1.0);
    until("a newer answer", async || {
        let found = Scrape::read(&scrape(&stage, "*/*").await.1);
        (found.sum("longhaul_queue_tasks", &["state=\"ready\"", "queue=\"stumbling\""]) == 1.0).then_some(())
    })
    .await;
}

#[test]
fn names_are_as_prometheus_wants_them() {
    let names: BTreeSet<&str> = METRICS.iter().map(|metric| metric.name).collect();
    assert_eq!(names.len(), METRICS.len(), "each name once");
    for metric in METRICS {
        let fits = metric.name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
        assert!(fits && !metric.name.ends_with("_total") && !metric.help.ends_with('.'), "{}", metric.name);
    }
}
