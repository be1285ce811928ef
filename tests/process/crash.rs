//! `kill -9` of the only worker in the middle of a Reindex.

use longhaul_tests::{Stage, fill_project, until};
use serde_json::{Value, json};
use uuid::{Uuid, uuid};

use crate::program::Process;

const PROJECT: Uuid = uuid!("c651ed19-5375-475a-a539-9f6401467130");
const ENTITIES: i64 = 40_000;

async fn copy_index(stage: &Stage, into: &str) {
    let index_id: i64 = stage.value("SELECT index_id FROM search.index").await;
    let sql = format!("CREATE TABLE {into} AS SELECT entity_id, tsv FROM search.document_{index_id}");
    sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&stage.pool).await.expect("a copy");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_reindex_goes_on_from_its_checkpoint_and_ends_as_if_undisturbed() {
    let stage = Stage::new().await;
    fill_project(&stage.pool, PROJECT, ENTITIES).await;
    let work = ["work", "--heartbeat", "0.5"];
    let first = Process::start(&work, stage.database_url());
    let request = json!({"Type": "Reindex", "Parameters": {"ProjectId": PROJECT}});
    let started = stage.start(&request).await;
    let address = started["Self"].as_str().expect("an address");
    let before = until("the middle of the Reindex", async || {
        let (_, body) = stage.get(address).await;
        assert_eq!(body["Complete"], false, "killed too late: {body}");
        let processed = body["ProcessedElements"].as_i64().expect("a number");
        (processed > ENTITIES / 4).then_some(body)
    })
    .await;
    assert_eq!(before["State"], "Running");
    first.kill().await;

    // What is stored now is what a new worker starts from.
    let checkpoint: Value = stage.value("SELECT checkpoint FROM longhaul.tasks").await;
    let done = checkpoint["building"]["documents"].as_i64().expect("a checkpoint");
    assert!(done > 0 && done < ENTITIES, "{checkpoint}");
    let index_id = checkpoint["building"]["index_id"].as_i64().expect("an index");
    let sql = format!("SELECT count(*) FROM search.document_{index_id}");
    let kept: i64 = sqlx::query_scalar(sqlx::AssertSqlSafe(sql)).fetch_one(&stage.pool).await.expect("a count");
    assert_eq!(kept, done, "checkpoint and documents were committed together");

    let second = Process::start(&work, stage.database_url());
    let ended = until("the Reindex to end", async || {
        let (_, body) = stage.get(address).await;
        if body["State"] == "Running" && body["Attempt"] == 2 {
            assert!(body["ProcessedElements"].as_i64().expect("a number") > done, "it did not start over: {body}");
        }
        (body["Complete"] == true).then_some(body)
    })
    .await;
    assert_eq!((&ended["State"], &ended["Attempt"]), (&json!("Succeeded"), &json!(2)));
    assert_eq!(ended["Result"], json!({"Projects": 1, "Documents": ENTITIES}));
    assert_eq!(stage.value::<i64>("SELECT index_id FROM search.index").await, index_id, "the same index was finished");

    // No batch was done twice: nothing forbids doubles in the table.
    copy_index(&stage, "disturbed").await;
    let counts: (i64, i64) = sqlx::query_as("SELECT count(*), count(DISTINCT entity_id) FROM disturbed")
        .fetch_one(&stage.pool)
        .await
        .expect("counts");
    assert_eq!(counts, (ENTITIES, ENTITIES));

    let undisturbed = stage.start(&request).await;
    assert_eq!(stage.ended(&undisturbed).await["Attempt"], 1);
    copy_index(&stage, "undisturbed").await;
    let different: i64 = stage
        .value(
            "SELECT count(*) FROM disturbed FULL JOIN undisturbed USING (entity_id)
              WHERE disturbed.tsv IS DISTINCT FROM undisturbed.tsv",
        )
        .await;
    assert_eq!(different, 0);
    assert_eq!(second.terminate().await, Some(0));
}
