//! Random interleavings of everything that can happen to tasks, against a model:
//! no illegal transition, nothing lost, nothing in two places.

use std::collections::BTreeMap;
use std::time::Duration;

use longhaul_model::problem::{ATTEMPT_FAILED, Problem};
use longhaul_model::store::cancel::{cancel, retry};
use longhaul_model::store::claim::{Floors, claim};
use longhaul_model::store::enqueue::{NewTask, enqueue};
use longhaul_model::store::finish::{AttemptEnd, AttemptOutcome, LeaseChanges};
use longhaul_model::store::progress::{Details, ProgressWrite, flush};
use longhaul_model::store::rescue::{POISON, rescue};
use longhaul_model::store::schedule::promote;
use longhaul_model::store::worker::{WorkerInfo, register};
use longhaul_model::store::{ClaimedTask, LeaseKey};
use longhaul_model::{DatabaseClock, Outcome, Progress, Registry, RunContext, RunError, State, TaskType, TaskTypeInfo};
use longhaul_tests::{Stage, finish};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use uuid::Uuid;

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Any {}

impl TaskType for Any {
    const NAME: &'static str = "Any";
    const ID_PREFIX: &'static str = "any-";

    async fn run(self, _context: RunContext) -> Result<Outcome, RunError> {
        Ok(Outcome::done())
    }
}

/// Something that happens. Numbers choose among what there is, modulo.
#[derive(Debug, Clone)]
enum Happening {
    Enqueue,
    Claim { worker: usize, limit: usize },
    Progress { handle: usize },
    Finish { handle: usize, verdict: usize },
    Cancel { task: usize },
    Retry { task: usize },
    Lose { worker: usize },
    Promote,
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        3 => Just(Happening::Enqueue),
        5 => (0..2usize, 1..4usize).prop_map(|(worker, limit)| Happening::Claim { worker, limit }),
        2 => any::<usize>().prop_map(|handle| Happening::Progress { handle }),
        5 => (any::<usize>(), 0..6usize).prop_map(|(handle, verdict)| Happening::Finish { handle, verdict }),
        2 => any::<usize>().prop_map(|task| Happening::Cancel { task }),
        2 => any::<usize>().prop_map(|task| Happening::Retry { task }),
        2 => (0..2usize).prop_map(|worker| Happening::Lose { worker }),
        2 => Just(Happening::Promote),
    ]
}

/// What the model knows of a task.
#[derive(Debug, Clone)]
struct Expected {
    /// As stored, but for running, which follows from `held_by`.
    state: State,
    /// In `ready` (else, if open and not held, in `scheduled`).
    ready: bool,
    held_by: Option<LeaseKey>,
    /// The attempt of whoever holds it has been stored.
    begun: bool,
    attempt: u16,
    max_attempts: u16,
    crashes: i16,
    cancel_requested: bool,
}

impl Expected {
    fn seen(&self) -> State {
        if self.held_by.is_some() { State::Running } else { self.state }
    }
}

struct Play {
    stage: Stage,
    clock: std::sync::Arc<DatabaseClock>,
    info: TaskTypeInfo,
    workers: [i32; 2],
    next_lease: i64,
    tasks: BTreeMap<Uuid, Expected>,
    /// Everything that was ever claimed, also what its worker has lost since.
    handles: Vec<ClaimedTask>,
}

impl Play {
    async fn begin() -> Self {
        let registry = Registry::new().with::<Any>();
        let info = *registry.get("Any").expect("registered").info();
        let stage = Stage::with_registry(registry).await;
        let clock = stage.clock().await;
        let workers = [hand(&stage).await, hand(&stage).await];
        Self { stage, clock, info, workers, next_lease: 1, tasks: BTreeMap::new(), handles: Vec::new() }
    }

    /// A new play on the same stage.
    async fn clear(&mut self) {
        sqlx::raw_sql("TRUNCATE longhaul.task, longhaul.ready, longhaul.scheduled, longhaul.lease, longhaul.worker, longhaul.cancel_request, longhaul.attempt_error, longhaul.unsuccessful, longhaul.successes;
                         INSERT INTO longhaul.successes (tasks, counted_at) VALUES (0, now())")
            .execute(&self.stage.pool)
            .await
            .expect("an empty stage");
        self.workers = [hand(&self.stage).await, hand(&self.stage).await];
        self.tasks.clear();
        self.handles.clear();
    }

    async fn happen(&mut self, happening: &Happening) {
        match happening {
            Happening::Enqueue => self.enqueue().await,
            Happening::Claim { worker, limit } => self.claim(self.workers[*worker], *limit).await,
            Happening::Progress { handle } => self.progress(*handle).await,
            Happening::Finish { handle, verdict } => self.finish(*handle, *verdict).await,
            Happening::Cancel { task } => self.cancel(*task).await,
            Happening::Retry { task } => self.retry(*task).await,
            Happening::Lose { worker } => self.lose(*worker).await,
            Happening::Promote => self.promote().await,
        }
    }

    async fn enqueue(&mut self) {
        let id = self.clock.new_id();
        enqueue(&self.stage.pool, &[NewTask::new(id, self.info, json!({}))]).await.expect("stored");
        let expected = Expected {
            state: State::Queued,
            ready: true,
            held_by: None,
            begun: false,
            attempt: 0,
            max_attempts: self.info.retry.max_attempts,
            crashes: 0,
            cancel_requested: false,
        };
        self.tasks.insert(id, expected);
    }

    async fn claim(&mut self, worker_id: i32, limit: usize) {
        let lease = LeaseKey { worker_id, number: self.next_lease };
        self.next_lease += 1;
        let mut floors = Floors::new(vec!["default".to_owned()], None);
        let claimed = claim(&self.stage.pool, &mut floors, lease, limit).await.expect("a claim");
        let expected: Vec<Uuid> =
            self.tasks.iter().filter(|(_, task)| task.ready).map(|(id, _)| *id).take(limit).collect();
        assert_eq!(claimed.iter().map(|task| task.id).collect::<Vec<_>>(), expected, "the oldest that are ready");
        for task in claimed {
            let expected = self.tasks.get_mut(&task.id).expect("a known task");
            assert_eq!(task.attempt, expected.attempt + 1);
            self.move_to(task.id, State::Running, |expected| {
                expected.ready = false;
                expected.begun = false;
                expected.held_by = Some(lease);
            });
            self.handles.push(task);
        }
    }

    async fn progress(&mut self, handle: usize) {
        let Some(task) = pick(&self.handles, handle).cloned() else { return };
        let write = ProgressWrite {
            id: task.id,
            lease_number: task.lease.number,
            attempt: task.attempt,
            elapsed: Duration::ZERO,
            progress: Progress::of(1, 2),
            checkpoint: None,
            details: Details::default(),
        };
        let written = flush(&self.stage.pool, task.lease.worker_id, &[write]).await.expect("a flush");
        let expected = self.tasks.get_mut(&task.id).expect("a known task");
        let holds = expected.held_by == Some(task.lease);
        assert_eq!(!written.is_empty(), holds, "written only by who holds it: {task:?} {expected:?}");
        if holds {
            expected.begun = true;
            expected.attempt = task.attempt;
            expected.state = State::Running;
        }
    }

    async fn finish(&mut self, handle: usize, verdict: usize) {
        let Some(task) = pick(&self.handles, handle).cloned() else { return };
        let problem = Problem::new(ATTEMPT_FAILED, "as it happens");
        let verdict = [
            AttemptOutcome::Succeeded(None),
            AttemptOutcome::Failed(problem.clone(), None),
            AttemptOutcome::Cancelled,
            AttemptOutcome::Retry(Duration::ZERO, problem, None),
            AttemptOutcome::Snooze(Duration::ZERO),
            AttemptOutcome::Release,
        ][verdict]
            .clone();
        let state = verdict.state();
        let end = AttemptEnd {
            id: task.id,
            lease_number: task.lease.number,
            attempt: task.attempt,
            elapsed: Duration::ZERO,
            progress: Progress::of(1, 2),
            checkpoint: None,
            verdict,
            asked_to_cancel: self.tasks[&task.id].cancel_requested,
            special: task.special,
        };
        let others = self.tasks.iter().any(|(id, other)| *id != task.id && other.held_by == Some(task.lease));
        let leases = match (others, state.is_end()) {
            (false, _) => LeaseChanges { emptied: vec![task.lease.number], shortened: vec![] },
            (true, false) => LeaseChanges { emptied: vec![], shortened: vec![task.lease.number] },
            (true, true) => LeaseChanges::default(),
        };
        let holds = self.tasks[&task.id].held_by == Some(task.lease);
        if !holds && !others {
            // A worker writes leases off only with ends of its own.
            let changed = finish(&self.stage.pool, task.lease.worker_id, &[end], &LeaseChanges::default()).await;
            assert!(changed.expect("a finish").is_empty());
            return;
        }
        let changed = finish(&self.stage.pool, task.lease.worker_id, &[end], &leases).await.expect("a finish");
        assert_eq!(!changed.is_empty(), holds, "ended only by who holds it: {task:?}");
        if holds {
            self.move_to(task.id, state, |expected| {
                expected.held_by = None;
                expected.ready = state == State::Queued;
                expected.attempt =
                    if [State::Scheduled, State::Queued].contains(&state) { task.attempt - 1 } else { task.attempt };
                expected.cancel_requested &= !state.is_end();
            });
        }
    }

    async fn cancel(&mut self, task: usize) {
        let Some(id) = self.pick_task(task) else { return };
        cancel(&self.stage.pool, id).await.expect("a cancel").expect("a known task");
        let expected = &self.tasks[&id];
        if expected.held_by.is_some() {
            self.tasks.get_mut(&id).expect("known").cancel_requested = true;
        } else if !expected.state.is_end() {
            self.move_to(id, State::Cancelled, |expected| expected.ready = false);
        }
    }

    async fn retry(&mut self, task: usize) {
        let Some(id) = self.pick_task(task) else { return };
        retry(&self.stage.pool, id).await.expect("a retry").expect("a known task");
        let (expected, attempts) = (&self.tasks[&id], self.info.retry.max_attempts);
        if expected.held_by.is_none() && [State::Failed, State::Cancelled].contains(&expected.state) {
            self.move_to(id, State::Queued, |expected| {
                expected.ready = true;
                expected.crashes = 0;
                expected.max_attempts = expected.attempt + attempts;
            });
        }
    }

    /// The worker is presumed dead; another takes its place.
    async fn lose(&mut self, worker: usize) {
        let lost = self.workers[worker];
        sqlx::query("UPDATE longhaul.worker SET heartbeat_at = now() - interval '1 day' WHERE id = $1")
            .bind(lost)
            .execute(&self.stage.pool)
            .await
            .expect("silence");
        sqlx::query("UPDATE longhaul.observation SET gaps = '{}', looked_at = clock_timestamp()")
            .execute(&self.stage.pool)
            .await
            .expect("an observer");
        assert_eq!(rescue(&self.stage.pool).await.expect("a rescue").workers, [lost]);
        self.workers[worker] = hand(&self.stage).await;
        let held: Vec<Uuid> = self
            .tasks
            .iter()
            .filter(|(_, task)| task.held_by.is_some_and(|lease| lease.worker_id == lost))
            .map(|(id, _)| *id)
            .collect();
        for id in held {
            let task = self.tasks.get_mut(&id).expect("known");
            // What is not known to have begun keeps its attempt, and is suspect.
            task.crashes = (task.crashes + i16::from(task.begun)).max(1);
            let state = if task.cancel_requested {
                State::Cancelled
            } else if task.begun && (task.crashes >= POISON || task.attempt >= task.max_attempts) {
                State::Failed
            } else {
                State::Queued
            };
            self.move_to(id, state, |expected| {
                expected.held_by = None;
                expected.ready = state == State::Queued;
                expected.cancel_requested &= !state.is_end();
            });
        }
    }

    async fn promote(&mut self) {
        promote(&self.stage.pool).await.expect("a promotion");
        for task in self.tasks.values_mut() {
            if task.held_by.is_none() && [State::Scheduled, State::Retrying].contains(&task.state) && !task.ready {
                task.ready = true;
                if task.state == State::Scheduled {
                    assert!(task.state.may_become(State::Queued));
                    task.state = State::Queued;
                }
            }
        }
    }

    fn move_to(&mut self, id: Uuid, state: State, change: impl FnOnce(&mut Expected)) {
        let expected = self.tasks.get_mut(&id).expect("a known task");
        let before = expected.seen();
        assert!(before.may_become(state), "{before} may not become {state}");
        change(expected);
        if state != State::Running {
            expected.state = state;
        }
    }

    fn pick_task(&self, number: usize) -> Option<Uuid> {
        pick(&self.tasks.keys().copied().collect::<Vec<_>>(), number).copied()
    }

    /// The database says what the model says, and every task is in one place.
    async fn compare(&self) {
        let rows: Vec<(Uuid, String, i32, i64, i64)> = sqlx::query_as(
            "SELECT v.id, v.state::text, t.attempt::int,
                    (SELECT count(*) FROM longhaul.ready r WHERE r.id = v.id)
                    + (SELECT count(*) FROM longhaul.scheduled s WHERE s.id = v.id),
                    (SELECT count(*) FROM longhaul.lease l WHERE v.id = ANY (l.task_ids))
               FROM longhaul.tasks v JOIN longhaul.task t USING (id) ORDER BY v.id",
        )
        .fetch_all(&self.stage.pool)
        .await
        .expect("rows");
        assert_eq!(rows.len(), self.tasks.len(), "nothing is lost");
        for ((id, state, attempt, waits, leases), (expected_id, expected)) in rows.iter().zip(&self.tasks) {
            assert_eq!(id, expected_id);
            assert_eq!(state, expected.seen().name(), "{expected:?}");
            assert_eq!(*attempt, i32::from(expected.attempt), "{expected:?}");
            let open = !expected.seen().is_end();
            assert_eq!(*waits, i64::from(open && expected.held_by.is_none()), "waits in one place: {expected:?}");
            if open {
                assert_eq!(*leases, i64::from(expected.held_by.is_some()), "held by one lease: {expected:?}");
            }
        }
    }
}

fn pick<T>(items: &[T], number: usize) -> Option<&T> {
    if items.is_empty() { None } else { items.get(number % items.len()) }
}

async fn hand(stage: &Stage) -> i32 {
    let info = WorkerInfo {
        name: "hand".to_owned(),
        version: "0".to_owned(),
        queues: vec!["default".to_owned()],
        slots: 1,
        heartbeat: Duration::from_secs(600),
    };
    register(&stage.pool, &info).await.expect("an id")
}

#[test]
fn whatever_happens_in_whatever_order_the_database_is_as_the_model_says() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    let play = runtime.block_on(async { tokio::sync::Mutex::new(Play::begin().await) });
    // A fixed seed: the same happenings on every run, so that a failure is found
    // again; PROPTEST_CASES and PROPTEST_RNG_SEED change that.
    let config = Config { cases: 120, failure_persistence: None, ..Config::default() };
    let rng = proptest::test_runner::TestRng::deterministic_rng(proptest::test_runner::RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(config, rng);
    let result = runner.run(&proptest::collection::vec(happening(), 1..60), |happenings| {
        runtime.block_on(async {
            let mut play = play.lock().await;
            play.clear().await;
            for happening in &happenings {
                play.happen(happening).await;
                play.compare().await;
            }
        });
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
}
