//! What pages refuse.

use longhaul_model::ProblemKind;

/// There is no such page.
pub(crate) const NO_PAGE: ProblemKind = ProblemKind { code: "no-page", title: "Not found", status: 404 };
/// What a form asked for can't be done.
pub(crate) const NOT_DONE: ProblemKind =
    ProblemKind { code: "not-done", title: "The action is not possible", status: 409 };
/// A field of a form or a filter is wrong.
pub(crate) const WRONG_FIELD: ProblemKind =
    ProblemKind { code: "wrong-field", title: "A field is invalid", status: 400 };

/// Codes of refusals by pages. `docs/errors.md` has the same table; a test compares them.
pub const KINDS: &[ProblemKind] = &[NO_PAGE, NOT_DONE, WRONG_FIELD];
