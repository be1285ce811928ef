//! `kill -9` of the worker that fires a schedule.

use longhaul_tests::{Stage, until};
use serde_json::json;

use crate::program::Process;

const FIRINGS: i64 = 8;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_schedule_goes_on_without_a_gap_when_the_process_that_fires_is_killed() {
    let stage = Stage::new().await;
    let url = stage.database_url();
    let mut processes = Vec::new();
    for name in ["one", "two", "three"] {
        let work = ["work", "--heartbeat", "0.5", "--name", name];
        processes.push((name, Process::start_until(&work, url, "worker started").await.0));
    }
    let body = json!({"Cron": "* * * * * *", "Type": "Reindex", "Missed": "All"});
    let response =
        stage.http.put(format!("{}/api/schedules/often", stage.base_url)).json(&body).send().await.expect("an answer");
    assert_eq!(response.status(), 201);

    for part in 1..=3 {
        let target = FIRINGS * part / 3;
        until("the schedule to fire", async || {
            (stage.value::<i64>("SELECT count(*) FROM longhaul.firing").await >= target).then_some(())
        })
        .await;
        if part < 3 {
            let acted: String = stage
                .value(
                    "SELECT w.name FROM longhaul.firing f JOIN longhaul.worker w ON w.id = f.fired_by
                      ORDER BY f.due_at DESC LIMIT 1",
                )
                .await;
            let at = processes.iter().position(|(name, _)| *name == acted).expect("one that runs");
            processes.remove(at).1.kill().await;
        }
    }
    let (_, last) = processes.remove(0);
    assert_eq!(last.terminate().await, Some(0));
    let each_once: bool = stage
        .value(
            "SELECT count(*) = count(DISTINCT due_at)
                    AND count(*) = extract(epoch FROM max(due_at) - min(due_at))::bigint + 1
                    AND count(*) = (SELECT count(*) FROM longhaul.task)
               FROM longhaul.firing",
        )
        .await;
    assert!(each_once, "every second from the first to the last has one task");
}
