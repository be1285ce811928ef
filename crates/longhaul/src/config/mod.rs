//! Settings: arguments of the command line that an environment variable or a file may
//! give as well. A flag wins over the environment, that over the file, that over the
//! default.
//!
//! Every argument with a long name and an environment variable is a setting, whoever
//! adds it to the command line: nothing else has to be written down. The file
//! reaches the parser as defaults of the arguments, so that its values are read,
//! checked and typed as those of a flag are.

mod catalogue;
mod example;
mod file;
mod show;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Arg, ArgMatches, Command};

pub(crate) use self::catalogue::{Catalogue, Setting};
pub(crate) use self::example::example;
pub(crate) use self::file::{File, Given};
pub(crate) use self::show::{Shown, show};

/// The argument that names the file.
const CONFIG: &str = "config";
/// The variable that names the file.
pub(crate) const CONFIG_VARIABLE: &str = "LONGHAUL_CONFIG";

/// What a program can be set to, and what its file says.
pub(crate) struct Configuration {
    pub(crate) catalogue: Catalogue,
    pub(crate) file: Option<File>,
}

/// Adds `--config` to a command line.
pub(crate) fn with_config(command: Command) -> Command {
    command.arg(
        Arg::new(CONFIG)
            .long(CONFIG)
            .global(true)
            .env(CONFIG_VARIABLE)
            .value_name("FILE")
            .value_parser(clap::value_parser!(PathBuf))
            .help("Read settings from this TOML file; flags and the environment win over it"),
    )
}

impl Configuration {
    /// Reads the file that these arguments or the environment name, if they do: a file
    /// that nobody named is never read, so that a directory in which the program is
    /// started can't point it elsewhere.
    ///
    /// # Errors
    /// When the file can't be read, or has an unknown key or a value that does not
    /// fit; all of them at once, with their lines.
    pub(crate) fn of(command: &Command, arguments: &[OsString]) -> anyhow::Result<Self> {
        let catalogue = Catalogue::of(command);
        let file = named(command, arguments).map(|path| read(&path, &catalogue)).transpose()?;
        Ok(Self { catalogue, file })
    }

    /// The command line whose defaults are what the file says.
    pub(crate) fn applied_to(&self, mut command: Command) -> Command {
        let Some(file) = &self.file else { return command };
        for setting in self.catalogue.iter() {
            if let Some(given) = file.of(setting) {
                command = give(command, &setting.command, setting, given);
            }
        }
        command
    }
}

fn give(command: Command, path: &[String], setting: &Setting, given: &Given) -> Command {
    match path {
        [] => command.mut_arg(setting.id.clone(), |argument| {
            // Read once in the life of a process.
            let values = given.values.iter().map(|value| &*value.clone().leak());
            argument.required(false).default_values(values.collect::<Vec<&'static str>>())
        }),
        [name, below @ ..] => command.mut_subcommand(name, |command| give(command, below, setting, given)),
    }
}

fn read(path: &Path, catalogue: &Catalogue) -> anyhow::Result<File> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("the configuration file {} could not be read", path.display()))?;
    File::parse(path, &text, catalogue)
}

/// The file that the arguments or the environment name.
fn named(command: &Command, arguments: &[OsString]) -> Option<PathBuf> {
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
