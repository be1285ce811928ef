//! The tours of the documentation, run line by line.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use longhaul_tests::{DEADLINE, Stage};
use tokio::process::Command;

use crate::program::{Process, address_in};

/// A command of a page and what it is to print.
struct Step {
    command: String,
    expected: String,
}

/// The commands of a page: what stands behind `$ ` in its blocks of `console`, with
/// lines behind `> ` that belong to them; and a command that writes a file, for each
/// block behind `<!-- as {path} -->`.
fn steps(page: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for block in page.split("<!-- as ").flat_map(parts) {
        let block = match block {
            Part::Console(block) => block,
            Part::File(path, text) => {
                let command = format!("cat > {path} <<'END OF FILE'\n{text}END OF FILE");
                steps.push(Step { command, expected: String::new() });
                continue;
            }
        };
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

enum Part<'a> {
    Console(&'a str),
    File(&'a str, &'a str),
}

/// The file that a part of a page begins with, and the blocks of commands after it.
fn parts(text: &str) -> Vec<Part<'_>> {
    let file = text.split_once(" -->\n").filter(|(path, _)| !path.contains([' ', '\n']));
    let file = file.map(|(path, rest)| {
        let (_, code) = rest.split_once("```rust\n").expect("a block after its path");
        Part::File(path, code.split_once("```").expect("a block ends").0)
    });
    let blocks = text.split("```console\n").skip(1);
    file.into_iter()
        .chain(blocks.map(|block| Part::Console(block.split_once("```").expect("a block ends").0)))
        .collect()
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
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    take_in(&root, page, environment, DEADLINE).await;
}

/// The same in a directory, with the patience that it takes. Tells how long each step
/// took.
async fn take_in(directory: &Path, page: &str, environment: &[(&str, &str)], patience: Duration) -> Vec<(String, f64)> {
    const END: &str = "== end of step ==";
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let text = std::fs::read_to_string(root.join(page)).expect(page);
    let steps = steps(&text);
    assert!(steps.len() > 5, "{page} has commands");
    let begin = format!("printf '\\n{END}%s\\n' $EPOCHREALTIME\n");
    let script: String = steps.iter().map(|step| format!("{begin}{}\n", step.command)).collect();
    let script = format!("{script}{begin}");
    let program = Path::new(crate::PROGRAM).parent().expect("a directory").display().to_string();
    let path = format!("{program}:{}", std::env::var("PATH").unwrap_or_default());
    let running = Command::new("bash")
        .args(["-c", &script])
        .current_dir(directory)
        .env_clear()
        .env("PATH", path)
        .env("HOME", std::env::var_os("HOME").unwrap_or_default())
        .envs(environment.iter().copied())
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(patience, running).await.expect("the tour ends").expect("bash runs");
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    // The time at which each step began, and what it printed.
    let printed: Vec<(f64, &str)> = (printed.split(&format!("\n{END}")).skip(1))
        .filter_map(|part| part.split_once('\n'))
        .map(|(at, printed)| (at.parse().expect("a time"), printed))
        .collect();
    for (step, (_, printed)) in steps.iter().zip(&printed) {
        assert!(
            fits(printed, &step.expected),
            "{page}: {}\nprinted\n{printed}\nnot\n{}\n{errors}",
            step.command,
            step.expected
        );
    }
    assert!(errors.is_empty(), "{page}: {errors}");
    let took = printed.windows(2).map(|pair| pair[1].0 - pair[0].0);
    steps.into_iter().map(|step| step.command).zip(took).collect()
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

/// Whoever embeds the library begins with this page, outside of the clone. Only what has
/// been compiled here already is not compiled again.
#[cfg(feature = "newcomer")]
#[tokio::test]
async fn a_program_of_ones_own_is_made_as_the_page_says() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the root");
    let home = tempfile::tempdir().expect("a directory");
    // PostgreSQL runs as another user than root.
    std::fs::set_permissions(home.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("a mode");
    let target = match std::env::var("LONGHAUL_NEWCOMER_TARGET") {
        Ok(target) => target,
        Err(_) => {
            // Shared with this clone, whose profile it must have then.
            let profile = "[profile.dev]\ndebug = \"line-tables-only\"\n\
                           [profile.dev.package.\"*\"]\ndebug = false\nopt-level = 1\n";
            std::fs::create_dir(home.path().join(".cargo")).expect("a directory");
            std::fs::write(home.path().join(".cargo/config.toml"), profile).expect("a file");
            Path::new(crate::PROGRAM).ancestors().nth(2).expect("the target directory").display().to_string()
        }
    };
    let free = std::net::TcpListener::bind("127.0.0.1:0").and_then(|port| port.local_addr()).expect("a free port");
    let (api, listen, data) =
        (format!("http://{free}"), free.to_string(), home.path().join("data").display().to_string());
    let cargo_home = std::env::var("CARGO_HOME").unwrap_or_default();
    let rustup_home = std::env::var("RUSTUP_HOME").unwrap_or_default();
    let mut environment = vec![
        ("LONGHAUL", root.to_str().expect("text")),
        ("API", &api),
        ("LONGHAUL_URL", &api),
        ("LONGHAUL_LISTEN", &listen),
        ("LONGHAUL_DATA", &data),
        ("CARGO_TARGET_DIR", &target),
        // The versions that this clone was built with.
        ("CARGO_NET_OFFLINE", "true"),
    ];
    environment.extend(
        [("CARGO_HOME", &*cargo_home), ("RUSTUP_HOME", &*rustup_home)].into_iter().filter(|(_, to)| !to.is_empty()),
    );
    for (command, seconds) in take_in(home.path(), "docs/embedding.md", &environment, Duration::from_secs(1_200)).await
    {
        println!("{seconds:8.1} s  {}", command.lines().next().unwrap_or_default());
    }
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
