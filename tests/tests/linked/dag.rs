//! Dependencies: what waits, what goes, what is given up.

use std::collections::HashMap;

use longhaul_model::store::cancel::{cancel, retry};
use longhaul_model::store::enqueue::NewTask;
use longhaul_model::store::linked::{Dependency, IfFailed, LinkError, enqueue_linked};
use longhaul_tests::{mortal_worker, quick_worker, until};
use rand::{RngExt, SeedableRng};
use serde_json::json;
use uuid::Uuid;

use super::scene::{Piece, all_ended, info, nothing_is_left, pieces, stage, store};

fn piece(number: i64) -> Piece {
    Piece { number, fails: false, takes_ms: 0 }
}

fn edge(tasks: &[NewTask], task: usize, on: usize, if_failed: IfFailed) -> Dependency {
    Dependency { task: tasks[task].id, on: tasks[on].id, if_failed }
}

/// What must become of a graph whose task `n` fails by itself if `fails[n]`: the
/// rules in a dozen lines, without a queue.
fn expected(fails: &[bool], edges: &[(usize, usize, IfFailed)]) -> Vec<&'static str> {
    let mut states: Vec<&'static str> = Vec::new();
    // An edge's `on` is always an earlier task.
    for (task, fails) in fails.iter().enumerate() {
        let broken: Vec<IfFailed> = edges
            .iter()
            .filter(|(of, on, if_failed)| *of == task && *if_failed != IfFailed::Run && states[*on] != "Succeeded")
            .map(|(_, _, if_failed)| *if_failed)
            .collect();
        states.push(match (broken.is_empty(), fails) {
            (true, false) => "Succeeded",
            (true, true) => "Failed",
            // Which of several broken edges was first decides between the two.
            (false, _) if broken.iter().all(|if_failed| *if_failed == IfFailed::Cancel) => "Cancelled",
            (false, _) if broken.iter().all(|if_failed| *if_failed == IfFailed::Fail) => "Failed",
            (false, _) => "Cancelled or Failed",
        });
    }
    states
}

#[tokio::test(flavor = "multi_thread")]
async fn random_graphs_end_as_the_rules_say_over_a_killed_worker() {
    let seed = 20_261_124;
    let mut random = rand_pcg::Pcg64Mcg::seed_from_u64(seed);
    let stage = stage().await;
    let victim = stage.worker(mortal_worker()).await;
    let _worker = stage.worker(mortal_worker()).await;
    let mut graphs = Vec::new();
    for graph in 0..12_i64 {
        let size = random.random_range(2..25_usize);
        let fails: Vec<bool> = (0..size).map(|_| random.random_bool(0.15)).collect();
        let mut edges = Vec::new();
        for task in 1..size {
            for on in 0..task {
                if random.random_bool(2.0 / size as f64) {
                    let policies = [IfFailed::Cancel, IfFailed::Fail, IfFailed::Run];
                    edges.push((task, on, policies[random.random_range(0..3_usize)]));
                }
            }
        }
        let all = (0..size)
            .map(|n| Piece { number: graph * 1_000 + n as i64, fails: fails[n], takes_ms: random.random_range(0..15) })
            .collect();
        let mut tasks = pieces(&stage, all).await;
        if graph % 3 == 0 {
            let now: chrono::DateTime<chrono::Utc> = stage.value("SELECT now()").await;
            tasks[0].run_at = Some(now + chrono::TimeDelta::milliseconds(300));
        }
        let dependencies: Vec<Dependency> = edges.iter().map(|(t, o, f)| edge(&tasks, *t, *o, *f)).collect();
        // Half of each graph arrives when the other is under way.
        let half = if graph % 2 == 0 { size } else { size / 2 };
        let (early, late): (Vec<Dependency>, Vec<Dependency>) =
            dependencies.iter().partition(|dependency| tasks[..half].iter().any(|task| task.id == dependency.task));
        store(&stage, &tasks[..half], &early).await;
        store(&stage, &tasks[half..], &late).await;
        graphs.push((tasks, fails, edges));
    }
    victim.kill().await;
    let mut began: HashMap<i64, Vec<chrono::DateTime<chrono::Utc>>> = HashMap::new();
    let mut done = HashMap::new();
    for (graph, (tasks, fails, edges)) in graphs.iter().enumerate() {
        let states = all_ended(&stage, tasks).await;
        for (n, (state, expected)) in states.iter().zip(expected(fails, edges)).enumerate() {
            assert!(expected.contains(state.as_str()), "graph {graph} task {n}: {state}, not {expected} (seed {seed})");
        }
    }
    for (number, at) in
        sqlx::query_as::<_, (i64, chrono::DateTime<chrono::Utc>)>("SELECT number, at FROM began ORDER BY at")
            .fetch_all(&stage.pool)
            .await
            .expect("rows")
    {
        began.entry(number).or_default().push(at);
    }
    for (number, at) in
        sqlx::query_as::<_, (i64, chrono::DateTime<chrono::Utc>)>("SELECT number, at FROM done ORDER BY at")
            .fetch_all(&stage.pool)
            .await
            .expect("rows")
    {
        done.entry(number).or_insert(at);
    }
    for (graph, (_, fails, edges)) in graphs.iter().enumerate() {
        for (task, on, _) in edges {
            let number = |n: &usize| graph as i64 * 1_000 + *n as i64;
            if let (Some(began), Some(done), false) = (began.get(&number(task)), done.get(&number(on)), fails[*on]) {
                assert!(began[0] > *done, "graph {graph}: {task} began before {on} was done (seed {seed})");
            }
        }
    }
    nothing_is_left(&stage).await;
}

#[tokio::test]
async fn nothing_waits_for_what_is_unknown_or_for_itself() {
    let stage = stage().await;
    let tasks = pieces(&stage, vec![piece(1), piece(2)]).await;
    let unknown = Dependency { task: tasks[0].id, on: Uuid::from_u128(7), if_failed: IfFailed::Run };
    let ring = [edge(&tasks, 0, 1, IfFailed::Run), edge(&tasks, 1, 0, IfFailed::Run)];
    for (dependencies, circle) in [(vec![unknown], false), (ring.to_vec(), true)] {
        let mut transaction = stage.pool.begin().await.expect("a transaction");
        match enqueue_linked(&mut transaction, &tasks, &dependencies, None).await {
            Err(LinkError::Unknown(ids)) if !circle => assert_eq!(ids, [Uuid::from_u128(7)]),
            Err(LinkError::Circle(ids)) if circle => assert_eq!(ids.len(), 2),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(stage.value::<i64>("SELECT count(*) FROM longhaul.task").await, 0);
}

#[tokio::test]
async fn a_task_may_wait_for_one_that_has_ended_and_is_cancelled_while_it_waits() {
    let stage = stage().await;
    let tasks = pieces(&stage, vec![piece(1), piece(2), piece(3), piece(4)]).await;
    store(&stage, &tasks[..1], &[]).await;
    let worker = stage.worker(quick_worker()).await;
    all_ended(&stage, &tasks[..1]).await;
    store(&stage, &tasks[1..2], &[edge(&tasks, 1, 0, IfFailed::Cancel)]).await;
    assert_eq!(all_ended(&stage, &tasks[..2]).await, ["Succeeded", "Succeeded"]);
    worker.stop().await;

    store(&stage, &tasks[2..], &[edge(&tasks, 3, 2, IfFailed::Cancel)]).await;
    let waits: (String, Option<i32>) =
        sqlx::query_as("SELECT state::text, waits_for FROM longhaul.tasks WHERE id = $1")
            .bind(tasks[3].id)
            .fetch_one(&stage.pool)
            .await
            .expect("a row");
    assert_eq!(waits, ("Queued".to_owned(), Some(1)));
    cancel(&stage.pool, tasks[3].id).await.expect("an answer");
    let _worker = stage.worker(quick_worker()).await;
    assert_eq!(all_ended(&stage, &tasks).await, ["Succeeded", "Succeeded", "Succeeded", "Cancelled"]);
    nothing_is_left(&stage).await;
}

#[tokio::test]
async fn what_ended_because_of_a_failure_waits_again_when_that_is_retried() {
    let stage = stage().await;
    let _worker = stage.worker(quick_worker()).await;
    let failing = Piece { number: 1, fails: true, takes_ms: 0 };
    let tasks = pieces(&stage, vec![failing, piece(2), piece(3)]).await;
    let chain = [edge(&tasks, 1, 0, IfFailed::Fail), edge(&tasks, 2, 1, IfFailed::Cancel)];
    store(&stage, &tasks, &chain).await;
    assert_eq!(all_ended(&stage, &tasks).await, ["Failed", "Failed", "Cancelled"]);
    let error: serde_json::Value = sqlx::query_scalar("SELECT error FROM longhaul.tasks WHERE id = $1")
        .bind(tasks[1].id)
        .fetch_one(&stage.pool)
        .await
        .expect("a row");
    assert_eq!(error["code"], "dependency-failed");
    assert_eq!(error["detail"], format!("It waited for piece_{}, which ended Failed.", tasks[0].id));

    sqlx::query("INSERT INTO mended VALUES (true)").execute(&stage.pool).await.expect("a row");
    retry(&stage.pool, tasks[0].id).await.expect("an answer");
    until("the chain to succeed", async || {
        (all_ended(&stage, &tasks).await == ["Succeeded", "Succeeded", "Succeeded"]).then_some(())
    })
    .await;
    nothing_is_left(&stage).await;
}

#[tokio::test]
async fn a_task_reads_what_its_prerequisites_returned() {
    let stage = stage().await;
    let _worker = stage.worker(quick_worker()).await;
    let mut tasks = pieces(&stage, vec![piece(41), Piece { number: 42, fails: true, takes_ms: 0 }]).await;
    let clock = stage.clock().await;
    tasks.push(NewTask::new(clock.new_id(), info("Gather"), json!({})));
    let both = [edge(&tasks, 2, 0, IfFailed::Run), edge(&tasks, 2, 1, IfFailed::Run)];
    store(&stage, &tasks, &both).await;
    assert_eq!(all_ended(&stage, &tasks).await, ["Succeeded", "Failed", "Succeeded"]);
    let result: serde_json::Value = sqlx::query_scalar("SELECT result FROM longhaul.tasks WHERE id = $1")
        .bind(tasks[2].id)
        .fetch_one(&stage.pool)
        .await
        .expect("a row");
    assert_eq!(
        result,
        json!([{"Type": "Piece", "State": "Succeeded", "Result": {"Number": 41}},
               {"Type": "Piece", "State": "Failed", "Result": null}])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn one_task_may_be_waited_for_by_thousands_and_may_wait_for_thousands() {
    let stage = stage().await;
    let _worker = stage.worker(quick_worker()).await;
    let tasks = pieces(&stage, (0..3_002).map(piece).collect()).await;
    let mut dependencies = Vec::new();
    for middle in 1..3_001 {
        dependencies.push(edge(&tasks, middle, 0, IfFailed::Cancel));
        dependencies.push(edge(&tasks, 3_001, middle, IfFailed::Cancel));
    }
    store(&stage, &tasks, &dependencies).await;
    assert!(all_ended(&stage, &tasks).await.iter().all(|state| state == "Succeeded"));
    let last_began: bool = stage
        .value("SELECT (SELECT at FROM began WHERE number = 3001) > (SELECT max(at) FROM done WHERE number < 3001)")
        .await;
    assert!(last_began, "the last one began before the others were done");
    nothing_is_left(&stage).await;
}
