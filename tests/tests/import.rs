//! Importing records: all or nothing, with the line to blame.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use longhaul_test_management::import::{ImportError, Imported, import};
use longhaul_tests::Stage;
use sqlx::PgPool;

const PROJECT: &str = r#"{"Record":"Project","Id":"11111111-1111-4111-8111-111111111111","Name":"P"}"#;

fn entity(number: u32) -> String {
    format!(
        r#"{{"Record":"Entity","Id":"22222222-2222-4222-8222-{number:012}","ProjectId":"11111111-1111-4111-8111-111111111111","Kind":"Requirement","Key":"R-{number}","Name":"Requirement {number}","Fields":{{"Text":"some \\u0000 text"}}}}"#
    )
}

fn relationship(source: u32, target: u32) -> String {
    format!(
        r#"{{"Record":"Relationship","SourceId":"22222222-2222-4222-8222-{source:012}","TargetId":"22222222-2222-4222-8222-{target:012}","Kind":"Covers"}}"#
    )
}

/// Relationships may stand before what they relate.
fn good(entities: u32) -> String {
    let mut lines = vec![relationship(1, 2), PROJECT.to_owned(), String::new()];
    lines.extend((1..=entities).map(entity));
    lines.join("\n")
}

/// `longhaul import` works under the worker's role.
async fn worker(stage: &Stage) -> PgPool {
    PgPool::connect(&stage.logins().worker).await.expect("the login works")
}

async fn counts(stage: &Stage) -> (i64, i64, i64) {
    sqlx::query_as(
        "SELECT (SELECT count(*) FROM records.project), (SELECT count(*) FROM records.entity),
                (SELECT count(*) FROM records.relationship)",
    )
    .fetch_one(&stage.pool)
    .await
    .expect("counts")
}

#[tokio::test]
async fn records_are_imported_plain_or_zipped_and_again_without_harm() {
    let stage = Stage::new().await;
    let text = good(9_000);
    let mut zipped = GzEncoder::new(Vec::new(), Compression::fast());
    zipped.write_all(text.as_bytes()).expect("zipping");
    let zipped = zipped.finish().expect("zipping");
    for input in [text.as_bytes(), zipped.as_slice()] {
        let mut told = 0;
        let imported = import(&worker(&stage).await, input, |line| told = line).await.expect("an import");
        assert_eq!(imported, Imported { projects: 1, entities: 9_000, relationships: 1 });
        assert_eq!(told, 9_003, "every line was told");
        assert_eq!(counts(&stage).await, (1, 9_000, 1));
    }
}

#[tokio::test]
async fn a_bad_line_is_named_and_nothing_is_half_imported() {
    let stage = Stage::new().await;
    let unknown_project = entity(5).replace("11111111-1111", "99999999-9999");
    let cases: Vec<(String, u64, &str)> = vec![
        (format!("{}\nnonsense", good(5_000)), 5_004, "expected"),
        (format!("{}\n{{\"Record\":\"Thing\"}}", good(3)), 7, "unknown variant"),
        (format!("{}\n{}", good(3), PROJECT), 7, "more than one"),
        (format!("{}\n{}", good(3), entity(2)), 7, "more than one"),
        (format!("{}\n{unknown_project}", good(3)), 7, "no project"),
        (format!("{}\n{}", good(3), relationship(1, 4)), 7, "no entity"),
        (format!("{}\n{}", good(3), entity(4).replace("Requirement 4", "a\\u0000b")), 7, "U+0000"),
        (format!("{}\n{}", good(3), entity(4).replace("\"Requirement\"", "\"two words\"")), 7, "one word"),
        (format!("{}\n{}", good(3), entity(4).replace("\"Key\"", "\"Schlüssel\"")), 7, "unknown field"),
    ];
    for (text, expected_line, expected) in cases {
        match import(&worker(&stage).await, text.as_bytes(), |_| {}).await {
            Err(ImportError::Line { line, message }) => {
                assert_eq!(line, expected_line, "{message}");
                assert!(message.contains(expected), "'{message}' should say '{expected}'");
            }
            other => panic!("line {expected_line} should be refused, not {other:?}"),
        }
        assert_eq!(counts(&stage).await, (0, 0, 0));
    }
}

#[tokio::test]
async fn the_shipped_sample_is_good() {
    let stage = Stage::new().await;
    let sample = include_bytes!("../../samples/timezones.ndjson");
    let imported = import(&worker(&stage).await, sample.as_slice(), |_| {}).await.expect("an import");
    assert_eq!(imported.projects, 1);
    let (projects, entities, relationships) = counts(&stage).await;
    assert_eq!((projects, entities), (1, i64::try_from(imported.entities).expect("small")));
    assert!(entities > 500 && relationships > 400);
}

#[tokio::test]
async fn a_broken_gzip_is_an_error_and_not_half_a_file() {
    let stage = Stage::new().await;
    let mut zipped = GzEncoder::new(Vec::new(), Compression::fast());
    zipped.write_all(good(5_000).as_bytes()).expect("zipping");
    let zipped = zipped.finish().expect("zipping");
    let result = import(&worker(&stage).await, &zipped[..zipped.len() / 2], |_| {}).await;
    assert!(matches!(result, Err(ImportError::Read(_))), "{result:?}");
    assert_eq!(counts(&stage).await, (0, 0, 0));
}

#[tokio::test]
async fn a_file_that_is_something_else_is_called_what_it_is() {
    let stage = Stage::new().await;
    let pool = worker(&stage).await;
    let utf16: Vec<u8> = format!("\u{feff}{PROJECT}").encode_utf16().flat_map(u16::to_le_bytes).collect();
    for (content, told) in [
        (b"PK\x03\x04zip".to_vec(), "a zip file"),
        (utf16, "text in UTF-16"),
        (format!("[{PROJECT}]").into_bytes(), "a JSON array"),
        (b"Id,Name\n1,x\n".to_vec(), "a table (CSV)"),
        (b"<?xml version='1.0'?><a/>".to_vec(), "XML"),
        (PROJECT.replace(',', ",\n").into_bytes(), "each record must be on one line"),
    ] {
        match import(&pool, content.as_slice(), |_| {}).await {
            Err(ImportError::Line { line: 1, message }) => assert!(message.contains(told), "{told}: {message}"),
            other => panic!("{told}: {other:?}"),
        }
    }
    let marked = format!("\u{feff}{PROJECT}\r\n");
    assert_eq!(import(&pool, marked.as_bytes(), |_| {}).await.expect("an import").projects, 1);
}
