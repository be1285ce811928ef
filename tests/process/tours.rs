//! The tours of the documentation, run line by line.

use std::path::Path;
use std::process::Stdio;

use longhaul_tests::{DEADLINE, Stage};
use tokio::process::Command;

use crate::program::{Process, address_in};

/// A command of a page and what it is to print.
struct Step {
    command: String,
    expected: String,
}

/// The commands of a page: what stands behind `$ ` in its blocks of `console`, with
/// lines behind `> ` that belong to them.
fn steps(page: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for block in page.split("```console\n").skip(1) {
        let (block, _) = block.split_once("```").expect("a block ends");
        for line in block.lines() {
            match (line.strip_prefix("$ "), line.strip_prefix("> ")) {
                (Some(command), _) => steps.push(Step { command: command.to_owned(), expected: String::new() }),
                (None, Some(more)) => {
                    let step = steps.last_mut().expect("a command before it");
                    step.command.push_str(&format!("\n{more}"));
                }
                (None, None) => {
                    let step = steps.last_mut().expect("a command before it");
                    step.expected.push_str(&format!("{line}\n"));
                }
            }
        }
    }
    steps
}

/// Whether a text is as expected; `…` stands for anything.
fn fits(printed: &str, expected: &str) -> bool {
    let mut parts = expected.trim_end().split('…');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = printed.trim_end().strip_prefix(first) else { return false };
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    true
}

/// Runs a page's commands in one shell.
async fn take(page: &str, environment: &[(&str, &str)]) {
    const END: &str = "== end of step ==";
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let text = std::fs::read_to_string(root.join(page)).expect(page);
    let steps = steps(&text);
    assert!(steps.len() > 5, "{page} has commands");
    let script: String = steps.iter().map(|step| format!("{}\nprintf '\\n{END}\\n'\n", step.command)).collect();
    let program = Path::new(crate::PROGRAM).parent().expect("a directory").display().to_string();
    let path = format!("{program}:{}", std::env::var("PATH").unwrap_or_default());
    let running = Command::new("bash")
        .args(["-c", &script])
        .current_dir(&root)
        .env_clear()
        .env("PATH", path)
        .env("HOME", std::env::var_os("HOME").unwrap_or_default())
        .envs(environment.iter().copied())
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(DEADLINE, running).await.expect("the tour ends").expect("bash runs");
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    let printed: Vec<&str> = printed.split(&format!("\n{END}\n")).collect();
    for (step, printed) in steps.iter().zip(printed) {
        assert!(
            fits(printed, &step.expected),
            "{page}: {}\nprinted\n{printed}\nnot\n{}\n{errors}",
            step.command,
            step.expected
        );
    }
    assert!(errors.is_empty(), "{page}: {errors}");
}

/// API and worker on a database of their own; returns where the API listens.
async fn dev(stage: &Stage) -> (Process, String) {
    let arguments = ["dev", "--listen", "127.0.0.1:0"];
    let (process, line) = Process::start_until(&arguments, stage.database_url(), "the API listens").await;
    (process, address_in(&line))
}

#[tokio::test]
async fn the_tour_with_psql_prints_what_it_says() {
    let stage = Stage::new().await;
    let (_dev, _) = dev(&stage).await;
    take("docs/tour-psql.md", &[("DATABASE_URL", stage.database_url())]).await;
}

#[cfg(feature = "curl")]
#[tokio::test]
async fn the_tour_with_curl_prints_what_it_says() {
    let stage = Stage::new().await;
    let (_dev, address) = dev(&stage).await;
    take("docs/tour-curl.md", &[("API", &address)]).await;
}

#[cfg(feature = "curl")]
#[tokio::test]
async fn the_tour_of_who_runs_a_fleet_prints_what_it_says() {
    let stage = Stage::new().await;
    // Whoever takes them next may be anyone, but the kernel hands out others first.
    let free = || std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let (api, metrics) = (free(), free());
    let [api, metrics] = [api, metrics].map(|port| port.local_addr().expect("an address").to_string());
    let environment = [("DATABASE_URL", stage.database_url()), ("API", &api), ("METRICS", &metrics)];
    take("docs/tour-fleet.md", &environment).await;
}

#[test]
fn an_ellipsis_stands_for_anything() {
    assert!(fits("{\"A\":1,\"B\":2}\n", "{…\"B\":2}"));
    assert!(fits("a\nb\nc", "a\n…"));
    assert!(fits("", "\n"));
    assert!(!fits("ab", "a"));
    assert!(!fits("xa", "a…"));
    assert!(!fits("a b d", "a…b…c"));
}
