//! What of a report was not understood: told in the task's log and result.

use std::collections::BTreeMap;
use std::fmt;

/// What can't be made sense of, the kinds of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Doubt {
    /// Characters that are none in the report's encoding.
    Characters,
    /// A word for how a case went.
    Status,
    /// A duration.
    Duration,
    /// A duration that may be a thousand times shorter.
    Comma,
    /// Cases in elements that are not those of a report.
    LeftOut,
    /// Counts of a suite that its cases do not make up.
    Counts,
}

impl fmt::Display for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Doubt::Characters => "Characters could not be read and were replaced",
            Doubt::Status => "A case has an unknown outcome, which was ignored",
            Doubt::Duration => "A duration could not be read and was skipped",
            Doubt::Comma => "The comma of a duration was read as a thousands separator, but may be a decimal separator",
            Doubt::LeftOut => "Suites or cases within an unknown element were skipped",
            Doubt::Counts => "A suite counts tests, failures or errors that are not in the report",
        })
    }
}

/// What was not understood, each kind once, with how often and the first of them.
#[derive(Debug, Default)]
pub(crate) struct Notes(BTreeMap<Doubt, (u64, String)>);

/// Longer examples are cut.
const LONGEST: usize = 200;

impl Notes {
    pub(crate) fn add(&mut self, doubt: Doubt, example: impl fmt::Display) {
        let (count, _) =
            self.0.entry(doubt).or_insert_with(|| (0, example.to_string().chars().take(LONGEST).collect()));
        *count += 1;
    }

    /// One sentence a kind.
    pub(crate) fn sentences(&self) -> Vec<String> {
        self.0
            .iter()
            .map(|(doubt, (count, first))| match count {
                1 => format!("{doubt}: {first}."),
                _ => format!("{doubt}, {count} times; the first: {first}."),
            })
            .collect()
    }
}
