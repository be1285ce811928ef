//! Who cancelled what, where a task ends because another was cancelled.

use longhaul_tests::{Application, Someone, Stage, keys_only, quick_worker, shipped, until};
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};

use crate::cascades::{START, batch, in_state, stage};

fn id(path: &str) -> String {
    path.rsplit('/').next().expect("an id").to_owned()
}

/// Starts a task that waits for another.
async fn after(who: &Someone<'_>, path: &str, if_failed: &str) -> String {
    let dependency = json!({"Task": id(path), "IfFailed": if_failed});
    who.started(&json!({"Type": "Item", "After": [dependency]})).await
}

/// Who cancelled this task, through which, and how it ended if it was not cancelled itself.
async fn cancelled_by(stage: &Stage, path: &str) -> Vec<(String, Option<String>, Option<String>)> {
    sqlx::query_as(
        "SELECT who, details ->> 'Through', details ->> 'State' FROM longhaul.audit
          WHERE deed = 'cancelTask' AND target = $1 ORDER BY number",
    )
    .bind(id(path))
    .fetch_all(&stage.pool)
    .await
    .expect("the audit")
}

fn entry(who: &str, through: Option<&str>, state: Option<&str>) -> Vec<(String, Option<String>, Option<String>)> {
    vec![(who.to_owned(), through.map(id), state.map(str::to_owned))]
}

#[tokio::test]
async fn whoever_ends_a_task_of_another_by_cancelling_what_it_waits_for_is_written_down() {
    let stage = stage().await;
    let (low, admin) = (stage.someone("low", &[START]).await, stage.someone("admin", &["*"]).await);
    let first = low.started(&json!({"Type": "Item", "DelaySeconds": 3600})).await;
    let foreign = after(&admin, &first, "Cancel").await;
    let failing = after(&admin, &first, "Fail").await;
    let behind = after(&admin, &failing, "Cancel").await;
    let running_all_the_same = after(&admin, &first, "Run").await;
    assert_eq!(low.ask("DELETE", &first, None).await.0, 200);
    for (path, state) in [(&foreign, "Cancelled"), (&failing, "Failed"), (&behind, "Cancelled")] {
        in_state(&stage, &admin, path, state).await;
    }
    assert_eq!(cancelled_by(&stage, &first).await, entry("key:low", None, None));
    assert_eq!(cancelled_by(&stage, &foreign).await, entry("key:low", Some(&first), None));
    assert_eq!(cancelled_by(&stage, &failing).await, entry("key:low", Some(&first), Some("Failed")));
    assert_eq!(cancelled_by(&stage, &behind).await, entry("key:low", Some(&failing), None));
    assert_eq!(cancelled_by(&stage, &running_all_the_same).await, []);
    // As whoever owns it finds it.
    let (status, page) = admin.ask("GET", &format!("/api/audit?target={}", id(&foreign)), None).await;
    assert_eq!(status, 200, "{page}");
    assert_eq!((&page["Items"][0]["Who"], &page["Items"][0]["Address"]), (&json!("key:low"), &json!("127.0.0.1")));
}

#[tokio::test]
async fn what_ends_because_a_task_failed_by_itself_is_nobody_s_deed() {
    let stage = stage().await;
    let (low, admin) = (stage.someone("low", &[START]).await, stage.someone("admin", &["*"]).await);
    let first = low.started(&json!({"Type": "Item", "DelaySeconds": 3600})).await;
    let foreign = after(&admin, &first, "Cancel").await;
    // Cancelled and run again: what was done before is no cause any more.
    assert_eq!(low.ask("DELETE", &first, None).await.0, 200);
    in_state(&stage, &admin, &foreign, "Cancelled").await;
    assert_eq!(admin.ask("POST", &format!("{first}/retry"), None).await.0, 202);
    in_state(&stage, &admin, &foreign, "Queued").await;
    for sql in [
        "DELETE FROM longhaul.ready",
        "UPDATE longhaul.task SET state = 'Failed', attempt = 1, finished_at = now(), error = '{\"code\": \"x\"}'
          WHERE state = 'Queued' AND id NOT IN (SELECT task_id FROM longhaul.dependency)",
        "SELECT longhaul.end_tasks(ARRAY(SELECT id FROM longhaul.task WHERE state = 'Failed'))",
    ] {
        sqlx::query(sql).execute(&stage.pool).await.expect(sql);
    }
    in_state(&stage, &admin, &foreign, "Cancelled").await;
    assert_eq!(cancelled_by(&stage, &foreign).await, entry("key:low", Some(&first), None), "once, and not again");
}

#[tokio::test]
async fn whoever_cancels_a_part_of_a_batch_cancels_the_others_where_it_says_so() {
    let stage = stage().await;
    let (owner, admin) = (stage.someone("owner", &[START]).await, stage.someone("admin", &["*"]).await);
    let tasks = json!([{"Type": "Item"}, {"Type": "Item"}, {"Type": "Item"}]);
    let request = json!({"Parent": {"IfFailed": "Cancel"}, "Tasks": tasks});
    let (status, body) = owner.ask("POST", "/api/backgroundtasks/batch", Some(&request)).await;
    assert_eq!(status, 202, "{body}");
    let path = |body: &Value| format!("/api/backgroundtask/{}", body["Id"].as_str().expect("an id"));
    let parts: Vec<String> = body["Tasks"].as_array().expect("tasks").iter().map(path).collect();
    assert_eq!(admin.ask("DELETE", &parts[1], None).await.0, 200);
    for part in &parts {
        in_state(&stage, &admin, part, "Cancelled").await;
    }
    assert_eq!(cancelled_by(&stage, &parts[1]).await, entry("key:admin", None, None));
    for part in [&parts[0], &parts[2]] {
        assert_eq!(cancelled_by(&stage, part).await, entry("key:admin", Some(&parts[1]), None));
    }
    in_state(&stage, &admin, &path(&body["Parent"]), "Failed").await;

    // Each once, with the parent.
    let (parent, ids) = batch(&owner).await;
    assert_eq!(owner.ask("DELETE", &parent, None).await.0, 202);
    in_state(&stage, &owner, &parent, "Cancelled").await;
    for part in ids.iter().filter(|part| **part != id(&parent)) {
        assert_eq!(cancelled_by(&stage, part).await, entry("key:owner", Some(&parent), None));
    }
}

#[tokio::test]
async fn an_application_that_cancels_is_written_down_for_what_waited_and_nobody_where_nobody_has_a_name() {
    let stage = stage().await;
    let admin = stage.someone("admin", &["*"]).await;
    let application = Application::make(&stage.pool, stage.database_url()).await;
    sqlx::query("SELECT longhaul.grant_types($1, 'Item')")
        .bind(&application.name)
        .execute(&stage.pool)
        .await
        .expect("granted");
    let mut connection = PgConnection::connect(&application.url).await.expect("the login works");
    let first: String = sqlx::query_scalar("SELECT longhaul.enqueue('Item', run_at => now() + interval '1 h')")
        .fetch_one(&mut connection)
        .await
        .expect("a task");
    let foreign = after(&admin, &first, "Cancel").await;
    let said: String = sqlx::query_scalar("SELECT longhaul.cancel(right($1, 36)::uuid)")
        .bind(&first)
        .fetch_one(&mut connection)
        .await
        .expect("cancelled");
    assert_eq!(said, "Cancelled");
    in_state(&stage, &admin, &foreign, "Cancelled").await;
    let who = format!("sql:{}", application.name);
    assert_eq!(cancelled_by(&stage, &foreign).await, entry(&who, Some(&first), None));

    // The owner of the database is not asked for a name.
    let second = admin.started(&json!({"Type": "Item", "DelaySeconds": 3600})).await;
    let waiting = after(&admin, &second, "Cancel").await;
    sqlx::query("SELECT longhaul.cancel(right($1, 36)::uuid)")
        .bind(id(&second))
        .execute(&stage.pool)
        .await
        .expect("cancelled");
    in_state(&stage, &admin, &waiting, "Cancelled").await;
    assert_eq!(cancelled_by(&stage, &waiting).await, []);
    application.remove(&stage.pool).await;
}

#[tokio::test]
async fn deleting_a_project_ends_no_task() {
    let stage = Stage::builder(shipped::registry()).authenticators(keys_only).start().await;
    let (owner, admin) = (stage.someone("owner", &["*"]).await, stage.someone("admin", &["*"]).await);
    sqlx::query("INSERT INTO records.project (id, name) VALUES ('00000000-0000-0000-0000-000000000007', 'a project')")
        .execute(&stage.pool)
        .await
        .expect("a project");
    let of_project = json!({"ProjectId": "00000000-0000-0000-0000-000000000007"});
    let reindex = json!({"Type": "Reindex", "Parameters": of_project, "DelaySeconds": 3600});
    let open = owner.started(&reindex).await;
    let waiting = owner.started(&json!({"Type": "Reindex", "Parameters": of_project, "After": [id(&open)]})).await;
    let _worker = stage.worker(quick_worker()).await;
    let deletion = admin.started(&json!({"Type": "DeleteProject", "Parameters": of_project})).await;
    until("the project to be gone", async || {
        let (_, body) = admin.ask("GET", &deletion, None).await;
        assert_ne!(body["State"], "Failed", "{body}");
        (body["State"] == "Succeeded").then_some(())
    })
    .await;
    for (path, state) in [(&open, "Scheduled"), (&waiting, "Queued")] {
        assert_eq!(owner.ask("GET", path, None).await.1["State"], state, "{path}");
        assert_eq!(cancelled_by(&stage, path).await, []);
    }
}
