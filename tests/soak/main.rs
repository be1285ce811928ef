//! The soak: real processes under faults that are drawn from a seed, and a checker that proves
//! from the history of it all what the queue promises (docs/reliability.md).
//!
//! Without arguments it is the soak; with arguments it is the program whose processes the soak
//! starts: `serve` and `work`.

mod checker;
mod clients;
mod faults;
mod fleet;
mod history;
mod outages;
mod plan;
mod read;
mod report;
mod soak;
mod types;

use std::process::ExitCode;

use longhaul::Program;

fn main() -> ExitCode {
    if std::env::args().len() > 1 {
        // A soak that is killed leaves no processes behind.
        if let Err(error) = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL)) {
            eprintln!("this process may outlive its soak: {error}");
        }
        return Program::new(types::registry()).with_name("soak").main();
    }
    soak::main()
}
