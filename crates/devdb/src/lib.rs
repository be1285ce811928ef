//! A private PostgreSQL for development, demos and tests.
//!
//! [`Server::start`] finds an installed PostgreSQL (14 to 18), makes a cluster
//! in a temporary or a kept directory, and runs it on a free port of 127.0.0.1
//! with a random password. It works as an ordinary user and as root, and it
//! stops with the process that started it, however that process ends.
//! [`testing::TestDatabase`] gives every test a database of its own.
//!
//! ```no_run
//! # async fn example() -> Result<(), longhaul_devdb::Error> {
//! use longhaul_devdb::{Options, Server};
//!
//! let server = Server::start(Options::temporary()).await?;
//! server.ensure_database("longhaul").await?;
//! println!("{}", server.url("longhaul"));
//! server.stop().await?;
//! # Ok(())
//! # }
//! ```
//!
//! How the modules fit together:
//!
//! * `options` says what to start, `server` starts, restarts and stops it;
//! * `binaries` finds `initdb` and `postgres` (`download` fetches them);
//! * `identity` is the operating system user that PostgreSQL runs as;
//! * `directory` owns the files: who may use them, and who removes them;
//! * `cluster` runs `initdb` and `postgres` and waits until they are ready;
//! * `watchdog` stops PostgreSQL when this process is gone.

mod binaries;
mod cluster;
mod directory;
#[cfg(feature = "download")]
mod download;
mod error;
mod identity;
mod options;
mod server;
pub mod testing;
mod watchdog;

pub use error::Error;
pub use options::Options;
pub use server::Server;
