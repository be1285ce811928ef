//! Imports of real reports (`tests/pytest/run`): the counts are pytest's own.

use longhaul_tests::{Stage, fill_project, quick_worker};
use serde_json::{Value, json};
use uuid::{Uuid, uuid};

const PROJECT: Uuid = uuid!("c651ed19-5375-475a-a539-9f6401467130");

/// A count that the report's suite says of itself, read without an XML parser.
fn suite_count(report: &str, name: &str) -> i64 {
    let suite = report.split("<testsuite ").nth(1).expect("a suite").split('>').next().expect("its start");
    let value = suite.split(&format!("{name}=\"")).nth(1).expect(name).split('"').next().expect("a value");
    value.parse().expect("a number")
}

#[tokio::test]
async fn reports_of_pytest_are_imported_with_its_own_counts() {
    let directory = std::env::var("LONGHAUL_REPORTS").expect("tests/pytest/run sets LONGHAUL_REPORTS");
    let stage = Stage::new().await;
    fill_project(&stage.pool, PROJECT, 0).await;
    let _worker = stage.worker(quick_worker()).await;
    let (mut reports, mut all) = (0, 0);
    for file in std::fs::read_dir(directory).expect("a directory") {
        let report = std::fs::read_to_string(file.expect("a file").path()).expect("a report");
        let response = stage
            .http
            .post(format!("{}/api/upload?name=report.xml", stage.base_url))
            .body(report.clone())
            .send()
            .await
            .expect("an answer");
        let upload: Value = response.json().await.expect("JSON");
        let request =
            json!({"Type": "AutomatedTestImport", "Parameters": {"ProjectId": PROJECT, "UploadId": upload["Id"]}});
        let ended = stage.ended(&stage.start(&request).await).await;
        assert_eq!(ended["State"], "Succeeded", "{ended}");
        let (cases, failed) = (suite_count(&report, "tests"), suite_count(&report, "failures"));
        let (errors, skipped) = (suite_count(&report, "errors"), suite_count(&report, "skipped"));
        let run = ended["AutomatedTestRunId"].as_str().expect("a run");
        let (_, run) = stage.get(&format!("/api/automatedtestrun/{run}")).await;
        let expected = json!({"Cases": cases, "Failed": failed, "Errors": errors, "Skipped": skipped,
                              "Passed": cases - failed - errors - skipped});
        for (name, count) in expected.as_object().expect("an object") {
            assert_eq!((&run[name], &ended["Result"][name]), (count, count), "{name} of {run}");
        }
        println!("{}: {expected}", run["Name"]);
        reports += 1;
        all += cases;
    }
    assert!(reports >= 2 && all > 50, "{reports} reports with {all} cases");
    let bare: i64 = stage
        .value("SELECT count(*) FROM records.result_node WHERE status IN ('Failed', 'Error') AND message IS NULL")
        .await;
    assert_eq!(bare, 0, "every failure says why");
}
