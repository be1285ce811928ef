//! Which task the running code works for.

use std::future::Future;
use std::sync::Arc;

use crate::{Attempt, LogHandle};

/// The task that the running code works for, known wherever its handler calls, for
/// what is written to logs. A task that a handler spawns on the runtime does not
/// inherit it.
pub struct CurrentTask {
    /// The attempt.
    pub attempt: Arc<Attempt>,
    /// The name of its type.
    pub type_name: &'static str,
    /// The queue that it came from.
    pub queue: String,
}

tokio::task_local! {
    static CURRENT: CurrentTask;
}

impl CurrentTask {
    /// For the worker: all that `work` does is for this task.
    pub async fn scope<F: Future>(self, work: F) -> F::Output {
        CURRENT.scope(self, work).await
    }

    /// Its log, for people who follow the task.
    #[must_use]
    pub fn log(&self) -> LogHandle<'_> {
        LogHandle { attempt: &self.attempt }
    }

    /// Looks at it; `None` if the running code works for no task.
    pub fn with<T>(look: impl FnOnce(&CurrentTask) -> T) -> Option<T> {
        CURRENT.try_with(look).ok()
    }
}
