//! No task is ever stranded: what may write a task at work, what an error of the database may
//! not do, and the net under all of it.

use std::time::Duration;

use longhaul_model::problem::{ATTEMPT_FAILED, Problem};
use longhaul_model::store::claim::{Floors, claim};
use longhaul_model::store::finish::{AttemptEnd, AttemptOutcome, LeaseChanges};
use longhaul_model::store::give_back::{HeldTasks, give_back};
use longhaul_model::store::progress::{Details, ProgressWrite, flush, last_words};
use longhaul_model::store::repair::misplaced;
use longhaul_model::store::rescue::release_lease;
use longhaul_model::store::schedule::promote;
use longhaul_model::store::worker::{WorkerInfo, register};
use longhaul_model::store::{ClaimedTask, LeaseKey};
use longhaul_model::{Outcome, Progress, Registry, RunContext, RunError, TaskType, TaskTypeInfo};
use longhaul_tests::{Scrape, Stage, finish, quick_worker, until};
use longhaul_worker::Settings;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::{Connection, PgConnection, PgPool};
use uuid::Uuid;

/// Ends when there is a row with its name in `public.go`.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Waits {
    name: String,
}

impl TaskType for Waits {
    const NAME: &'static str = "Waits";
    const ID_PREFIX: &'static str = "waits-";

    async fn run(self, context: RunContext) -> Result<Outcome, RunError> {
        loop {
            let go: bool = sqlx::query_scalar("SELECT EXISTS (SELECT FROM public.go WHERE name = $1)")
                .bind(&self.name)
                .fetch_one(context.pool())
                .await?;
            if go {
                return Ok(Outcome::done());
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// Snoozes a few times, fails a few times, reports progress all the while, and ends.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Restless {}

impl TaskType for Restless {
    const NAME: &'static str = "Restless";
    const ID_PREFIX: &'static str = "restless-";
    const RETRY: longhaul_model::RetryPolicy =
        longhaul_model::RetryPolicy { max_attempts: 10, ..longhaul_model::RetryPolicy::DEFAULT };

    async fn run(self, context: RunContext) -> Result<Outcome, RunError> {
        let seen: i64 = context.checkpoint()?.unwrap_or(0);
        context.progress().set_total(10);
        context.progress().set_processed(seen);
        context.save_checkpoint(&(seen + 1))?;
        // Long enough for a flush, which comes about now.
        tokio::time::sleep(Duration::from_millis(22)).await;
        context.progress().set_message("still here");
        match seen {
            0..=3 => Ok(Outcome::Snooze(Duration::from_millis(1))),
            4..=6 => Err(RunError::retry_after(Duration::from_millis(1), ATTEMPT_FAILED, "not yet")),
            _ => Ok(Outcome::done()),
        }
    }
}

async fn stage() -> Stage {
    let stage = Stage::with_registry(Registry::new().with::<Waits>().with::<Restless>()).await;
    sqlx::raw_sql("CREATE TABLE public.go (name text); GRANT ALL ON public.go TO PUBLIC")
        .execute(&stage.pool)
        .await
        .expect("a table");
    stage
}

fn waits() -> TaskTypeInfo {
    TaskTypeInfo::of::<Waits>()
}

async fn go(stage: &Stage, name: &str) {
    sqlx::query("INSERT INTO public.go VALUES ($1)").bind(name).execute(&stage.pool).await.expect("a signal");
}

async fn state(stage: &Stage, id: Uuid) -> String {
    sqlx::query_scalar("SELECT state::text FROM longhaul.task WHERE id = $1")
        .bind(id)
        .fetch_one(&stage.pool)
        .await
        .expect("a state")
}

async fn until_state(stage: &Stage, id: Uuid, expected: &str) {
    until(&format!("the task to be {expected}"), async || (state(stage, id).await == expected).then_some(())).await;
}

/// A worker whose every step the test decides.
async fn hand(stage: &Stage) -> i32 {
    let info = WorkerInfo {
        name: "hand".to_owned(),
        version: "0".to_owned(),
        queues: vec!["default".to_owned()],
        slots: 1,
        heartbeat: Duration::from_secs(3_600),
    };
    register(&stage.pool, &info).await.expect("an id")
}

async fn claimed(pool: &PgPool, lease: LeaseKey, limit: usize) -> Vec<ClaimedTask> {
    let mut floors = Floors::new(vec!["default".to_owned()], None);
    claim(pool, &mut floors, lease, limit).await.expect("a claim")
}

fn write(task: &ClaimedTask) -> ProgressWrite {
    ProgressWrite {
        id: task.id,
        lease_number: task.lease.number,
        attempt: task.attempt,
        elapsed: Duration::from_millis(30),
        progress: Progress::of(1, 2),
        checkpoint: None,
        details: Details::default(),
    }
}

fn end(task: &ClaimedTask, verdict: AttemptOutcome) -> AttemptEnd {
    AttemptEnd {
        id: task.id,
        lease_number: task.lease.number,
        attempt: task.attempt,
        elapsed: Duration::from_millis(30),
        progress: Progress::of(1, 2),
        checkpoint: None,
        verdict,
        asked_to_cancel: false,
        special: task.special,
    }
}

fn retry() -> AttemptOutcome {
    AttemptOutcome::Retry(Duration::from_secs(3_600), Problem::new(ATTEMPT_FAILED, "not yet"), None)
}

/// How many statements of this database wait for a lock.
async fn waiting_for_locks(stage: &Stage) -> i64 {
    stage
        .value("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'")
        .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flush_that_began_before_an_end_does_not_write_over_it() {
    for verdict in [retry(), AttemptOutcome::Snooze(Duration::from_secs(3_600)), AttemptOutcome::Release] {
        let stage = stage().await;
        let stored = verdict.state().name();
        stage.enqueue(waits(), vec![json!({"name": "a"}), json!({"name": "b"})]).await;
        let worker_id = hand(&stage).await;
        let first = claimed(&stage.pool, LeaseKey { worker_id, number: 1 }, 1).await.remove(0);
        let second = claimed(&stage.pool, LeaseKey { worker_id, number: 2 }, 1).await.remove(0);
        // The flush has its snapshot and stops, if it waits for locks, at the second lease.
        let mut blocker = stage.pool.begin().await.expect("a transaction");
        sqlx::query("SELECT FROM longhaul.lease WHERE number = 2 FOR UPDATE")
            .execute(&mut *blocker)
            .await
            .expect("a lock");
        let flushing = tokio::spawn({
            let (pool, writes) = (stage.pool.clone(), [write(&first), write(&second)]);
            async move { flush(&pool, worker_id, &writes).await }
        });
        until("the flush to wait or end", async || {
            (flushing.is_finished() || waiting_for_locks(&stage).await > 0).then_some(())
        })
        .await;
        let leases = LeaseChanges { emptied: vec![1], shortened: vec![] };
        let ended = finish(&stage.pool, worker_id, &[end(&first, verdict)], &leases).await.expect("a finish");
        assert_eq!(ended, [first.id]);
        blocker.rollback().await.expect("the lock goes");
        flushing.await.expect("it ends").expect("a flush");
        assert_eq!(state(&stage, first.id).await, stored);
    }
}

#[tokio::test]
async fn a_late_flush_of_an_attempt_that_ended_writes_nothing() {
    let stage = stage().await;
    stage.enqueue(waits(), vec![json!({"name": "a"}), json!({"name": "b"})]).await;
    let worker_id = hand(&stage).await;
    let tasks = claimed(&stage.pool, LeaseKey { worker_id, number: 1 }, 2).await;
    // Not struck from its lease, as by an end of an older release.
    let ends = [end(&tasks[0], retry())];
    finish(&stage.pool, worker_id, &ends, &LeaseChanges::default()).await.expect("a finish");
    let written = flush(&stage.pool, worker_id, &[write(&tasks[0]), write(&tasks[1])]).await.expect("a flush");
    assert_eq!(written, [tasks[1].id]);
    assert_eq!(state(&stage, tasks[0].id).await, "Retrying");
    stage.strands_tasks();
}

#[tokio::test]
async fn the_promoter_leaves_what_it_does_not_queue() {
    let stage = stage().await;
    let ids = stage.enqueue(waits(), vec![json!({"name": "a"}), json!({"name": "b"})]).await;
    let due = "WITH gone AS (DELETE FROM longhaul.ready RETURNING id), later AS (
                   UPDATE longhaul.task SET state = 'Scheduled', run_at = now() - interval '1 s' RETURNING id, run_at)
               INSERT INTO longhaul.scheduled (run_at, id) SELECT run_at, id FROM later";
    sqlx::query(due).execute(&stage.pool).await.expect("due tasks");
    // One is locked by someone; the other was written over by a late flush of an older release.
    sqlx::query("UPDATE longhaul.task SET state = 'Running', attempt = 1 WHERE id = $1")
        .bind(ids[1])
        .execute(&stage.pool)
        .await
        .expect("an update");
    let mut blocker = stage.pool.begin().await.expect("a transaction");
    sqlx::query("SELECT FROM longhaul.task WHERE id = $1 FOR UPDATE")
        .bind(ids[0])
        .execute(&mut *blocker)
        .await
        .expect("a lock");
    let promoted = tokio::time::timeout(longhaul_tests::DEADLINE, promote(&stage.pool));
    let (moved, _) = promoted.await.expect("it does not wait").expect("a promotion");
    assert_eq!(moved, 1);
    let left: Vec<Uuid> =
        sqlx::query_scalar("SELECT id FROM longhaul.scheduled").fetch_all(&stage.pool).await.expect("ids");
    assert_eq!(left, [ids[0]], "it stays until it can be queued");
    blocker.rollback().await.expect("the lock goes");
    assert_eq!(promote(&stage.pool).await.expect("a promotion").0, 1);
    assert_eq!(misplaced(&stage.pool, 10).await.expect("a look"), []);
}

/// Their connection was cut, and they run in the server beside the end that came after them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn last_words_that_come_late_do_not_write_over_a_release() {
    let stage = stage().await;
    stage.enqueue(waits(), vec![json!({"name": "a"}), json!({"name": "b"})]).await;
    let worker_id = hand(&stage).await;
    let tasks = claimed(&stage.pool, LeaseKey { worker_id, number: 1 }, 2).await;
    let leases = LeaseChanges { emptied: vec![], shortened: vec![1] };
    let mut ending = stage.pool.begin().await.expect("a transaction");
    let ends = [end(&tasks[0], AttemptOutcome::Release)];
    let stored = longhaul_model::store::finish::finish(&mut ending, worker_id, &ends, &leases).await.expect("a finish");
    assert_eq!(stored, [tasks[0].id]);
    let words = [write(&tasks[0])];
    let late = last_words(&stage.pool, worker_id, &words);
    let commit = async {
        until("the words to wait", async || (waiting_for_locks(&stage).await > 0).then_some(())).await;
        ending.commit().await.expect("a commit");
    };
    let (written, ()) = tokio::join!(late, commit);
    assert_eq!(written.expect("no error"), Vec::<Uuid>::new());
    assert_eq!(misplaced(&stage.pool, 10).await.expect("a look"), [], "it is ready, as the release left it");
}

#[tokio::test]
async fn a_lease_stays_while_one_of_its_ends_was_not_stored() {
    let stage = stage().await;
    stage.enqueue(waits(), vec![json!({"name": "a"}), json!({"name": "b"})]).await;
    let worker_id = hand(&stage).await;
    let tasks = claimed(&stage.pool, LeaseKey { worker_id, number: 1 }, 2).await;
    let other_attempt = AttemptEnd { attempt: 7, ..end(&tasks[1], AttemptOutcome::Succeeded(None)) };
    let began = flush(&stage.pool, worker_id, &[write(&tasks[1])]).await.expect("a flush");
    assert_eq!(began.len(), 1);
    let leases = LeaseChanges { emptied: vec![1], shortened: vec![] };
    let ends = [end(&tasks[0], AttemptOutcome::Succeeded(None)), other_attempt];
    let stored = finish(&stage.pool, worker_id, &ends, &leases).await.expect("a finish");
    assert_eq!(stored, [tasks[0].id], "the end of another attempt is fenced off");
    assert_eq!(stage.value::<i64>("SELECT count(*) FROM longhaul.lease").await, 1);
}

#[tokio::test]
async fn a_lease_that_stays_for_an_end_stored_before_holds_no_task_that_goes_on() {
    let stage = stage().await;
    let interrupted = || AttemptOutcome::Interrupted(Duration::from_secs(3_600));
    let snoozed = || AttemptOutcome::Snooze(Duration::from_secs(3_600));
    for (number, goes_on) in [(1, interrupted()), (2, snoozed()), (3, retry()), (4, AttemptOutcome::Release)] {
        stage.enqueue(waits(), vec![json!({"name": "a"}), json!({"name": "b"})]).await;
        let worker_id = hand(&stage).await;
        let tasks = claimed(&stage.pool, LeaseKey { worker_id, number }, 2).await;
        // The database has this end, and its answer was lost: the worker repeats it beside the
        // end of the lease's last task.
        let first = end(&tasks[0], AttemptOutcome::Succeeded(None));
        finish(&stage.pool, worker_id, std::slice::from_ref(&first), &LeaseChanges::default()).await.expect("a finish");
        let leases = LeaseChanges { emptied: vec![number], shortened: vec![] };
        let ends = [first, end(&tasks[1], goes_on)];
        let stored = finish(&stage.pool, worker_id, &ends, &leases).await.expect("a finish");
        assert_eq!(stored, [tasks[1].id]);
        assert_eq!(misplaced(&stage.pool, 10).await.expect("a look"), [], "it is in one place");
        let given_back = give_back(&stage.pool, worker_id, HeldTasks::new).await.expect("a comparison");
        assert_eq!(given_back, 0, "it is no one's under the old lease");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_locked_task_delays_its_own_end_only_and_a_success_stays_a_success() {
    let stage = stage().await;
    let worker = stage.worker(Settings { lanes: 1, ..quick_worker() }).await;
    let ids = stage.enqueue(waits(), vec![json!({"name": "locked"}), json!({"name": "free"})]).await;
    for id in &ids {
        until_state(&stage, *id, "Running").await;
    }
    let mut blocker = stage.pool.begin().await.expect("a transaction");
    sqlx::query("SELECT FROM longhaul.task WHERE id = $1 FOR UPDATE")
        .bind(ids[0])
        .execute(&mut *blocker)
        .await
        .expect("a lock");
    go(&stage, "locked").await;
    until("the end to wait for the lock", async || (waiting_for_locks(&stage).await > 0).then_some(())).await;
    // As a statement_timeout, which is an error that passes.
    sqlx::query(
        "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'",
    )
    .execute(&stage.pool)
    .await
    .expect("a cancel");
    go(&stage, "free").await;
    until_state(&stage, ids[1], "Succeeded").await;
    assert_eq!(state(&stage, ids[0]).await, "Running");
    blocker.rollback().await.expect("the lock goes");
    until_state(&stage, ids[0], "Succeeded").await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_whose_every_end_is_refused_stops_no_lane_and_ends_once_it_can() {
    let stage = stage().await;
    let refuse = "CREATE FUNCTION public.refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'refused'; END $$;
        CREATE TRIGGER refuse BEFORE UPDATE ON longhaul.task FOR EACH ROW
            WHEN (NEW.finished_at IS NOT NULL AND NEW.parameters ->> 'name' = 'refused') EXECUTE FUNCTION public.refuse()";
    sqlx::raw_sql(refuse).execute(&stage.pool).await.expect("a trigger");
    let worker = stage.worker(Settings { lanes: 1, slots: 1, ..quick_worker() }).await;
    let ids = stage.enqueue(waits(), vec![json!({"name": "refused"}), json!({"name": "free"})]).await;
    for name in ["refused", "free"] {
        go(&stage, name).await;
    }
    until_state(&stage, ids[1], "Succeeded").await;
    sqlx::raw_sql("DROP TRIGGER refuse ON longhaul.task").execute(&stage.pool).await.expect("no trigger");
    until_state(&stage, ids[0], "Failed").await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_that_runs_on_after_its_worker_gave_it_up_takes_nothing() {
    let stage = stage().await;
    let worker_id = hand(&stage).await;
    let lease = LeaseKey { worker_id, number: 1 };
    // The statement is prepared, so that all of the claim is with the server when it waits.
    let mut connection = PgConnection::connect(stage.database_url()).await.expect("a connection");
    let mut floors = Floors::new(vec!["default".to_owned()], None);
    let none = claim(&mut connection, &mut floors, LeaseKey { worker_id, number: 100 }, 10).await.expect("a claim");
    assert!(none.is_empty());
    stage.enqueue(waits(), (0..10).map(|number| json!({"name": number.to_string()})).collect()).await;
    // The claim waits for this.
    let mut blocker = stage.pool.begin().await.expect("a transaction");
    sqlx::query("LOCK TABLE longhaul.ready IN SHARE ROW EXCLUSIVE MODE").execute(&mut *blocker).await.expect("a lock");
    let claiming = tokio::spawn(async move { claim(&mut connection, &mut floors, lease, 10).await });
    until("the claim to wait", async || (waiting_for_locks(&stage).await > 0).then_some(())).await;
    // The connection is cut; the statement goes on in the server.
    claiming.abort();
    let _aborted = claiming.await;
    assert_eq!(release_lease(&stage.pool, lease).await.expect("a release"), 0);
    blocker.rollback().await.expect("the lock goes");
    until("the claim to be over", async || {
        let at_work: i64 = stage
            .value("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE '%probe%' AND state = 'active' AND pid <> pg_backend_pid()")
            .await;
        (at_work == 0).then_some(())
    })
    .await;
    assert_eq!(stage.value::<i64>("SELECT count(*) FROM longhaul.ready").await, 10);
    let next = claimed(&stage.pool, LeaseKey { worker_id, number: 2 }, 10).await;
    assert_eq!(next.len(), 10, "the next claim has them");
    let released = release_lease(&stage.pool, LeaseKey { worker_id, number: 2 }).await.expect("a release");
    assert_eq!(released, 10, "a claim that was carried out is given back");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_gives_back_what_its_leases_have_and_it_does_not_hold() {
    let stage = stage().await;
    let worker = stage.worker(Settings { heartbeat: Duration::from_millis(500), ..quick_worker() }).await;
    let ids = stage.enqueue(waits(), vec![json!({"name": "held"})]).await;
    until_state(&stage, ids[0], "Running").await;
    // As if the answer to a claim had been lost, and its return as well.
    let lost = Uuid::now_v7();
    let orphan = "WITH task AS (
            INSERT INTO longhaul.task (id, type, queue, max_attempts, parameters, priority, state)
            VALUES ($1, 'Waits', 'default', 1, '{\"name\": \"lost\"}', 5, 'Queued') RETURNING id)
        INSERT INTO longhaul.lease (worker_id, number, task_ids)
        SELECT (SELECT id FROM longhaul.worker ORDER BY id DESC LIMIT 1), 1000000, array_agg(id) FROM task";
    sqlx::query(orphan).bind(lost).execute(&stage.pool).await.expect("an orphan");
    go(&stage, "lost").await;
    until_state(&stage, lost, "Succeeded").await;
    assert_eq!(stage.value::<Uuid>("SELECT task_id FROM longhaul.repaired").await, lost);
    assert_eq!(stage.value::<i16>("SELECT max(attempt) FROM longhaul.task").await, 1, "what is held is left alone");
    go(&stage, "held").await;
    until_state(&stage, ids[0], "Succeeded").await;
    stage.strands_tasks();
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_open_task_in_no_place_is_queued_again_and_written_down() {
    let stage = stage().await;
    let ids = stage.enqueue(waits(), vec![json!({"name": "a"}), json!({"name": "b"})]).await;
    sqlx::query("DELETE FROM longhaul.ready").execute(&stage.pool).await.expect("a fault");
    sqlx::query("UPDATE longhaul.task SET state = 'Running', attempt = 1 WHERE id = $1")
        .bind(ids[1])
        .execute(&stage.pool)
        .await
        .expect("a fault");
    let found = misplaced(&stage.pool, 10).await.expect("a look");
    assert_eq!(found.len(), 2);
    assert!(found.iter().any(|found| found.problem == "it is open (Running) and in no place"), "{found:?}");
    for name in ["a", "b"] {
        go(&stage, name).await;
    }
    let worker = stage.worker(quick_worker()).await;
    for id in ids {
        until_state(&stage, id, "Succeeded").await;
    }
    assert_eq!(stage.value::<i64>("SELECT count(*) FROM longhaul.repaired").await, 2);
    let text = stage.http.get(format!("{}/metrics", stage.base_url)).send().await.expect("metrics").text().await;
    let told = Scrape::read(&text.expect("a text")).sum("longhaul_repaired_tasks_total", &[]);
    assert_eq!(told, 2.0);
    let (_, report) = stage.get("/api/findings").await;
    assert!(report.to_string().contains("2 tasks were stranded in the last day and returned to the queue"), "{report}");
    worker.stop().await;
    assert_eq!(misplaced(&stage.pool, 10).await.expect("a look"), []);
    stage.strands_tasks();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tasks_that_snooze_and_fail_while_they_report_all_end() {
    let stage = stage().await;
    let settings = || Settings { slots: 32, flush_every: Duration::from_millis(1), ..quick_worker() };
    let mut workers = Vec::new();
    for _ in 0..3 {
        workers.push(stage.worker(settings()).await);
    }
    stage.enqueue(TaskTypeInfo::of::<Restless>(), vec![json!({}); 300]).await;
    until("all to end", async || {
        let open: i64 = stage.value("SELECT count(*) FROM longhaul.task WHERE finished_at IS NULL").await;
        (open == 0).then_some(())
    })
    .await;
    assert_eq!(stage.value::<i64>("SELECT count(*) FROM longhaul.task WHERE state = 'Succeeded'").await, 300);
    for worker in workers {
        worker.stop().await;
    }
}
