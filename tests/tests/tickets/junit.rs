//! `AutomatedTestImport`. Reports of real test runs: `tests/pytest/run`.

use longhaul_tests::{Stage, fill_project, quick_worker};
use serde_json::{Value, json};
use uuid::Uuid;

use super::scene::*;

const REPORT: &str = r#"<?xml version="1.0" encoding="utf-8"?>
<testsuites name="Nightly"><testsuite name="api" time="0.3">
  <testcase classname="api.login" name="works" time="0.1"/>
  <testcase classname="api.login" name="fails"><failure message="expected 200">got 500 &amp; more</failure></testcase>
  <testsuite name="slow"><testcase name="breaks"><error/></testcase><testcase name="waits"><skipped/></testcase></testsuite>
</testsuite></testsuites>"#;

async fn project() -> Stage {
    let stage = stage(settings()).await;
    fill_project(&stage.pool, PROJECT, 0).await;
    stage
}

async fn import(stage: &Stage, parameters: Value) -> Value {
    stage.ended(&stage.start(&json!({"Type": "AutomatedTestImport", "Parameters": parameters})).await).await
}

async fn upload(stage: &Stage, content: Vec<u8>) -> Value {
    let url = format!("{}/api/upload?name=report.xml", stage.base_url);
    let response = stage.http.post(url).body(content).send().await.expect("an answer");
    assert_eq!(response.status(), 201);
    response.json().await.expect("JSON")
}

#[tokio::test]
async fn an_uploaded_report_becomes_a_run_with_its_tree() {
    let stage = project().await;
    let _worker = stage.worker(quick_worker()).await;
    let upload = upload(&stage, REPORT.into()).await;
    assert_eq!((&upload["Name"], &upload["Bytes"]), (&json!("report.xml"), &json!(REPORT.len())));
    let ended = import(&stage, json!({"ProjectId": PROJECT, "UploadId": upload["Id"]})).await;
    assert_eq!(ended["State"], "Succeeded", "{ended}");
    assert_eq!((&ended["TotalElements"], &ended["ProcessedElements"]), (&json!(REPORT.len()), &json!(REPORT.len())));
    let run_id = ended["AutomatedTestRunId"].as_str().expect("a run");
    assert_eq!(
        ended["Result"],
        json!({"AutomatedTestRunId": run_id, "Suites": 2, "Cases": 4, "Passed": 1, "Failed": 1, "Errors": 1, "Skipped": 1})
    );
    let link = ended["Links"].as_array().expect("links").iter().find(|link| link["Rel"] == "AutomatedTestRun");
    let (_, run) = stage.get(link.expect("a link")["Href"].as_str().expect("an address")).await;
    let (_, log) = stage.get(&format!("{}/log", ended["Self"].as_str().expect("an address"))).await;
    assert_eq!(log["Items"][0]["Line"], "4 cases in 2 suites: 1 passed, 1 failed, 1 errors, 1 skipped.");
    assert_eq!((&run["Name"], &run["Cases"], &run["Errors"]), (&json!("Nightly"), &json!(4), &json!(1)));
    let (_, nodes) = stage.get(&format!("/api/resultnodes?automatedtestrun={run_id}")).await;
    let names: Vec<&str> =
        nodes["Items"].as_array().expect("items").iter().filter_map(|node| node["Name"].as_str()).collect();
    assert_eq!(names, ["api", "works", "fails", "slow", "breaks", "waits"]);
    assert_eq!(nodes["Items"][2]["Message"], "expected 200got 500 & more");
    assert_eq!(nodes["Items"][4]["ParentId"], nodes["Items"][3]["Id"]);
}

#[tokio::test]
async fn a_node_of_an_imported_run_takes_a_ticket() {
    let scene = Scene::new().await;
    let stage = &scene.stage;
    let _worker = stage.worker(quick_worker()).await;
    let ended = import(stage, json!({"ProjectId": PROJECT, "Content": REPORT, "Name": "Mine"})).await;
    let run_id = ended["AutomatedTestRunId"].as_str().unwrap_or_else(|| panic!("{ended}"));
    let (_, nodes) = stage.get(&format!("/api/resultnodes?automatedtestrun={run_id}")).await;
    let parameters = json!({"AutomatedTestRunId": run_id, "ResultNodeId": nodes["Items"][2]["Id"], "Key": "TST-123"});
    let request = json!({"Type": "LinkTicketToAutomatedTestRunResultNode", "Parameters": parameters});
    assert_eq!(stage.ended(&stage.start(&request).await).await["State"], "Succeeded");
}

#[tokio::test]
async fn thousands_of_cases_are_all_there() {
    let stage = project().await;
    let _worker = stage.worker(quick_worker()).await;
    let cases: String =
        (0..5_000).map(|n| format!("<testcase classname=\"c\" name=\"t{n}\" time=\"0.001\"/>")).collect();
    let upload = upload(&stage, format!("<testsuite name=\"many\">{cases}</testsuite>").into()).await;
    let ended = import(&stage, json!({"ProjectId": PROJECT, "UploadId": upload["Id"]})).await;
    assert_eq!(ended["Result"]["Cases"], 5_000, "{ended}");
    let stored: i64 = stage.value("SELECT count(DISTINCT position) FROM records.result_node").await;
    assert_eq!(stored, 5_001);
}

#[tokio::test]
async fn what_is_no_report_fails_for_good_and_leaves_nothing() {
    let stage = project().await;
    let _worker = stage.worker(quick_worker()).await;
    for content in [b"<html/>".to_vec(), b"<testsuite><testcase name='a'/>".to_vec(), vec![0xff, 0xfe], Vec::new()] {
        let upload = upload(&stage, content).await;
        let ended = import(&stage, json!({"ProjectId": PROJECT, "UploadId": upload["Id"]})).await;
        assert_eq!((&ended["State"], &ended["Attempt"]), (&json!("Failed"), &json!(1)), "{ended}");
        assert_eq!(ended["Error"]["code"], "invalid-junit");
    }
    let runs: i64 = stage.value("SELECT count(*) FROM records.automated_test_run").await;
    assert_eq!(runs, 0);
}

#[tokio::test]
async fn a_report_is_read_in_the_encoding_that_it_is_in() {
    let stage = project().await;
    let _worker = stage.worker(quick_worker()).await;
    let text = |encoding: &str| {
        format!(
            "<?xml version=\"1.0\" encoding=\"{encoding}\"?><testsuite name=\"Prüfung\"><testcase name=\"größer\"/></testsuite>"
        )
    };
    let utf16: Vec<u8> = format!("\u{feff}{}", text("UTF-16")).encode_utf16().flat_map(u16::to_le_bytes).collect();
    let big: Vec<u8> = text("UTF-16").encode_utf16().flat_map(u16::to_be_bytes).collect();
    let latin1: Vec<u8> = text("ISO-8859-1").chars().map(|c| u8::try_from(u32::from(c)).expect("Latin-1")).collect();
    for content in [utf16, big, latin1, text("utf-8").into_bytes()] {
        let upload = upload(&stage, content).await;
        let ended = import(&stage, json!({"ProjectId": PROJECT, "UploadId": upload["Id"]})).await;
        assert_eq!((&ended["State"], &ended["Result"]["Cases"]), (&json!("Succeeded"), &json!(1)), "{ended}");
        assert_eq!(ended["Result"].get("NotUnderstood"), None, "{ended}");
        let run_id = ended["AutomatedTestRunId"].as_str().expect("a run");
        let (_, nodes) = stage.get(&format!("/api/resultnodes?automatedtestrun={run_id}")).await;
        assert_eq!((&nodes["Items"][0]["Name"], &nodes["Items"][1]["Name"]), (&json!("Prüfung"), &json!("größer")));
    }
    // A text that was decoded already may declare what it likes.
    let ended = import(&stage, json!({"ProjectId": PROJECT, "Content": text("UTF-16")})).await;
    assert_eq!(ended["State"], "Succeeded", "{ended}");
}

#[tokio::test]
async fn what_of_a_report_was_not_understood_stands_in_log_and_result() {
    let stage = project().await;
    let _worker = stage.worker(quick_worker()).await;
    let report = r#"<testsuites><testsuite name="s" tests="4" errors="1" time="later">
        <error message="could not load"/><testcase name="a" status="purple"/><testcase name="b" status="notrun"/>
        </testsuite><testsuite name="t" tests="2" failures="1"/><wrap><testcase name="c"/></wrap></testsuites>"#;
    let ended = import(&stage, json!({"ProjectId": PROJECT, "Content": report})).await;
    assert_eq!(ended["State"], "Succeeded", "{ended}");
    let result = &ended["Result"];
    let counts = ["Cases", "Passed", "Failed", "Errors", "Skipped"].map(|name| result[name].as_i64());
    assert_eq!(counts, [4, 1, 1, 1, 1].map(Some), "{result}");
    let told: Vec<&str> =
        result["NotUnderstood"].as_array().expect("a list").iter().filter_map(Value::as_str).collect();
    for part in ["status='purple'", "'later'", "testcase in wrap", "'t' counts 2 tests, 1 failures"] {
        assert!(told.iter().any(|sentence| sentence.contains(part)), "{part}: {told:?}");
    }
    assert_eq!(told.len(), 4, "{told:?}");
    let (_, log) = stage.get(&format!("{}/log", ended["Self"].as_str().expect("an address"))).await;
    let lines: Vec<&str> =
        log["Items"].as_array().expect("lines").iter().skip(1).filter_map(|line| line["Line"].as_str()).collect();
    assert_eq!(lines, told);
    let (_, run) =
        stage.get(&format!("/api/automatedtestrun/{}", ended["AutomatedTestRunId"].as_str().expect("a run"))).await;
    assert_eq!((&run["Failed"], &run["Errors"]), (&json!(1), &json!(1)), "{run}");
}

#[tokio::test]
async fn a_file_that_is_something_else_is_called_what_it_is() {
    let stage = project().await;
    let _worker = stage.worker(quick_worker()).await;
    for (content, told) in [
        (&b"PK\x03\x04zip"[..], "is a zip file"),
        (b"\x1f\x8b\x08gz", "is a gzip file"),
        (b"[{\"name\": 1}]", "is a JSON array"),
        (b"{\"name\": 1}", "is JSON"),
        (b"name,status\na,passed\n", "is a table (CSV)"),
        (b"<!DOCTYPE html><html></html>", "is a web page"),
        (b"", "is nothing"),
        (b"hello", "is plain text"),
        (b"<assemblies/>", "not assemblies (a report of xUnit.net)"),
        (
            b"<?xml version='1.0' encoding='utf-8'?><testsuite name='\xfc'/>",
            "declares the encoding 'utf-8', and is not UTF-8",
        ),
    ] {
        let upload = upload(&stage, content.to_vec()).await;
        let ended = import(&stage, json!({"ProjectId": PROJECT, "UploadId": upload["Id"]})).await;
        assert_eq!(ended["Error"]["code"], "invalid-junit", "{ended}");
        assert!(ended["Error"]["detail"].as_str().is_some_and(|detail| detail.contains(told)), "{told}: {ended}");
    }
}

#[tokio::test]
async fn a_bad_import_is_refused_at_the_post() {
    let stage = project().await;
    for (parameters, status, code) in [
        (json!({"ProjectId": PROJECT}), 400, "invalid-parameters"),
        (json!({"ProjectId": PROJECT, "Content": "<a/>", "UploadId": Uuid::nil()}), 400, "invalid-parameters"),
        (json!({"ProjectId": Uuid::nil(), "Content": "<a/>"}), 500, "unknown-project"),
        (json!({"ProjectId": PROJECT, "UploadId": Uuid::nil()}), 500, "unknown-upload"),
    ] {
        let response = stage.post(&json!({"Type": "AutomatedTestImport", "Parameters": parameters})).await;
        assert_eq!(response.status(), status);
        assert_eq!(response.json::<Value>().await.expect("JSON")["code"], code, "{parameters}");
    }
    let large = vec![b'x'; 33 * 1024 * 1024];
    let response =
        stage.http.post(format!("{}/api/upload", stage.base_url)).body(large).send().await.expect("an answer");
    assert_eq!(response.status(), 413);
}
