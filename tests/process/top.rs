//! `top` and progress bars, on a terminal and without.

use longhaul_tests::{Stage, until};
use serde_json::Value;

use crate::program::run_with;
use crate::terminal::Terminal;

/// A task that no worker of ours will end: a worker that never beats again has it.
async fn running(stage: &Stage) -> String {
    let id: String = stage.value("SELECT longhaul.enqueue('Reindex')").await;
    stage
        .value::<i64>(
            "WITH w AS (INSERT INTO longhaul.worker (name, queues, slots, version, heartbeat_ms)
                        VALUES ('busy', '{default}', 4, '0', 600000) RETURNING id),
                  taken AS (DELETE FROM longhaul.ready RETURNING id),
                  held AS (INSERT INTO longhaul.lease (worker_id, number, task_ids)
                           SELECT w.id, 1, ARRAY[taken.id] FROM w, taken)
             SELECT count(*) FROM taken",
        )
        .await;
    sqlx::query(
        "UPDATE longhaul.task SET state = 'Running', attempt = 1, total_elements = 10, processed_elements = 5,
                fraction = 0.5, message = 'half way'",
    )
    .execute(&stage.pool)
    .await
    .expect("progress");
    id
}

#[tokio::test]
async fn top_shows_queues_workers_and_bars_and_obeys_its_keys() {
    let stage = Stage::new().await;
    let id = running(&stage).await;
    for environment in [[("LONGHAUL_URL", stage.base_url.as_str())], [("DATABASE_URL", stage.database_url())]] {
        let mut top = Terminal::start(&["top", "--interval", "0.2"], &environment);
        let task = top.line("the task", |line| line.contains(&id)).await;
        assert!(
            task.contains("██████████░░░░░░░░░░  50 %") && task.contains("half way") && task.contains("busy"),
            "{task}"
        );
        top.line("the slots", |line| line.contains("1 of 4 slots")).await;
        top.line("the worker", |line| line.contains("busy") && line.contains("alive") && line.contains("1/4")).await;
        // The second queue: control is the first.
        top.press("jjjk").await;
        top.press("p").await;
        top.line("the pause", |line| line.contains("default is paused")).await;
        let paused: bool = stage.value("SELECT paused_at IS NOT NULL FROM longhaul.queue WHERE name = 'default'").await;
        assert!(paused);
        top.press("p").await;
        top.line("the end of the pause", |line| line.contains("default is open")).await;
        top.press("\tjc").await;
        top.line("the question", |line| line.contains(&format!("Cancel {id}? y"))).await;
        top.press("n").await;
        top.press("q").await;
        assert_eq!(top.ended().await, Some(0));
    }
    assert_eq!(stage.value::<i64>("SELECT count(*) FROM longhaul.cancel_request").await, 0);
    let mut top = Terminal::start(&["top"], &[("LONGHAUL_URL", stage.base_url.as_str())]);
    top.line("the task", |line| line.contains(&id)).await;
    top.press("\tjcy").await;
    top.line("the answer", |line| line.contains("asked to stop")).await;
    assert_eq!(stage.value::<i64>("SELECT count(*) FROM longhaul.cancel_request").await, 1);
    // Ctrl-C is a key there.
    top.press("\u{3}").await;
    assert_eq!(top.ended().await, Some(0));
}

#[tokio::test]
async fn top_without_a_terminal_prints_lines_or_json() {
    let stage = Stage::new().await;
    let id = running(&stage).await;
    let url = [("LONGHAUL_URL", stage.base_url.as_str())];
    let (code, out, error) = run_with(crate::PROGRAM, &["top", "--once"], &url).await;
    assert_eq!(code, Some(0), "{error}");
    assert!(out.contains("running 1/4") && out.contains(&id) && out.contains("50 %"), "{out}");
    let (_, out, _) = run_with(crate::PROGRAM, &["top", "--once", "--json"], &url).await;
    let shown: Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!((&shown["Running"][0]["Id"], &shown["Overview"]["Running"]), (&id.as_str().into(), &1.into()));
    let (code, _, error) = run_with(crate::PROGRAM, &["top"], &[("LONGHAUL_URL", "http://127.0.0.1:1")]).await;
    assert_eq!(code, Some(1));
    assert!(error.contains("could not be reached"), "{error}");
}

#[tokio::test]
async fn watching_on_a_terminal_draws_a_bar_and_ctrl_c_asks_what_is_to_become_of_the_task() {
    let stage = Stage::new().await;
    let id = running(&stage).await;
    let url = [("LONGHAUL_URL", stage.base_url.as_str())];
    let mut wait = Terminal::start(&["task", "wait", &id], &url);
    wait.line("the bar", |line| line.contains("Running [") && line.contains("50 % 5/10 half way")).await;
    wait.press("\u{3}").await;
    wait.line("the question", |line| line.contains("Cancel the task (c), leave it running (l), or keep watching (k)?"))
        .await;
    wait.press("k\n").await;
    sqlx::query("UPDATE longhaul.task SET fraction = 0.7, processed_elements = 7")
        .execute(&stage.pool)
        .await
        .expect("progress");
    wait.line("the bar again", |line| line.contains("70 % 7/10")).await;
    wait.press("\u{3}").await;
    wait.line("the question", |line| line.contains("keep watching")).await;
    wait.press("l\n").await;
    assert_eq!(wait.ended().await, Some(130));
    assert_eq!(stage.value::<i64>("SELECT count(*) FROM longhaul.cancel_request").await, 0);

    let mut run = Terminal::start(&["task", "run", "Reindex", "--watch"], &url);
    run.line("the bar", |line| line.contains("Queued [")).await;
    run.press("\u{3}").await;
    run.line("the question", |line| line.contains("keep watching")).await;
    run.press("c\n").await;
    assert_eq!(run.ended().await, Some(4));
    until("the second task to be cancelled", async || {
        let cancelled: i64 = stage.value("SELECT count(*) FROM longhaul.tasks WHERE state = 'Cancelled'").await;
        (cancelled == 1).then_some(())
    })
    .await;
}
