//! Storing very many tasks.

use std::collections::BTreeSet;
use std::io::Write;

use chrono::{DateTime, Utc};
use sqlx::postgres::PgCopyIn;
use sqlx::{PgConnection, Postgres, Transaction};

use super::enqueue::{NewTask, array_of};
use super::idle::QUEUES_AT_MOST;
use crate::TraceContext;

/// Tasks between two visits of `ready`; bounds the memory.
const AT_ONCE: usize = 50_000;
/// Bytes that are sent at once: the server stores them while the next are made.
const PIECE: usize = 128 * 1024;

const TASK: &str = "
    COPY longhaul.task (id, type, queue, priority, max_attempts, parameters, created_by,
                        total_elements, processed_elements, fraction, message, key, trace_context, timeout_seconds, tags, state, run_at) FROM STDIN";
const READY: &str = "COPY longhaul.ready (queue, priority, id) FROM STDIN";
const TAGGED: &str = "COPY longhaul.task_tag (tag, task_id) FROM STDIN";
const SCHEDULED: &str = "COPY longhaul.scheduled (run_at, id) FROM STDIN";

/// Stores any number of tasks in the caller's transaction with COPY, which is
/// faster than [`super::enqueue::enqueue`] from some hundreds on. They exist
/// once it commits, and never if it is rolled back; workers are woken at the
/// commit. Memory does not grow with their number: the iterator may make them as
/// it goes. Returns how many there were.
///
/// It takes a transaction, not any connection, since a task without its place in
/// the queue would never run. Unique keys are not looked at.
///
/// # Errors
/// If the database does not answer, a task can't be stored ([`NewTask::check`]), or the database refuses one
/// (an id is taken, a text has U+0000): nothing of the transaction can be committed then.
pub async fn enqueue_many(
    transaction: &mut Transaction<'_, Postgres>,
    tasks: impl IntoIterator<Item = NewTask>,
) -> sqlx::Result<u64> {
    let now: DateTime<Utc> = sqlx::query_scalar("SELECT now()").fetch_one(&mut **transaction).await?;
    let mut tasks = tasks.into_iter().peekable();
    let mut chunk = Chunk::default();
    let mut woken: BTreeSet<String> = BTreeSet::new();
    let mut stored = 0;
    while tasks.peek().is_some() {
        chunk.ready.clear();
        chunk.scheduled.clear();
        chunk.tagged.clear();
        let mut sink = transaction.copy_in_raw(TASK).await?;
        for task in tasks.by_ref().take(AT_ONCE) {
            if !chunk.push(&task, now)? && !woken.contains(task.queue()) {
                woken.insert(task.queue().to_owned());
            }
            stored += 1;
            if chunk.task.len() >= PIECE {
                sink = send(sink, &chunk.task).await?;
                chunk.task.clear();
            }
        }
        sink = send(sink, &chunk.task).await?;
        chunk.task.clear();
        sink.finish().await?;
        copy(transaction, READY, &chunk.ready).await?;
        copy(transaction, SCHEDULED, &chunk.scheduled).await?;
        copy(transaction, TAGGED, &chunk.tagged).await?;
    }
    let wake = if woken.len() > QUEUES_AT_MOST {
        "SELECT pg_notify('longhaul_ready', queue) FROM unnest($1::text[]) AS queue"
    } else {
        "SELECT longhaul.wake(queue) FROM unnest($1::text[]) AS queue"
    };
    sqlx::query(wake).bind(woken.into_iter().collect::<Vec<_>>()).execute(&mut **transaction).await?;
    Ok(stored)
}

async fn copy(connection: &mut PgConnection, statement: &'static str, lines: &[u8]) -> sqlx::Result<()> {
    if lines.is_empty() {
        return Ok(());
    }
    let sink = connection.copy_in_raw(statement).await?;
    send(sink, lines).await?.finish().await.map(|_rows| ())
}

async fn send<'a>(
    mut sink: PgCopyIn<&'a mut PgConnection>,
    lines: &[u8],
) -> sqlx::Result<PgCopyIn<&'a mut PgConnection>> {
    match sink.send(lines).await {
        Ok(_) => Ok(sink),
        // The server says more than the broken stream.
        Err(error) => Err(sink.abort("the tasks could not be sent").await.err().unwrap_or(error)),
    }
}

/// Lines of COPY's text format (PostgreSQL manual, COPY, "Text Format").
#[derive(Default)]
struct Chunk {
    task: Vec<u8>,
    ready: Vec<u8>,
    scheduled: Vec<u8>,
    tagged: Vec<u8>,
}

impl Chunk {
    /// Whether the task waits for a later time.
    fn push(&mut self, task: &NewTask, now: DateTime<Utc>) -> sqlx::Result<bool> {
        task.check().map_err(|refused| sqlx::Error::Encode(Box::new(refused)))?;
        let later = task.run_at.filter(|run_at| *run_at > now);
        let (info, progress) = (&task.info, &task.progress);
        let to = &mut self.task;
        write!(to, "{}\t", task.id)?;
        text(to, Some(info.name))?;
        text(to, Some(task.queue()))?;
        write!(to, "{}\t{}\t", task.priority(), super::small(task.max_attempts()))?;
        serde_json::to_writer(Escaped(to), &task.parameters).map_err(|error| sqlx::Error::Encode(Box::new(error)))?;
        to.push(b'\t');
        text(to, task.created_by.as_deref())?;
        let (total, processed) = progress.stored_elements();
        write!(to, "{total}\t{processed}\t{}\t", progress.fraction)?;
        text(to, progress.message.as_deref())?;
        text(to, task.key.as_deref())?;
        text(to, task.trace.as_ref().map(TraceContext::stored).as_deref())?;
        match task.options.timeout {
            Some(limit) => write!(to, "{}\t", limit.as_secs_f64())?,
            None => to.extend_from_slice(b"\\N\t"),
        }
        text(to, array_of(&task.options.tags).as_deref())?;
        for tag in &task.options.tags {
            text(&mut self.tagged, Some(tag))?;
            writeln!(self.tagged, "{}", task.id)?;
        }
        match later {
            Some(run_at) => {
                writeln!(to, "Scheduled\t{}", run_at.to_rfc3339())?;
                writeln!(self.scheduled, "{}\t{}", run_at.to_rfc3339(), task.id)?;
            }
            None => {
                to.extend_from_slice(b"Queued\t\\N\n");
                text(&mut self.ready, Some(task.queue()))?;
                writeln!(self.ready, "{}\t{}", task.priority(), task.id)?;
            }
        }
        Ok(later.is_some())
    }
}

/// A text or NULL, and the tab after it.
fn text(to: &mut Vec<u8>, value: Option<&str>) -> std::io::Result<()> {
    match value {
        Some(value) => Escaped(to).write_all(value.as_bytes())?,
        None => to.extend_from_slice(b"\\N"),
    }
    to.push(b'\t');
    Ok(())
}

/// Escapes what has a meaning in the text format.
struct Escaped<'a>(&'a mut Vec<u8>);

impl Write for Escaped<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        for &byte in bytes {
            match byte {
                b'\\' => self.0.extend_from_slice(b"\\\\"),
                b'\n' => self.0.extend_from_slice(b"\\n"),
                b'\r' => self.0.extend_from_slice(b"\\r"),
                b'\t' => self.0.extend_from_slice(b"\\t"),
                _ => self.0.push(byte),
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
