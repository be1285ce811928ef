//! What others wrote reaches a terminal as text, and what is secret does not reach it.

use longhaul_tests::Stage;

use crate::program::{Interactive, run_with};

/// Moves the cursor, sets the window's title, and speaks in C1 and backwards.
const EVIL: &str = "\u{1b}[2J\u{1b}]0;owned\u{7}\u{9b}31m\u{202e}\rgone";

/// Ends a task with such a message, error, code, log and step.
async fn evil_task(stage: &Stage) -> String {
    let id: String = stage.value("SELECT longhaul.enqueue('Reindex')").await;
    sqlx::query("DELETE FROM longhaul.ready").execute(&stage.pool).await.expect("taken");
    sqlx::query(
        "UPDATE longhaul.task SET state = 'Failed', attempt = 1, message = $1, finished_at = now(),
                error = jsonb_build_object('type', 'urn:longhaul:problem:x', 'title', $1, 'status', 500, 'detail', $1, 'code', $1)",
    )
    .bind(EVIL)
    .execute(&stage.pool)
    .await
    .expect("ended");
    sqlx::query("SELECT longhaul.note_unsuccessful(ARRAY(SELECT id FROM longhaul.task))")
        .execute(&stage.pool)
        .await
        .expect("noted");
    sqlx::query("INSERT INTO longhaul.task_log (task_id, number, logged_at, attempt, level, line) SELECT id, 1, now(), 1, 1, $1 FROM longhaul.task")
        .bind(EVIL)
        .execute(&stage.pool)
        .await
        .expect("logged");
    id
}

/// And one that runs, with such a message and step, on a worker of such a name.
async fn evil_work(stage: &Stage) {
    stage.value::<String>("SELECT longhaul.enqueue('Reindex')").await;
    sqlx::query(
        "WITH w AS (INSERT INTO longhaul.worker (name, queues, slots, version, heartbeat_ms)
                    VALUES ($1, '{default}', 4, $1, 600000) RETURNING id),
              taken AS (DELETE FROM longhaul.ready RETURNING id),
              held AS (INSERT INTO longhaul.lease (worker_id, number, task_ids)
                       SELECT w.id, 1, ARRAY[taken.id] FROM w, taken)
         UPDATE longhaul.task t
            SET state = 'Running', attempt = 1, total_elements = 10, processed_elements = 5, fraction = 0.5, message = $1
           FROM taken WHERE t.id = taken.id",
    )
    .bind(EVIL)
    .execute(&stage.pool)
    .await
    .expect("it runs");
}

#[tokio::test]
async fn what_others_wrote_steers_no_terminal() {
    let stage = Stage::new().await;
    let id = evil_task(&stage).await;
    evil_work(&stage).await;
    for arguments in [
        &["top", "--once"][..],
        &["top", "--once", "--json"],
        &["worker", "list"],
        &["worker", "list", "--json"],
        &["task", "show", &id],
        &["task", "list"],
        &["task", "show", &id, "--json"],
        &["task", "list", "--json"],
        &["task", "logs", &id, "--json"],
        &["task", "wait", &id],
        &["task", "logs", &id],
        &["task", "retry", &id],
        &["task", "show", EVIL],
        &["queue", "pause", EVIL],
    ] {
        for environment in [("LONGHAUL_URL", stage.base_url.as_str()), ("DATABASE_URL", stage.database_url())] {
            let (_, out, error) = run_with(crate::PROGRAM, arguments, &[environment]).await;
            for said in [&out, &error] {
                let steers = |c: char| (c.is_control() && c != '\n' && c != '\t') || c == '\u{202e}';
                assert!(!said.chars().any(steers), "{arguments:?}: {said:?}");
            }
            if arguments[1] != "retry" && !arguments.contains(&EVIL) {
                assert!(out.contains("owned"), "{arguments:?}: {out}{error}");
            }
        }
    }
}

#[tokio::test]
async fn dev_does_not_print_the_password_of_a_given_database() {
    let stage = Stage::new().await;
    let url = stage.database_url();
    let password = url.split(['@', ':']).nth(2).expect("a password");
    assert!(password.len() > 8, "{url}");
    let mut dev = Interactive::start(&["dev", "--listen", "127.0.0.1:0"], &[("DATABASE_URL", url)]);
    let line = dev.line("Look at the tasks").await;
    assert!(!line.contains(password) && line.contains("$DATABASE_URL"), "{line}");
}
