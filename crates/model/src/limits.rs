//! Limits of a task's names, keys, parameters, result, checkpoint and log.

use std::ops::RangeInclusive;

use serde::Serialize;
use serde_json::Value;

use crate::RunError;
use crate::problem::{CHECKPOINT_TOO_LARGE, NOT_STORABLE, RESULT_TOO_LARGE};
use crate::validate::has_nul;

/// How much of one task the database stores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Maximum size of a result in bytes of JSON. A larger result fails the task
    /// (`result-too-large`). Default 1 MiB.
    pub result_bytes: usize,
    /// Maximum size of a checkpoint in bytes of JSON. A larger checkpoint fails the attempt
    /// (`checkpoint-too-large`). Default 1 MiB.
    pub checkpoint_bytes: usize,
    /// Maximum number of log lines, over all attempts. The oldest lines are dropped. 0 keeps none.
    /// Default 1,000.
    pub log_lines: u32,
    /// Maximum size of a log line in bytes. Longer lines are cut. Default 4 KiB.
    pub log_line_bytes: usize,
}

impl Limits {
    /// What the documentation says.
    pub const DEFAULT: Self =
        Self { result_bytes: 1024 * 1024, checkpoint_bytes: 1024 * 1024, log_lines: 1_000, log_line_bytes: 4 * 1024 };
}

impl Default for Limits {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// JSON nests this deep at most: it must be read back, and readers of JSON stop
/// at 128 levels (serde_json). `longhaul.check_parameters` (SQL) keeps the same limit.
pub const DEEPEST: usize = 100;

/// Bytes of a name at most: of a queue, a task type, a schedule, a worker.
/// `longhaul.check_task` (SQL) keeps this limit and those of keys.
pub const NAME_BYTES: usize = 100;

/// The seconds in which a queue's rate lets tasks begin: a millisecond to 366 days.
/// `longhaul.change_queue` (SQL) keeps the limits.
pub const RATE_SECONDS: RangeInclusive<f64> = 0.001..=86_400.0 * 366.0;

/// The priority that goes last; 0 goes first. `longhaul.enqueue` (SQL) keeps the same limit.
pub const LAST_PRIORITY: u8 = 9;

/// Attempts that a task may have in all. `longhaul.enqueue` (SQL) keeps the same limits.
pub const ATTEMPTS: RangeInclusive<u16> = 1..=1_000;

/// The seconds that a task may be given for each attempt: a millisecond to 366 days.
/// `longhaul.enqueue` (SQL) keeps the same limits.
pub const TIMEOUT_SECONDS: RangeInclusive<f64> = 0.001..=86_400.0 * 366.0;

/// Tags of a task at most, each of 1 to [`NAME_BYTES`]. `longhaul.check_tags` (SQL) keeps the
/// same limit.
pub const TAGS: usize = 16;

/// Bytes of a key at most ([`TaskType::key`](crate::TaskType::key)). In a gated queue, keys
/// of more than 200 bytes take turns under a digest (`longhaul.turn_key`).
pub const KEY_BYTES: usize = 1_000;

/// Bytes of a unique key that is stored as it is. Longer ones of Rust are shortened, longer
/// ones of SQL are refused.
pub const UNIQUE_KEY_BYTES: usize = 500;

/// Bytes of a unique key at most in the form in which it is stored: `u:`, the type's name,
/// `:`, the key. `longhaul.take_key` (SQL) keeps the same limit.
pub const STORED_KEY_BYTES: usize = 2 + NAME_BYTES + 1 + UNIQUE_KEY_BYTES;

/// Bytes of the name of who asked for a task at most.
pub const CREATED_BY_BYTES: usize = 500;

/// Bytes of the JSON of a task's parameters at most. `longhaul.check_parameters` (SQL)
/// keeps the same limit, for the form in which PostgreSQL writes JSON.
pub const PARAMETERS_BYTES: usize = 16 * 1024 * 1024;

/// A task has so many elements at most, 2^53: more are counted as so many. Sums of
/// children's elements stop there, too.
pub const ELEMENTS_AT_MOST: i64 = 1 << 53;

/// What is wrong with a task that can't be stored, as a sentence.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TaskRefused(pub(crate) String);

/// Whether these are parameters that a worker can read back: an object, nested no deeper
/// than [`DEEPEST`], of [`PARAMETERS_BYTES`] at most. Cheap: a walk that writes nothing.
///
/// # Errors
/// What is wrong with them.
pub fn check_parameters(parameters: &Value) -> Result<(), TaskRefused> {
    let refuse = |why: String| Err(TaskRefused(why));
    if !parameters.is_object() {
        return refuse("Parameters must be a JSON object.".to_owned());
    }
    match greatest_size(parameters, DEEPEST) {
        None => refuse(format!("Parameters may be nested at most {DEEPEST} levels deep.")),
        Some(bytes) if bytes > PARAMETERS_BYTES && within(parameters, PARAMETERS_BYTES).is_err() => {
            refuse(format!("Parameters may have at most {PARAMETERS_BYTES} bytes of JSON."))
        }
        Some(_) => Ok(()),
    }
}

/// Whether a text of a task has at most so many bytes.
///
/// # Errors
/// What is wrong with it.
pub fn check_text(what: &str, text: &str, most: usize) -> Result<(), TaskRefused> {
    if text.len() <= most {
        Ok(())
    } else {
        Err(TaskRefused(format!("{what} may have at most {most} bytes; it has {}.", text.len())))
    }
}

/// Bytes that the JSON of a value has at most; `None` if it has more levels than that.
fn greatest_size(value: &Value, levels: usize) -> Option<usize> {
    /// As long as any number, and a control character in a text, can get.
    const NUMBER: usize = 25;
    const CHARACTER: usize = 6;
    let text = |text: &str| text.len() * CHARACTER + 2;
    Some(match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => NUMBER,
        Value::String(string) => text(string),
        Value::Array(items) => {
            let below = levels.checked_sub(1)?;
            items.iter().try_fold(2, |sum, item| Some(sum + 1 + greatest_size(item, below)?))?
        }
        Value::Object(members) => {
            let below = levels.checked_sub(1)?;
            members.iter().try_fold(2, |sum, (name, item)| Some(sum + 2 + text(name) + greatest_size(item, below)?))?
        }
    })
}

/// Whether a value is nested deeper than [`DEEPEST`].
pub(crate) fn is_too_deep(value: &Value) -> bool {
    is_deeper(value, DEEPEST)
}

/// Why something can't be kept.
#[derive(Debug)]
pub(crate) enum Unstorable {
    /// It has no JSON form.
    NotJson(serde_json::Error),
    /// It has more bytes than this.
    TooLarge(usize),
    /// It has a text with U+0000, which PostgreSQL's jsonb can't hold.
    Nul,
    /// It is nested deeper than [`DEEPEST`].
    TooDeep,
}

/// The JSON form of a value, which is written no further than to its limit.
pub(crate) fn storable(value: &impl Serialize, limit: usize) -> Result<Value, Unstorable> {
    within(value, limit)?;
    let value = serde_json::to_value(value).map_err(Unstorable::NotJson)?;
    readable(&value)?;
    Ok(value)
}

/// Whether a checkpoint may be stored; its JSON form.
pub(crate) fn storable_checkpoint(checkpoint: &impl Serialize, limits: &Limits) -> Result<Value, RunError> {
    storable(checkpoint, limits.checkpoint_bytes).map_err(|why| match why {
        Unstorable::NotJson(error) => error.into(),
        Unstorable::TooLarge(limit) => {
            RunError::permanent(CHECKPOINT_TOO_LARGE, format!("A checkpoint may have at most {limit} bytes of JSON."))
        }
        Unstorable::Nul | Unstorable::TooDeep => RunError::permanent(NOT_STORABLE, why.in_words("checkpoint")),
    })
}

/// Whether a result (in its stored form) may be stored.
///
/// # Errors
/// A permanent one that says why not.
pub fn check_result(result: &Value, limits: &Limits) -> Result<(), RunError> {
    within(result, limits.result_bytes).and_then(|()| readable(result)).map_err(|why| match why {
        Unstorable::NotJson(error) => error.into(),
        Unstorable::TooLarge(limit) => {
            RunError::permanent(RESULT_TOO_LARGE, format!("A result may have at most {limit} bytes of JSON."))
        }
        Unstorable::Nul | Unstorable::TooDeep => RunError::permanent(NOT_STORABLE, why.in_words("result")),
    })
}

impl Unstorable {
    fn in_words(&self, what: &str) -> String {
        match self {
            Unstorable::NotJson(_) => format!("The {what} can't be written as JSON."),
            Unstorable::TooLarge(limit) => format!("The {what} has more than {limit} bytes of JSON."),
            Unstorable::Nul => format!("The {what} has a text with the character U+0000, which can't be stored."),
            Unstorable::TooDeep => format!("The {what} is nested more than {DEEPEST} levels deep."),
        }
    }
}

fn within(value: &impl Serialize, limit: usize) -> Result<(), Unstorable> {
    let mut room = Room { left: limit, full: false };
    match serde_json::to_writer(&mut room, value) {
        Ok(()) => Ok(()),
        Err(_) if room.full => Err(Unstorable::TooLarge(limit)),
        Err(error) => Err(Unstorable::NotJson(error)),
    }
}

/// The bytes of this value as JSON.
#[must_use]
pub fn json_bytes(value: &Value) -> usize {
    let mut room = Room { left: usize::MAX, full: false };
    // What can't be written counts as far as it goes: whoever stores it refuses it.
    let _unwritable = serde_json::to_writer(&mut room, value);
    usize::MAX - room.left
}

fn readable(value: &Value) -> Result<(), Unstorable> {
    if is_too_deep(value) {
        Err(Unstorable::TooDeep)
    } else if has_nul(value) {
        Err(Unstorable::Nul)
    } else {
        Ok(())
    }
}

fn is_deeper(value: &Value, levels: usize) -> bool {
    match value {
        Value::Array(items) => levels == 0 || items.iter().any(|item| is_deeper(item, levels - 1)),
        Value::Object(members) => levels == 0 || members.values().any(|member| is_deeper(member, levels - 1)),
        _ => false,
    }
}

/// Counts what is written to it, and refuses more than it has room for.
struct Room {
    left: usize,
    full: bool,
}

impl std::io::Write for Room {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match self.left.checked_sub(bytes.len()) {
            Some(left) => {
                self.left = left;
                Ok(bytes.len())
            }
            None => {
                self.full = true;
                Err(std::io::ErrorKind::StorageFull.into())
            }
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Errors told to clients and operators are cut at this many bytes.
pub const ERROR_TEXT_LIMIT: usize = 16 * 1024;

/// A text that PostgreSQL takes, of `limit` bytes at most: without U+0000, and cut
/// between two characters.
#[must_use]
pub fn bounded_text(mut text: String, limit: usize) -> String {
    if text.contains('\0') {
        text = text.replace('\0', "\u{fffd}");
    }
    if text.len() > limit {
        let end = (0..=limit.saturating_sub('…'.len_utf8())).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
        text.truncate(end);
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{DEEPEST, Limits, bounded_text, check_parameters, check_result, storable_checkpoint};

    const SMALL: Limits = Limits { result_bytes: 10, checkpoint_bytes: 10, log_lines: 1, log_line_bytes: 10 };

    fn nested(levels: usize) -> Value {
        (0..levels).fold(json!(1), |inner, _| json!([inner]))
    }

    #[test]
    fn the_limit_is_of_the_bytes_of_the_json() {
        assert!(check_result(&json!("12345678"), &SMALL).is_ok());
        for too_large in [json!("123456789"), json!("ääää\u{1}")] {
            let error = check_result(&too_large, &SMALL).expect_err("too large");
            assert_eq!(error.problem().code, "result-too-large");
        }
        let error = storable_checkpoint(&vec![1; 6], &SMALL).expect_err("13 bytes");
        assert_eq!(error.problem().code, "checkpoint-too-large");
        assert_eq!(storable_checkpoint(&vec![1; 4], &SMALL).expect("9 bytes"), json!([1, 1, 1, 1]));
    }

    #[test]
    fn what_could_not_be_written_or_read_back_is_refused() {
        for bad in [json!({"a\0": 1}), json!([["\0"]]), nested(DEEPEST + 1)] {
            assert_eq!(check_result(&bad, &Limits::DEFAULT).expect_err("bad").problem().code, "not-storable");
            let error = storable_checkpoint(&bad, &Limits::DEFAULT).expect_err("bad");
            assert_eq!(error.problem().code, "not-storable");
        }
        assert!(check_result(&nested(DEEPEST), &Limits::DEFAULT).is_ok());
    }

    #[test]
    fn parameters_are_an_object_of_bounded_depth_and_size() {
        assert!(check_parameters(&json!({"a": nested(DEEPEST - 1)})).is_ok());
        for bad in [json!([]), json!({"a": nested(DEEPEST)}), json!({"a": "x".repeat(super::PARAMETERS_BYTES)})] {
            assert!(check_parameters(&bad).is_err());
        }
        // Six bytes for each character would be too many; there are fewer.
        assert!(check_parameters(&json!({"a": "x".repeat(super::PARAMETERS_BYTES / 2)})).is_ok());
    }

    #[test]
    fn a_long_text_is_cut_at_a_character() {
        assert_eq!(bounded_text("abc".to_owned(), 3), "abc");
        assert_eq!(bounded_text("ääää".to_owned(), 7), "ää…");
        assert_eq!(bounded_text("a\0b".to_owned(), 9), "a\u{fffd}b");
        assert_eq!(bounded_text("abcdef".to_owned(), 1), "…");
    }
}
