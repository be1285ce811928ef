//! The manual pages that packages contain.

use std::process::Command;

use crate::program::run_with;

#[tokio::test]
async fn every_command_has_a_manual_page() {
    let directory = tempfile::tempdir().expect("a directory");
    let out = directory.path().join("man1");
    let (code, _, error) = run_with(crate::PROGRAM, &["man", "--out", out.to_str().expect("text")], &[]).await;
    assert_eq!(code, Some(0), "{error}");
    let page = |name: &str| std::fs::read_to_string(out.join(format!("{name}.1"))).unwrap_or_default();
    assert!(page("longhaul").contains("longhaul\\-serve(1)"), "{}", page("longhaul"));
    assert!(page("longhaul-serve").contains("LONGHAUL_LISTEN"), "{}", page("longhaul-serve"));
    assert!(page("longhaul-task-run").contains("\\-\\-watch"), "{}", page("longhaul-task-run"));
    // What is hidden from the help, and `help` of each command, is none of them.
    for entry in std::fs::read_dir(&out).expect("pages") {
        let path = entry.expect("a page").path();
        let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
        assert!(!name.contains("help") && !name.contains("man"), "{name}");
        if let Ok(linted) = Command::new("mandoc").args(["-T", "lint", "-W", "error"]).arg(&path).output() {
            assert!(linted.status.success(), "{name}: {}", String::from_utf8_lossy(&linted.stdout));
        }
    }
}
