//! Channels of LISTEN / NOTIFY. A notification is a hint that saves waiting;
//! whoever listens also polls, since notifications are lost over a reconnect.

use uuid::Uuid;

/// Something became ready; the payload is the queue's name.
pub const READY: &str = "longhaul_ready";
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
