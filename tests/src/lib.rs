//! The stage that tests play on: a database of their own, a real API on a port
//! of its own, workers, and ways to wait for what must happen.

mod collector;
mod described;
mod keys;
mod logins;
mod records;
mod scrape;
mod stage;
mod wait;

pub use collector::Collector;
pub use described::{Described, Exchange, strict_client};
pub use keys::{SERVER_SECRET, Someone, keys_only, make_key};
pub use logins::Logins;
pub use records::{Project, fill_project};
pub use scrape::Scrape;
pub use stage::{RunningWorker, Stage, StageBuilder, finish, mortal_worker, quick_worker};
pub use wait::{DEADLINE, until};
