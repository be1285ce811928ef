//! Following a task until it ends.

use std::time::Duration;

use anyhow::anyhow;
use reqwest::{Response, StatusCode};
use serde_json::Value;

use super::client::{Client, Refused};

/// A stream that ended early is asked for again after this.
const PAUSE: Duration = Duration::from_millis(500);
/// An API that can't be reached is asked so often before it is given up.
const TRIES: u32 = 60;

/// What a stream says.
pub(crate) enum Item {
    /// A task body.
    Body(Value),
    /// A line of the log.
    Line(Value),
}

/// Follows a task until it completes, shows its events, and returns the last body. Reconnects after
/// a lost connection, and shows each line of the log once.
///
/// # Errors
/// If the API refuses, or is unreachable for half a minute.
pub(crate) async fn watch(client: &Client, id: &str, log: bool, mut see: impl FnMut(Item)) -> anyhow::Result<Value> {
    let query: &[_] = if log { &[("log", "true".to_owned())] } else { &[] };
    let (mut failed, mut shown) = (0, 0);
    loop {
        match client.stream(&["api", "backgroundtask", id, "events"], query).await {
            Ok(response) => {
                failed = 0;
                let mut lines = Lines { response, text: Vec::new() };
                while let Some(item) = lines.next().await {
                    if let Some(line) = item.get("Log") {
                        let number = line["Number"].as_i64().unwrap_or(i64::MAX);
                        if number > shown {
                            shown = number;
                            see(Item::Line(line.clone()));
                        }
                    } else if item["Complete"] == true {
                        see(Item::Body(item.clone()));
                        return Ok(item);
                    } else {
                        see(Item::Body(item));
                    }
                }
            }
            Err(error) => {
                let refused = error.downcast_ref::<Refused>();
                let may_pass = refused.is_none_or(|refused| refused.status == StatusCode::SERVICE_UNAVAILABLE);
                failed += 1;
                if !may_pass || failed >= TRIES {
                    return Err(error);
                }
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}

struct Lines {
    response: Response,
    text: Vec<u8>,
}

impl Lines {
    /// The next item; `None` at the end, however it came.
    async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some(end) = self.text.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.text.drain(..=end).collect();
                // An empty line says that the stream is still there.
                if line.len() > 1 {
                    return serde_json::from_slice(&line).map_err(|error| anyhow!(error)).ok();
                }
                continue;
            }
            let chunk = self.response.chunk().await.ok()??;
            self.text.extend_from_slice(&chunk);
        }
    }
}
