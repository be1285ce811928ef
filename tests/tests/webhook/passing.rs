//! A delivery that meets errors of the database which pass.

use super::*;

/// Writing down what came of a message meets each of these once, and so does the end of the task
/// that the message tells of.
#[tokio::test]
async fn errors_that_pass_spend_no_attempt_of_a_delivery_and_lose_none() {
    let server = receiver(ResponseTemplate::new(200)).await;
    let stage = stage(settings()).await;
    crate::passing_errors::fails_at_first(&stage, "records.webhook_attempt").await;
    crate::passing_errors::fails_at_first(&stage, "records.webhook_delivery").await;
    let webhook = subscribe(&stage, json!({"Url": server.uri()})).await;
    let worker = stage.worker(quick_worker()).await;
    let task = stage.start(&json!({"Type": "Reindex", "Parameters": {}})).await;
    assert_eq!(stage.ended(&task).await["State"], "Succeeded", "a success stays one");
    let log = delivery(&stage, &webhook, "Delivered").await;
    assert_eq!(log["Attempts"].as_array().map(Vec::len), Some(1), "{log}");
    // At least once, and always as the same message.
    let requests = received(&server, 1).await;
    assert!(requests.iter().all(|request| header(request, "webhook-id") == header(&requests[0], "webhook-id")));
    let spent = "SELECT count(*) FROM longhaul.task WHERE attempt <> 1 OR state <> 'Succeeded'";
    until("the delivery's task to end", async || (stage.value::<i64>(spent).await == 0).then_some(())).await;
    assert_eq!(stage.value::<i64>("SELECT count(*) FROM longhaul.attempt_error").await, 0);
    for met in ["records.webhook_attempt", "records.webhook_delivery"] {
        assert!(crate::passing_errors::met(&stage, met).await > 3, "{met} met each error");
    }
    worker.stop().await;
}
