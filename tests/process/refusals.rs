//! What the program refuses, and how it says so.

use longhaul_tests::Stage;

use crate::program::{run, run_with};

#[tokio::test]
async fn a_wrong_database_address_is_told_at_once() {
    let (code, _, error) = run(&["migrate"], "postgres://nobody@127.0.0.1:1/nothing").await;
    assert_eq!(code, Some(1));
    assert!(error.contains("could not connect to the database"), "{error}");
    for arguments in [&["work"][..], &["serve", "--listen", "127.0.0.1:0"], &["migrate"]] {
        let (code, _, error) = run(arguments, "mysql://x").await;
        assert_eq!(code, Some(1));
        assert!(error.contains("DATABASE_URL is not a PostgreSQL address"), "{error}");
    }
}

#[tokio::test]
async fn an_address_that_others_can_reach_must_be_asked_for() {
    let (code, _, error) = run(&["serve", "--listen", "0.0.0.0:0"], "postgres://nobody@127.0.0.1:1/nothing").await;
    assert_eq!(code, Some(1));
    assert!(error.contains("--open-to-all") && error.contains("--authenticate"), "{error}");
}

#[tokio::test]
async fn a_secret_that_can_t_be_used_is_not_repeated() {
    let settings = [
        ("LONGHAUL_SECRET", "hunter2-is-too-short"),
        ("LONGHAUL_SECRET_KEY", "hunter2-is-no-key"),
        ("DATABASE_URL", "postgres://nobody@127.0.0.1:1/nothing"),
    ];
    for arguments in [
        &["serve", "--authenticate", "--listen", "127.0.0.1:0"][..],
        &["dev", "--authenticate", "--listen", "127.0.0.1:0"],
        &["key", "create", "--name", "ci", "--permission", "*"],
        &["work"],
    ] {
        let (code, out, error) = run_with(crate::PROGRAM, arguments, &settings).await;
        assert_ne!(code, Some(0), "{arguments:?}");
        assert!(!out.contains("hunter2") && !error.contains("hunter2"), "{arguments:?}: {out}{error}");
        if arguments[0] != "work" {
            assert!(error.contains("LONGHAUL_SECRET"), "{arguments:?}: {error}");
        }
    }
}

#[tokio::test]
async fn a_bad_file_is_told_with_its_line() {
    let stage = Stage::new().await;
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("bad.ndjson");
    std::fs::write(&path, "{\"Record\":\"Project\"}\n").expect("a file");
    let (code, _, error) = run(&["import", path.to_str().expect("a path")], stage.database_url()).await;
    assert_eq!(code, Some(1));
    assert!(error.contains("nothing was imported") && error.contains("line 1") && error.contains("Id"), "{error}");
    let (code, _, error) = run(&["import", "does-not-exist"], stage.database_url()).await;
    assert_eq!(code, Some(1));
    assert!(error.contains("could not open"), "{error}");
}

#[tokio::test]
async fn help_names_every_command() {
    let (code, out, _) = run(&["--help"], "").await;
    assert_eq!(code, Some(0));
    for command in ["demo", "dev", "serve", "work", "migrate", "import", "corpus", "config"] {
        assert!(out.contains(command), "{command} is missing in\n{out}");
    }
}
