//! `longhaul task retry`

use clap::Args;
use reqwest::Method;

use super::draw::follow;
use super::{Session, one_line};

/// Runs failed or cancelled tasks again, from their last checkpoints.
#[derive(Debug, Args)]
pub(super) struct Retry {
    /// The tasks' ids.
    #[arg(required = true, value_name = "ID")]
    ids: Vec<String>,
    /// Draw their progress until they end, with exit codes as of `task wait`.
    #[arg(short, long)]
    watch: bool,
}

impl Retry {
    pub(super) async fn run(self, session: &Session<'_>) -> anyhow::Result<()> {
        let mut failed = None;
        for id in &self.ids {
            match session.client.send(Method::POST, &["api", "backgroundtask", id, "retry"], None).await {
                Ok(_) if self.watch => {}
                Ok(body) if session.json => println!("{body}"),
                Ok(body) => println!("{}", one_line(&body)),
                Err(error) => failed = Some(error.context(format!("{id} could not be run again"))),
            }
        }
        match failed {
            Some(error) => Err(error),
            None if self.watch => follow(session, &self.ids, None).await,
            None => Ok(()),
        }
    }
}
