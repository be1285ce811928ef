//! `--config`: the argument that names the file.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Arg, ArgMatches, Command};

/// The argument that names the file.
const CONFIG: &str = "config";
/// The variable that names the file.
pub(super) const CONFIG_VARIABLE: &str = "LONGHAUL_CONFIG";

/// Adds `--config` to a command line.
pub(crate) fn with_config(command: Command) -> Command {
    command.arg(
        Arg::new(CONFIG)
            .long(CONFIG)
            .global(true)
            .env(CONFIG_VARIABLE)
            .value_name("FILE")
            .value_parser(clap::value_parser!(PathBuf))
            .help("Read settings from this TOML file; flags and the environment override it"),
    )
}

/// The file that the arguments or the environment name.
pub(super) fn named(command: &Command, arguments: &[OsString]) -> Option<PathBuf> {
    // Other mistakes in the arguments are told later, by the parser that knows the file.
    let matches = command.clone().ignore_errors(true).try_get_matches_from(arguments).ok()?;
    deepest(&matches).get_one::<PathBuf>(CONFIG).filter(|path| !path.as_os_str().is_empty()).cloned()
}

/// The innermost command of what was given.
pub(crate) fn deepest(matches: &ArgMatches) -> &ArgMatches {
    match matches.subcommand() {
        Some((_, below)) => deepest(below),
        None => matches,
    }
}
