//! A task whose progress changes steadily.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use longhaul_model::{Outcome, RunContext, RunError, TaskType};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Changes its progress ten times a second.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Pulse {
    pub(crate) beats: i64,
}

impl TaskType for Pulse {
    const NAME: &'static str = "Pulse";
    const ID_PREFIX: &'static str = "pulse-";

    async fn run(self, context: RunContext) -> Result<Outcome, RunError> {
        context.progress().set_total(self.beats);
        for beat in 0..self.beats {
            tokio::time::sleep(Duration::from_millis(100)).await;
            context.progress().set_processed(beat);
            context.progress().set_message(format!("Beat {beat} of {}", self.beats));
        }
        if let Some(ends) = context.resources().get::<Ends>() {
            ends.note(context.task_id());
        }
        Ok(Outcome::done())
    }
}

/// When each task's handler returned: its end is stored a little later.
#[derive(Clone, Default)]
pub(crate) struct Ends(Arc<Mutex<HashMap<Uuid, Instant>>>);

impl Ends {
    fn note(&self, task: Uuid) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(task, Instant::now());
    }

    pub(crate) fn of(&self, task: Uuid) -> Option<Instant> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&task).copied()
    }
}
