//! Each maintenance service alone, whose connection falls silent as it works: only that service waits,
//! and it goes on with another connection.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use longhaul_model::store::SERVICE_DEADLINE;
use longhaul_model::{Registry, TaskTypeInfo};
use longhaul_tests::{Fault, Proxy, Scrape, Stage, quick_worker, until};
use serde_json::json;

use crate::visit::Visit;

/// Each service, with a part of a statement that only it sends, in each of its runs.
const SERVICES: [(&str, &str); 11] = [
    ("bookkeeper", "run WITH taken AS ( DELETE FROM longhaul.successes"),
    ("canceller", "run SELECT c.task_id FROM longhaul.cancel_request c WHERE c.task_id = ANY (ARRAY("),
    ("counter", "run INSERT INTO longhaul.pulse"),
    ("follower", "run SELECT longhaul.follow()"),
    ("gatekeeper", "run SELECT EXISTS (SELECT FROM longhaul.task_type WHERE paused_at"),
    ("promoter", "run WITH due AS MATERIALIZED ( SELECT ctid AS row, id FROM longhaul.scheduled"),
    ("pulse", "run WITH accepted AS ( SELECT queue, count(*) AS tasks"),
    ("repairer", "run WITH part AS MATERIALIZED ( SELECT id, state FROM longhaul.task"),
    ("rescuer", "run WITH moment AS MATERIALIZED"),
    ("retention", "run WITH part AS MATERIALIZED ( SELECT id, ended.kept_us"),
    ("scheduler", "run SELECT name, cron, time_zone, missed, next_at"),
];

/// The deadline of the service's statement, and what a slow machine adds.
const GOES_ON_WITHIN: Duration = SERVICE_DEADLINE.saturating_mul(4);

async fn stage() -> Stage {
    Stage::with_registry(Registry::new().with::<Visit>()).await
}

async fn goes_on(service: &str, part: &str) {
    let stage = stage().await;
    let proxy = Proxy::before(stage.database_url()).await;
    let statements = proxy.statements();
    let visit = TaskTypeInfo::of::<Visit>();
    let [staying, _] = stage.enqueue(visit, vec![json!({"stays": true}), json!({"stays": false})]).await[..] else {
        panic!("two tasks");
    };
    statements.plan_for(part, 1, Fault::Silence);
    let worker = stage.worker_through(&proxy, quick_worker()).await;
    until(&format!("{service} to send: {part}"), async || (!statements.struck().is_empty()).then_some(())).await;
    let struck = statements.struck().remove(0);
    let began = Instant::now();

    // All else goes on.
    let next = stage.enqueue(visit, vec![json!({"stays": false})]).await[0];
    until("the next task to end", async || {
        let sql = "SELECT state = 'Succeeded' FROM longhaul.tasks WHERE id = $1";
        let ended: bool = sqlx::query_scalar(sql).bind(next).fetch_one(&stage.pool).await.expect("a state");
        ended.then_some(())
    })
    .await;

    while statements.seen()[&struck] < 2 {
        assert!(began.elapsed() < GOES_ON_WITHIN, "{service} does not send it again: {struck}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    println!("{service}: again after {:?}", began.elapsed());
    let sql = "SELECT (SELECT count(*) FROM longhaul.worker WHERE lost_at IS NOT NULL)
                    + (SELECT count(*) FROM longhaul.tasks WHERE id = $1 AND (state <> 'Running' OR attempt <> 1))";
    let disturbed: i64 = sqlx::query_scalar(sql).bind(staying).fetch_one(&stage.pool).await.expect("a count");
    assert_eq!(disturbed, 0, "{service}: the worker was presumed dead, or its task begun again");
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_service_goes_on_after_its_connection_fell_silent() {
    // At once: each waits for a minute.
    join_all(SERVICES.map(|(service, part)| goes_on(service, part))).await;
}

#[tokio::test]
async fn the_test_knows_every_service() {
    let stage = stage().await;
    let _worker = stage.worker(quick_worker()).await;
    let known: BTreeSet<_> = SERVICES.iter().map(|(name, _)| *name).collect();
    until("all services to have run", async || {
        let response = stage.http.get(format!("{}/metrics", stage.base_url)).send().await.expect("an answer");
        let runs = Scrape::read(&response.text().await.expect("text"));
        let services = runs.values_of("longhaul_maintenance_seconds_count", "service");
        assert!(services.is_subset(&known), "{services:?}");
        (services == known).then_some(())
    })
    .await;
}
