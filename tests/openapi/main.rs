//! The OpenAPI document by a validator that is not ours (`tests/openapi/run`).

use std::process::{Command, Output};

use longhaul_tests::Stage;
use serde_json::Value;

/// What the validator says to a document.
fn validate(document: &Value) -> Output {
    let python = std::env::var("LONGHAUL_PYTHON").expect("tests/openapi/run sets LONGHAUL_PYTHON");
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), document.to_string()).expect("written");
    let arguments = ["-m", "openapi_spec_validator", "--schema", "3.1"];
    Command::new(python).args(arguments).arg(file.path()).output().expect("the validator runs")
}

#[tokio::test]
async fn the_document_is_valid_openapi_3_1_and_a_broken_one_is_not() {
    let stage = Stage::new().await;
    let said = validate(&stage.openapi);
    assert!(
        said.status.success(),
        "{}{}",
        String::from_utf8_lossy(&said.stdout),
        String::from_utf8_lossy(&said.stderr)
    );

    let mut broken = stage.openapi.clone();
    broken["paths"]["/health/live"]["get"]["responses"]["200"] = Value::Bool(true);
    assert!(!validate(&broken).status.success(), "an answer that is no object is noticed");
}
