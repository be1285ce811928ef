//! What happened: what clients asked and were answered, what handlers did, and what the queue's
//! tables hold at the end. The checker judges this value and nothing else.

use std::collections::BTreeMap;

use longhaul::uuid::Uuid;

/// Microseconds by the database's clock.
pub(crate) type Micros = i64;

#[derive(Debug, Clone, Default)]
pub(crate) struct History {
    pub(crate) requests: Vec<Request>,
    pub(crate) tasks: Vec<Task>,
    /// In the order of their times.
    pub(crate) effects: Vec<Effect>,
    pub(crate) ends: Vec<RunEnd>,
    pub(crate) seen: Vec<Seen>,
    /// How many runs of a queue may be at work at once.
    pub(crate) limits: BTreeMap<String, usize>,
    /// The same of each key of a queue.
    pub(crate) limits_per_key: BTreeMap<String, usize>,
    /// How many may begin: at most so many at once, and so many a second.
    pub(crate) rates: BTreeMap<String, Rate>,
    /// What contradicts itself between the queue's tables, in words: it may begin with a task's id.
    pub(crate) contradictions: Vec<String>,
    /// Tasks that a service had to put back, and why.
    pub(crate) repaired: Vec<(Uuid, String)>,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Rate {
    pub(crate) burst: f64,
    pub(crate) a_second: f64,
}

/// One request for one or more tasks, of which all are stored or none.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    /// Seconds since the soak began.
    pub(crate) at: f64,
    /// Each stands in the parameters of one task.
    pub(crate) tokens: Vec<String>,
    pub(crate) answers: Vec<Answer>,
    /// Another task with its unique key may have been the answer.
    pub(crate) unique_key: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    /// These tasks, in the order of the tokens.
    Accepted(Vec<Uuid>),
    /// Nothing was stored.
    Refused,
    /// The connection broke, or the server could not tell.
    Unknown,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Succeeded,
    Failed,
    Cancelled,
}

/// A task as the queue has it at the end.
#[derive(Debug, Clone)]
pub(crate) struct Task {
    pub(crate) id: Uuid,
    pub(crate) type_name: String,
    pub(crate) queue: String,
    pub(crate) token: Option<String>,
    pub(crate) key: Option<String>,
    /// `None`: it is open.
    pub(crate) end: Option<End>,
    pub(crate) error: Option<String>,
    /// How many of its attempts ended with each problem.
    pub(crate) attempt_errors: BTreeMap<String, usize>,
    pub(crate) parent: Option<Uuid>,
    /// Its family, if it is a parent: children, and how many of them ended so.
    pub(crate) family: Option<Family>,
    /// What it waited for, and whether that had to succeed.
    pub(crate) prerequisites: Vec<(Uuid, bool)>,
    /// It must not begin before.
    pub(crate) run_at: Option<Micros>,
    pub(crate) finished_at: Option<Micros>,
    pub(crate) plan: Plan,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Family {
    pub(crate) children: usize,
    pub(crate) succeeded: usize,
    pub(crate) failed: usize,
    pub(crate) cancelled: usize,
}

/// What may become of a task.
#[derive(Debug, Clone, Default)]
pub(crate) struct Plan {
    /// How many effects it has if it succeeds.
    pub(crate) steps: u32,
    /// It fails for good.
    pub(crate) fails: bool,
    /// Someone asked to cancel it, or what it belongs to.
    pub(crate) may_be_cancelled: bool,
    /// Its handler has so many children.
    pub(crate) children: usize,
    /// It was run again after it had ended.
    pub(crate) retried: bool,
}

/// A row that a handler wrote behind the fence.
#[derive(Debug, Clone)]
pub(crate) struct Effect {
    pub(crate) task: Uuid,
    pub(crate) run: Uuid,
    /// `start`, `effect`, `snooze`, `failure`, `spread`.
    pub(crate) kind: String,
    pub(crate) step: u32,
    pub(crate) at: Micros,
}

/// How a run ended, by its own word.
#[derive(Debug, Clone)]
pub(crate) struct RunEnd {
    pub(crate) task: Uuid,
    pub(crate) outcome: String,
}

/// Progress as someone saw it.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) task: Uuid,
    pub(crate) attempt: u32,
    /// How often the database has interrupted it: it begins again then, under the same number.
    pub(crate) interruptions: i16,
    /// The start of the server: progress is not durable, a crash of the server may take it back.
    pub(crate) server: Micros,
    pub(crate) processed: i64,
}
