//! Faults at single statements, on their way to the database.
//!
//! The messages are those of PostgreSQL's protocol 3.0 (its documentation, chapter "Frontend/Backend
//! Protocol"). What a client sends up to the answer that it waits for, `ReadyForQuery`, is one
//! statement here: a simple query, or all up to a `Sync`.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};

/// What happens to a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The connection is cut before the server has it.
    Before,
    /// The server carries it out, and the connection is cut before its answer.
    AnswerLost,
    /// The server answers with an error of this SQLSTATE, and does nothing.
    Error(&'static str),
    /// The connection swallows it and all that follows, and stays open.
    Silence,
}

/// What a proxy knows of the statements that went through it.
#[derive(Debug, Default)]
pub struct Statements(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    planned: Option<Plan>,
    seen: BTreeMap<String, u32>,
    struck: Vec<String>,
}

#[derive(Debug)]
struct Plan {
    /// The time at which each statement meets the fault, the first being 1.
    time: u32,
    fault: Fault,
    /// What a statement that meets it contains.
    part: String,
}

impl Statements {
    /// From now on statements are counted anew, and each meets this fault when it comes for the
    /// `time`th time; the first is 1.
    pub fn plan(&self, time: u32, fault: Fault) {
        self.plan_for("", time, fault);
    }

    /// The same, but only for statements that contain this.
    pub fn plan_for(&self, part: &str, time: u32, fault: Fault) {
        let planned = Some(Plan { time, fault, part: part.to_owned() });
        *self.lock() = State { planned, ..State::default() };
    }

    /// From now on statements are counted anew, and none meets a fault.
    pub fn spare_all(&self) {
        *self.lock() = State::default();
    }

    /// The statements that came since they are counted, with how often.
    pub fn seen(&self) -> BTreeMap<String, u32> {
        self.lock().seen.clone()
    }

    /// The statements that met a fault, in order.
    pub fn struck(&self) -> Vec<String> {
        self.lock().struck.clone()
    }

    pub(crate) fn fault(&self, statement: &str) -> Option<Fault> {
        let mut state = self.lock();
        let times = state.seen.entry(statement.to_owned()).or_default();
        *times += 1;
        let times = *times;
        let Plan { time, fault, part } = state.planned.as_ref()?;
        let fault = *fault;
        // PostgreSQL refuses no ROLLBACK.
        let refuses_rollback = statement == "run ROLLBACK" && matches!(fault, Fault::Error(_));
        let strikes = *time == times && statement.contains(part) && !refuses_rollback;
        if strikes {
            state.struck.push(statement.to_owned());
        }
        strikes.then_some(fault)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A piece of what a client sends.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    /// What is done with which text. None if no answer is waited for, or if it begins a connection.
    pub(crate) statement: Option<String>,
    pub(crate) bytes: Vec<u8>,
}

/// Divides what a client sends over one connection into pieces.
#[derive(Debug, Default)]
pub(crate) struct Pieces {
    bytes: Vec<u8>,
    begun: bool,
    /// What has come of the next statement.
    pending: Vec<u8>,
    text: Option<String>,
    prepared: HashMap<Vec<u8>, String>,
}

/// Requests before the start of a session, all of this major number: for encryption, and to cancel.
const NO_START: u32 = 1234 << 16;

impl Pieces {
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The next piece, if all of it has come.
    pub(crate) fn next(&mut self) -> Option<Piece> {
        loop {
            let head = usize::from(self.begun);
            let length = u32::from_be_bytes(self.bytes.get(head..head + 4)?.try_into().ok()?) as usize;
            if self.bytes.len() < head + length {
                return None;
            }
            let message: Vec<u8> = self.bytes.drain(..head + length).collect();
            if !self.begun {
                let code = u32::from_be_bytes(message.get(4..8)?.try_into().ok()?);
                self.begun = code & 0xFFFF_0000 != NO_START;
                return Some(Piece { statement: None, bytes: message });
            }
            if let Some(piece) = self.take(message) {
                return Some(piece);
            }
        }
    }

    fn take(&mut self, message: Vec<u8>) -> Option<Piece> {
        let mut texts = message[5..].split(|byte| *byte == 0);
        match message[0] {
            b'Q' => {
                let statement = Some(format!("run {}", one_line(texts.next()?)));
                return Some(Piece { statement, bytes: message });
            }
            b'P' => {
                let (name, text) = (texts.next()?, one_line(texts.next()?));
                self.prepared.insert(name.to_vec(), text.clone());
                self.text = Some(format!("prepare {text}"));
            }
            b'B' => {
                let name = texts.nth(1)?;
                let text = self.prepared.get(name).cloned().unwrap_or_default();
                self.text = Some(format!("run {text}"));
            }
            b'C' | b'D' | b'E' | b'S' => {}
            _ => return Some(Piece { statement: None, bytes: message }),
        }
        let is_last = message[0] == b'S';
        self.pending.extend_from_slice(&message);
        is_last.then(|| {
            let statement = self.text.take().or_else(|| Some("sync".to_owned()));
            Piece { statement, bytes: std::mem::take(&mut self.pending) }
        })
    }
}

fn one_line(text: &[u8]) -> String {
    String::from_utf8_lossy(text).split_whitespace().collect::<Vec<_>>().join(" ")
}

/// What is sent instead of a statement, so that it fails with this SQLSTATE: a COMMIT that fails
/// leaves no transaction behind.
pub(crate) fn failing(statement: Option<&str>, sqlstate: &str) -> Vec<u8> {
    let first = if statement == Some("run COMMIT") { "ROLLBACK; " } else { "" };
    let text = format!("{first}DO $$ BEGIN RAISE EXCEPTION 'planted' USING ERRCODE = '{sqlstate}'; END $$");
    let mut message = vec![b'Q'];
    message.extend(u32::try_from(text.len() + 5).expect("a short text").to_be_bytes());
    message.extend(text.as_bytes());
    message.push(0);
    message
}

/// Whether what the server has sent since a statement is all of its answer. Asked of whole messages.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    bytes: Vec<u8>,
}

impl Answer {
    /// Whether the server waits for the client now: for its next statement, or for the rows of a COPY.
    pub(crate) fn is_complete_with(&mut self, bytes: &[u8]) -> bool {
        self.bytes.extend_from_slice(bytes);
        while let Some(length) = self.bytes.get(1..5) {
            let length = u32::from_be_bytes(length.try_into().expect("four bytes")) as usize;
            if self.bytes.len() <= length {
                return false;
            }
            let kind = self.bytes[0];
            self.bytes.drain(..=length);
            if matches!(kind, b'Z' | b'G') {
                return true;
            }
        }
        false
    }
}
