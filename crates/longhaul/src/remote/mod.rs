//! The API as the commands see it: somewhere else by HTTP, or a private one in this
//! process that speaks to a database.
//!
//! There is one implementation of what the API does, so the commands do the same by
//! either way: checks, keys, the `create` steps of task types, the form of answers.

mod client;
mod private;
mod watch;

use clap::parser::ValueSource;
use clap::{ArgMatches, Args};

pub(crate) use self::client::{Client, Refused};
pub(crate) use self::watch::{Item, watch};
use crate::Host;

/// The connection to the tasks, and how responses are printed.
#[derive(Debug, Clone, Args)]
pub(crate) struct ConnectArgs {
    /// The API's address. If a database address is also set, the more specific setting wins: a flag over an environment
    /// variable, a variable over the file. At the same level the API wins.
    #[arg(long, global = true, env = "LONGHAUL_URL", default_value = "http://127.0.0.1:8080", help_heading = CONNECTION)]
    url: String,
    /// The API key, sent as a Bearer token. Use the variable rather than the flag, which other users of this machine can
    /// see.
    #[arg(long, global = true, env = "LONGHAUL_KEY", hide_env_values = true, help_heading = CONNECTION)]
    key: Option<String>,
    /// Connect directly to this database, without an API.
    #[arg(long, global = true, env = "DATABASE_URL", hide_env_values = true, help_heading = CONNECTION)]
    database_url: Option<String>,
    /// Print the API's responses as JSON, one per line.
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

const CONNECTION: &str = "Connection to the tasks";

/// The chosen connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    Api,
    Database,
}

impl Way {
    /// Chooses by the more specific setting.
    pub(crate) fn of(matches: &ArgMatches) -> Self {
        let said = |id: &str| match matches.try_contains_id(id) {
            Ok(true) => match matches.value_source(id) {
                Some(ValueSource::CommandLine) => 3,
                Some(ValueSource::EnvVariable) => 2,
                // A file gives defaults; of the address there is one in any case.
                Some(_) if id == "url" => i32::from(matches.get_one::<String>(id).is_some_and(|url| url != LOCAL)),
                Some(_) => 1,
                None => 0,
            },
            _ => 0,
        };
        if said("database_url") > said("url") { Way::Database } else { Way::Api }
    }
}

/// The default address of `dev`.
const LOCAL: &str = "http://127.0.0.1:8080";

impl ConnectArgs {
    /// Connects.
    ///
    /// # Errors
    /// If the address is none, or the database does not answer or is not migrated.
    pub(crate) async fn client(&self, way: Way, host: &Host) -> anyhow::Result<Client> {
        match (way, &self.database_url) {
            (Way::Database, Some(url)) => Client::of_private(private::start(url, host).await?),
            _ => Client::new(&self.url, self.key.as_deref()),
        }
    }

    /// The database, if that is the way.
    pub(crate) fn database(&self, way: Way) -> Option<&str> {
        self.database_url.as_deref().filter(|_| way == Way::Database)
    }
}
