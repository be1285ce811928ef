//! Errors of the database that pass: a statement that was cancelled, a deadlock, a connection that
//! was cut. Whoever meets them does the same again until it is done.

use std::collections::HashSet;
use std::time::Duration;

use longhaul_model::{Outcome, Registry, RunContext, RunError, TaskType, TaskTypeInfo};
use longhaul_tests::{Stage, quick_worker, until, until_or_tell};
use longhaul_worker::Settings;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlx::AssertSqlSafe;
use uuid::Uuid;

/// Ends when there is a row with its name in `public.go`, cancelled or not. It writes its name into
/// `public.told` once it knows that it is to be cancelled.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Stubborn {
    name: String,
}

impl TaskType for Stubborn {
    const NAME: &'static str = "Stubborn";
    const ID_PREFIX: &'static str = "stubborn-";
    const QUEUE: &'static str = "limited";

    async fn run(self, context: RunContext) -> Result<Outcome, RunError> {
        let mut told = false;
        loop {
            if context.cancellation().is_cancelled() && !told {
                sqlx::query("INSERT INTO public.told VALUES ($1)").bind(&self.name).execute(context.pool()).await?;
                told = true;
            }
            let go: bool = sqlx::query_scalar("SELECT EXISTS (SELECT FROM public.go WHERE name = $1)")
                .bind(&self.name)
                .fetch_one(context.pool())
                .await?;
            if go {
                return Ok(if context.cancellation().is_cancelled() { Outcome::Cancelled } else { Outcome::done() });
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

async fn stage() -> Stage {
    let stage = Stage::with_registry(Registry::new().with::<Stubborn>()).await;
    let tables = "CREATE TABLE public.go (name text); CREATE TABLE public.told (name text);
        GRANT ALL ON public.go, public.told TO PUBLIC";
    stage.execute(tables).await;
    stage
}

/// The first three statements that insert a row here meet one of these errors each: a cancelled
/// statement (57014), a deadlock (40P01), and a connection that is cut.
pub(crate) async fn fails_at_first(stage: &Stage, table: &str) {
    let name = table.replace('.', "_");
    stage
        .execute(format!(
            "CREATE SEQUENCE public.met_{name};
             CREATE FUNCTION public.fails_{name}() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
             BEGIN
                 CASE nextval('public.met_{name}')
                     WHEN 1 THEN RAISE EXCEPTION 'cancelled' USING ERRCODE = 'query_canceled';
                     WHEN 2 THEN RAISE EXCEPTION 'a deadlock' USING ERRCODE = 'deadlock_detected';
                     WHEN 3 THEN PERFORM pg_terminate_backend(pg_backend_pid()); PERFORM pg_sleep(60);
                     ELSE NULL;
                 END CASE;
                 RETURN NEW;
             END $$;
             CREATE TRIGGER fails_at_first BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION public.fails_{name}()"
        ))
        .await;
}

/// How many statements have inserted a row there, in vain or not.
pub(crate) async fn met(stage: &Stage, table: &str) -> i64 {
    let sql = format!("SELECT last_value FROM public.met_{}", table.replace('.', "_"));
    sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(&stage.pool).await.expect("a count")
}

#[tokio::test]
async fn a_schedule_fires_once_over_errors_that_pass_and_is_not_set_aside() {
    let stage = stage().await;
    stage.execute("INSERT INTO public.go VALUES ('scheduled')").await;
    fails_at_first(&stage, "longhaul.firing").await;
    stage
        .execute(
            "INSERT INTO longhaul.schedule (name, cron, time_zone, type, parameters, missed, next_at)
         VALUES ('yearly', '0 0 1 1 *', 'UTC', 'Stubborn', '{\"name\": \"scheduled\"}', 'Once', now())",
        )
        .await;
    let worker = stage.worker(quick_worker()).await;
    until("what it fires to end", async || {
        (stage.value::<i64>("SELECT count(*) FROM longhaul.task WHERE state = 'Succeeded'").await == 1).then_some(())
    })
    .await;
    let fired: (i64, Option<String>, i64, i64) = sqlx::query_as(
        "SELECT fired, problem, (SELECT count(*) FROM longhaul.firing), (SELECT count(*) FROM longhaul.set_aside)
           FROM longhaul.schedule",
    )
    .fetch_one(&stage.pool)
    .await
    .expect("a schedule");
    assert_eq!(fired, (1, None, 1, 0));
    assert!(met(&stage, "longhaul.firing").await > 3, "it met each of them");
    // Three failures in a row are told, and are over now.
    until("the trouble to be over", async || {
        (stage.value::<i64>("SELECT count(*) FROM longhaul.trouble").await == 0).then_some(())
    })
    .await;
    worker.stop().await;
}

/// When statements began that wait for a lock now.
async fn waits(stage: &Stage) -> Vec<String> {
    sqlx::query_scalar(
        "SELECT query_start::text FROM pg_stat_activity
          WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE '%longhaul.task t%'",
    )
    .fetch_all(&stage.pool)
    .await
    .expect("statements")
}

async fn state(stage: &Stage, id: Uuid) -> String {
    sqlx::query_scalar("SELECT state::text FROM longhaul.task WHERE id = $1")
        .bind(id)
        .fetch_one(&stage.pool)
        .await
        .expect("a state")
}

/// Another session has locked the rows of two tasks for so long that their ends are given up and
/// made again many times: what follows from them follows once the lock goes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_end_that_is_made_again_and_again_frees_its_place_and_obeys_who_cancelled() {
    let stage = stage().await;
    stage.execute("SELECT longhaul.set_queue('limited', max_running => 2)").await;
    let worker = stage.impatient_worker("100ms", Settings { lanes: 1, ..quick_worker() }).await;
    let names = ["done", "cancelled", "next"].map(|name| json!({"name": name}));
    let ids = stage.enqueue(TaskTypeInfo::of::<Stubborn>(), names.to_vec()).await;
    for id in &ids[..2] {
        until("two to run", async || (state(&stage, *id).await == "Running").then_some(())).await;
    }
    let cancel = stage.http.delete(format!("{}/api/backgroundtask/stubborn-{}", stage.base_url, ids[1]));
    let answer = cancel.send().await.expect("an answer");
    assert_eq!(answer.status(), 202, "{}", answer.json::<Value>().await.expect("a body"));
    // Else it could end well before it knows.
    until("the handler to know", async || {
        (stage.value::<i64>("SELECT count(*) FROM public.told").await == 1).then_some(())
    })
    .await;

    let mut blocker = stage.pool.begin().await.expect("a transaction");
    sqlx::query("SELECT FROM longhaul.task WHERE id = ANY ($1) ORDER BY id FOR UPDATE")
        .bind(&ids[..2])
        .execute(&mut *blocker)
        .await
        .expect("a lock");
    stage.execute("INSERT INTO public.go VALUES ('done'), ('cancelled'), ('next')").await;
    let mut tries = HashSet::new();
    until("their ends to be tried several times", async || {
        tries.extend(waits(&stage).await);
        (tries.len() >= 4).then_some(())
    })
    .await;
    for id in &ids[..2] {
        assert_eq!(state(&stage, *id).await, "Running", "it is as it was");
    }
    assert_eq!(state(&stage, ids[2]).await, "Queued", "their places are taken");
    blocker.rollback().await.expect("the lock goes");
    for (id, expected) in ids.iter().zip(["Succeeded", "Cancelled", "Succeeded"]) {
        until_or_tell(
            &format!("one to be {expected}"),
            async || (state(&stage, *id).await == expected).then_some(()),
            async || state(&stage, *id).await,
        )
        .await;
    }
    let attempts: i64 = stage.value("SELECT sum(attempt) FROM longhaul.task").await;
    assert_eq!((attempts, stage.value::<i64>("SELECT count(*) FROM longhaul.attempt_error").await), (3, 0));
    for left in ["lease", "admitted", "cancel_request"] {
        let sql = format!("SELECT count(*) FROM longhaul.{left}");
        until(&format!("no row of {left}"), async || {
            let rows: i64 =
                sqlx::query_scalar(AssertSqlSafe(sql.clone())).fetch_one(&stage.pool).await.expect("a count");
            (rows == 0).then_some(())
        })
        .await;
    }
    worker.stop().await;
}
