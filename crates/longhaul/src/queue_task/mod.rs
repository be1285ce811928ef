//! The task types that every program has, since they are about the queue itself. One
//! file each.
//!
//! They have a queue of their own, `control`, so that a flood of other tasks, a pause
//! or a limit never holds them up.

mod cancel_tasks;
mod filter;
mod retry_tasks;
mod walk;

use longhaul_model::Registry;
use longhaul_model::TaskType;

pub use cancel_tasks::CancelTasks;
pub use filter::{EndState, Filter, OpenState};
pub use retry_tasks::RetryTasks;

/// The queue of these types.
pub const QUEUE: &str = "control";

/// The registry with these types, but for those whose name it has already.
#[must_use]
pub fn register(registry: Registry) -> Registry {
    with::<RetryTasks>(with::<CancelTasks>(registry))
}

fn with<T: TaskType>(registry: Registry) -> Registry {
    if registry.get(T::NAME).is_ok() { registry } else { registry.with::<T>() }
}
