//! The log of a task in its stream.

use std::collections::VecDeque;
use std::time::Duration;

use actix_web::web::Bytes;
use longhaul_model::store::log::{StoredLine, lines};
use sqlx::PgPool;
use uuid::Uuid;

use super::answer::Form;
use crate::endpoint::LineBody;

/// One client's place in a task's log. It reads on when it has been told that
/// there is more, and only as fast as the client takes it: lines are bounded in
/// the database, not queued here.
pub(crate) struct Lines {
    pool: PgPool,
    task: Uuid,
    /// The last line that was sent.
    sent: i64,
    /// The last state that was sent.
    state: String,
    read: VecDeque<StoredLine>,
}

/// Lines in one query.
const PAGE: u32 = 50;
/// The wait after the database failed.
const PAUSE: Duration = Duration::from_millis(500);

impl Lines {
    /// Goes on after the event that the client says it has seen, if any.
    pub(crate) fn after(pool: PgPool, task: Uuid, seen: Option<&str>) -> Self {
        let (state, sent) = seen.and_then(|seen| seen.split_once('.')).unwrap_or_default();
        let sent = sent.parse().ok().filter(|sent| *sent >= 0).unwrap_or(0);
        Self { pool, task, sent, state: state.to_owned(), read: VecDeque::new() }
    }

    /// The last line that was sent.
    pub(super) fn sent(&self) -> i64 {
        self.sent
    }

    /// The id of the state that the client has seen.
    pub(super) fn state(&self) -> &str {
        &self.state
    }

    /// A state is sent.
    pub(super) fn state_is_sent(&mut self, id: &str) {
        id.clone_into(&mut self.state);
    }

    /// The next line up to this number, unless all were sent (or dropped).
    pub(super) async fn next(&mut self, logged: i64, form: Form) -> Option<Bytes> {
        if self.read.is_empty() && self.sent < logged {
            loop {
                match lines(&self.pool, self.task, self.sent, PAGE).await {
                    Ok(read) => {
                        self.read = read.into();
                        break;
                    }
                    Err(error) => {
                        tracing::warn!(%error, "the log of a streamed task could not be read; retrying");
                        tokio::time::sleep(PAUSE).await;
                    }
                }
            }
            if self.read.is_empty() {
                self.sent = logged;
            }
        }
        let line = self.read.pop_front()?;
        self.sent = line.number;
        let body = serde_json::to_string(&LineBody::from(line)).unwrap_or_default();
        Some(match form {
            Form::Ndjson => format!("{{\"Log\":{body}}}\n").into(),
            Form::Sse => format!("event: log\nid: {}.{}\ndata: {body}\n\n", self.state, self.sent).into(),
        })
    }
}
