//! A way to the database that can fall silent, be slow, and break.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::statements::{Answer, Fault, Piece, Pieces, Statements, failing};

/// Passes TCP connections on to a server. Connections can be made to fall silent: they stay
/// open, and whatever is sent over them is swallowed, as behind a firewall that has forgotten
/// them. New connections are passed on all the same.
pub struct Proxy {
    port: u16,
    /// Connections with a number below this are silent.
    silent_below: watch::Sender<u64>,
    /// Connections with a number below this are closed.
    cut_below: watch::Sender<u64>,
    /// How long everything takes on its way.
    delay: watch::Sender<Duration>,
    /// The number of the next connection.
    next: Arc<AtomicU64>,
    statements: Arc<Statements>,
}

impl Proxy {
    /// In front of a server on this machine.
    pub async fn to(target: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let (silent_below, silenced) = watch::channel(0);
        let (cut_below, cut) = watch::channel(0);
        let (delay, delayed) = watch::channel(Duration::ZERO);
        let next = Arc::new(AtomicU64::new(0));
        let numbers = Arc::clone(&next);
        let statements = Arc::<Statements>::default();
        let watched = Arc::clone(&statements);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let number = numbers.fetch_add(1, Ordering::SeqCst);
                let (silenced, delayed, mut cut) = (silenced.clone(), delayed.clone(), cut.clone());
                let watched = Arc::clone(&watched);
                tokio::spawn(async move {
                    if let Ok(server) = TcpStream::connect(("127.0.0.1", target)).await {
                        tokio::select! {
                            () = pass_on(client, server, number, silenced, delayed, &watched) => {}
                            _ = cut.wait_for(|below| number < *below) => {}
                        }
                    }
                });
            }
        });
        Self { port, silent_below, cut_below, delay, next, statements }
    }

    /// In front of the server of this database.
    ///
    /// # Panics
    /// When this is no address.
    pub async fn before(url: &str) -> Self {
        let options: PgConnectOptions = url.parse().expect("an address");
        Self::to(options.get_port()).await
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Makes every connection that was made up to now silent, for good.
    pub fn silence_existing(&self) {
        self.silent_below.send_replace(self.next.load(Ordering::SeqCst));
    }

    /// Makes every connection silent, also those that are yet to be made.
    pub fn silence_all(&self) {
        self.silent_below.send_replace(u64::MAX);
    }

    /// Connections that are made from now on are passed on again.
    pub fn answer_again(&self) {
        self.silent_below.send_replace(self.next.load(Ordering::SeqCst));
    }

    /// Closes every connection that was made up to now.
    pub fn cut_existing(&self) {
        self.cut_below.send_replace(self.next.load(Ordering::SeqCst));
    }

    /// From now on everything takes this long on its way.
    pub fn delay(&self, delay: Duration) {
        self.delay.send_replace(delay);
    }

    /// Faults at single statements.
    pub fn statements(&self) -> &Statements {
        &self.statements
    }

    /// This address of a database, through this proxy.
    ///
    /// # Panics
    /// When the address does not name its port.
    pub fn through(&self, url: &str) -> String {
        let options: PgConnectOptions = url.parse().expect("an address");
        let direct = format!(":{}/", options.get_port());
        let through = url.replacen(&direct, &format!(":{}/", self.port), 1);
        assert_ne!(through, url, "the address names its port");
        through
    }
}

/// Never closes either side once the connection is silent.
async fn pass_on(
    client: TcpStream,
    server: TcpStream,
    number: u64,
    mut silenced: watch::Receiver<u64>,
    delayed: watch::Receiver<Duration>,
    statements: &Statements,
) {
    tokio::select! {
        _ = copy(client, server, &delayed, statements) => return,
        _ = silenced.wait_for(|below| number < *below) => {}
    }
    std::future::pending::<()>().await;
}

/// Copies in both directions until one of the sides or a fault ends it.
async fn copy(
    client: TcpStream,
    server: TcpStream,
    delayed: &watch::Receiver<Duration>,
    statements: &Statements,
) -> std::io::Result<()> {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let (mut up, mut down) = ([0; 16_384], [0; 16_384]);
    let mut pieces = Pieces::default();
    loop {
        tokio::select! {
            read = from_client.read(&mut up) => {
                let bytes = read?;
                if bytes == 0 {
                    return Ok(());
                }
                pieces.push(&up[..bytes]);
                while let Some(piece) = pieces.next() {
                    wait(delayed).await;
                    let Piece { statement, bytes } = piece;
                    match statement.as_deref().and_then(|text| statements.fault(text)) {
                        None => to_server.write_all(&bytes).await?,
                        Some(Fault::Error(sqlstate)) => to_server.write_all(&failing(statement.as_deref(), sqlstate)).await?,
                        Some(Fault::Before) => return Ok(()),
                        Some(Fault::Silence) => return std::future::pending().await,
                        Some(Fault::AnswerLost) => {
                            to_server.write_all(&bytes).await?;
                            let mut answer = Answer::default();
                            loop {
                                let bytes = from_server.read(&mut down).await?;
                                if bytes == 0 || answer.is_complete_with(&down[..bytes]) {
                                    return Ok(());
                                }
                            }
                        }
                    }
                }
            }
            read = from_server.read(&mut down) => {
                let bytes = read?;
                if bytes == 0 {
                    return Ok(());
                }
                wait(delayed).await;
                to_client.write_all(&down[..bytes]).await?;
            }
        }
    }
}

async fn wait(delayed: &watch::Receiver<Duration>) {
    let delay = *delayed.borrow();
    if !delay.is_zero() {
        tokio::time::sleep(delay).await;
    }
}
