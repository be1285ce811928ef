//! How much of a task is kept.

use serde::Serialize;
use serde_json::Value;

use crate::RunError;
use crate::problem::{CHECKPOINT_TOO_LARGE, NOT_STORABLE, RESULT_TOO_LARGE};
use crate::validate::has_nul;

/// How much one task may keep in the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a result's JSON. A larger one fails the task
    /// (`result-too-large`). Default 1 MiB.
    pub result_bytes: usize,
    /// Bytes of a checkpoint's JSON. A larger one is an error to the handler that
    /// saves it (`checkpoint-too-large`). Default 1 MiB.
    pub checkpoint_bytes: usize,
    /// Lines of its log, over all attempts. Of more, the oldest go. 0 keeps none.
    /// Default 1,000.
    pub log_lines: u32,
    /// Bytes of one line of its log; what is longer is cut. Default 4 KiB.
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
/// at 128 levels (serde_json).
const DEEPEST: usize = 100;

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
            RunError::permanent(CHECKPOINT_TOO_LARGE, format!("A checkpoint may have {limit} bytes of JSON at most."))
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
            RunError::permanent(RESULT_TOO_LARGE, format!("A result may have {limit} bytes of JSON at most."))
        }
        Unstorable::Nul | Unstorable::TooDeep => RunError::permanent(NOT_STORABLE, why.in_words("result")),
    })
}

impl Unstorable {
    fn in_words(&self, what: &str) -> String {
        match self {
            Unstorable::NotJson(_) => format!("The {what} has no JSON form."),
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

fn readable(value: &Value) -> Result<(), Unstorable> {
    if is_deeper(value, DEEPEST) {
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

    use super::{DEEPEST, Limits, bounded_text, check_result, storable_checkpoint};

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
    fn a_long_text_is_cut_at_a_character() {
        assert_eq!(bounded_text("abc".to_owned(), 3), "abc");
        assert_eq!(bounded_text("ääää".to_owned(), 7), "ää…");
        assert_eq!(bounded_text("a\0b".to_owned(), 9), "a\u{fffd}b");
        assert_eq!(bounded_text("abcdef".to_owned(), 1), "…");
    }
}
