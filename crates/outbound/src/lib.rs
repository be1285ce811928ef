//! Requests to addresses that users enter: which addresses are allowed, why a connection failed, and
//! how long the other side wants to be left alone.

mod address;
mod connection_failure;
mod retry_after;

pub use address::{Address, GuardedResolver, NameNotResolved, NoPublicAddress};
pub use connection_failure::{ConnectionFailure, Patience};
pub use retry_after::{Quiet, retry_after};
