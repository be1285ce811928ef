//! One state of a task, ready to be sent.

use std::hash::Hasher;

use actix_web::web::Bytes;

use crate::TaskBody;

/// One state of a task in every form it is sent in, made once for all its
/// subscribers.
#[derive(Debug)]
pub(crate) struct Event {
    id: String,
    ndjson: Bytes,
    sse: Bytes,
    complete: bool,
    logged: i64,
}

impl Event {
    /// `logged`: how many lines the task's log has had.
    pub(crate) fn of(body: &TaskBody, logged: i64) -> serde_json::Result<Self> {
        let json = serde_json::to_string(body)?;
        // The time left runs down by itself: that makes no new state.
        let id = match body.time_left {
            None => fingerprint(&json),
            Some(_) => fingerprint(&serde_json::to_string(&TaskBody { time_left: None, ..body.clone() })?),
        };
        Ok(Self {
            // JSON as serde_json writes it has no line breaks of its own.
            sse: format!("id: {id}\ndata: {json}\n\n").into(),
            ndjson: format!("{json}\n").into(),
            id,
            complete: body.complete,
            logged,
        })
    }

    /// Tells states apart: the same body has the same id, from whatever process
    /// it comes, so that `Last-Event-ID` says whether a client has seen it.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// The task has completed: nothing comes after this.
    pub(crate) fn is_final(&self) -> bool {
        self.complete
    }

    /// How many lines the task's log had had.
    pub(crate) fn logged(&self) -> i64 {
        self.logged
    }

    /// The body and a line break.
    pub(crate) fn ndjson(&self) -> Bytes {
        self.ndjson.clone()
    }

    /// The body as a server-sent event with its id.
    pub(crate) fn sse(&self) -> Bytes {
        self.sse.clone()
    }

    /// The same, whose id also says up to which line the log was sent.
    pub(crate) fn sse_with_log(&self, line: i64) -> Bytes {
        let json = String::from_utf8_lossy(&self.ndjson);
        format!("id: {}.{line}\ndata: {json}\n", self.id).into()
    }
}

/// With fixed keys. Another release of Rust may hash differently: a client that
/// goes on with another release of the server then gets a state twice.
fn fingerprint(json: &str) -> String {
    let mut hasher = std::hash::DefaultHasher::new();
    hasher.write(json.as_bytes());
    format!("{:016x}", hasher.finish())
}
