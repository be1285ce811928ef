//! How a case went, by its attributes: what it says without an element of its own.

use crate::result_node::NodeStatus;

/// What an attribute of a case says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Said {
    Status(NodeStatus),
    /// A word that is not known.
    Unknown,
}

/// Attributes that say how a case went: GoogleTest, CTest, NUnit and others.
pub(super) const ATTRIBUTES: [&str; 6] = ["status", "result", "executed", "disabled", "skipped", "ignored"];

/// What an attribute with this value says.
pub(super) fn read_status(attribute: &str, value: &str) -> Said {
    let word: String = value.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect();
    let is_true = match word.as_str() {
        "true" | "yes" | "1" => Some(true),
        "false" | "no" | "0" => Some(false),
        _ => None,
    };
    let status = match (attribute, is_true) {
        ("executed", Some(executed)) => {
            if executed {
                NodeStatus::Passed
            } else {
                NodeStatus::Skipped
            }
        }
        ("disabled" | "skipped" | "ignored", Some(skipped)) => {
            if skipped {
                NodeStatus::Skipped
            } else {
                NodeStatus::Passed
            }
        }
        // A number of something, or why.
        ("executed" | "disabled" | "skipped" | "ignored", None) => return Said::Unknown,
        _ => match word.as_str() {
            "run" | "passed" | "pass" | "success" | "successful" | "succeeded" | "ok" | "completed" | "complete"
            | "executed" | "done" | "finished" | "expectedfailure" | "xfail" => NodeStatus::Passed,
            "notrun" | "disabled" | "skipped" | "skip" | "suppressed" | "ignored" | "ignore" | "pending" | "todo"
            | "notexecuted" | "notrunnable" | "inconclusive" | "untested" | "blocked" | "filtered" | "cancelled"
            | "canceled" | "aborted" | "deselected" => NodeStatus::Skipped,
            "failed" | "fail" | "failure" => NodeStatus::Failed,
            "error" | "errored" | "broken" | "crashed" | "timeout" | "timedout" => NodeStatus::Error,
            _ => return Said::Unknown,
        },
    };
    Said::Status(status)
}

#[cfg(test)]
mod tests {
    use super::{Said, read_status};
    use crate::result_node::NodeStatus;

    #[test]
    fn words_of_many_tools_are_known() {
        for (attribute, value, status) in [
            ("status", "run", NodeStatus::Passed),
            ("status", "notrun", NodeStatus::Skipped),
            ("status", "Not Run", NodeStatus::Skipped),
            ("status", "DISABLED", NodeStatus::Skipped),
            ("result", "completed", NodeStatus::Passed),
            ("result", "skipped", NodeStatus::Skipped),
            ("result", "suppressed", NodeStatus::Skipped),
            ("status", "failed", NodeStatus::Failed),
            ("result", "Error", NodeStatus::Error),
            ("executed", "False", NodeStatus::Skipped),
            ("disabled", "true", NodeStatus::Skipped),
            ("skipped", "0", NodeStatus::Passed),
        ] {
            assert_eq!(read_status(attribute, value), Said::Status(status), "{attribute}='{value}'");
        }
        assert_eq!(read_status("status", "purple"), Said::Unknown);
        assert_eq!(read_status("skipped", "because"), Said::Unknown);
    }
}
