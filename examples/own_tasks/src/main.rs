//! A program with task types of its own: `cargo run -p own_tasks -- dev`.

mod count_primes;
mod greet;

use std::process::ExitCode;

use longhaul::{Program, Registry};

use crate::count_primes::CountPrimes;
use crate::greet::Greet;

fn main() -> ExitCode {
    Program::new(Registry::new().with::<Greet>().with::<CountPrimes>())
        .with_name("own_tasks")
        .with_about("Greets people and counts primes")
        .with_version(env!("CARGO_PKG_VERSION"))
        .main()
}
