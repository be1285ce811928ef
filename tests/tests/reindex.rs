//! Reindex: complete, atomic, harmless when doubled, and compact when asked.

use longhaul_tests::{Stage, fill_project, quick_worker, until};
use serde_json::{Value, json};
use uuid::{Uuid, uuid};

const ONE: Uuid = uuid!("11111111-1111-4111-8111-111111111111");
const TWO: Uuid = uuid!("22222222-2222-4222-8222-222222222222");

async fn reindex(stage: &Stage, parameters: Value) -> Value {
    let started = stage.start(&json!({"Type": "Reindex", "Parameters": parameters})).await;
    let ended = stage.ended(&started).await;
    assert_eq!(ended["State"], "Succeeded", "{ended}");
    ended
}

async fn hits(stage: &Stage, query: &str) -> i64 {
    let (status, body) = stage.get(&format!("/api/search?q={query}")).await;
    assert_eq!(status, 200, "{body}");
    body["Total"].as_i64().expect("a total")
}

/// Documents in the index in use, and how many different entities they are.
async fn documents(stage: &Stage, project: Uuid) -> (i64, i64) {
    let index_id: i64 = sqlx::query_scalar("SELECT index_id FROM search.index WHERE project_id = $1")
        .bind(project)
        .fetch_one(&stage.pool)
        .await
        .expect("an index");
    let sql = format!("SELECT count(*), count(DISTINCT entity_id) FROM search.document_{index_id}");
    sqlx::query_as(sqlx::AssertSqlSafe(sql)).fetch_one(&stage.pool).await.expect("counts")
}

#[tokio::test]
async fn every_entity_is_found_by_a_word_of_its_own_and_counts_are_those_of_the_records() {
    let stage = Stage::new().await;
    let worker = stage.worker(quick_worker()).await;
    fill_project(&stage.pool, ONE, 5_001).await;
    let ended = reindex(&stage, json!({"ProjectId": ONE})).await;
    assert_eq!(ended["Result"], json!({"Projects": 1, "Documents": 5_001}));
    assert_eq!(documents(&stage, ONE).await, (5_001, 5_001));
    let index_id: i64 = stage.value("SELECT index_id FROM search.index").await;
    // A word of its own finds the entity, and with relationships the four that
    // are related to it, in both directions, by its name.
    let sql = format!(
        "SELECT count(*) FROM records.entity e
          WHERE (SELECT count(*) FROM search.document_{index_id} d
                  WHERE d.tsv @@ (substring(e.name FROM 'own[0-9]+') || ':A')::tsquery) <> 1
             OR (SELECT count(*) FROM search.document_{index_id} d
                  WHERE d.tsv @@ substring(e.name FROM 'own[0-9]+')::tsquery)
                <> (SELECT 1 + count(DISTINCT x.id) FROM (
                       SELECT target_id AS id FROM records.relationship WHERE source_id = e.id AND target_id <> e.id
                       UNION SELECT source_id FROM records.relationship WHERE target_id = e.id AND source_id <> e.id) x)"
    );
    let wrong: i64 = sqlx::query_scalar(sqlx::AssertSqlSafe(sql)).fetch_one(&stage.pool).await.expect("a count");
    assert_eq!(wrong, 0);
    let (_, body) = stage.get(&format!("/api/search?q=own4711&project={ONE}&limit=1")).await;
    assert_eq!(body["Items"][0]["Key"], "TST-4711", "its own name weighs more than a relation's: {body}");
    worker.stop().await;
}

#[tokio::test]
async fn relationships_can_be_skipped() {
    let stage = Stage::new().await;
    let worker = stage.worker(quick_worker()).await;
    fill_project(&stage.pool, ONE, 100).await;
    reindex(&stage, json!({"SkipRelationships": true})).await;
    assert_eq!(hits(&stage, "own7").await, 1);
    reindex(&stage, json!({})).await;
    assert_eq!(hits(&stage, "own7").await, 5, "two relations in each direction");
    worker.stop().await;
}

#[tokio::test]
async fn what_is_too_long_to_be_indexed_whole_is_told_in_the_log() {
    let stage = Stage::new().await;
    let worker = stage.worker(quick_worker()).await;
    fill_project(&stage.pool, ONE, 20).await;
    sqlx::query(
        "UPDATE records.entity SET fields = jsonb_build_object('Text', repeat('early ', 170000) || 'late')
          WHERE key IN ('TST-3', 'TST-7')",
    )
    .execute(&stage.pool)
    .await
    .expect("long texts");
    let ended = reindex(&stage, json!({})).await;
    assert_eq!((hits(&stage, "early").await, hits(&stage, "late").await), (2, 0));
    let log = ended["Links"].as_array().and_then(|links| links.iter().find(|link| link["Rel"] == "Log"));
    let (_, log) = stage.get(log.expect("a link to the log")["Href"].as_str().expect("an address")).await;
    let mut keys: Vec<&str> = log["Items"]
        .as_array()
        .expect("items")
        .iter()
        .filter_map(|line| Some(line["Line"].as_str()?.split_once(" has more text")?.0.split_once(" (")?.0))
        .collect();
    keys.sort_unstable();
    assert_eq!((keys, &log["Items"][0]["Level"]), (vec!["TST-3", "TST-7"], &json!("Warn")));
    worker.stop().await;
}

#[tokio::test]
async fn all_projects_are_indexed_each_by_itself() {
    let stage = Stage::new().await;
    let worker = stage.worker(quick_worker()).await;
    fill_project(&stage.pool, ONE, 30).await;
    fill_project(&stage.pool, TWO, 50).await;
    let ended = reindex(&stage, json!({})).await;
    assert_eq!((&ended["Result"], &ended["TotalElements"]), (&json!({"Projects": 2, "Documents": 80}), &json!(81)));
    let (_, both) = stage.get("/api/search?q=entity&limit=100").await;
    assert_eq!((both["Total"].as_i64(), both["Items"].as_array().map(Vec::len)), (Some(80), Some(80)));
    let (_, two) = stage.get(&format!("/api/search?q=entity&project={TWO}")).await;
    assert_eq!(two["Total"], 50);
    worker.stop().await;
}

#[tokio::test]
async fn an_empty_project_and_no_project_at_all_succeed() {
    let stage = Stage::new().await;
    let worker = stage.worker(quick_worker()).await;
    let ended = reindex(&stage, json!({})).await;
    assert_eq!((&ended["TotalElements"], &ended["ProgressInPercent"]), (&json!(1), &json!(1.0)));
    sqlx::query("INSERT INTO records.project (id, name) VALUES ($1, 'empty')")
        .bind(ONE)
        .execute(&stage.pool)
        .await
        .expect("a project");
    reindex(&stage, json!({"ProjectId": ONE})).await;
    let (_, body) = stage.get(&format!("/api/search?q=x&project={ONE}")).await;
    assert_eq!((&body["Total"], body["IndexedAt"].is_string()), (&json!(0), true));
    worker.stop().await;
}

#[tokio::test]
async fn what_no_longer_exists_is_dropped_and_what_changed_is_new() {
    let stage = Stage::new().await;
    let worker = stage.worker(quick_worker()).await;
    fill_project(&stage.pool, ONE, 100).await;
    reindex(&stage, json!({"ProjectId": ONE, "SkipRelationships": true})).await;
    sqlx::raw_sql(
        "DELETE FROM records.entity WHERE key = 'TST-1'; UPDATE records.entity SET name = 'renamed' WHERE key = 'TST-2'",
    )
    .execute(&stage.pool)
    .await
    .expect("changes");
    reindex(&stage, json!({"ProjectId": ONE, "SkipRelationships": true})).await;
    assert_eq!((hits(&stage, "own1").await, hits(&stage, "own2").await, hits(&stage, "renamed").await), (0, 0, 1));
    assert_eq!(documents(&stage, ONE).await, (99, 99));
    worker.stop().await;
}

#[tokio::test]
async fn old_indexes_leave_nothing_behind() {
    let stage = Stage::new().await;
    let worker = stage.worker(quick_worker()).await;
    fill_project(&stage.pool, ONE, 10).await;
    for _ in 0..3 {
        reindex(&stage, json!({})).await;
    }
    let tables: i64 = stage
        .value("SELECT count(*) FROM pg_tables WHERE schemaname = 'search' AND tablename LIKE 'document\\_%'")
        .await;
    assert_eq!((tables, stage.value::<i64>("SELECT count(*) FROM search.build").await), (1, 0));
    worker.stop().await;
}

#[tokio::test]
async fn optimize_really_compacts() {
    let stage = Stage::new().await;
    let worker = stage.worker(quick_worker()).await;
    fill_project(&stage.pool, ONE, 12_000).await;
    let ended = reindex(&stage, json!({"Optimize": true})).await;
    let before = ended["Result"]["BytesBeforeOptimize"].as_i64().expect("bytes");
    let after = ended["Result"]["BytesAfterOptimize"].as_i64().expect("bytes");
    assert!(after < before * 9 / 10, "{before} bytes became {after}");
    let really: i64 = stage
        .value("SELECT pg_total_relation_size(('search.document_' || index_id)::regclass) FROM search.index")
        .await;
    assert_eq!(really, after, "what was told is what is there");
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn searches_never_see_half_an_index() {
    let stage = Stage::new().await;
    let worker = stage.worker(quick_worker()).await;
    fill_project(&stage.pool, ONE, 3_000).await;
    reindex(&stage, json!({"SkipRelationships": true})).await;
    let mut searches = 0;
    for _ in 0..3 {
        let started = stage.start(&json!({"Type": "Reindex", "Parameters": {"SkipRelationships": true}})).await;
        until("the Reindex to end, all entities being found meanwhile", async || {
            assert_eq!(hits(&stage, "entity").await, 3_000);
            searches += 1;
            let (_, body) = stage.get(started["Self"].as_str().expect("an address")).await;
            (body["State"] == "Succeeded").then_some(())
        })
        .await;
    }
    assert!(searches > 3, "{searches} searches ran beside the swaps");
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_reindexes_of_one_project_at_once_do_no_harm() {
    let stage = Stage::new().await;
    let worker = stage.worker(quick_worker()).await;
    fill_project(&stage.pool, ONE, 4_000).await;
    let mut started = Vec::new();
    for _ in 0..4 {
        started.push(stage.start(&json!({"Type": "Reindex", "Parameters": {"ProjectId": ONE}})).await);
    }
    for body in &started {
        assert_eq!(stage.ended(body).await["State"], "Succeeded");
    }
    assert_eq!(documents(&stage, ONE).await, (4_000, 4_000));
    assert_eq!(hits(&stage, "entity").await, 4_000);
    reindex(&stage, json!({"ProjectId": ONE})).await;
    let tables: i64 = stage
        .value("SELECT count(*) FROM pg_tables WHERE schemaname = 'search' AND tablename LIKE 'document\\_%'")
        .await;
    assert_eq!(tables, 1, "the later one cleaned up");
    worker.stop().await;
}

#[tokio::test]
async fn a_very_long_field_and_odd_texts_are_indexed() {
    let stage = Stage::new().await;
    let worker = stage.worker(quick_worker()).await;
    fill_project(&stage.pool, ONE, 3).await;
    let long: String = (0..400_000).map(|number| format!("w{number} ")).collect();
    sqlx::query("UPDATE records.entity SET fields = jsonb_build_object('Text', $1::text) WHERE key = 'TST-1'")
        .bind(&long)
        .execute(&stage.pool)
        .await
        .expect("a change");
    sqlx::query("UPDATE records.entity SET name = $1 WHERE key = 'TST-2'")
        .bind(format!("{} naïve Łódź 日本語 end2", "x".repeat(5_000)))
        .execute(&stage.pool)
        .await
        .expect("a change");
    reindex(&stage, json!({})).await;
    assert_eq!(hits(&stage, "end2").await.min(1), 1);
    assert_eq!(hits(&stage, "w1").await, 1);
    assert_eq!(hits(&stage, "%C5%82%C3%B3d%C5%BA").await.min(1), 1, "łódź");
    worker.stop().await;
}

#[tokio::test]
async fn hits_are_paged_without_gap_or_overlap() {
    let stage = Stage::new().await;
    let worker = stage.worker(quick_worker()).await;
    fill_project(&stage.pool, ONE, 55).await;
    reindex(&stage, json!({"SkipRelationships": true})).await;
    let mut seen = std::collections::HashSet::new();
    let mut next = Some(format!("{}/api/search?q=entity&project={ONE}&limit=20", stage.base_url));
    while let Some(address) = next {
        let (status, body) = stage.get(&address).await;
        assert_eq!((status, &body["Total"]), (200, &json!(55)));
        for item in body["Items"].as_array().expect("items") {
            assert!(seen.insert(item["Id"].to_string()), "twice: {item}");
        }
        next = body["Links"]
            .as_array()
            .expect("links")
            .iter()
            .find(|link| link["Rel"] == "Next")
            .map(|link| link["Href"].as_str().expect("an address").to_owned());
    }
    assert_eq!(seen.len(), 55);
    worker.stop().await;
}

#[tokio::test]
async fn generating_projects_does_not_queue_for_statistics() {
    let stage = Stage::new().await;
    let worker = stage.worker(quick_worker()).await;
    // Someone else gathers them, and takes long.
    let mut other = stage.pool.begin().await.expect("a transaction");
    sqlx::query("LOCK TABLE records.entity IN SHARE UPDATE EXCLUSIVE MODE").execute(&mut *other).await.expect("a lock");
    let request = json!({"Type": "GenerateTestProject", "Parameters": {"Entities": 10}});
    let started = stage.start(&request).await;
    assert_eq!(stage.ended(&started).await["State"], "Succeeded");
    other.rollback().await.expect("the lock goes");
    worker.stop().await;
}
