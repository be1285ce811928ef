//! The same from SQL.

use longhaul_tests::quick_worker;
use serde_json::json;

use super::scene::{nothing_is_left, stage};

#[tokio::test]
async fn a_batch_and_what_waits_for_it_are_stored_in_the_callers_transaction() {
    let stage = stage().await;
    let mut transaction = stage.pool.begin().await.expect("a transaction");
    let batch: String = sqlx::query_scalar(
        "SELECT longhaul.enqueue_batch('Piece', array_agg(jsonb_build_object('number', n))) FROM generate_series(1, 2000) n",
    )
    .fetch_one(&mut *transaction)
    .await
    .expect("the batch is stored");
    let after: String = sqlx::query_scalar("SELECT longhaul.enqueue_after(ARRAY[$1], 'Gather', '{}', 'Run')")
        .bind(&batch)
        .fetch_one(&mut *transaction)
        .await
        .expect("the task is stored");
    assert_eq!(stage.value::<i64>("SELECT count(*) FROM longhaul.task").await, 0, "before the commit");
    transaction.commit().await.expect("a commit");
    let _worker = stage.worker(quick_worker()).await;
    let ended = stage.ended(&json!({"Self": format!("/api/backgroundtask/{after}")})).await;
    assert_eq!(
        ended["Result"],
        json!([{"Type": "Batch", "State": "Succeeded",
                "Result": {"Children": 2000, "Succeeded": 2000, "Failed": 0, "Cancelled": 0}}])
    );
    nothing_is_left(&stage).await;
}

#[tokio::test]
async fn what_is_wrong_is_said_and_stores_nothing() {
    let stage = stage().await;
    for (sql, message) in [
        (
            "SELECT longhaul.enqueue_batch('Pieces', ARRAY['{}'::jsonb])",
            "'Pieces' is not a task type; the known ones are",
        ),
        ("SELECT longhaul.enqueue_batch('Piece', '{}')", "an array of at least one JSON object"),
        ("SELECT longhaul.enqueue_batch('Piece', ARRAY['[]'::jsonb])", "an array of at least one JSON object"),
        ("SELECT longhaul.enqueue_batch('Piece', ARRAY['{}'::jsonb], 'Stop')", "Continue, Cancel or Ignore"),
        ("SELECT longhaul.enqueue_after('{}', 'Piece')", "at least one task to wait for"),
        (
            "SELECT longhaul.enqueue_after(ARRAY['piece_01900000-0000-7000-8000-000000000000'], 'Piece')",
            "there is no task 01900000",
        ),
        (
            "SELECT longhaul.enqueue_after(ARRAY['piece_01900000-0000-7000-8000-000000000000'], 'Piece', '{}', 'x')",
            "Cancel, Fail or Run",
        ),
    ] {
        let error = sqlx::raw_sql(sql).execute(&stage.pool).await.expect_err(sql);
        assert!(error.to_string().contains(message), "{sql}: {error}");
    }
    assert_eq!(stage.value::<i64>("SELECT count(*) FROM longhaul.task").await, 0);
}
