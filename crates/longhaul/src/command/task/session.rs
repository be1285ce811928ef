//! What every command on tasks is given.

use crate::Host;
use crate::remote::Client;

/// What every command is given.
pub(crate) struct Session<'a> {
    pub(crate) client: Client,
    pub(crate) json: bool,
    /// The program's name, for advice.
    pub(crate) program: &'static str,
    pub(crate) host: &'a Host,
}
