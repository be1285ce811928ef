//! The slots of one lane: what waits for one, what runs, what has ended.

use std::collections::VecDeque;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use longhaul_model::store::finish::{AttemptEnd, AttemptOutcome};
use longhaul_model::store::progress::ProgressWrite;
use longhaul_model::store::{ClaimedTask, LeaseKey};
use longhaul_model::{Attempt, CurrentTask, Progress};
use longhaul_telemetry::Span;
use longhaul_telemetry::table::OTHER;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::pace::Pace;
use crate::shared::Shared;
use crate::tally::{Tally, end_name};

/// Starts claimed tasks as slots become free, also while the lane waits for the
/// database: so the ends of one batch are stored while the next one runs, and
/// short tasks are stored in large batches however few slots there are.
pub(crate) struct Slots {
    shared: Arc<Shared>,
    slots: usize,
    worker_id: i32,
    /// Claimed, waiting for a slot.
    waiting: VecDeque<ClaimedTask>,
    running: usize,
    done: Vec<Ended>,
    pace: Pace,
    tally: Tally,
    ended: mpsc::UnboundedReceiver<Ended>,
    end: mpsc::UnboundedSender<Ended>,
}

/// One attempt is over, with its last words; `None` if its outcome is to be
/// dropped.
pub(crate) struct Ended {
    pub(crate) lease: LeaseKey,
    pub(crate) id: Uuid,
    type_name: &'static str,
    took: Duration,
    pub(crate) end: Option<(AttemptEnd, Option<Box<ProgressWrite>>)>,
}

impl Slots {
    pub(crate) fn new(shared: Arc<Shared>, slots: usize, worker_id: i32) -> Self {
        let (end, ended) = mpsc::unbounded_channel();
        Self {
            tally: Tally::new(shared.metrics.clone(), Arc::clone(&shared.clock)),
            slots,
            worker_id,
            shared,
            waiting: VecDeque::new(),
            running: 0,
            done: Vec::new(),
            pace: Pace::unknown(),
            ended,
            end,
        }
    }

    /// Nothing waits, runs, or has ended.
    pub(crate) fn are_empty(&self) -> bool {
        self.running == 0 && self.waiting.is_empty() && self.done.is_empty()
    }

    pub(crate) fn has_none_ended(&self) -> bool {
        self.done.is_empty()
    }

    /// How many tasks to claim.
    pub(crate) fn room(&self) -> usize {
        (self.slots + self.pace.ahead(self.slots)).saturating_sub(self.running + self.waiting.len())
    }

    /// Claimed tasks, to be started in this order.
    pub(crate) fn give(&mut self, tasks: Vec<ClaimedTask>) {
        self.waiting.extend(tasks);
    }

    /// What has ended since the last call.
    pub(crate) fn ended(&mut self) -> Vec<Ended> {
        std::mem::take(&mut self.done)
    }

    /// Waits for this, and starts and collects meanwhile.
    pub(crate) async fn work_until<T>(&mut self, work: impl Future<Output = T>) -> T {
        tokio::pin!(work);
        loop {
            tokio::select! {
                biased;
                output = &mut work => return output,
                () = self.one_ends() => {
                    self.collect();
                    self.start();
                }
            }
        }
    }

    /// Waits until an attempt ends.
    pub(crate) async fn one_ends(&mut self) {
        // It does not close: one of its senders is here.
        if let Some(ended) = self.ended.recv().await {
            self.take(ended);
        }
    }

    pub(crate) fn collect(&mut self) {
        while let Ok(ended) = self.ended.try_recv() {
            self.take(ended);
        }
    }

    fn take(&mut self, ended: Ended) {
        self.running -= 1;
        self.pace.learn(ended.took);
        let verdict = ended.end.as_ref().map(|(end, _)| &end.verdict);
        self.tally.ended(ended.type_name, verdict, ended.took);
        self.done.push(ended);
    }

    /// Starts what waits as far as there are slots: nothing more once the worker
    /// stops or has been presumed dead.
    pub(crate) fn start(&mut self) {
        if self.shared.stopping.is_cancelled() || self.shared.identity.worker_id() != self.worker_id {
            return;
        }
        while self.running < self.slots {
            let Some(task) = self.waiting.pop_front() else { return };
            self.running += 1;
            self.spawn(task);
        }
    }

    fn spawn(&mut self, mut task: ClaimedTask) {
        let known = self.shared.executor.registry.get(&task.type_name).map(|entry| entry.info());
        let (type_name, prefix) = known.map_or((OTHER, ""), |info| (info.name, info.id_prefix));
        self.tally.started(type_name, &task);
        let attempt = Arc::new(Attempt::begin(&task, prefix, CancellationToken::new()).with_limits(self.shared.limits));
        let (shared, end, running) = (Arc::clone(&self.shared), self.end.clone(), Arc::clone(&attempt));
        let run = async move {
            let (lease, id, began) = (task.lease, task.id, Instant::now());
            let (parent, queue) = (task.trace.take(), std::mem::take(&mut task.queue));
            let span = Span::attempt(type_name, &queue, || running.public_id().to_owned(), running.number(), parent);
            let current = CurrentTask { attempt: Arc::clone(&running), type_name, queue };
            // On the heap, or each of the futures around it would move it once more.
            let run = current.scope(Box::pin(shared.executor.run(task, Arc::clone(&running))));
            let outcome = span.around(run).await;
            let verdict = outcome.as_ref().map(|(end, _)| &end.verdict);
            span.ended(
                end_name(verdict),
                matches!(verdict, Some(AttemptOutcome::Failed(..) | AttemptOutcome::Retry(..))),
            );
            shared.in_flight.remove(&running);
            // The lane outlives its handlers; if it is gone, so is the worker.
            let _lane_gone = end.send(Ended { lease, id, type_name, took: began.elapsed(), end: outcome });
        };
        self.shared.in_flight.spawn(attempt, run);
    }

    /// Claimed tasks that have not begun go back at once.
    pub(crate) fn release_waiting(&mut self) -> Vec<AttemptEnd> {
        std::mem::take(&mut self.waiting)
            .into_iter()
            .map(|task| AttemptEnd {
                id: task.id,
                lease_number: task.lease.number,
                attempt: task.attempt,
                elapsed: Duration::ZERO,
                progress: Progress { ..task.progress },
                checkpoint: None,
                verdict: AttemptOutcome::Release,
                asked_to_cancel: false,
                special: task.special,
            })
            .collect()
    }

    /// What waits is another worker's now.
    pub(crate) fn become_another(&mut self, worker_id: i32) {
        self.worker_id = worker_id;
        self.waiting.clear();
    }
}
