//! What a login can do with PostgreSQL's advisory locks, which everyone who may connect can take.

use longhaul_tests::{Application, Stage, quick_worker};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection, PgConnection};

async fn hold(connection: &mut PgConnection, how: &str, lock: &str) {
    let sql = format!("SELECT {how}(hashtextextended('{lock}', 0))::text");
    sqlx::query(AssertSqlSafe(sql)).execute(connection).await.expect("the lock");
}

/// Starts a task and lets it end.
async fn succeeds(stage: &Stage, more: Value) -> Value {
    let mut request = json!({"Type": "Reindex", "Parameters": {}});
    request.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    let ended = stage.ended(&stage.start(&request).await).await;
    assert_eq!(ended["State"], "Succeeded", "{ended}");
    ended
}

/// It makes notifications needless, or workers look more often; no task is slept through.
#[tokio::test]
async fn whoever_holds_an_idle_lock_stops_no_task() {
    let stage = Stage::new().await;
    let application = Application::make(&stage.pool, stage.database_url()).await;
    for url in [&stage.logins().reader, &application.url] {
        let mut connection = PgConnection::connect(url).await.expect("the login works");
        hold(&mut connection, "pg_advisory_lock", "longhaul.idle:default").await;
        let worker = stage.worker(quick_worker()).await;
        succeeds(&stage, json!({})).await;
        // Workers that rely on the lock are not told that it is gone.
        hold(&mut connection, "pg_advisory_lock_shared", "longhaul.idle:default").await;
        hold(&mut connection, "pg_advisory_unlock", "longhaul.idle:default").await;
        succeeds(&stage, json!({})).await;
        worker.stop().await;
        connection.close().await.expect("closed");
    }
    application.remove(&stage.pool).await;
}

/// Its session is found, whoever looks.
#[tokio::test]
async fn whoever_holds_the_lock_of_the_follower_is_found() {
    let stage = Stage::new().await;
    let found = async || {
        let (status, body) = stage.get("/api/findings").await;
        assert_eq!(status, 200, "{body}");
        let findings = body["Findings"].as_array().expect("findings").clone();
        findings.into_iter().filter(|finding| finding["Check"] == "locks").collect::<Vec<Value>>()
    };
    assert_eq!(found().await[0]["Level"], "Ok");
    let mut reader = PgConnection::connect(&stage.logins().reader).await.expect("the login works");
    hold(&mut reader, "pg_advisory_lock", "longhaul.follow").await;
    // A queue has a row once it was changed.
    sqlx::query("SELECT longhaul.set_queue('default', paused => false)").execute(&stage.pool).await.expect("a queue");
    hold(&mut reader, "pg_advisory_lock", "longhaul.admit:default").await;
    let findings = found().await;
    assert_eq!(findings.len(), 2, "{findings:?}");
    for finding in findings {
        assert_eq!(finding["Level"], "Problem");
        assert!(finding["Says"].as_str().is_some_and(|says| says.contains("test_longhaul_reader")), "{finding}");
    }
}

/// The statement of docs/database-roles.md.
fn withdrawal() -> String {
    let page = include_str!("../../docs/database-roles.md");
    let section = page.split("\n## Advisory locks\n").nth(1).expect("the section");
    let code = section.split("```sql\n").nth(1).and_then(|rest| rest.split("```").next());
    code.expect("the statement").to_owned()
}

#[tokio::test]
async fn where_advisory_locks_are_withdrawn_nobody_else_takes_ours_and_all_works() {
    let stage = Stage::new().await;
    let application = Application::make(&stage.pool, stage.database_url()).await;
    sqlx::raw_sql(AssertSqlSafe(withdrawal())).execute(&stage.pool).await.expect("withdrawn");
    for url in [&stage.logins().reader, &stage.logins().tenant_reader, &application.url] {
        let mut connection = PgConnection::connect(url).await.expect("the login works");
        for name in ["", "try_"] {
            for kind in ["lock", "lock_shared", "xact_lock", "xact_lock_shared"] {
                let sql = format!("SELECT pg_{name}advisory_{kind}(hashtextextended('longhaul.follow', 0))::text");
                let refused = sqlx::query(AssertSqlSafe(sql.clone())).execute(&mut connection).await.expect_err(&sql);
                let code = refused.as_database_error().and_then(|error| error.code().map(|code| code.into_owned()));
                assert_eq!(code.as_deref(), Some("42501"), "{url}: {sql}");
            }
        }
    }

    let worker = stage.worker(quick_worker()).await;
    let first = succeeds(&stage, json!({})).await;
    succeeds(&stage, json!({"After": [first["Id"]]})).await;
    let limits = json!({"MaxRunning": 1});
    let request = stage.http.patch(format!("{}/api/queues/default", stage.base_url)).json(&limits);
    assert_eq!(request.send().await.expect("an answer").status(), 200);
    let one = stage.start(&json!({"Type": "Reindex", "Parameters": {}, "DelaySeconds": 3600})).await;
    let after = stage.start(&json!({"Type": "Reindex", "Parameters": {}, "After": [one["Id"]]})).await;
    let address = one["Self"].as_str().expect("an address");
    assert_eq!(stage.http.delete(address).send().await.expect("an answer").status(), 200);
    assert_eq!(stage.ended(&after).await["State"], "Cancelled");
    let retry = stage.http.post(format!("{address}/retry"));
    assert_eq!(retry.send().await.expect("an answer").status(), 202);
    assert_eq!(stage.ended(&after).await["State"], "Succeeded");

    // From SQL, as an application.
    sqlx::query("SELECT longhaul.grant_types($1, 'Reindex')")
        .bind(&application.name)
        .execute(&stage.pool)
        .await
        .expect("granted");
    let mut connection = PgConnection::connect(&application.url).await.expect("the login works");
    let id: String =
        sqlx::query_scalar("SELECT longhaul.enqueue('Reindex')").fetch_one(&mut connection).await.expect("stored");
    let address = json!({"Self": format!("{}/api/backgroundtask/{id}", stage.base_url)});
    assert_eq!(stage.ended(&address).await["State"], "Succeeded");
    worker.stop().await;
    connection.close().await.expect("closed");
    application.remove(&stage.pool).await;
}
