//! `longhaul task cancel`

use clap::Args;
use reqwest::Method;

use super::session::Session;
use crate::command::body::one_line;
use crate::remote::watch;

/// Cancels tasks. Waiting tasks end at once; running tasks end when their handlers stop.
#[derive(Debug, Args)]
pub(super) struct Cancel {
    /// The tasks' ids.
    #[arg(required = true, value_name = "ID")]
    ids: Vec<String>,
    /// Wait until they have completed.
    #[arg(long)]
    wait: bool,
}

impl Cancel {
    pub(super) async fn run(self, session: &Session<'_>) -> anyhow::Result<()> {
        let mut failed = None;
        for id in &self.ids {
            // One that can't be cancelled is no reason to spare the others.
            let mut body = match session.client.send(Method::DELETE, &["api", "backgroundtask", id], None).await {
                Ok(body) => body,
                Err(error) => {
                    failed = Some(error.context(format!("{id} could not be cancelled")));
                    continue;
                }
            };
            if self.wait && body["Complete"] != true {
                body = watch(&session.client, id, false, |_| {}).await?;
            }
            match (session.json, body["Complete"] == true) {
                (true, _) => println!("{}", crate::visible::json_line(&body)),
                (false, true) => println!("{}", one_line(&body)),
                (false, false) => println!("{id} is running; its worker has been asked to stop it"),
            }
        }
        failed.map_or(Ok(()), Err)
    }
}
