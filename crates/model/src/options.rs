//! What one task has of its own, instead of what its type says.

use std::time::Duration;

use serde::Serialize;

use crate::limits::{ATTEMPTS, LAST_PRIORITY, NAME_BYTES, TAGS, TIMEOUT_SECONDS, TaskRefused, check_text};
use crate::store::enqueue::LONGEST_DELAY;

/// What one task has of its own. What is absent is as its type says.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct TaskOptions {
    /// The queue, see [`TaskType::QUEUE`](crate::TaskType::QUEUE).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue: Option<String>,
    /// 0 (first) to 9 (last), see [`TaskType::PRIORITY`](crate::TaskType::PRIORITY).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<u8>,
    /// Attempts in all; the waits between them are those of
    /// [`TaskType::RETRY`](crate::TaskType::RETRY).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_attempts: Option<u16>,
    /// With a unique key: how long it keeps others out, see
    /// [`TaskType::UNIQUE_FOR`](crate::TaskType::UNIQUE_FOR).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unique_for: Option<Duration>,
    /// The longest that one attempt may take, see [`TaskType::TIMEOUT`](crate::TaskType::TIMEOUT).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Duration>,
    /// Words by which people find it, each once.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
}

impl TaskOptions {
    /// Whether they are within their limits, which are those of `longhaul.enqueue` (SQL).
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn check(&self) -> Result<(), TaskRefused> {
        let refuse = |why: String| Err(TaskRefused(why));
        let Self { queue, priority, max_attempts, unique_for, timeout, tags } = self;
        if let Some(queue) = queue {
            if queue.is_empty() {
                return refuse("The name of a queue has a character at least.".to_owned());
            }
            check_text("The name of a queue", queue, NAME_BYTES)?;
        }
        if priority.is_some_and(|priority| priority > LAST_PRIORITY) {
            return refuse(format!("A priority is 0 (first) to {LAST_PRIORITY} (last)."));
        }
        if max_attempts.is_some_and(|attempts| !ATTEMPTS.contains(&attempts)) {
            return refuse(format!("A task has {} to {} attempts.", ATTEMPTS.start(), ATTEMPTS.end()));
        }
        if unique_for.is_some_and(|period| period.is_zero() || period > LONGEST_DELAY) {
            return refuse("A unique key keeps others out for more than nothing and at most ten years.".to_owned());
        }
        if timeout.is_some_and(|limit| !TIMEOUT_SECONDS.contains(&limit.as_secs_f64())) {
            let (least, most) = (TIMEOUT_SECONDS.start(), TIMEOUT_SECONDS.end());
            return refuse(format!("A time limit is {least} to {most} seconds."));
        }
        if tags.len() > TAGS {
            return refuse(format!("A task has {TAGS} tags at most."));
        }
        for (number, tag) in tags.iter().enumerate() {
            if tag.is_empty() || tag.contains('\0') {
                return refuse("A tag has a character at least, and none of them is U+0000.".to_owned());
            }
            check_text("A tag", tag, NAME_BYTES)?;
            if tags[..number].contains(tag) {
                return refuse("A task has each tag once.".to_owned());
            }
        }
        Ok(())
    }
}
