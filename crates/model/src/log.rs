//! A task's log.

use std::collections::VecDeque;
use std::fmt::{self, Display, Write};
use std::sync::Arc;
use std::time::Instant;

use schemars::JsonSchema;
use serde::Serialize;

use crate::{Attempt, Limits};

/// The level of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
pub enum LogLevel {
    /// What happened.
    Info,
    /// Something unexpected happened; the task continues.
    Warn,
    /// Something failed.
    Error,
}

impl LogLevel {
    /// Every level, from the least.
    pub const ALL: [LogLevel; 3] = [LogLevel::Info, LogLevel::Warn, LogLevel::Error];

    /// The word on the wire and in the view.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            LogLevel::Info => "Info",
            LogLevel::Warn => "Warn",
            LogLevel::Error => "Error",
        }
    }
}

/// A line on its way to the database.
#[derive(Debug, Clone)]
pub struct LogLine {
    /// Lines of a task are numbered from 1, over all its attempts.
    pub number: i64,
    /// When it was written.
    pub at: Instant,
    /// How much it matters.
    pub level: LogLevel,
    /// What it says: no control characters but tabs and line breaks.
    pub text: Arc<str>,
}

/// Writes to a task's log. Every call is cheap and in memory; lines are stored
/// with the next flush of progress, and with the end of the attempt.
///
/// The log is bounded ([`Limits`]): long lines are cut, and if there are too many lines, the oldest
/// are dropped and counted. The log is for users of the task, not for tracing.
#[derive(Debug, Clone, Copy)]
pub struct LogHandle<'a> {
    pub(crate) attempt: &'a Attempt,
}

impl LogHandle<'_> {
    /// What happened.
    pub fn info(self, text: impl Display) {
        self.write(LogLevel::Info, text);
    }

    /// Something unexpected happened; the task continues.
    pub fn warn(self, text: impl Display) {
        self.write(LogLevel::Warn, text);
    }

    /// Something failed.
    pub fn error(self, text: impl Display) {
        self.write(LogLevel::Error, text);
    }

    /// Writes a line of any level. Control characters are replaced by U+FFFD, and carriage returns
    /// are dropped.
    pub fn write(self, level: LogLevel, text: impl Display) {
        // Formatted before anything is locked: it is the handler's code.
        let text = line(text, self.attempt.limits().log_line_bytes);
        self.attempt.log_line(level, text);
    }
}

/// An attempt's lines that are not yet known to be stored.
#[derive(Debug)]
pub(crate) struct LogBuffer {
    lines: VecDeque<LogLine>,
    bytes: usize,
    last: i64,
}

/// An attempt holds this many bytes of lines at most, until they are stored.
const BUFFERED_BYTES: usize = 256 * 1024;

impl LogBuffer {
    /// Goes on after the line with this number.
    pub(crate) const fn after(last: i64) -> Self {
        Self { lines: VecDeque::new(), bytes: 0, last }
    }

    pub(crate) fn push(&mut self, level: LogLevel, text: Arc<str>, limits: &Limits) {
        self.last += 1;
        self.bytes += text.len();
        self.lines.push_back(LogLine { number: self.last, at: Instant::now(), level, text });
        while self.lines.len() > limits.log_lines as usize || self.bytes > BUFFERED_BYTES {
            let Some(oldest) = self.lines.pop_front() else { return };
            self.bytes -= oldest.text.len();
        }
    }

    /// What is to be stored, if anything: it stays here until it is
    /// [`stored`](LogBuffer::stored), so that it is never lost between two writers.
    pub(crate) fn lines(&self) -> Vec<LogLine> {
        self.lines.iter().cloned().collect()
    }

    /// The number of the last line that was ever written, 0 if none.
    pub(crate) fn last(&self) -> i64 {
        self.last
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// All up to this number are in the database.
    pub(crate) fn stored(&mut self, number: i64) {
        while let Some(oldest) = self.lines.pop_front_if(|line| line.number <= number) {
            self.bytes -= oldest.text.len();
        }
        if self.lines.is_empty() {
            self.lines.shrink_to_fit();
        }
    }
}

/// A line as it is stored, which is formatted no further than to its limit.
fn line(text: impl Display, limit: usize) -> Arc<str> {
    let mut line = Line { text: String::new(), limit, cut: false };
    // It only fails where it is cut, or if the text itself fails to be formatted.
    let _cut = write!(line, "{text}");
    let mut written = line.text;
    if line.cut {
        while written.len() + '…'.len_utf8() > limit && written.pop().is_some() {}
        written.push('…');
    } else {
        written.truncate(written.trim_end().len());
    }
    written.into()
}

struct Line {
    text: String,
    limit: usize,
    cut: bool,
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for character in text.chars() {
            let shown = match character {
                '\t' | '\n' => character,
                '\r' => continue,
                control if control.is_control() => char::REPLACEMENT_CHARACTER,
                other => other,
            };
            if self.text.len() + shown.len_utf8() > self.limit {
                self.cut = true;
                return Err(fmt::Error);
            }
            self.text.push(shown);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{BUFFERED_BYTES, LogBuffer, LogLevel, line};
    use crate::Limits;

    #[test]
    fn anything_becomes_a_line_of_bounded_length() {
        assert_eq!(&*line("done\r\n", 100), "done");
        assert_eq!(&*line("a\0b\u{1b}[31mc\u{9b}\td\ne", 100), "a\u{fffd}b\u{fffd}[31mc\u{fffd}\td\ne");
        assert_eq!(&*line("ä".repeat(50), 10), "äää…");
        assert_eq!(&*line("x".repeat(10), 10), "xxxxxxxxxx");
        assert_eq!(&*line("", 10), "");
        assert_eq!(&*line("toolong", 2), "…");
    }

    #[test]
    fn a_huge_text_is_not_formatted_to_its_end() {
        struct Endless;
        impl std::fmt::Display for Endless {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                loop {
                    f.write_str("again and ")?;
                }
            }
        }
        assert_eq!(line(Endless, 4_096).len(), 4_096);
    }

    #[test]
    fn the_oldest_unstored_lines_are_dropped_and_their_numbers_with_them() {
        let limits = Limits { log_lines: 3, ..Limits::DEFAULT };
        let mut buffer = LogBuffer::after(7);
        for number in 8..=12 {
            buffer.push(LogLevel::Info, format!("{number}").into(), &limits);
        }
        let numbers = |buffer: &LogBuffer| buffer.lines().iter().map(|line| line.number).collect::<Vec<_>>();
        assert_eq!(numbers(&buffer), [10, 11, 12]);
        buffer.stored(11);
        assert_eq!((numbers(&buffer), buffer.last()), (vec![12], 12));
        buffer.stored(12);
        assert!(buffer.is_empty());
        let big = "x".repeat(4_096);
        for _ in 0..1_000 {
            buffer.push(LogLevel::Warn, big.as_str().into(), &Limits::DEFAULT);
        }
        assert_eq!(buffer.lines().len(), BUFFERED_BYTES / 4_096);
    }
}
