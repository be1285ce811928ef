//! The stage that tests play on: a database of their own, a real API on a port
//! of its own, workers, and ways to wait for what must happen.

mod body;
mod collector;
mod described;
mod example;
mod http;
mod keys;
mod lateness;
mod logins;
mod proxy;
mod records;
mod scrape;
pub mod shipped;
mod signal;
mod stage;
mod statements;
mod wait;

pub use body::assert_shows;
pub use collector::Collector;
pub use described::{Described, Exchange, address, strict_client};
pub use example::Example;
pub use http::{get, http_client};
pub use keys::{SERVER_SECRET, Someone, keys_only, make_key};
pub use lateness::{Lateness, end_of};
pub use logins::{Application, Logins};
pub use proxy::Proxy;
pub use records::{Project, fill_project, index_as_formerly};
pub use scrape::Scrape;
pub use signal::signal_server;
pub use stage::{RunningWorker, Stage, StageBuilder, finish, mortal_worker, quick_worker};
pub use statements::{Fault, Statements};
pub use wait::{DEADLINE, until, until_or_tell};
