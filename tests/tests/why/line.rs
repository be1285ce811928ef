//! Places in line: about how many tasks come first.

use std::sync::Arc;
use std::time::Duration;

use longhaul_model::store::LeaseKey;
use longhaul_model::store::claim::{Ageing, Floors, claim};
use longhaul_model::store::enqueue::{NewTask, enqueue};
use longhaul_model::store::queue::QueueSettings;
use longhaul_model::store::worker::{WorkerInfo, register};
use longhaul_model::{DatabaseClock, TaskTypeInfo};
use longhaul_tests::{Stage, quick_worker, until};
use longhaul_worker::Settings;
use serde_json::json;
use uuid::Uuid;

use super::scene::{HOUR, Job, details, limit, says, stage, waits};

/// A guid of so many seconds ago.
fn old_id(clock: &DatabaseClock, seconds: i64, number: u64) -> Uuid {
    let ms = u128::try_from(clock.now_ms() - seconds * 1_000).expect("after 1970");
    Uuid::from_u128(ms << 80 | 0x7000_8000_0000_0000_0000 | u128::from(number))
}

#[tokio::test]
async fn places_in_line_are_the_order_in_which_workers_take_tasks() {
    let stage = stage().await;
    let clock = stage.clock().await;
    let queues = vec!["jobs".to_owned()];
    let info = WorkerInfo {
        name: "by hand".to_owned(),
        version: "0".to_owned(),
        queues: queues.clone(),
        slots: 4,
        heartbeat: HOUR,
    };
    let worker_id = register(&stage.pool, &info).await.expect("an id");
    let ageing = Ageing { patience: Duration::from_secs(60), clock: Arc::clone(&clock) };
    let mut floors = Floors::new(queues, Some(ageing));
    let mut number = 0;
    let mut take = async |stage: &Stage| {
        number += 1;
        floors.forget();
        let taken = claim(&stage.pool, &mut floors, LeaseKey { worker_id, number }, 1).await.expect("a claim");
        taken.first().map(|task| task.id)
    };
    let info = TaskTypeInfo::of::<Job>();
    let store = async |ages: &[(u8, i64)]| {
        let tasks: Vec<NewTask> = (1..)
            .zip(ages)
            .map(|(number, &(priority, seconds))| {
                NewTask::new(old_id(&clock, seconds, number), TaskTypeInfo { priority, ..info }, json!({}))
            })
            .collect();
        enqueue(&stage.pool, &tasks).await.expect("stored");
        tasks.iter().map(|task| task.id).collect::<Vec<_>>()
    };
    // The worker learns which priorities there are.
    store(&[(0, 1), (2, 1), (5, 1), (9, 1)]).await;
    for _ in 0..4 {
        assert!(take(&stage).await.is_some());
    }
    // Old enough to be most urgent: 2 after 120 s, 5 after 300 s, 9 after 540 s.
    let ids =
        store(&[(5, 10), (5, 400), (5, 100), (0, 5), (0, 900), (9, 700), (9, 500), (2, 130), (2, 20), (9, 800)]).await;
    let mut places = Vec::new();
    for id in &ids {
        let reasons = waits(&stage, *id, &["line"]).await;
        assert_eq!(details(&reasons, "line")["Slots"], 4);
        places.push((details(&reasons, "line")["Before"].as_i64().expect("a number"), *id));
    }
    places.sort_unstable();
    let told: Vec<Uuid> = places.iter().map(|(_, id)| *id).collect();
    assert_eq!(places.iter().map(|(before, _)| *before).collect::<Vec<_>>(), (0..10).collect::<Vec<_>>());
    let mut taken = Vec::new();
    while let Some(id) = take(&stage).await {
        taken.push(id);
    }
    assert_eq!(told, taken, "what was told is what comes");
}

#[tokio::test]
async fn a_place_beyond_ten_thousand_is_not_counted_out() {
    let stage = stage().await;
    let others = Settings { queues: vec!["others".to_owned()], ..quick_worker() };
    let _worker = stage.worker(others).await;
    let ids = stage.enqueue(TaskTypeInfo::of::<Job>(), vec![json!({}); 10_011]).await;
    waits(&stage, ids[0], &["no-worker"]).await;
    // It lives, and takes none.
    stage.execute("UPDATE longhaul.worker SET queues = '{jobs}'").await;
    let last = waits(&stage, ids[10_010], &["line"]).await;
    let known = json!({"Queue": "jobs", "Before": 10_000, "More": true, "Workers": 1, "Slots": 8});
    assert_eq!(*details(&last, "line"), known);
    assert!(says(&last, "line").contains("behind more than 10,000 tasks"), "{last:?}");
    let exact = waits(&stage, ids[10_000], &["line"]).await;
    assert!(says(&exact, "line").contains("behind about 10,000 tasks"), "{exact:?}");
    // By key.
    limit(&stage, QueueSettings { max_running: Some(0), fair: true, ..QueueSettings::default() }).await;
    until("the tasks to be held", async || {
        (stage.value::<i64>("SELECT count(*) FROM longhaul.held").await == 10_011).then_some(())
    })
    .await;
    let last = waits(&stage, ids[10_010], &["limit", "turn"]).await;
    assert_eq!(*details(&last, "turn"), json!({"Queue": "jobs", "Before": 10_000, "More": true, "Keys": 0}));
}
