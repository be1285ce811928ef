//! The tests of this crate that run PostgreSQL, in one program.

mod databases;
mod directory;
mod process;
mod server;
mod support;
