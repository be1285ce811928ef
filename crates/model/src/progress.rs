//! How far a task is.

use crate::limits::ELEMENTS_AT_MOST;

/// The progress of a task: elements, a fraction, and a message.
///
/// The fraction is a value of its own because a handler may weight its steps
/// (the contract shows 0.34 beside 1 of 2); without weights it is
/// processed / total.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Progress {
    /// The total number of elements; 0 while unknown, at most 2^53 ([`ELEMENTS_AT_MOST`]).
    pub total: i64,
    /// The number of processed elements, 0 to `total`.
    pub processed: i64,
    /// 0 to 1, unrounded.
    pub fraction: f64,
    /// The message, which describes the current work.
    pub message: Option<String>,
}

/// A message longer than this (in characters) is cut: it is a line on a page,
/// not a log.
pub const MESSAGE_LIMIT: usize = 500;

impl Progress {
    /// Nothing known yet: what a task starts with unless its `create` step says
    /// more.
    #[must_use]
    pub fn unknown() -> Self {
        Self::default()
    }

    /// `processed` of `total` elements, each of the same weight. Values below 0
    /// count as 0, a total above [`ELEMENTS_AT_MOST`] as that, and `processed` is at most
    /// `total`.
    #[must_use]
    pub fn of(processed: i64, total: i64) -> Self {
        let total = total.clamp(0, ELEMENTS_AT_MOST);
        let processed = processed.clamp(0, total);
        Self { total, processed, fraction: even_fraction(processed, total), message: None }
    }

    /// The same progress with a message.
    #[must_use]
    pub fn with_message(mut self, message: impl Into<String>) -> Self {
        self.message = Some(cut(message.into()));
        self
    }
}

impl Progress {
    /// Total and processed elements as they are stored.
    pub(crate) fn stored_elements(&self) -> (i64, i64) {
        let total = self.total.clamp(0, ELEMENTS_AT_MOST);
        (total, self.processed.clamp(0, total))
    }
}

/// Bounds a message, and drops NUL characters, which PostgreSQL's text can't hold.
pub(crate) fn cut(message: String) -> String {
    let message = if message.contains('\0') { message.replace('\0', "") } else { message };
    match message.char_indices().nth(MESSAGE_LIMIT) {
        Some((end, _)) => message[..end].to_owned(),
        None => message,
    }
}

/// processed / total, and 0 while total is 0.
pub(crate) fn even_fraction(processed: i64, total: i64) -> f64 {
    if total <= 0 {
        return 0.0;
    }
    let fraction = processed as f64 / total as f64;
    fraction.clamp(0.0, 1.0)
}

/// The fraction as the wire shows it (`ProgressInPercent`): two decimals, never
/// 1.0 before the task has succeeded, 1.0 when it has, 0.0 while total is 0
/// (contract, "The task body").
#[must_use]
pub fn wire_fraction(fraction: f64, total: i64, succeeded: bool) -> f64 {
    if succeeded {
        return 1.0;
    }
    if total <= 0 || !fraction.is_finite() {
        return 0.0;
    }
    ((fraction.clamp(0.0, 1.0) * 100.0).round() / 100.0).min(0.99)
}

#[cfg(test)]
mod tests {
    use super::{Progress, wire_fraction};

    #[test]
    fn the_seeds_fractions_come_out() {
        assert_eq!(wire_fraction(Progress::of(1, 10).fraction, 10, false), 0.1);
        assert_eq!(wire_fraction(Progress::of(2, 3).fraction, 3, false), 0.67);
    }

    #[test]
    fn it_is_one_only_at_success() {
        assert_eq!(wire_fraction(Progress::of(999, 1000).fraction, 1000, false), 0.99);
        assert_eq!(wire_fraction(Progress::of(1000, 1000).fraction, 1000, false), 0.99);
        assert_eq!(wire_fraction(0.2, 1000, true), 1.0);
        assert_eq!(wire_fraction(0.0, 0, true), 1.0);
    }

    #[test]
    fn it_is_zero_while_total_is_zero() {
        assert_eq!(wire_fraction(0.5, 0, false), 0.0);
        assert_eq!(wire_fraction(f64::NAN, 5, false), 0.0);
    }

    #[test]
    fn odd_numbers_are_pulled_into_range() {
        let progress = Progress::of(7, 5);
        assert_eq!((progress.processed, progress.fraction), (5, 1.0));
        assert_eq!(Progress::of(-1, -1), Progress::unknown());
    }

    #[test]
    fn a_long_message_is_cut_at_a_character() {
        let progress = Progress::unknown().with_message("ä".repeat(2000));
        assert_eq!(progress.message.map(|text| text.chars().count()), Some(super::MESSAGE_LIMIT));
    }
}
