//! A connection to the API that costs next to nothing, so that the server is
//! what is measured.

use anyhow::{Context, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// One HTTP/1.1 connection that is kept alive.
pub(crate) struct Connection {
    stream: TcpStream,
    request: Vec<u8>,
    received: Vec<u8>,
}

/// An answer's status and body.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

impl Connection {
    /// Connects to `address`, to POST this body to the tasks' endpoint, with an API key or none.
    pub(crate) async fn connect(address: &str, body: &str, key: Option<&str>) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).await.with_context(|| format!("could not connect to {address}"))?;
        stream.set_nodelay(true)?;
        let key = key.map(|key| format!("Authorization: Bearer {key}\r\n")).unwrap_or_default();
        let request = format!(
            "POST /api/backgroundtasks HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\n\
             Accept: application/json\r\n{key}Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        Ok(Self { stream, request: request.into_bytes(), received: Vec::with_capacity(4_096) })
    }

    /// Sends the request and reads its answer to the end.
    pub(crate) async fn post(&mut self) -> anyhow::Result<Answer> {
        self.stream.write_all(&self.request).await?;
        self.received.clear();
        let head_end = loop {
            if let Some(at) = self.received.windows(4).position(|window| window == b"\r\n\r\n") {
                break at + 4;
            }
            self.read_on().await?;
        };
        let head = std::str::from_utf8(self.received.get(..head_end).unwrap_or_default())?.to_ascii_lowercase();
        let status = head.split(' ').nth(1).context("no status")?.parse()?;
        let length: usize = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length:"))
            .context("no content-length")?
            .trim()
            .parse()?;
        while self.received.len() < head_end + length {
            self.read_on().await?;
        }
        Ok(Answer { status, body: self.received.split_off(head_end) })
    }

    async fn read_on(&mut self) -> anyhow::Result<()> {
        if self.stream.read_buf(&mut self.received).await? == 0 {
            bail!("the API closed the connection");
        }
        Ok(())
    }
}
