//! The repairer: the net below all others, which one row may not tear.

use longhaul_model::store::enqueue::enqueue;
use longhaul_model::store::repair::Inspection;

use super::*;

async fn last_of(stage: &Stage, service: &str) -> String {
    until(&format!("{service} to set a row aside"), async || {
        let rows = aside::list(&stage.pool, 10).await.expect("rows");
        rows.into_iter().find(|row| row.service == service).map(|row| row.id)
    })
    .await
}

/// The planted rows stand in the walk's first step, the others also in its second one.
#[tokio::test]
async fn the_repairer_puts_back_all_stranded_tasks_but_one_and_mends_all_records_but_one() {
    let stage = stage().await;
    let clock = stage.clock().await;
    let tasks = echoes(&clock, 1_200, &json!({}));
    enqueue(&stage.pool, &tasks).await.expect("stored");
    let at = |number: usize| tasks[number].id.to_string();
    let (stuck, unrecorded) = (at(7), at(9));
    plant(&stage, "ready", "insert", &format!("NEW.id = '{stuck}'")).await;
    plant(&stage, "unsuccessful", "insert", &format!("NEW.task_id = '{unrecorded}'")).await;
    // In no place, and ended by a worker of an earlier release.
    let (stranded, failed) = ([stuck.clone(), at(8), at(1_150)], [unrecorded.clone(), at(10), at(1_160)]);
    let (stranded, failed) = (stranded.join(","), failed.join(","));
    stage
        .execute(format!(
            "DELETE FROM longhaul.ready WHERE id = ANY ('{{{stranded},{failed}}}'::uuid[]);
             UPDATE longhaul.task SET state = 'Failed', attempt = 1, finished_at = now(), error = '{{\"code\": \"old\"}}'
              WHERE id = ANY ('{{{failed}}}'::uuid[])"
        ))
        .await;
    let worker = stage.worker(quick_worker()).await;
    assert_eq!(last_of(&stage, "repairer").await, stuck);
    assert_eq!(last_of(&stage, "repairer/unsuccessful").await, unrecorded);
    others_end(&stage, &stuck).await;
    until("the others to be recorded", async || {
        (stage.value::<i64>("SELECT count(*) FROM longhaul.unsuccessful").await == 2).then_some(())
    })
    .await;
    assert_eq!(stage.value::<i64>("SELECT count(*) FROM longhaul.repaired").await, 2);
    worker.stop().await;

    // The next leader tries them again.
    mend(&stage, "ready", "insert").await;
    mend(&stage, "unsuccessful", "insert").await;
    let worker = stage.worker(quick_worker()).await;
    all_end(&stage).await;
    none_aside(&stage).await;
    assert_eq!(stage.value::<i64>("SELECT count(*) FROM longhaul.unsuccessful").await, 3);
    worker.stop().await;
    stage.strands_tasks();
}

/// What is no row's fault keeps the walks from nothing, and is told.
#[tokio::test]
async fn a_right_that_the_repairer_lacks_is_told_and_the_walk_goes_on() {
    let stage = stage().await;
    let tasks = stored(&stage, 2, &json!({})).await;
    stage
        .execute(
            "DELETE FROM longhaul.ready;
         UPDATE longhaul.task SET state = 'Failed', attempt = 1, finished_at = now(), error = '{\"code\": \"old\"}'
          WHERE id = (SELECT id FROM longhaul.task ORDER BY id LIMIT 1);
         CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
         BEGIN RAISE EXCEPTION 'denied' USING ERRCODE = 'insufficient_privilege'; END $$;
         CREATE TRIGGER refuse BEFORE INSERT ON longhaul.unsuccessful EXECUTE FUNCTION refuse()",
        )
        .await;
    let now: i64 = stage.value("SELECT (extract(epoch FROM now()) * 1000)::bigint + 6000").await;
    let mut inspection = Inspection::default();
    let step = inspection.step(&stage.pool, now, 1).await.expect("a step");
    assert!(step.failed.expect("what failed").to_string().contains("denied"));
    let step = inspection.step(&stage.pool, now, 1).await.expect("a step");
    assert_eq!(step.repaired, 1, "{} is put back", tasks[1]);
    let worker = stage.worker(quick_worker()).await;
    until("its failures to be counted", async || {
        let text = longhaul_tests::get(format!("{}/metrics", stage.base_url))
            .await
            .expect("an answer")
            .text()
            .await
            .expect("text");
        let failures = Scrape::read(&text).sum("longhaul_maintenance_failures_total", &["service=\"repairer\""]);
        (failures >= 2.0).then_some(())
    })
    .await;
    assert_eq!(stage.value::<i64>("SELECT count(*) FROM longhaul.set_aside").await, 0);
    worker.stop().await;
    stage.strands_tasks();
}
