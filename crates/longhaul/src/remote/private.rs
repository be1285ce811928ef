//! An API of this process alone, over a database.

use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use longhaul_api::{App, AppSettings};
use tempfile::TempDir;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::Host;
use crate::database::connect;

/// The beginning of addresses in responses; no other program can reach them.
pub(super) const BASE_URL: &str = "http://localhost";

/// An API that ends when this is dropped. It listens on a socket in a directory that
/// only this user can enter.
pub(super) struct Private {
    directory: TempDir,
    _stop: DropGuard,
}

impl Private {
    pub(super) fn socket(&self) -> PathBuf {
        self.directory.path().join("api")
    }
}

/// Starts one over this database.
pub(super) async fn start(database_url: &str, host: &Host) -> anyhow::Result<Private> {
    let pool = connect(database_url, 4, "longhaul-command").await?;
    let mut app = App::builder(pool, host.registry.clone(), AppSettings::new(BASE_URL))
        .with_resources(Arc::clone(&host.resources));
    for routes in &host.routes {
        app = app.with_routes(*routes);
    }
    let app =
        app.start().await.with_context(|| format!("the database has no queue yet; run `{} migrate`", host.name))?;
    let directory = tempfile::Builder::new().prefix("longhaul-").tempdir().context("no directory for a socket")?;
    let stop = CancellationToken::new();
    let private = Private { directory, _stop: stop.clone().drop_guard() };
    let server = longhaul_api::bind_unix(app, UnixListener::bind(private.socket())?)?;
    tokio::spawn(server.run(stop));
    Ok(private)
}
