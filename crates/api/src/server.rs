//! The HTTP server.

use std::any::Any;
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::time::Duration;

use actix_web::dev::{Extensions, Server};
use actix_web::middleware::from_fn;
use actix_web::rt::net::TcpStream;
use actix_web::web::{self, ServiceConfig};
use actix_web::{App as ActixApp, HttpResponse, HttpServer};
use longhaul_telemetry::Vitals;
use tokio_util::sync::CancellationToken;

use crate::observe::observe;
use crate::{ApiError, App, endpoint};

/// A server that has its address and is ready to run.
pub struct BoundServer {
    server: Server,
    app: App,
}

/// How long a connection stays open without a request. Reverse proxies close theirs after 60 s
/// (nginx' `keepalive_timeout` of an upstream) and expect the server to wait longer: a request that
/// meets a connection as the server closes it is lost.
const KEEP_ALIVE: Duration = Duration::from_secs(75);

/// How long the server goes on to read a body that was refused before it had arrived. A connection
/// that closes while bytes arrive is reset, and the client may never see the answer; with the
/// default, one second, a slow upload often doesn't.
const REFUSED_BODY: Duration = Duration::from_secs(10);

/// How long requests under way may take once the server stops.
const DRAIN_SECONDS: u64 = 10;
/// How often each thread of the server shows that it goes on.
const BEAT: Duration = Duration::from_secs(1);
/// A thread that has not for so long is stuck.
const STUCK: Duration = Duration::from_secs(30);

/// Serves the app on a listener that is already bound (so that its address is
/// known, and a taken port is an error before anything starts).
///
/// # Errors
/// If the operating system refuses the listener.
pub fn bind(app: App, listener: TcpListener) -> std::io::Result<BoundServer> {
    let head_patience = app.inner.settings.limits.head_patience;
    let workers = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let connections = app.inner.settings.limits.connections.div_ceil(workers).max(1);
    let server = HttpServer::new({
        let app = app.clone();
        move || {
            let metrics = app.inner.metrics.clone();
            actix_web::rt::spawn(beat(metrics.vitals().clone()));
            let routes = |config: &mut ServiceConfig| app.configure(config);
            ActixApp::new()
                .configure(routes)
                .wrap(from_fn(crate::patience::answer_in_time))
                .wrap(from_fn(crate::limit::guard))
                .wrap(from_fn(move |request, next| observe(metrics.clone(), request, next)))
        }
    })
    .workers(workers)
    .max_connections(connections)
    // Before it listens: later it is not heard of.
    .on_connect(on_connect)
    .listen(listener)?
    .client_request_timeout(head_patience)
    .keep_alive(KEEP_ALIVE)
    .client_disconnect_timeout(REFUSED_BODY)
    .shutdown_timeout(DRAIN_SECONDS)
    .disable_signals()
    .run();
    Ok(BoundServer { server, app })
}

/// Serves the same listener until the app can start: the process lives, and is not available.
///
/// # Errors
/// If the operating system refuses the listener.
pub fn bind_waiting(listener: TcpListener) -> std::io::Result<Server> {
    let waits = async || -> Result<HttpResponse, ApiError> {
        Err(ApiError::unavailable("The process waits for its database. Nothing was done; try again."))
    };
    let app = move || {
        ActixApp::new()
            .route("/health/live", web::get().to(endpoint::live))
            .default_service(web::to(waits))
            .wrap(from_fn(crate::limit::guard))
    };
    let server = HttpServer::new(app).workers(1).on_connect(on_connect).listen(listener)?;
    Ok(server.shutdown_timeout(DRAIN_SECONDS).disable_signals().run())
}

/// Small writes, such as the lines of a stream, are sent at once; actix-web sets no option of its
/// sockets.
fn on_connect(socket: &dyn Any, connection: &mut Extensions) {
    if let Some(socket) = socket.downcast_ref::<TcpStream>()
        && let Err(error) = socket.set_nodelay(true)
    {
        tracing::debug!(%error, "what this connection sends may come some milliseconds late");
    }
    crate::limit::on_connect(connection);
}

/// Shows that this thread of the server goes on, for as long as it does.
async fn beat(vitals: Vitals) {
    let pulse = vitals.watch("HTTP server", STUCK);
    let mut ticks = actix_web::rt::time::interval(BEAT);
    loop {
        ticks.tick().await;
        pulse.beat(STUCK);
    }
}

/// The same on a socket in the file system, with one thread: for the process itself,
/// or for a proxy on the same machine. Who may write to the socket may connect.
///
/// # Errors
/// If the operating system refuses the listener.
pub fn bind_unix(app: App, listener: UnixListener) -> std::io::Result<BoundServer> {
    let head_patience = app.inner.settings.limits.head_patience;
    let server = HttpServer::new({
        let app = app.clone();
        move || {
            let routes = |config: &mut ServiceConfig| app.configure(config);
            ActixApp::new()
                .configure(routes)
                .wrap(from_fn(crate::patience::answer_in_time))
                .wrap(from_fn(crate::limit::guard))
        }
    })
    .workers(1)
    .on_connect(on_connect)
    .listen_uds(listener)?
    .client_request_timeout(head_patience)
    .keep_alive(KEEP_ALIVE)
    .client_disconnect_timeout(REFUSED_BODY)
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
    /// If the server breaks down.
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
