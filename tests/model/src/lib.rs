//! A model of how tasks go from hand to hand, and an exhaustive check of it for small numbers.
//!
//! The model has the queue's tables as far as they say where a task is, what two workers have in
//! memory, and statements whose answer is lost and that may still run in the server. Each
//! [`Action`] names its code. [`explore`] visits every state that can be reached, holds each against
//! all [`Promise`]s, and finds out from which the tasks can't come to their end any more. A [`Bug`]
//! is a mistake on purpose, which the check has to find.
//!
//! What is modelled and what is not: `docs/reliability.md`, "The model".

mod action;
mod database;
mod explorer;
mod memory;
mod numbers;
mod possible;
mod promise;
mod scenario;
mod scenarios;
mod silence;
mod state;
mod step;
mod worker;

pub use action::Action;
pub use explorer::{Broken, Model, Seen, explore};
pub use memory::Outcome;
pub use promise::Promise;
pub use scenario::{Bug, Faults, Scenario};
pub use scenarios::{SCENARIOS, scenario};
pub use silence::{Event, Heard, Moment, Silence, Slip};
pub use state::{Left, State};
