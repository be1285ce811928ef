//! How large what a request becomes may be; what it becomes in memory is in
//! `tests/process/memory.rs`.

use longhaul_tests::{Stage, fill_project, keys_only, quick_worker, shipped};
use serde_json::{Value, json};
use uuid::{Uuid, uuid};

const PROJECT: Uuid = uuid!("11111111-1111-4111-8111-111111111111");

#[tokio::test]
async fn a_report_becomes_so_many_bytes_of_the_database_for_each_of_its_own() {
    let stage = Stage::new().await;
    let _worker = stage.worker(quick_worker()).await;
    fill_project(&stage.pool, PROJECT, 1).await;
    let (long, cases) = ("n".repeat(1_000), "<testcase/>".repeat(20_000));
    let deep = (0..99).fold(cases.clone(), |inner, _| format!("<testsuite name='{long}'>{inner}</testsuite>"));
    let counted: String = (0..5_000).map(|_| format!("<testsuite name='{}' failures='1'/>", "n".repeat(30))).collect();
    for (what, report) in [
        ("the shortest cases of a suite with a long name", format!("<testsuite name='{long}'>{cases}</testsuite>")),
        ("the same, in suites of suites", deep),
        ("suites that count what is not there", format!("<testsuites>{counted}</testsuites>")),
        ("failures without a word", format!("<testsuite>{}</testsuite>", "<error/>".repeat(20_000))),
    ] {
        let parameters = json!({"ProjectId": PROJECT, "Content": report});
        let started = stage.start(&json!({"Type": "AutomatedTestImport", "Parameters": parameters})).await;
        let ended = stage.ended(&started).await;
        assert_eq!(ended["State"], "Succeeded", "{what}: {ended}");
        let stored: i64 = stage.value("SELECT sum(pg_column_size(n.*))::bigint FROM records.result_node n").await;
        let sent = i64::try_from(report.len()).expect("few");
        println!("{what}: {sent} bytes became {stored}");
        assert!(stored < 30 * sent, "{what}: {sent} bytes became {stored}");
        sqlx::query("DELETE FROM records.automated_test_run").execute(&stage.pool).await.expect("deleted");
    }
}

#[tokio::test]
async fn a_caller_s_files_have_two_gibibytes_in_all() {
    let stage = Stage::builder(shipped::registry()).authenticators(keys_only).start().await;
    let (one, other) = (stage.someone("one", &["*"]).await, stage.someone("other", &["*"]).await);
    // 64 files of 32 MiB, less ten bytes. What is repeated is stored as a few bytes and copied so.
    for sql in [
        "INSERT INTO records.upload (id, name, content, created_by)
         VALUES (gen_random_uuid(), 'whole', convert_to(repeat('x', 32 * 1024 * 1024), 'UTF8'), 'key:one')",
        "INSERT INTO records.upload (id, name, content, created_by)
         SELECT gen_random_uuid(), 'whole', u.content, 'key:one' FROM records.upload u, generate_series(1, 62)",
        "INSERT INTO records.upload (id, name, content, created_by)
         VALUES (gen_random_uuid(), 'rest', convert_to(repeat('x', 32 * 1024 * 1024 - 10), 'UTF8'), 'key:one')",
    ] {
        sqlx::query(sql).execute(&stage.pool).await.expect(sql);
    }
    let upload = async |who: &longhaul_tests::Someone<'_>, bytes: usize| {
        let request = who.request("POST", "/api/upload").header("content-type", "application/octet-stream");
        let response = request.body(vec![b'x'; bytes]).send().await.expect("an answer");
        (response.status().as_u16(), response.json::<Value>().await.expect("JSON"))
    };
    let (status, body) = upload(&one, 11).await;
    assert_eq!((status, body["code"].as_str()), (409, Some("too-many-uploads")), "{body}");
    let (status, file) = upload(&one, 10).await;
    assert_eq!(status, 201, "all of it: {file}");
    assert_eq!(upload(&one, 1).await.0, 409);
    assert_eq!(upload(&other, 1).await.0, 201);
    let path = format!("/api/upload/{}", file["Id"].as_str().expect("an id"));
    assert_eq!(one.ask("DELETE", &path, None).await.0, 204);
    assert_eq!(upload(&one, 10).await.0, 201);
}

#[tokio::test]
async fn what_is_wrong_with_a_request_is_told_in_so_many_bytes() {
    let stage = Stage::new().await;
    let (long, names) = ("n".repeat(100_000), (0..80_000).map(|number| format!("\"{number:07}\":0")));
    let unknown = names.collect::<Vec<_>>().join(",");
    let nested = |levels: usize| (0..levels).fold(json!("x".repeat(1_000)), |inner, _| json!({long.clone(): [inner]}));
    for (what, path, body) in [
        (
            "unknown parameters",
            "/api/backgroundtasks",
            format!("{{\"Type\":\"bulkaction\",\"Parameters\":{{{unknown}}}}}"),
        ),
        ("unknown members", "/api/backgroundtasks", format!("{{\"Type\":\"bulkaction\",{unknown}}}")),
        ("a long name", "/api/backgroundtasks", json!({"Type": "Reindex", "Parameters": nested(9)}).to_string()),
        ("a long type", "/api/backgroundtasks", json!({"Type": long}).to_string()),
        ("a long webhook", "/api/webhooks", json!({"Url": nested(9), "Types": nested(0), long.clone(): 1}).to_string()),
        ("a long schedule", "/api/schedules", json!({"Name": long, "Cron": long, "Type": long}).to_string()),
        ("a long record", "/api/externalsystems", format!("{{{unknown}}}")),
        ("limits of a queue", "/api/queues/default", format!("{{{unknown}}}")),
    ] {
        let method = if path.contains("/queues/") { reqwest::Method::PATCH } else { reqwest::Method::POST };
        let request = stage.http.request(method, format!("{}{path}", stage.base_url));
        let response = request.header("content-type", "application/json").body(body.clone()).send().await;
        let response = response.expect("an answer");
        let status = response.status();
        let answer = response.bytes().await.expect("a body").len();
        println!("{what}: {} bytes were answered by {status} and {answer}", body.len());
        assert!(status.is_client_error(), "{what}: {status}");
        assert!(answer < 1_500_000, "{what}: {} bytes were answered by {answer}", body.len());
    }
}
