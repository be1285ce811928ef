//! How an attempt saves its checkpoints.

/// The two ways to save checkpoints, see [`crate::RunContext`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CheckpointStyle {
    Flushed,
    InTransaction,
}

/// Two styles of checkpoints in one attempt.
#[derive(Debug, thiserror::Error)]
#[error("save_checkpoint and save_checkpoint_in can't be mixed in one attempt")]
pub(crate) struct MixedCheckpoints;
