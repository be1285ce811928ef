//! Group commit: concurrent POSTs share one statement and one commit.

use std::sync::Arc;
use std::time::Instant;

use chrono::{DateTime, Utc};
use longhaul_model::store::audit::{Deed, record};
use longhaul_model::store::enqueue::{NewTask, enqueue};
use longhaul_model::store::{Line, is_unavailable};
use longhaul_telemetry::Metrics;
use sqlx::{Acquire, PgPool};
use tokio::sync::{mpsc, oneshot};

/// Stores tasks for many requests at once. While one commit is under way, what
/// arrives gathers and goes with the next: no request waits for company, and
/// under load a commit is shared by hundreds. Every caller is answered after the
/// commit that holds its task.
#[derive(Debug, Clone)]
pub struct Enqueuer {
    requests: mpsc::Sender<Request>,
}

#[derive(Debug)]
struct Request {
    task: NewTask,
    deed: Option<Deed>,
    answer: oneshot::Sender<Result<DateTime<Utc>, EnqueueError>>,
}

/// Why a task was not stored.
#[derive(Debug, Clone, thiserror::Error)]
pub enum EnqueueError {
    /// The database does not answer. If it was cut off in the middle of the
    /// commit, the task may be stored all the same.
    #[error("the database does not answer")]
    Unavailable,
    /// The database refused it; the cause is in the log.
    #[error("the database refused the task: {0}")]
    Refused(Arc<str>),
}

/// Tasks in one statement at most.
const TASKS_AT_ONCE: usize = 500;
/// How often others are let run before a batch is taken, at most.
const LETS_RUN: usize = 8;
/// Requests that may wait before more of them have to.
const WAITING: usize = 10_000;

impl Enqueuer {
    /// Starts the writer on the current tokio runtime. It ends when the last clone of
    /// the enqueuer is dropped. There is one: commits that notify wait for each other in
    /// PostgreSQL, so that a second writer would only make each batch half as large
    /// (docs/performance.md).
    #[must_use]
    pub fn start(pool: &PgPool) -> Self {
        Self::start_measured(pool, Metrics::new())
    }

    /// The same, with these instruments.
    pub(crate) fn start_measured(pool: &PgPool, metrics: Metrics) -> Self {
        let (requests, waiting) = mpsc::channel(WAITING);
        tokio::spawn(write_batches(Line::new(pool), metrics, waiting));
        Self { requests }
    }

    /// Stores one task; returns when it was accepted, after the commit.
    ///
    /// # Errors
    /// When the task could not be stored.
    pub async fn enqueue(&self, task: NewTask) -> Result<DateTime<Utc>, EnqueueError> {
        self.enqueue_as(task, None).await
    }

    /// The same, and writes down who does it, if that is known.
    ///
    /// # Errors
    /// When the task could not be stored.
    pub async fn enqueue_as(&self, task: NewTask, deed: Option<Deed>) -> Result<DateTime<Utc>, EnqueueError> {
        let (answer, answered) = oneshot::channel();
        self.requests.send(Request { task, deed, answer }).await.map_err(|_| EnqueueError::Unavailable)?;
        answered.await.unwrap_or(Err(EnqueueError::Unavailable))
    }
}

async fn write_batches(mut line: Line, metrics: Metrics, mut waiting: mpsc::Receiver<Request>) {
    loop {
        let mut batch = Vec::new();
        gather(&waiting).await;
        if waiting.recv_many(&mut batch, TASKS_AT_ONCE).await == 0 {
            return;
        }
        let (tasks, rest): (Vec<NewTask>, Vec<_>) =
            batch.into_iter().map(|request| (request.task, (request.deed, request.answer))).unzip();
        let (deeds, answers): (Vec<Option<Deed>>, Vec<_>) = rest.into_iter().unzip();
        let result = store(&mut line, &tasks, &deeds, &metrics).await;
        let refused = matches!(&result, Err(error) if !is_unavailable(error));
        if refused && tasks.len() > 1 {
            // One of them is at fault: the others must not suffer.
            for ((task, deed), answer) in tasks.iter().zip(&deeds).zip(answers) {
                let (task, deed) = (std::slice::from_ref(task), std::slice::from_ref(deed));
                let result = store(&mut line, task, deed, &metrics).await;
                let _client_gone = answer.send(result.map_err(|error| told(&error)));
            }
        } else {
            let result = result.map_err(|error| told(&error));
            for answer in answers {
                let _client_gone = answer.send(result.clone());
            }
        }
    }
}

/// Lets those who were just answered go on: if the next thing they do is to store another
/// task, it goes with those that wait already. Else two halves of the producers would take
/// turns, each with half of a batch (docs/performance.md). This waits for nobody: it only
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
    line: &mut Line,
    tasks: &[NewTask],
    deeds: &[Option<Deed>],
    metrics: &Metrics,
) -> sqlx::Result<DateTime<Utc>> {
    let deeds: Vec<Deed> = deeds.iter().flatten().cloned().collect();
    let asked = Instant::now();
    let mut connection = line.take().await?;
    metrics.waited_for_connection("api", asked.elapsed());
    let began = Instant::now();
    let accepted_at = if deeds.is_empty() {
        enqueue(&mut *connection, tasks).await?
    } else {
        let mut transaction = connection.begin().await?;
        let accepted_at = enqueue(&mut *transaction, tasks).await?;
        record(&mut *transaction, &deeds).await?;
        transaction.commit().await?;
        accepted_at
    };
    line.keep(connection);
    metrics.api().stored(tasks.len(), began.elapsed());
    metrics.api().accepted(tasks.iter().map(|task| task.info.name));
    Ok(accepted_at)
}

pub(crate) fn told(error: &sqlx::Error) -> EnqueueError {
    tracing::warn!(%error, "tasks could not be stored");
    if is_unavailable(error) { EnqueueError::Unavailable } else { EnqueueError::Refused(error.to_string().into()) }
}
