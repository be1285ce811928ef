//! Channels of LISTEN / NOTIFY. A notification is a hint that saves waiting;
//! whoever listens also polls, since notifications are lost over a reconnect.

/// Something became ready; the payload is the queue's name.
pub const READY: &str = "longhaul_ready";
/// A running task is to stop; the payload is its guid.
pub const CANCEL: &str = "longhaul_cancel";
