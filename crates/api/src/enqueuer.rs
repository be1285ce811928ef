//! Group commit: concurrent POSTs share one statement and one commit.

use std::sync::Arc;
use std::time::Instant;

use chrono::{DateTime, Utc};
use longhaul_model::json_bytes;
use longhaul_model::store::audit::AuditEntry;
use longhaul_model::store::enqueue::{NewTask, enqueue_recorded};
use longhaul_model::store::failure::{MAY_BE_DONE, NOT_DONE, what_became_of_it};
use longhaul_model::store::{DEADLINE, StickyConnection, is_passing, is_refusal, within};
use longhaul_telemetry::Metrics;
use sqlx::PgPool;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

/// Stores the tasks of many requests in one commit. Tasks that arrive during a commit are stored by
/// the next one: no request waits for others, and under load hundreds share a commit. Every caller
/// gets its answer after the commit of its task.
#[derive(Debug, Clone)]
pub struct Enqueuer {
    requests: mpsc::Sender<Request>,
    /// Room for the parameters of tasks that wait or are being stored, in KiB.
    room: Arc<Semaphore>,
}

#[derive(Debug)]
struct Request {
    task: NewTask,
    deed: Option<AuditEntry>,
    room: OwnedSemaphorePermit,
    answer: oneshot::Sender<Result<DateTime<Utc>, EnqueueError>>,
}

/// Why a task was not stored.
#[derive(Debug, Clone, thiserror::Error)]
pub enum EnqueueError {
    /// The database does not answer or does not accept writes. The text also says whether the
    /// task may still have been stored.
    #[error("{0}")]
    Unavailable(String),
    /// The database refused it; the cause is in the log.
    #[error("the database refused the task: {0}")]
    Refused(Arc<str>),
}

/// The error while the process shuts down.
const NO_WRITER: &str = "The process is shutting down.";

/// The error while the database takes tasks more slowly than clients send them.
const TOO_SLOW: &str = "The database stores tasks too slowly to take one more.";

/// Tasks in one statement at most.
const TASKS_AT_ONCE: usize = 500;
/// How often others are let run before a batch is taken, at most.
const LETS_RUN: usize = 8;
/// Requests that may wait before more of them have to …
const WAITING: usize = 10_000;
/// … and KiB that their parameters and those of the tasks being stored may have: what waits here
/// goes on without the client that sent it, and all of a commit is one statement in memory.
const WAITING_KIB: u32 = 16 * 1024;

impl Enqueuer {
    /// Starts the writer on the current tokio runtime. It ends when the last clone of the enqueuer
    /// is dropped. One writer is enough: commits that notify wait for each other in PostgreSQL, so
    /// that a second writer would only halve the batches (docs/adr/0008-performance-history.md).
    #[must_use]
    pub fn start(pool: &PgPool) -> Self {
        Self::start_measured(pool, Metrics::new())
    }

    /// The same, with these instruments.
    pub(crate) fn start_measured(pool: &PgPool, metrics: Metrics) -> Self {
        let (requests, waiting) = mpsc::channel(WAITING);
        tokio::spawn(write_batches(StickyConnection::new(pool), metrics, waiting));
        Self { requests, room: Arc::new(Semaphore::new(WAITING_KIB as usize)) }
    }

    /// Stores one task. Returns the time of its acceptance, after the commit.
    ///
    /// # Errors
    /// If the task could not be stored.
    pub async fn enqueue(&self, task: NewTask) -> Result<DateTime<Utc>, EnqueueError> {
        self.enqueue_as(task, None).await
    }

    /// The same, with an audit entry if there is one.
    ///
    /// # Errors
    /// If the task could not be stored.
    pub async fn enqueue_as(&self, task: NewTask, deed: Option<AuditEntry>) -> Result<DateTime<Utc>, EnqueueError> {
        let (answer, answered) = oneshot::channel();
        let ends = |done: &str| EnqueueError::Unavailable(format!("{NO_WRITER} {done}"));
        let kib = u32::try_from(1 + json_bytes(&task.parameters) / 1024).unwrap_or(u32::MAX).min(WAITING_KIB);
        let room = tokio::time::timeout(DEADLINE, Arc::clone(&self.room).acquire_many_owned(kib)).await;
        // Nobody closes it.
        let room = room.map_err(|_elapsed| EnqueueError::Unavailable(format!("{TOO_SLOW} {NOT_DONE}")))?;
        let room = room.map_err(|_| ends(NOT_DONE))?;
        self.requests.send(Request { task, deed, room, answer }).await.map_err(|_| ends(NOT_DONE))?;
        answered.await.unwrap_or_else(|_| Err(ends(MAY_BE_DONE)))
    }
}

async fn write_batches(mut sticky: StickyConnection, metrics: Metrics, mut waiting: mpsc::Receiver<Request>) {
    loop {
        let mut batch = Vec::new();
        gather(&waiting).await;
        if waiting.recv_many(&mut batch, TASKS_AT_ONCE).await == 0 {
            return;
        }
        let (tasks, rest): (Vec<NewTask>, Vec<_>) =
            batch.into_iter().map(|request| (request.task, (request.deed, (request.answer, request.room)))).unzip();
        let (deeds, rest): (Vec<Option<AuditEntry>>, Vec<_>) = rest.into_iter().unzip();
        // Until the tasks are dropped.
        let (answers, _room): (Vec<_>, Vec<OwnedSemaphorePermit>) = rest.into_iter().unzip();
        let result = within(DEADLINE, store(&mut sticky, &tasks, &deeds, &metrics)).await;
        let refused = matches!(&result, Err(error) if is_refusal(error));
        if refused && tasks.len() > 1 {
            // One of them is at fault: the others must not suffer.
            for ((task, deed), answer) in tasks.iter().zip(&deeds).zip(answers) {
                let (task, deed) = (std::slice::from_ref(task), std::slice::from_ref(deed));
                let result = within(DEADLINE, store(&mut sticky, task, deed, &metrics)).await;
                let _client_gone = answer.send(result.map_err(|error| enqueue_error(&error)));
            }
        } else {
            let result = result.map_err(|error| enqueue_error(&error));
            for answer in answers {
                let _client_gone = answer.send(result.clone());
            }
        }
    }
}

/// Lets those who were just answered go on: if the next thing they do is to store another
/// task, it goes with those that wait already. Else two halves of the producers would take
/// turns, each with half of a batch (docs/adr/0008-performance-history.md). This waits for nobody: it only
/// lets run what can run.
async fn gather(waiting: &mpsc::Receiver<Request>) {
    for _ in 0..LETS_RUN {
        let before = waiting.len();
        tokio::task::yield_now().await;
        if waiting.len() == before {
            return;
        }
    }
}

async fn store(
    sticky: &mut StickyConnection,
    tasks: &[NewTask],
    deeds: &[Option<AuditEntry>],
    metrics: &Metrics,
) -> sqlx::Result<DateTime<Utc>> {
    let deeds: Vec<AuditEntry> = deeds.iter().flatten().cloned().collect();
    let asked = Instant::now();
    let mut connection = sticky.take().await?;
    metrics.waited_for_connection("api", asked.elapsed());
    let began = Instant::now();
    let accepted_at = enqueue_recorded(&mut *connection, tasks, &deeds).await?;
    sticky.keep(connection);
    metrics.api().stored(tasks.len(), began.elapsed());
    metrics.api().accepted(tasks.iter().map(|task| task.info.name));
    Ok(accepted_at)
}

pub(crate) fn enqueue_error(error: &sqlx::Error) -> EnqueueError {
    tracing::warn!(%error, "tasks could not be stored");
    if is_passing(error) {
        EnqueueError::Unavailable(what_became_of_it(error))
    } else {
        EnqueueError::Refused(error.to_string().into())
    }
}
