//! Settings: command-line arguments that an environment variable or a file may also set. A flag
//! overrides the environment, the environment overrides the file, and the file overrides the
//! default.
//!
//! Every argument with a long name and an environment variable is a setting, whoever
//! adds it to the command line: nothing else has to be written down. The file
//! reaches the parser as defaults of the arguments, so that its values are read,
//! checked and typed as those of a flag are.

mod catalogue;
mod configuration;
mod example;
mod file;
mod flag;
mod show;

pub(crate) use self::configuration::Configuration;
pub(crate) use self::example::example;
pub(crate) use self::flag::{deepest, with_config};
pub(crate) use self::show::{Shown, show};
