//! The HTTP server.

use std::net::TcpListener;
use std::os::unix::net::UnixListener;

use actix_web::dev::Server;
use actix_web::middleware::from_fn;
use actix_web::web::ServiceConfig;
use actix_web::{App as ActixApp, HttpServer};
use tokio_util::sync::CancellationToken;

use crate::App;
use crate::observe::observe;

/// A server that has its address and is ready to run.
pub struct BoundServer {
    server: Server,
    app: App,
}

/// How long requests under way may take once the server stops.
const DRAIN_SECONDS: u64 = 10;

/// Serves the app on a listener that is already bound (so that its address is
/// known, and a taken port is an error before anything starts).
///
/// # Errors
/// When the operating system refuses the listener.
pub fn bind(app: App, listener: TcpListener) -> std::io::Result<BoundServer> {
    let head_patience = app.inner.settings.limits.head_patience;
    let workers = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let connections = app.inner.settings.limits.connections.div_ceil(workers).max(1);
    let server = HttpServer::new({
        let app = app.clone();
        move || {
            let metrics = app.inner.metrics.clone();
            let routes = |config: &mut ServiceConfig| app.configure(config);
            ActixApp::new()
                .configure(routes)
                .wrap(from_fn(crate::limit::guard))
                .wrap(from_fn(move |request, next| observe(metrics.clone(), request, next)))
        }
    })
    .workers(workers)
    .max_connections(connections)
    .listen(listener)?
    .client_request_timeout(head_patience)
    .shutdown_timeout(DRAIN_SECONDS)
    .disable_signals()
    .run();
    Ok(BoundServer { server, app })
}

/// The same on a socket in the file system, with one thread: for the process itself,
/// or for a proxy on the same machine. Who may write to the socket may connect.
///
/// # Errors
/// When the operating system refuses the listener.
pub fn bind_unix(app: App, listener: UnixListener) -> std::io::Result<BoundServer> {
    let head_patience = app.inner.settings.limits.head_patience;
    let server = HttpServer::new({
        let app = app.clone();
        move || {
            let routes = |config: &mut ServiceConfig| app.configure(config);
            ActixApp::new().configure(routes).wrap(from_fn(crate::limit::guard))
        }
    })
    .workers(1)
    .listen_uds(listener)?
    .client_request_timeout(head_patience)
    .shutdown_timeout(0)
    .disable_signals()
    .run();
    Ok(BoundServer { server, app })
}

impl BoundServer {
    /// Serves until `stop` is cancelled and requests under way are answered;
    /// streams end at once.
    ///
    /// # Errors
    /// When the server breaks down.
    pub async fn run(self, stop: CancellationToken) -> std::io::Result<()> {
        let handle = self.server.handle();
        let stopper = tokio::spawn(async move {
            stop.cancelled().await;
            self.app.close_streams();
            handle.stop(true).await;
        });
        let result = self.server.await;
        stopper.abort();
        result
    }
}
