//! A private PostgreSQL for development, demos and tests.
//!
//! [`Server::start`] finds an installed PostgreSQL (14 to 18) or fetches one, creates a cluster in
//! a temporary or a kept directory, and runs it on a free port of 127.0.0.1 with a random password.
//! It works as an ordinary user and as root. It stops with the process that started it, however
//! that process ends. [`testing::TestDatabase`] gives every test a separate database.
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
//! * `options` describes a server, `server` starts, restarts and stops it;
//! * `binaries` finds `initdb` and `postgres`, `fetch` fetches them if there are none;
//! * `identity` is the operating system user that PostgreSQL runs as;
//! * `directory` owns the files, their locks and their removal;
//! * `cluster` runs `initdb` and `postgres` and waits until they are ready;
//! * `watchdog` stops PostgreSQL when this process is gone.

mod binaries;
mod cluster;
mod directory;
mod error;
mod fetch;
mod identity;
mod options;
mod polling;
mod server;
pub mod testing;
mod watchdog;

pub use error::Error;
pub use fetch::fetch;
pub use options::Options;
pub use server::Server;
