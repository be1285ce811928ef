//! Gates of queues: nobody waits for one, no task slips past one or stays behind it
//! (docs/adr/0004-gates.md).

mod mixture;
mod scene;

use std::time::Duration;

use longhaul_model::store::cancel::{Cancelled, cancel};
use longhaul_model::store::enqueue::{NewTask, enqueue};
use longhaul_model::store::finish::{AttemptOutcome, LeaseChanges};
use longhaul_model::store::gate::{keep, list, types_are_paused};
use longhaul_model::store::queue::{QueueSettings, pause_type, set};
use longhaul_model::{DatabaseClock, TaskTypeInfo};
use longhaul_tests::{Stage, finish, until};
use serde_json::json;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};

use self::scene::{
    Free, Hand, Limited, counts, end, entries_read, ids, impatient, kept, kept_all, limit, limited, paused, sibling,
    stage,
};

/// Everything that people and processes do beside an open transaction.
async fn nobody_waits(stage: &Stage, hand: &mut Hand) {
    let pool = impatient(stage).await;
    let clock = DatabaseClock::learn(&pool).await.expect("a clock");
    for info in [TaskTypeInfo::of::<Limited>(), TaskTypeInfo::of::<Free>()] {
        enqueue(&pool, &[NewTask::new(clock.new_id(), info, json!({}))]).await.expect("stored");
    }
    keep(&pool, "limited", true, false).await.expect("kept");
    let tasks = hand.claim(&pool, 100).await;
    assert!(tasks.iter().any(|task| task.queue == "free"), "{tasks:?}");
    let ends: Vec<_> = tasks.iter().map(|task| end(task, AttemptOutcome::Succeeded(None))).collect();
    let leases = LeaseChanges { emptied: vec![tasks[0].lease.number], shortened: vec![] };
    assert_eq!(finish(&pool, hand.worker_id, &ends, &leases).await.expect("a finish").len(), tasks.len());
    let id = clock.new_id();
    enqueue(&pool, &[NewTask::new(id, TaskTypeInfo::of::<Limited>(), json!({}))]).await.expect("stored");
    assert_eq!(cancel(&pool, id).await.expect("cancelled"), Some(Cancelled::AtOnce));
    set(&pool, "another", &limit(1)).await.expect("set");
    set(&pool, "another", &QueueSettings::default()).await.expect("set");
    pause_type(&pool, "Sibling", true).await.expect("paused");
    pause_type(&pool, "Sibling", false).await.expect("resumed");
}

#[tokio::test]
async fn nobody_waits_for_a_change_of_a_queue_beside_an_open_transaction_that_stored_tasks() {
    let stage = stage().await;
    let mut hand = Hand::new(&stage).await;
    let mut storing = stage.pool.begin().await.expect("a transaction");
    sqlx::query("SELECT longhaul.enqueue('Limited')").execute(&mut *storing).await.expect("stored");
    let pool = impatient(&stage).await;
    for settings in [limit(3), paused(), QueueSettings::default(), limit(100)] {
        set(&pool, "limited", &settings).await.expect("set, although a transaction is open");
        nobody_waits(&stage, &mut hand).await;
    }
    storing.commit().await.expect("a commit");
    // The gate holds for it as for any other.
    set(&pool, "limited", &paused()).await.expect("set");
    assert!(hand.claim(&pool, 100).await.is_empty());
}

#[tokio::test]
async fn an_open_change_of_a_queue_keeps_nobody_waiting_and_the_old_settings_in_force() {
    let stage = stage().await;
    let mut hand = Hand::new(&stage).await;
    set(&stage.pool, "limited", &limit(100)).await.expect("set");
    let mut operator = stage.pool.begin().await.expect("a transaction");
    set(&mut *operator, "limited", &paused()).await.expect("set");
    pause_type(&mut *operator, "Free", true).await.expect("paused");
    nobody_waits(&stage, &mut hand).await;
    limited(&stage, 1).await;
    assert_eq!(kept_all(&stage).await, 1, "what is not committed is not in force");
    operator.commit().await.expect("a commit");
    assert!(hand.claim(&stage.pool, 1).await.is_empty(), "it is paused from here on");
    assert_eq!(kept_all(&stage).await, 0);
    assert_eq!(counts(&stage).await, (0, 1));
}

#[tokio::test]
async fn the_gatekeeper_passes_over_what_another_transaction_has_locked() {
    let stage = stage().await;
    let tasks = limited(&stage, 3).await;
    for settings in [limit(2), QueueSettings { fair: true, ..limit(2) }] {
        set(&stage.pool, "limited", &settings).await.expect("set");
        let mut cancelling = stage.pool.begin().await.expect("a transaction");
        assert_eq!(cancel(&mut *cancelling, tasks[0]).await.expect("an answer"), Some(Cancelled::AtOnce));
        let pool = impatient(&stage).await;
        keep(&pool, "limited", true, false).await.expect("it does not wait").expect("nobody else is at it");
        assert_eq!(counts(&stage).await, (2, 1), "the others were admitted");
        cancelling.rollback().await.expect("a rollback");
    }
}

#[tokio::test]
async fn a_task_that_is_just_being_admitted_can_be_cancelled() {
    let stage = stage().await;
    for settings in [limit(10), QueueSettings { fair: true, ..QueueSettings::default() }] {
        set(&stage.pool, "limited", &settings).await.expect("set");
        kept_all(&stage).await;
        let task = limited(&stage, 1).await[0];
        let mut admitting = stage.pool.begin().await.expect("a transaction");
        let kept = keep(&mut *admitting, "limited", true, false).await.expect("kept").expect("nobody else is at it");
        assert_eq!(kept.admitted, 1);
        let cancelling = tokio::spawn({
            let pool = stage.pool.clone();
            async move { cancel(&pool, task).await }
        });
        until("the cancellation to wait", async || {
            let waits = "SELECT count(*) > 0 FROM pg_stat_activity WHERE datname = current_database()
                            AND wait_event_type = 'Lock' AND query LIKE '%longhaul.cancel%'";
            stage.value::<bool>(waits).await.then_some(())
        })
        .await;
        admitting.commit().await.expect("a commit");
        let cancelled = cancelling.await.expect("it ends").expect("the database answers");
        assert_eq!(cancelled, Some(Cancelled::AtOnce), "{settings:?}");
        assert_eq!(counts(&stage).await, (0, 0));
        assert_eq!(stage.value::<i64>("SELECT count(*) FROM longhaul.admitted").await, 0, "its place is free");
    }
}

#[tokio::test]
async fn a_limit_counts_what_was_claimed_before_it_and_what_is_being_claimed() {
    let stage = stage().await;
    let mut hand = Hand::new(&stage).await;
    limited(&stage, 10).await;
    let begun = hand.claim(&stage.pool, 2).await;
    // A claim that knows of no gate, and is over only after it was set.
    let mut claiming = stage.pool.begin().await.expect("a transaction");
    let late = hand.claim(&mut *claiming, 2).await;
    assert_eq!((begun.len(), late.len()), (2, 2));
    set(&stage.pool, "limited", &limit(3)).await.expect("set");
    for _ in 0..3 {
        let kept = kept(&stage).await;
        assert_eq!(kept.admitted, 0, "nobody knows what that claim will have taken");
        assert!(kept.next_in.is_some());
    }
    claiming.commit().await.expect("a commit");
    assert_eq!(kept_all(&stage).await, 0, "four are at work");
    assert!(hand.claim(&stage.pool, 10).await.is_empty());
    hand.end(&stage, &begun).await;
    assert_eq!(kept_all(&stage).await, 1);
    let next = hand.claim(&stage.pool, 10).await;
    assert_eq!(next.len(), 1);
    hand.end(&stage, &late).await;
    assert_eq!(kept_all(&stage).await, 2);
    assert_eq!(hand.claim(&stage.pool, 10).await.len(), 2);
}

#[tokio::test]
async fn what_goes_back_gives_its_place_up_and_is_admitted_anew() {
    let stage = stage().await;
    let mut hand = Hand::new(&stage).await;
    set(&stage.pool, "limited", &limit(1)).await.expect("set");
    limited(&stage, 2).await;
    for verdict in [AttemptOutcome::Release, AttemptOutcome::Snooze(Duration::from_secs(3_600))] {
        assert_eq!(kept_all(&stage).await, 1);
        let tasks = hand.claim(&stage.pool, 10).await;
        assert_eq!(tasks.len(), 1);
        let leases = LeaseChanges { emptied: vec![hand.number], shortened: vec![] };
        finish(&stage.pool, hand.worker_id, &[end(&tasks[0], verdict)], &leases).await.expect("a finish");
        assert_eq!(stage.value::<i64>("SELECT count(*) FROM longhaul.admitted").await, 0);
    }
    assert_eq!(kept_all(&stage).await, 1);
    assert_eq!(hand.claim(&stage.pool, 10).await.len(), 1);
}

/// The count of what runs may add a task just as it goes back to its queue.
#[tokio::test]
async fn a_task_that_was_counted_as_it_went_back_is_admitted_all_the_same() {
    let stage = stage().await;
    set(&stage.pool, "limited", &limit(2)).await.expect("set");
    kept_all(&stage).await;
    let both = limited(&stage, 2).await;
    sqlx::query("INSERT INTO longhaul.admitted (id, queue, key) VALUES ($1, 'limited', '')")
        .bind(both[0])
        .execute(&stage.pool)
        .await
        .expect("a count");
    // The place that was counted is taken until the task has it or the next count.
    assert_eq!(kept_all(&stage).await, 1);
    let mut hand = Hand::new(&stage).await;
    assert_eq!(ids(&hand.claim(&stage.pool, 10).await), [both[0]]);
    assert_eq!(stage.value::<i64>("SELECT count(*) FROM longhaul.admitted WHERE place IS NOT NULL").await, 1);
    assert_eq!(kept_all(&stage).await, 1);
    assert_eq!(ids(&hand.claim(&stage.pool, 10).await), [both[1]]);
}

#[tokio::test]
async fn a_place_that_was_lost_is_found_again() {
    let stage = stage().await;
    set(&stage.pool, "limited", &limit(1)).await.expect("set");
    limited(&stage, 1).await;
    kept_all(&stage).await;
    sqlx::raw_sql("DELETE FROM longhaul.ready; UPDATE longhaul.gate SET counted_at = now() - interval '61 seconds'")
        .execute(&stage.pool)
        .await
        .expect("a task that vanished");
    stage.strands_tasks();
    let other = limited(&stage, 1).await;
    assert!(list(&stage.pool, false).await.expect("a list").iter().any(|queue| queue.due));
    assert_eq!(kept_all(&stage).await, 1);
    let mut hand = Hand::new(&stage).await;
    assert_eq!(ids(&hand.claim(&stage.pool, 10).await), other);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_task_slips_past_a_pause_and_none_stays_behind_it() {
    let stage = stage().await;
    let mut hand = Hand::new(&stage).await;
    for round in 0..10 {
        let storing = async {
            for _ in 0..20 {
                limited(&stage, 1).await;
            }
        };
        let pausing = async { set(&stage.pool, "limited", &paused()).await.expect("a pause") };
        tokio::join!(storing, pausing);
        assert!(hand.claim(&stage.pool, 100).await.is_empty(), "round {round}");
        kept_all(&stage).await;
        assert_eq!(counts(&stage).await, (0, 20), "round {round}");
        set(&stage.pool, "limited", &QueueSettings::default()).await.expect("no pause");
        assert_eq!(counts(&stage).await, (20, 0), "round {round}");
        let tasks = hand.claim(&stage.pool, 100).await;
        assert_eq!(tasks.len(), 20, "round {round}");
        hand.end(&stage, &tasks).await;
    }
}

#[tokio::test]
async fn what_was_admitted_and_not_claimed_goes_back_when_its_queue_is_paused_limited_or_free() {
    let stage = stage().await;
    let mut hand = Hand::new(&stage).await;
    let tasks = limited(&stage, 10).await;
    for settings in [limit(7), QueueSettings { fair: true, ..limit(7) }] {
        set(&stage.pool, "limited", &settings).await.expect("set");
        assert_eq!(kept_all(&stage).await, 7);
        assert_eq!(counts(&stage).await, (7, 3));
        set(&stage.pool, "limited", &paused()).await.expect("set");
        assert!(hand.claim(&stage.pool, 100).await.is_empty(), "at once");
        assert_eq!(kept_all(&stage).await, 0);
        assert_eq!(counts(&stage).await, (0, 10));
        set(&stage.pool, "limited", &limit(2)).await.expect("set");
        assert_eq!(kept_all(&stage).await, 2);
        assert_eq!(counts(&stage).await, (2, 8));
        set(&stage.pool, "limited", &QueueSettings::default()).await.expect("set");
        kept_all(&stage).await;
        assert_eq!(counts(&stage).await, (10, 0));
        assert_eq!(list(&stage.pool, true).await.expect("a list"), [], "nothing is left to do");
    }
    assert_eq!(ids(&hand.claim(&stage.pool, 100).await), tasks, "in order");
}

#[tokio::test]
async fn a_claim_holds_tasks_of_a_paused_type_and_those_behind_them_run() {
    let stage = stage().await;
    let mut hand = Hand::new(&stage).await;
    let (stopped, others) = (limited(&stage, 200).await, sibling(&stage, 3).await);
    pause_type(&stage.pool, "Limited", true).await.expect("paused");
    assert!(hand.claim(&stage.pool, 10).await.is_empty(), "a worker that has not heard of it takes nothing");
    assert!(types_are_paused(&stage.pool).await.expect("an answer"));
    hand.floors.beside_paused_types(true);
    let mut found = Vec::new();
    while counts(&stage).await != (0, 200) {
        found.extend(ids(&hand.claim(&stage.pool, 1).await));
    }
    assert_eq!(found, others);
    // What is held can be seen and cancelled as anything that waits.
    assert_eq!(cancel(&stage.pool, stopped[0]).await.expect("an answer"), Some(Cancelled::AtOnce));
    let queued = "SELECT count(*) FROM longhaul.tasks WHERE state = 'Queued'";
    assert_eq!(stage.value::<i64>(queued).await, 199);
    kept_all(&stage).await;
    assert_eq!(counts(&stage).await, (0, 199), "the gatekeeper leaves them there");
    pause_type(&stage.pool, "Limited", false).await.expect("resumed");
    // A claim that began before may hold some more; it finds none here.
    assert!(hand.claim(&stage.pool, 10).await.is_empty());
    assert!(list(&stage.pool, false).await.expect("a list").iter().any(|queue| queue.name == "limited" && queue.due));
    kept_all(&stage).await;
    assert_eq!(ids(&hand.claim(&stage.pool, 1_000).await), stopped[1..], "in order");
}

#[tokio::test]
async fn a_gated_queue_admits_past_paused_types_and_spends_no_places_on_them() {
    let stage = stage().await;
    let mut hand = Hand::new(&stage).await;
    hand.floors.beside_paused_types(true);
    let settings = QueueSettings { rate: Some((5, 3_600.0)), ..limit(2) };
    for settings in [settings.clone(), QueueSettings { fair: true, ..settings }] {
        set(&stage.pool, "limited", &settings).await.expect("set");
        let stopped = limited(&stage, 1_500).await;
        assert_eq!(kept_all(&stage).await, 2);
        // Two were admitted before the pause: they give up their places, not their turn.
        pause_type(&stage.pool, "Limited", true).await.expect("paused");
        assert!(hand.claim(&stage.pool, 10).await.is_empty());
        let others = sibling(&stage, 2).await;
        assert_eq!(kept_all(&stage).await, 2);
        let tasks = hand.claim(&stage.pool, 10).await;
        assert_eq!(ids(&tasks), others);
        hand.end(&stage, &tasks).await;
        assert_eq!(kept_all(&stage).await, 0);
        assert_eq!(counts(&stage).await, (0, 1_500));
        pause_type(&stage.pool, "Limited", false).await.expect("resumed");
        set(&stage.pool, "limited", &QueueSettings::default()).await.expect("set");
        kept_all(&stage).await;
        let tasks = hand.claim(&stage.pool, 2_000).await;
        assert_eq!(ids(&tasks), stopped);
        hand.end(&stage, &tasks).await;
    }
}

#[tokio::test]
async fn a_rate_owes_nothing_for_what_ran_before_it() {
    let stage = stage().await;
    let mut hand = Hand::new(&stage).await;
    set(&stage.pool, "limited", &limit(1_000)).await.expect("set");
    limited(&stage, 600).await;
    assert_eq!(kept_all(&stage).await, 600);
    let tasks = hand.claim(&stage.pool, 600).await;
    hand.end(&stage, &tasks).await;
    let rate = |count, seconds| QueueSettings { rate: Some((count, seconds)), ..QueueSettings::default() };
    set(&stage.pool, "limited", &rate(10, 3_600.0)).await.expect("set");
    limited(&stage, 40).await;
    assert_eq!(kept_all(&stage).await, 10, "it begins full");
    let wait = kept(&stage).await.next_in.expect("the time of the next");
    assert!((300.0..=360.0).contains(&wait), "{wait} s");
    // Setting it anew is no way around it …
    for settings in [rate(20, 3_600.0), QueueSettings { max_running: Some(100), ..rate(10, 3_600.0) }] {
        set(&stage.pool, "limited", &settings).await.expect("set");
        assert_eq!(kept_all(&stage).await, 0);
    }
    // … but what was taken back and is admitted anew is counted anew.
    assert_eq!(counts(&stage).await, (0, 40));
    let tokens: f64 = stage.value("SELECT tokens FROM longhaul.gate").await;
    assert!((0.0..1.0).contains(&tokens), "{tokens}");
}

#[tokio::test]
async fn claims_and_admission_read_little_however_much_waits() {
    let stage = stage().await;
    let mut hand = Hand::new(&stage).await;
    set(&stage.pool, "limited", &limit(3)).await.expect("set");
    kept_all(&stage).await;
    limited(&stage, 30_000).await;
    // What runs is counted now and then, which reads all leases: not now.
    sqlx::raw_sql("UPDATE longhaul.gate SET counted_at = now()").execute(&stage.pool).await.expect("a statement");
    let clock = stage.clock().await;
    // As an engine has it, and nothing read before.
    let options: PgConnectOptions = stage.database_url().parse().expect("an address");
    let pool = PgPoolOptions::new().max_connections(1).connect_lazy_with(options.options(longhaul_worker::SESSION));
    let mut connection = pool.begin().await.expect("a transaction");
    let admitted = keep(&mut *connection, "limited", false, false).await.expect("kept").expect("nobody else is at it");
    assert_eq!(admitted.admitted, 3);
    let free = NewTask::new(clock.new_id(), TaskTypeInfo::of::<Free>(), json!({}));
    enqueue(&mut *connection, &[free]).await.expect("stored");
    assert_eq!(hand.claim(&mut *connection, 100).await.len(), 4, "three and the free one");
    for (index, most) in [("ready_pkey", 100), ("task_pkey", 50), ("held_pkey", 20)] {
        let read = entries_read(&mut connection, index).await;
        assert!(read < most, "{read} entries of {index}");
    }
    let scans = "SELECT coalesce(sum(seq_scan), 0)::bigint FROM pg_stat_xact_user_tables
                  WHERE schemaname = 'longhaul' AND relname IN ('task', 'ready', 'held', 'lease')";
    let from_end_to_end: i64 = sqlx::query_scalar(scans).fetch_one(&mut *connection).await.expect("counts");
    assert_eq!(from_end_to_end, 0);
    connection.rollback().await.expect("an end");
}
