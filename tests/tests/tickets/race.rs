//! Many who link the same ticket to the same step at once.

use longhaul_tests::{mortal_worker, quick_worker};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::scene::*;

const CALLERS: usize = 200;

/// POSTs from all callers at once; returns the accepted bodies. All others must
/// have been told that the ticket is linked.
async fn post_all(scene: &Scene) -> Vec<Value> {
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        let (http, url) = (scene.stage.http.clone(), format!("{}/api/backgroundtasks", scene.stage.base_url));
        let request =
            json!({"Type": "LinkTicketToStepResult", "Parameters": {"StepResultId": STEP_RESULT, "Key": "TST-123"}});
        callers.spawn(async move {
            let response = http.post(url).json(&request).send().await.expect("an answer");
            (response.status().as_u16(), response.json::<Value>().await.expect("JSON"))
        });
    }
    let mut accepted = Vec::new();
    for (status, body) in callers.join_all().await {
        match status {
            202 => accepted.push(body),
            500 => assert_eq!(body["code"], "already-linked", "{body}"),
            _ => panic!("{status}: {body}"),
        }
    }
    accepted
}

async fn assert_one_winner(scene: &Scene, accepted: &[Value]) {
    let mut winners = 0;
    for body in accepted {
        let ended = scene.stage.ended(body).await;
        match ended["State"].as_str() {
            Some("Succeeded") => {
                assert!(ended["IncidentId"].is_string());
                winners += 1;
            }
            Some("Failed") => {
                assert_eq!(ended["Error"]["code"], "already-linked", "{ended}");
                assert_eq!(ended["Attempt"], 1, "no attempt is wasted on it");
            }
            _ => panic!("{ended}"),
        }
    }
    assert_eq!(winners, 1, "of {} accepted", accepted.len());
    scene.assert_incidents(1, 1).await;
}

#[tokio::test]
async fn of_200_accepted_at_once_exactly_one_succeeds() {
    let scene = Scene::new().await;
    let accepted = post_all(&scene).await;
    assert_eq!(accepted.len(), CALLERS, "nothing is linked before a worker runs");
    let _workers = [scene.stage.worker(quick_worker()).await, scene.stage.worker(quick_worker()).await];
    assert_one_winner(&scene, &accepted).await;
}

#[tokio::test]
async fn of_200_callers_exactly_one_succeeds_while_workers_run() {
    let scene = Scene::new().await;
    let _workers = [scene.stage.worker(quick_worker()).await, scene.stage.worker(quick_worker()).await];
    let accepted = post_all(&scene).await;
    assert_one_winner(&scene, &accepted).await;
}

#[tokio::test]
async fn a_worker_that_dies_after_the_link_does_not_take_its_own_link_for_anothers() {
    let scene = Scene::new().await;
    let stage = &scene.stage;
    // The link is committed, but the end of the attempt can't be stored.
    sqlx::raw_sql(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
             'BEGIN PERFORM pg_sleep(3600); RETURN NEW; END';
         CREATE TRIGGER refuse BEFORE UPDATE ON longhaul.task FOR EACH ROW
             WHEN (NEW.state = 'Succeeded') EXECUTE FUNCTION refuse()",
    )
    .execute(&stage.pool)
    .await
    .expect("a trigger");
    let accepted = stage
        .start(
            &json!({"Type": "LinkTicketToStepResult", "Parameters": {"StepResultId": STEP_RESULT, "Key": "TST-123"}}),
        )
        .await;
    let doomed = stage.worker(mortal_worker()).await;
    longhaul_tests::until("the link", async || {
        let links: i64 = stage.value("SELECT count(*) FROM records.incident_link").await;
        (links == 1).then_some(())
    })
    .await;
    doomed.kill().await;
    sqlx::raw_sql(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
          WHERE datname = current_database() AND pid <> pg_backend_pid() AND wait_event = 'PgSleep'",
    )
    .execute(&stage.pool)
    .await
    .expect("ended");
    sqlx::raw_sql("DROP TRIGGER refuse ON longhaul.task").execute(&stage.pool).await.expect("no trigger");
    let _worker = stage.worker(quick_worker()).await;
    let ended = stage.ended(&accepted).await;
    assert_eq!(ended["State"], "Succeeded", "{ended}");
    assert!(ended["IncidentId"].is_string(), "{ended}");
    scene.assert_incidents(1, 1).await;
}
