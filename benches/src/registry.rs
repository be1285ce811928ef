//! The task types of the benchmarks.

use longhaul_model::Registry;

use crate::{chatter, noop, pause, pulse};

/// The task types of the benchmarks.
pub(crate) fn registry() -> Registry {
    Registry::new().with::<noop::Noop>().with::<pause::Pause>().with::<chatter::Chatter>().with::<pulse::Pulse>()
}
