//! `longhaul task retry`

use clap::Args;
use reqwest::Method;

use super::draw::follow;
use super::session::Session;
use crate::command::body::one_line;

/// Retries failed or cancelled tasks from their last checkpoints.
#[derive(Debug, Args)]
pub(super) struct Retry {
    /// The tasks' ids.
    #[arg(required = true, value_name = "ID")]
    ids: Vec<String>,
    /// Draw their progress until they complete, with the exit codes of `task wait`.
    #[arg(short, long)]
    watch: bool,
}

impl Retry {
    pub(super) async fn run(self, session: &Session<'_>) -> anyhow::Result<()> {
        let mut failed = None;
        for id in &self.ids {
            match session.client.send(Method::POST, &["api", "backgroundtask", id, "retry"], None).await {
                Ok(_) if self.watch => {}
                Ok(body) if session.json => println!("{}", crate::visible::json_line(&body)),
                Ok(body) => println!("{}", one_line(&body)),
                Err(error) => failed = Some(error.context(format!("{id} could not be retried"))),
            }
        }
        match failed {
            Some(error) => Err(error),
            None if self.watch => follow(session, &self.ids, None).await,
            None => Ok(()),
        }
    }
}
