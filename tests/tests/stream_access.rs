//! Streams end with what permitted them.

use longhaul_api::access::keys::REVOKED_WITHIN;
use longhaul_model::Registry;
use longhaul_model::store::api_key;
use longhaul_tests::{Lateness, SERVER_SECRET, Someone, Stage, end_of, keys_only, make_key, until};
use serde_json::json;

use crate::strangers::{Item, body, client, log_in, with_login};

#[tokio::test]
async fn a_stream_ends_with_what_permitted_it() {
    let stage = with_login(Stage::builder(Registry::new().with::<Item>())).start().await;
    let owner = make_key(&stage.pool, "owner", &["Items/Start"], None, Some(SERVER_SECRET)).await;
    let open = async |name: &str, value: String, path: &str| {
        let request = client().get(format!("{}{path}", stage.base_url)).header(name, value);
        let mut stream = request.send().await.expect("an answer");
        assert_eq!(stream.status(), 200);
        assert!(stream.chunk().await.expect("a first state").is_some());
        stream
    };
    let request = client().post(format!("{}/api/backgroundtasks", stage.base_url)).bearer_auth(owner.expose());
    let started = request.json(&json!({"Type": "Item", "Parameters": {"number": 1}})).send().await.expect("an answer");
    let path = format!("/api/backgroundtask/{}/events", body(started).await["Id"].as_str().expect("an id"));
    let run = async |sql: &'static str| {
        sqlx::query(sql).execute(&stage.pool).await.expect(sql);
    };
    let bearer = |key: &longhaul_api::access::secret::Secret| format!("Bearer {}", key.expose());
    let viewer =
        async |name: &str| make_key(&stage.pool, name, &["Administration/Tasks/View"], None, Some(SERVER_SECRET)).await;
    let lateness = Lateness::measured(&stage);
    let mut took = Vec::new();

    let (revoked, expired, weaker) = (viewer("revoked").await, viewer("expired").await, viewer("weaker").await);
    let stream = open("authorization", bearer(&revoked), &path).await;
    api_key::revoke(&stage.pool, "revoked", None).await.expect("revoked");
    took.push(("a key that is revoked", end_of(stream).await));
    let revoked = viewer("revoked-with-log").await;
    let stream = open("authorization", bearer(&revoked), &format!("{path}?log=true")).await;
    api_key::revoke(&stage.pool, "revoked-with-log", None).await.expect("revoked");
    took.push(("a key that is revoked, of a stream with the log", end_of(stream).await));
    let stream = open("authorization", bearer(&expired), &path).await;
    run("UPDATE longhaul.api_key SET expires_at = now() WHERE name = 'expired'").await;
    took.push(("a key that expires", end_of(stream).await));
    let stream = open("authorization", bearer(&weaker), &path).await;
    run("UPDATE longhaul.api_key SET permissions = '{}' WHERE name = 'weaker'").await;
    took.push(("a permission that is withdrawn", end_of(stream).await));
    let cookie = log_in(&stage, owner.expose()).await;
    let stream = open("cookie", cookie.clone(), &path).await;
    let request = client().post(format!("{}/logout", stage.base_url)).header("sec-fetch-site", "same-origin");
    assert_eq!(request.header("cookie", &cookie).send().await.expect("an answer").status(), 303);
    took.push(("a session that is over", end_of(stream).await));

    // One that was begun with the task, by POST.
    let mut stream = client()
        .post(format!("{}/api/backgroundtasks", stage.base_url))
        .bearer_auth(owner.expose())
        .json(&json!({"Type": "Item", "Parameters": {"number": 1}, "StreamProgress": true}))
        .send()
        .await
        .expect("an answer");
    assert!(stream.chunk().await.expect("a first state").is_some());
    api_key::revoke(&stage.pool, "owner", None).await.expect("revoked");
    took.push(("a POST's key that is revoked", end_of(stream).await));
    let late = lateness.most().await;
    for (what, took) in took {
        println!("{what}: the stream ended after {took:?}; the machine was {late:?} late");
        // A stream asks, the database is asked, and the answer ends.
        assert!(took < REVOKED_WITHIN + 3 * late, "{what}: {took:?}, and the machine was {late:?} late");
    }
}

#[tokio::test]
async fn a_caller_has_so_many_streams_and_no_more() {
    let builder = Stage::builder(Registry::new().with::<Item>()).authenticators(keys_only);
    let stage = builder.api(|settings| settings.limits.streams = 2).start().await;
    let (one, other) = (stage.someone("one", &["*"]).await, stage.someone("other", &["*"]).await);
    let task = one.started(&json!({"Type": "Item", "Parameters": {"number": 1}})).await;
    let open = async |who: &Someone<'_>| who.request("GET", &format!("{task}/events")).send().await.expect("an answer");
    let (first, second) = (open(&one).await, open(&one).await);
    assert_eq!((first.status().as_u16(), second.status().as_u16()), (200, 200));
    let refused = open(&one).await;
    assert_eq!(refused.status(), 429);
    assert!(refused.headers().contains_key("retry-after"));
    assert_eq!(open(&other).await.status(), 200);
    drop(first);
    until("the place to be free", async || (open(&one).await.status() == 200).then_some(())).await;
}
