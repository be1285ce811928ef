//! A running private PostgreSQL.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use crate::binaries::{self, Binaries};
use crate::cluster;
use crate::directory::{self, Directory};
use crate::error::Error;
use crate::options::Options;
use crate::polling::TICK;
use crate::watchdog::Watchdog;

/// How long [`Server::stop`] waits; the watchdog itself needs at most about 15 s.
const STOP_TIMEOUT: Duration = Duration::from_secs(30);

/// How long dropping a [`Server`] may block. The watchdog goes on after that.
const DROP_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a kept directory's former server may take to end.
const PREDECESSOR_TIMEOUT: Duration = Duration::from_secs(20);

/// How often to try another port when somebody else was faster.
const PORT_ATTEMPTS: usize = 5;

/// A private PostgreSQL server.
///
/// It runs until [`stop`](Self::stop), until this value is dropped, or until the process ends in
/// any way, even by SIGKILL.
pub struct Server {
    postgres: Option<Child>,
    watchdog: Watchdog,
    binaries: Binaries,
    settings: Vec<(String, String)>,
    port: u16,
    password: String,
    // The last field: its lock must be held until all the rest is gone.
    directory: Directory,
}

impl Server {
    /// Starts a server and waits until it takes connections, about a second for a new one.
    ///
    /// # Errors
    ///
    /// If the server can't be started. The message explains what to change, for example that no
    /// PostgreSQL is installed or that the directory is in use.
    pub async fn start(options: Options) -> Result<Self, Error> {
        let directory = match &options.kept {
            Some(path) => Directory::kept(path).await?,
            None => Directory::temporary()?,
        };
        // From here on the watchdog cleans up, whatever happens.
        let remove = directory.temporary.then_some(directory.path.as_path());
        let mut watchdog = Watchdog::start(&directory.identity, remove)?;
        wait_for_predecessor(&directory).await;

        let cluster = directory.cluster_version();
        let wanted = cluster.map(|major| (directory.path.as_path(), major));
        let binaries = binaries::find(&directory.identity, wanted).await?;
        let password = directory.password()?;
        if cluster.is_none() {
            cluster::initialise(&binaries, &directory, &mut watchdog, options.durable).await?;
        }
        let mut server =
            Self { postgres: None, watchdog, binaries, settings: options.all_settings(), port: 0, password, directory };
        server.launch_on_free_port().await?;
        tracing::debug!(port = server.port, directory = %server.directory.path.display(),
            "PostgreSQL is ready");
        Ok(server)
    }

    /// On the port of the last time, so that an address that someone noted leads here again; on
    /// another one if somebody else has that now.
    async fn launch_on_free_port(&mut self) -> Result<(), Error> {
        let mut attempts = 1;
        loop {
            let last = self.directory.last_port().filter(|port| attempts == 1 && cluster::is_free(*port));
            self.port = last.map_or_else(cluster::free_port, Ok)?;
            match self.resume().await {
                Err(error) if attempts < PORT_ATTEMPTS && cluster::lost_the_port(&error) => {
                    attempts += 1;
                }
                Err(error) => return Err(error),
                Ok(()) => return self.directory.keep_port(self.port),
            }
        }
    }

    /// The URL of a database, with user name and password; `database` must be a plain name.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        let (user, password, port) = (cluster::USER, &self.password, self.port);
        format!("postgres://{user}:{password}@127.0.0.1:{port}/{database}")
    }

    /// The URL of the database `postgres`, which always exists.
    #[must_use]
    pub fn admin_url(&self) -> String {
        self.url("postgres")
    }

    /// The port on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// PostgreSQL's log since its last start.
    #[must_use]
    pub fn log_path(&self) -> PathBuf {
        self.directory.log()
    }

    /// The directory that holds the data, the log and the password.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory.path
    }

    /// The operating system's id of the postmaster, unless it was halted.
    #[must_use]
    pub fn process_id(&self) -> Option<u32> {
        self.postgres.as_ref().map(Child::id)
    }

    /// Creates a database unless it exists.
    ///
    /// # Errors
    ///
    /// Fails if the server cannot be reached or refuses the name.
    pub async fn ensure_database(&self, database: &str) -> Result<(), Error> {
        let failed = || Error::database(format!("create the database `{database}`"));
        let mut connection = PgConnection::connect(&self.admin_url()).await.map_err(failed())?;
        let exists: bool = sqlx::query_scalar("SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)")
            .bind(database)
            .fetch_one(&mut connection)
            .await
            .map_err(failed())?;
        if !exists {
            let name = database.replace('"', "\"\"");
            let create = AssertSqlSafe(format!("CREATE DATABASE \"{name}\""));
            sqlx::query(create).execute(&mut connection).await.map_err(failed())?;
        }
        connection.close().await.map_err(failed())
    }

    /// Ends PostgreSQL as a crash would: no session is ended in an orderly way,
    /// and the next start has to recover. For tests.
    ///
    /// # Errors
    ///
    /// Fails if the process does not end in time.
    pub async fn halt_immediate(&mut self) -> Result<(), Error> {
        let Some(postgres) = &mut self.postgres else {
            return Ok(());
        };
        send(postgres, Signal::SIGQUIT);
        let process_id = postgres.id();
        let deadline = Instant::now() + STOP_TIMEOUT;
        while !has_ended(postgres) {
            if Instant::now() > deadline {
                return Err(Error::StopFailed { process_id });
            }
            tokio::time::sleep(TICK).await;
        }
        self.postgres = None;
        self.watchdog.watch(None)
    }

    /// Starts PostgreSQL again after [`halt_immediate`](Self::halt_immediate),
    /// with the same port and data.
    ///
    /// # Errors
    ///
    /// Fails if PostgreSQL does not start, with the end of its log.
    pub async fn resume(&mut self) -> Result<(), Error> {
        if self.postgres.is_some() {
            return Ok(());
        }
        let mut postgres = cluster::spawn(&self.binaries, &self.directory, self.port, &self.settings)?;
        self.watchdog.watch(Some(&postgres))?;
        let ready = cluster::wait_until_ready(&mut postgres, &self.directory).await;
        // If it only was too slow it still runs, and the watchdog still stops it.
        if has_ended(&mut postgres) {
            self.watchdog.watch(None)?;
        } else {
            self.postgres = Some(postgres);
        }
        ready
    }

    /// Halts PostgreSQL as a crash would and starts it again with the same port
    /// and data: for tests of what survives a restart of the database.
    ///
    /// # Errors
    ///
    /// Fails if PostgreSQL does not stop in time or does not start again.
    pub async fn restart_immediate(&mut self) -> Result<(), Error> {
        self.halt_immediate().await?;
        self.resume().await
    }

    /// Stops PostgreSQL and waits for its end. Afterwards a temporary directory is removed.
    ///
    /// # Errors
    ///
    /// Fails if the process does not end in time.
    pub async fn stop(mut self) -> Result<(), Error> {
        self.watchdog.release();
        let deadline = Instant::now() + STOP_TIMEOUT;
        while !self.has_stopped() {
            if Instant::now() > deadline {
                let process_id = self.process_id().unwrap_or_default();
                return Err(Error::StopFailed { process_id });
            }
            tokio::time::sleep(TICK).await;
        }
        Ok(())
    }

    /// Whether both PostgreSQL and, its work done, the watchdog have ended.
    fn has_stopped(&mut self) -> bool {
        let watchdog_finished = self.watchdog.has_finished();
        let Some(postgres) = &mut self.postgres else {
            return watchdog_finished;
        };
        if has_ended(postgres) {
            self.postgres = None;
        } else if watchdog_finished {
            // Somebody has killed the watchdog.
            send(postgres, Signal::SIGINT);
        }
        watchdog_finished && self.postgres.is_none()
    }
}

// By hand, so that the password does not get into a log.
impl fmt::Debug for Server {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Server")
            .field("process_id", &self.process_id())
            .field("port", &self.port)
            .field("directory", &self.directory.path)
            .finish_non_exhaustive()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.watchdog.release();
        let deadline = Instant::now() + DROP_TIMEOUT;
        while !self.has_stopped() && Instant::now() < deadline {
            std::thread::sleep(TICK);
        }
    }
}

/// Waits for the server of a process that has just ended; its watchdog is stopping it.
///
/// If it lives on, PostgreSQL itself will refuse to start and say so.
async fn wait_for_predecessor(directory: &Directory) {
    let deadline = Instant::now() + PREDECESSOR_TIMEOUT;
    while directory::postmaster_lives(&directory.data()) && Instant::now() < deadline {
        tokio::time::sleep(TICK).await;
    }
}

fn has_ended(process: &mut Child) -> bool {
    !matches!(process.try_wait(), Ok(None))
}

/// The child has not been waited for, so its id cannot belong to another process yet.
fn send(process: &Child, signal: Signal) {
    let Ok(id) = i32::try_from(process.id()) else {
        return;
    };
    if let Err(error) = kill(Pid::from_raw(id), signal) {
        tracing::debug!(%error, %signal, "could not signal PostgreSQL");
    }
}
