//! What lets shells complete commands.

use std::process::Command;

use crate::program::run_with;

#[tokio::test]
async fn bash_completes_commands_and_their_flags() {
    let (code, script, error) = run_with(crate::PROGRAM, &["completions", "bash"], &[]).await;
    assert_eq!(code, Some(0), "{error}");
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("longhaul");
    std::fs::write(&path, script).expect("a file");
    let complete = |words: &str| {
        let program = format!(
            "source '{}'\nCOMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); \
             _longhaul longhaul \"${{COMP_WORDS[COMP_CWORD]}}\" \"${{COMP_WORDS[COMP_CWORD-1]}}\"\necho \"${{COMPREPLY[@]}}\"",
            path.display()
        );
        let output = Command::new("bash").args(["-c", &program]).output().expect("bash runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    };
    assert_eq!(complete("longhaul sche"), "schedule");
    assert_eq!(complete("longhaul task ca"), "cancel");
    assert_eq!(complete("longhaul task run --wat"), "--watch");
    assert_eq!(complete("longhaul schedule create --mis"), "--missed");
}

#[tokio::test]
async fn zsh_and_fish_get_scripts_of_their_own() {
    for (shell, first) in [("zsh", "#compdef longhaul"), ("fish", "complete -c longhaul")] {
        let (code, script, error) = run_with(crate::PROGRAM, &["completions", shell], &[]).await;
        assert_eq!(code, Some(0), "{error}");
        assert!(script.contains(first) && script.contains("schedule"), "{shell}: {script}");
        let path = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(path.path(), script).expect("a file");
        if let Ok(output) = Command::new(shell).arg("-n").arg(path.path()).output() {
            assert!(output.status.success(), "{shell}: {}", String::from_utf8_lossy(&output.stderr));
        }
    }
    assert_eq!(run_with(crate::PROGRAM, &["completions", "tcl"], &[]).await.0, Some(2));
}
