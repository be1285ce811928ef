//! `longhaul task wait`

use std::time::Duration;

use clap::Args;

use super::Session;
use super::draw::follow;

pub(super) const EXAMPLES: &str = "Examples:
  longhaul task wait ID
  longhaul task wait --timeout 600 ID && echo done

Exit codes: 0 all succeeded, 3 one failed, 4 one was cancelled, 5 the time was over first, 130 left alone by Ctrl-C.";

/// Follows tasks until they end.
#[derive(Debug, Args)]
pub(super) struct Wait {
    /// The tasks' ids.
    #[arg(required = true, value_name = "ID")]
    ids: Vec<String>,
    /// Wait for so many seconds at most.
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    timeout: Option<f64>,
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.0..=1e9).contains(&seconds) => Ok(seconds),
        _ => Err("a number of seconds is expected".to_owned()),
    }
}

impl Wait {
    pub(super) async fn run(self, session: &Session<'_>) -> anyhow::Result<()> {
        follow(session, &self.ids, self.timeout.map(Duration::from_secs_f64)).await
    }
}
