//! What a newcomer types, and what comes of it.

use std::process::Stdio;
use std::time::{Duration, Instant};

use longhaul_tests::{Stage, fill_project, quick_worker, shipped, until};
use serde_json::json;
use tokio::process::Command;
use uuid::uuid;

use crate::program::{Process, run, run_with};
use crate::terminal::Terminal;

/// The commands among the examples of a help, without what follows them on their lines.
fn examples(help: &str, command: &str) -> Vec<String> {
    let begin = format!("longhaul {command}");
    let lines = help.lines().map(str::trim).filter(|line| line.starts_with(&begin));
    lines.map(|line| line.split(['#', '|']).next().unwrap_or_default().trim().to_owned()).collect()
}

#[tokio::test]
async fn the_examples_of_task_run_start_tasks() {
    let registry = longhaul::queue_task::register(shipped::registry());
    let stage = Stage::builder(registry).start().await;
    fill_project(&stage.pool, uuid!("c651ed19-5375-475a-a539-9f6401467130"), 3).await;
    let _worker = stage.worker(quick_worker()).await;
    let earlier = stage.start(&json!({"Type": "Reindex"})).await;
    let (_, help, _) = run_with(crate::PROGRAM, &["task", "run", "--help"], &[]).await;
    let directory = tempfile::tempdir().expect("a directory");
    std::fs::write(directory.path().join("parameters.json"), "{}").expect("written");
    let examples = examples(&help, "task run");
    assert!(examples.len() >= 5, "{help}");
    for example in examples {
        let line = example.replace("longhaul task", &format!("'{}' task", crate::PROGRAM));
        let line = line.replace(" ID ", &format!(" {} ", earlier["Id"].as_str().expect("an id")));
        let output = Command::new("sh")
            .args(["-c", &line])
            .current_dir(&directory)
            .env_remove("DATABASE_URL")
            .env("LONGHAUL_URL", &stage.base_url)
            .stdin(Stdio::null())
            .output()
            .await
            .expect("a shell");
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{example}: {error}");
    }
}

#[tokio::test]
async fn a_value_that_can_t_be_is_a_wrong_command_line() {
    for arguments in [
        &["task", "list", "--state", "failed"][..],
        &["task", "list", "--accepted-after", "yesterday"],
        &["task", "list", "--accepted-before=-4800-01-01T00:00:00Z"],
        &["task", "run", "Reindex", "-p", "Optimize"],
        &["task", "run", "Reindex", "-p", "Optimize:=yes"],
        &["task", "run", "Reindex", "-p", "Number:=99999999999999999999"],
        &["task", "run", "Reindex", "--run-at", "tomorrow"],
        &["task", "run", "Reindex", "--delay=-1"],
        &["task", "wait", "x", "--timeout", "soon"],
        &["queue", "limit", "mail", "--rate", "fast"],
        &["queue", "limit", "mail", "--max-running", "few"],
        &["schedule", "create", "a", "@daily", "Reindex", "-p", "Optimize"],
    ] {
        let (code, _, error) = run_with(crate::PROGRAM, arguments, &[("LONGHAUL_URL", "http://127.0.0.1:1")]).await;
        assert_eq!(code, Some(2), "{arguments:?}: {error}");
        assert!(error.contains("invalid value"), "{arguments:?}: {error}");
    }
}

#[tokio::test]
async fn a_name_that_is_misspelt_is_not_an_empty_list() {
    let stage = Stage::new().await;
    stage.start(&json!({"Type": "Reindex"})).await;
    let environment = [("LONGHAUL_URL", stage.base_url.as_str())];
    for (arguments, said) in [
        (
            &["task", "list", "--type", "Reindx"][..],
            "longhaul: there is no task type 'Reindx' (did you mean 'Reindex'?); `longhaul type list` lists all",
        ),
        (
            &["task", "list", "--type", "Reindex,reindex"],
            "longhaul: there is no task type 'reindex' (did you mean 'Reindex'?)",
        ),
        (&["task", "list", "--queue", "defalt"], "longhaul: there is no queue 'defalt' (did you mean 'default'?)"),
    ] {
        let (code, out, error) = run_with(crate::PROGRAM, arguments, &environment).await;
        assert_eq!((code, out.as_str()), (Some(2), ""), "{arguments:?}: {error}");
        assert!(error.starts_with(said), "{arguments:?}: {error}");
    }
    let (code, _, error) =
        run_with(crate::PROGRAM, &["task", "list", "--type", "CreateTicketLink"], &environment).await;
    assert_eq!((code, error.trim_end()), (Some(0), "No matching tasks."));
}

#[tokio::test]
async fn a_reader_that_leaves_ends_a_command_without_a_word() {
    let stage = Stage::new().await;
    let task = stage.start(&json!({"Type": "Reindex"})).await;
    let id = task["Id"].as_str().expect("an id");
    for arguments in [
        &["docs"][..],
        &["docs", "configuration"],
        &["completions", "bash"],
        &["corpus"],
        &["task", "list"],
        &["task", "list", "--json"],
        &["task", "show", id],
        &["queue", "list"],
        &["config", "show"],
    ] {
        let written_to_nobody = async || {
            let (reader, writer) = std::io::pipe().expect("a pipe");
            drop(reader);
            let mut command = Command::new(crate::PROGRAM);
            command.args(arguments).env_remove("DATABASE_URL").env("LONGHAUL_URL", &stage.base_url);
            // Not `output()`, which reads standard output itself.
            let process = command.stdout(writer).stderr(Stdio::piped()).spawn().expect("the program starts");
            // Its own end of the pipe.
            drop(command);
            let output = process.wait_with_output().await.expect("it ends");
            (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
        };
        // A process that another test starts at this moment has the reader, too, for that long.
        let (code, error) = until("the reader to be gone", async || {
            Some(written_to_nobody().await).filter(|(code, error)| (*code, error.as_str()) != (Some(0), ""))
        })
        .await;
        if arguments == ["corpus"] && code == Some(1) {
            // A machine without Debian packages.
            continue;
        }
        assert_eq!((code, error.as_str()), (Some(141), ""), "{arguments:?}");
    }
}

#[tokio::test]
async fn a_log_that_no_terminal_shows_has_no_colours() {
    let stage = Stage::new().await;
    for arguments in [&["serve", "--listen", "127.0.0.1:0"][..], &["work"]] {
        let (process, line) = Process::start_until(arguments, stage.database_url(), "INFO").await;
        assert!(!line.contains('\u{1b}'), "{arguments:?}: {line:?}");
        process.kill().await;
    }
}

#[tokio::test]
async fn a_port_that_nobody_listens_on_is_told_at_once() {
    for arguments in [&["migrate"][..], &["queue", "list"]] {
        let began = Instant::now();
        let (code, _, error) = run(arguments, "postgres://nobody@127.0.0.1:1/nothing").await;
        assert_eq!(code, Some(1));
        assert!(error.contains("could not connect to the database") && error.contains("refused"), "{error}");
        assert!(began.elapsed() < Duration::from_secs(4), "{arguments:?} took {:?}", began.elapsed());
    }
    for arguments in [&["work"][..], &["serve", "--listen", "127.0.0.1:0"]] {
        let (process, line) =
            Process::start_until(arguments, "postgres://nobody@127.0.0.1:1/nothing", "waits for the database").await;
        assert!(line.contains("could not connect to the database") && line.contains("refused"), "{line}");
        process.kill().await;
    }
}

#[tokio::test]
async fn a_list_of_tasks_fits_its_terminal() {
    let stage = Stage::new().await;
    let task = stage.start(&json!({"Type": "Reindex"})).await;
    let id = task["Id"].as_str().expect("an id");
    let environment = [("LONGHAUL_URL", stage.base_url.as_str())];
    for (columns, heading) in [
        (
            140,
            "ID                                            TYPE     STATE   DONE  ACCEPTED              QUEUE    MESSAGE",
        ),
        (80, "ID                                            TYPE     STATE   DONE  MESSAGE"),
    ] {
        let terminal = Terminal::sized((10, columns), &["task", "list"], &environment);
        let line = terminal.line("the task", |line| line.starts_with(id)).await;
        assert!(line.contains("Queued") && line.contains("Queuing"), "{line}");
        let screen = terminal.screen();
        let lines: Vec<&str> = screen.lines().filter(|line| !line.is_empty()).collect();
        assert_eq!(lines.len(), 2, "nothing wraps: {screen}");
        let squeezed = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(squeezed(lines[0]), squeezed(heading));
        assert_eq!(terminal.ended().await, Some(0));
    }
    let (_, out, _) = run_with(crate::PROGRAM, &["task", "list"], &environment).await;
    assert!(out.starts_with("ID ") && out.contains(" TYPE ") && out.contains(" Reindex "), "{out}");
}
