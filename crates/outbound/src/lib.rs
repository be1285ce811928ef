//! HTTP to other programs: where clients begin; and for requests to addresses that users enter, which
//! addresses are allowed, why a connection failed, and how long the other side wants to be left alone.

mod address;
mod connection_failure;
mod http_client;
mod retry_after;

pub use address::{Address, GuardedResolver, NameNotResolved, NoPublicAddress};
pub use connection_failure::{ConnectionFailure, Patience};
pub use http_client::http_client;
pub use retry_after::{Quiet, retry_after};
