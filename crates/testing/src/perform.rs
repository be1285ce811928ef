//! A handler that runs alone.

use std::sync::Arc;

use longhaul::{CancellationToken, LogLevel, Outcome, Progress, RunContext, RunError, StopReason, TaskType};
use longhaul_model::Attempt;
use longhaul_model::store::testing;
use serde::Serialize;
use serde_json::Value;

use crate::TestQueue;

/// A run of one handler, before it starts.
#[must_use = "the handler does not run before `run` is called"]
pub struct Perform<'q, T> {
    queue: &'q TestQueue,
    task: &'q T,
    checkpoint: Option<Value>,
    attempt: u16,
    cancelled: bool,
}

/// What a handler did.
#[derive(Debug)]
pub struct Performed {
    /// What it returned.
    pub outcome: Result<Outcome, RunError>,
    /// The progress that it reported last.
    pub progress: Progress,
    /// The checkpoint that it saved last, if any.
    pub checkpoint: Option<Value>,
    /// The lines that it wrote to the task's log.
    pub log: Vec<(LogLevel, String)>,
}

impl<'q, T: TaskType> Perform<'q, T> {
    pub(crate) fn new(queue: &'q TestQueue, task: &'q T) -> Self {
        Self { queue, task, checkpoint: None, attempt: 1, cancelled: false }
    }

    /// Continues from a checkpoint that an earlier attempt saved. It is the second attempt, unless
    /// [`Perform::as_attempt`] says otherwise.
    pub fn from_checkpoint(mut self, checkpoint: &impl Serialize) -> Self {
        self.checkpoint = Some(serde_json::to_value(checkpoint).expect("a checkpoint is JSON"));
        self.attempt = self.attempt.max(2);
        self
    }

    /// Sets the number of the attempt. Default: 1.
    pub fn as_attempt(mut self, attempt: u16) -> Self {
        self.attempt = attempt;
        self
    }

    /// Cancels the task before the handler starts: its cancellation token is cancelled.
    pub fn cancelled(mut self) -> Self {
        self.cancelled = true;
        self
    }

    /// Runs the handler. Its context is real: the task is stored, in a queue of its own, and this test
    /// holds its lease, so that steps, checkpoints in transactions and children work. Afterwards the
    /// queue forgets the task; what the handler did to other tables stays, and its children, too.
    ///
    /// # Panics
    /// If the parameters can't be stored, or the database does not answer.
    pub async fn run(self) -> Performed {
        let queue = self.queue;
        let task = queue.client().new_task(self.task).expect("parameters that can be stored");
        let entry = queue.host().registry().get(T::NAME).expect("a type of the program");
        let claimed = testing::claim_apart(queue.pool(), task, self.attempt, self.checkpoint)
            .await
            .expect("the task is stored and claimed");
        let cancellation = CancellationToken::new();
        let attempt = Arc::new(Attempt::begin(&claimed, entry.info().id_prefix, cancellation));
        if self.cancelled {
            attempt.stop(StopReason::Cancelled);
        }
        let resources = Arc::clone(queue.host().resources());
        let context =
            RunContext::new(Arc::clone(&attempt), queue.pool().clone(), resources, claimed.checkpoint.clone());
        let outcome = entry.run(claimed.parameters.clone(), context).await;
        let last = attempt.snapshot();
        let lines = attempt.last_words(true).map(|words| words.details.lines).unwrap_or_default();
        testing::forget(queue.pool(), &claimed).await.expect("the database answers");
        Performed {
            outcome,
            progress: last.progress,
            checkpoint: last.checkpoint,
            log: lines.into_iter().map(|line| (line.level, line.text.to_string())).collect(),
        }
    }
}
