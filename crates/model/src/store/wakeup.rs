//! Channels of LISTEN / NOTIFY. A notification is a hint that saves waiting;
//! whoever listens also polls, since notifications are lost over a reconnect.

use uuid::Uuid;

/// Tasks were stored that may run, unless their queue is gated; the payload is the queue's name.
/// Only told if somebody sleeps ([`super::idle`]).
pub const READY: &str = "longhaul_ready";
/// A worker that slept for a queue does so no longer, so that others have to take its place; the
/// payload is the queue's name.
pub const IDLE: &str = "longhaul_idle";
/// Tasks of a gated queue were admitted; the payload is the queue's name.
pub const ADMITTED: &str = "longhaul_admitted";

/// The gate of a queue has something to do, since a place became free; the payload is the
/// queue's name. Without one: settings have changed.
pub const GATE: &str = "longhaul_gate";

/// A running task is to stop; the payload is its guid.
pub const CANCEL: &str = "longhaul_cancel";

/// Tasks ended that others wait for ([`super::linked::follow`]); no payload.
pub const FOLLOWED: &str = "longhaul_followed";

/// Watched tasks have changed; the payload names them, see
/// [`changed_tasks`]. Only tasks in `longhaul.watched` are told
/// ([`super::watch`]).
pub const PROGRESS: &str = "longhaul_progress";

/// The tasks that a notification on [`PROGRESS`] names; what is no guid is
/// passed over.
pub fn changed_tasks(payload: &str) -> impl Iterator<Item = Uuid> + '_ {
    payload.split(',').filter_map(|id| Uuid::try_parse(id).ok())
}
