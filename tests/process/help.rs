//! What `--help` says, and the page about the command line.

use std::path::Path;

use crate::program::run_with;

#[tokio::test]
async fn every_help_ends_with_a_page_that_the_program_prints() {
    let mut helps: Vec<(String, String)> =
        commands().await.into_iter().map(|(path, _, help)| (path.join(" "), help)).collect();
    for above in ["", "task", "queue", "schedule", "worker", "key", "config"] {
        let arguments: Vec<&str> = above.split_whitespace().chain(["--help"]).collect();
        let (_, help, _) = run_with(crate::PROGRAM, &arguments, &[]).await;
        helps.push((above.to_owned(), help));
    }
    for (name, help) in helps {
        let (_, end) =
            help.rsplit_once("\nDocumentation: longhaul docs ").unwrap_or_else(|| panic!("`{name}`: {help}"));
        let page = end.lines().next().unwrap_or_default();
        let (code, text, error) = run_with(crate::PROGRAM, &["docs", page], &[]).await;
        assert_eq!(code, Some(0), "`{name}` leads to {page}: {error}");
        assert!(text.len() > 100, "`{name}` leads to {page}: {text}");
    }
}

#[tokio::test]
async fn documentation_is_listed_printed_and_what_is_not_there_is_told() {
    let (code, out, _) = run_with(crate::PROGRAM, &["docs"], &[]).await;
    assert_eq!(code, Some(0));
    assert!(out.contains("  errors ") && out.contains("Run it\n"), "{out}");
    let (code, out, _) = run_with(crate::PROGRAM, &["docs", "http://h/docs/errors#task-ended"], &[]).await;
    assert_eq!(code, Some(0));
    assert!(out.starts_with("code: `task-ended`\n"), "{out}");
    let (code, _, error) = run_with(crate::PROGRAM, &["docs", "erors"], &[]).await;
    assert_eq!(
        (code, error.trim_end()),
        (Some(1), "longhaul: there is no page 'erors' (did you mean 'errors'?); `longhaul docs` lists all pages")
    );
}

/// Every command with what it does, from the outside in; `help` itself is left out.
async fn commands() -> Vec<(Vec<String>, String, String)> {
    let mut found = Vec::new();
    let mut waiting = vec![Vec::new()];
    while let Some(path) = waiting.pop() {
        let path: Vec<String> = path;
        let mut arguments: Vec<&str> = path.iter().map(String::as_str).collect();
        arguments.push("--help");
        let (code, help, error) = run_with(crate::PROGRAM, &arguments, &[]).await;
        assert_eq!(code, Some(0), "{error}");
        let listed = help.split("\nCommands:\n").nth(1).and_then(|rest| rest.split("\n\n").next()).unwrap_or_default();
        let mut below = Vec::new();
        for line in listed.lines() {
            let (name, about) = line.trim().split_once(' ').expect("a command and what it does");
            if name != "help" {
                below.push(([&path[..], &[name.to_owned()]].concat(), about.trim().to_owned()));
            }
        }
        if below.is_empty() {
            found.push((path.clone(), help.lines().next().unwrap_or_default().to_owned(), help));
        }
        waiting.extend(below.into_iter().rev().map(|(path, _)| path));
    }
    found
}

#[tokio::test]
async fn every_command_has_help_with_examples_and_stands_on_its_page() {
    let commands = commands().await;
    let mut table = "| command | what it does |\n| --- | --- |\n".to_owned();
    for (path, about, help) in &commands {
        let name = path.join(" ");
        assert!(help.contains("Example"), "`longhaul {name} --help` has no example");
        table.push_str(&format!("| `longhaul {name}` | {} |\n", about.trim_end_matches('.')));
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/cli.md");
    let documented = std::fs::read_to_string(&path).expect("docs/cli.md");
    let (before, rest) = documented.split_once("<!-- commands -->\n").expect("a place");
    let (_, after) = rest.split_once("<!-- /commands -->").expect("an end");
    let expected = format!("{before}<!-- commands -->\n{table}<!-- /commands -->{after}");
    if std::env::var_os("LONGHAUL_BLESS").is_some() {
        std::fs::write(&path, &expected).expect("docs/cli.md can be written");
        return;
    }
    assert!(
        documented == expected,
        "docs/cli.md is out of date; run LONGHAUL_BLESS=1 cargo test -p longhaul-cli --test process help::"
    );
}
