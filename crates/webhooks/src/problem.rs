//! The problems that webhooks make.

use longhaul_model::ProblemKind;

/// Not in the database.
pub(crate) const UNKNOWN_WEBHOOK: ProblemKind =
    ProblemKind { code: "unknown-webhook", title: "There is no such webhook", status: 404 };
/// Not in the database, or no longer.
pub(crate) const UNKNOWN_WEBHOOK_DELIVERY: ProblemKind =
    ProblemKind { code: "unknown-webhook-delivery", title: "There is no such message to a webhook", status: 500 };
/// Its receiver did not take it.
pub(crate) const WEBHOOK_NOT_DELIVERED: ProblemKind = ProblemKind {
    code: "webhook-not-delivered",
    title: "The webhook's receiver did not accept the message",
    status: 500,
};

/// The error codes of webhooks; `docs/errors.md` has the same table.
pub const KINDS: &[ProblemKind] = &[UNKNOWN_WEBHOOK, UNKNOWN_WEBHOOK_DELIVERY, WEBHOOK_NOT_DELIVERED];
