//! API and worker as parts of this process.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use anyhow::{Context, bail};
use longhaul_api::{App, AppSettings};
use longhaul_model::Resources;
use longhaul_worker::{Settings, Worker};
use sqlx::PgPool;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::database::connect;

/// A token that SIGTERM or Ctrl-C cancels; a second one ends the process.
pub(crate) fn stop_signal() -> anyhow::Result<CancellationToken> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let stop = CancellationToken::new();
    let told = stop.clone();
    tokio::spawn(async move {
        for again in [false, true] {
            tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
            if again {
                std::process::exit(130);
            }
            told.cancel();
        }
    });
    Ok(stop)
}

/// Where the API listens.
pub(crate) struct Listening {
    pub(crate) listener: TcpListener,
    pub(crate) base_url: String,
}

/// Binds the API's address. There is no access control yet, so an address that
/// others can reach must be asked for in so many words.
pub(crate) fn listen(address: SocketAddr, base_url: Option<String>, open_to_all: bool) -> anyhow::Result<Listening> {
    if !address.ip().is_loopback() && !open_to_all {
        bail!(
            "{address} can be reached by others, and everyone who reaches it may start tasks. \
             Listen on 127.0.0.1, or say --open-to-all if something in front of it keeps strangers out"
        );
    }
    let listener = TcpListener::bind(address).with_context(|| format!("could not listen on {address}"))?;
    let base_url = match base_url {
        Some(url) if url.starts_with("http://") || url.starts_with("https://") => url,
        Some(url) => bail!("--base-url must begin with http:// or https://, not '{url}'"),
        None => format!("http://{}", listener.local_addr()?),
    };
    Ok(Listening { listener, base_url })
}

/// Serves the API until `stop`.
pub(crate) async fn serve(
    pool: PgPool,
    listening: Listening,
    resources: Arc<Resources>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let app = App::builder(pool, longhaul_tasks::registry(), AppSettings::new(&listening.base_url))
        .with_resources(resources)
        .with_routes(longhaul_tasks::http::configure)
        .with_migrations(&longhaul_tasks::MIGRATIONS)
        .start()
        .await
        .context("the API could not start; run `longhaul migrate` if the database is new")?;
    tracing::info!(url = listening.base_url, "the API listens");
    longhaul_api::bind(app, listening.listener)?.run(stop).await.context("the HTTP server broke down")
}

/// Works until `stop`, then drains.
pub(crate) async fn work(
    url: &str,
    settings: Settings,
    resources: Arc<Resources>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let lanes = u32::try_from(settings.lanes).unwrap_or(2);
    let slots = u32::try_from(settings.slots).unwrap_or(32);
    // Lanes, keeper, flusher, listener, two maintenance services.
    let engine = connect(url, lanes + 5, "longhaul-worker").await?;
    let handlers = connect(url, slots.clamp(2, 20), "longhaul-handlers").await?;
    Worker::new(engine, longhaul_tasks::registry(), settings)
        .with_handler_pool(handlers)
        .with_resources(resources)
        .run(stop)
        .await
        .context("the worker could not start; run `longhaul migrate` if the database is new")
}
