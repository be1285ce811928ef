//! `longhaul task wait`

use std::time::Duration;

use clap::Args;

use super::draw::follow;
use super::session::Session;
use crate::command::value::seconds;

pub(super) const EXAMPLES: &str = "Examples:
  longhaul task wait ID
  longhaul task wait --timeout 600 ID && echo done

Exit codes: 0 all succeeded, 3 one failed, 4 one was cancelled, 5 the timeout expired first,
130 interrupted by Ctrl-C.";

/// Follows tasks until they complete.
#[derive(Debug, Args)]
pub(super) struct Wait {
    /// The tasks' ids.
    #[arg(required = true, value_name = "ID")]
    ids: Vec<String>,
    /// Wait for at most this many seconds.
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    timeout: Option<f64>,
}

impl Wait {
    pub(super) async fn run(self, session: &Session<'_>) -> anyhow::Result<()> {
        follow(session, &self.ids, self.timeout.map(Duration::from_secs_f64)).await
    }
}
