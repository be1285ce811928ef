//! What a task has of its own, as options of a command.

use clap::Args;
use longhaul_model::LAST_PRIORITY;
use serde_json::{Value, json};

use super::value;

// What each task has of its own, instead of what its type says. No doc comment: clap would take it for the words on
// the command.
#[derive(Debug, Args)]
pub(super) struct Options {
    /// The queue, if not the type's.
    #[arg(long)]
    queue: Option<String>,
    /// 0 (first) to 9 (last), if not the type's.
    #[arg(long, value_parser = clap::value_parser!(u8).range(0..=i64::from(LAST_PRIORITY)))]
    priority: Option<u8>,
    /// Whose it is, in a queue where keys take turns; if not the type's.
    #[arg(long = "of-key", value_name = "KEY")]
    of_key: Option<String>,
    /// Only one task of its type with this key is open at a time: if there is one, it is shown.
    #[arg(long, value_name = "KEY")]
    unique_key: Option<String>,
    /// For so many seconds the unique key keeps others out, instead of until the end of the task.
    #[arg(long, value_name = "SECONDS", value_parser = value::seconds)]
    unique_for: Option<f64>,
    /// Attempts in all, if not the type's.
    #[arg(long, value_name = "NUMBER")]
    max_attempts: Option<u16>,
    /// An attempt that takes longer is given up; if not the type's.
    #[arg(long, value_name = "SECONDS", value_parser = value::seconds)]
    timeout: Option<f64>,
    /// A word by which lists find it; may be given several times.
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<String>,
}

impl Options {
    /// Sets the members of a request that were given.
    pub(super) fn add_to(&self, request: &mut Value) {
        let given = [
            ("Queue", self.queue.as_ref().map(|queue| json!(queue))),
            ("Priority", self.priority.map(|priority| json!(priority))),
            ("Key", self.of_key.as_ref().map(|key| json!(key))),
            ("UniqueKey", self.unique_key.as_ref().map(|key| json!(key))),
            ("UniqueFor", self.unique_for.map(|seconds| json!(seconds))),
            ("MaxAttempts", self.max_attempts.map(|attempts| json!(attempts))),
            ("TimeoutSeconds", self.timeout.map(|seconds| json!(seconds))),
            ("Tags", Some(&self.tags).filter(|tags| !tags.is_empty()).map(|tags| json!(tags))),
        ];
        for (name, value) in given.into_iter().filter_map(|(name, value)| Some((name, value?))) {
            request[name] = value;
        }
    }
}
