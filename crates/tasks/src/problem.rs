//! The problems that the shipped task types make.

use longhaul_model::ProblemKind;

/// There is no such project.
pub(crate) const UNKNOWN_PROJECT: ProblemKind =
    ProblemKind { code: "unknown-project", title: "There is no such project", status: 500 };

/// The shipped task types' error codes; `docs/errors.md` has the same table.
pub const KINDS: &[ProblemKind] = &[UNKNOWN_PROJECT];
