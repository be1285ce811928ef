//! The HTTP server.

use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::time::Duration;

use actix_web::dev::Server;
use actix_web::middleware::from_fn;
use actix_web::web::{self, ServiceConfig};
use actix_web::{App as ActixApp, HttpResponse};
use longhaul_telemetry::Vitals;
use tokio_util::sync::CancellationToken;

use crate::observe::observe;
use crate::{ApiError, App, connection, endpoint};

/// A server that has its address and is ready to run.
pub struct BoundServer {
    server: Server,
    app: App,
}

/// How long requests under way may take once the server stops.
const DRAIN_SECONDS: u64 = 10;
/// How long a client may take for the head of a request while the app can't start.
const WAITING_HEAD: Duration = Duration::from_secs(10);
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
    let server = Server::build();
    let signal = server.graceful_shutdown_signal();
    let draining = move || {
        let signal = signal.clone();
        async move { signal.notified().await }
    };
    let service = {
        let app = app.clone();
        move || {
            let metrics = app.inner.metrics.clone();
            actix_web::rt::spawn(beat(metrics.vitals().clone()));
            let routes = ActixApp::new()
                .configure(|config: &mut ServiceConfig| app.configure(config))
                .wrap(from_fn(crate::patience::answer_in_time))
                .wrap(from_fn(crate::limit::guard))
                .wrap(from_fn(move |request, next| observe(metrics.clone(), request, next)));
            connection::service(routes, app.base_url().into(), head_patience, draining.clone())
        }
    };
    let server = server
        .workers(workers)
        .max_concurrent_connections(connections)
        .shutdown_timeout(DRAIN_SECONDS)
        .disable_signals()
        .listen("api", listener, service)?
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
    let service = move || {
        #[expect(clippy::disallowed_methods, reason = "no permission can be asked for before there is a database")]
        let routes = ActixApp::new()
            .route("/health/live", web::get().to(endpoint::live))
            .default_service(web::to(waits))
            .wrap(from_fn(crate::limit::guard));
        connection::service(routes, "".into(), WAITING_HEAD, std::future::pending::<()>)
    };
    let server = Server::build().workers(1).shutdown_timeout(DRAIN_SECONDS).disable_signals();
    Ok(server.listen("waiting", listener, service)?.run())
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
    let server = Server::build();
    let signal = server.graceful_shutdown_signal();
    let draining = move || {
        let signal = signal.clone();
        async move { signal.notified().await }
    };
    let service = {
        let app = app.clone();
        move || {
            let routes = ActixApp::new()
                .configure(|config: &mut ServiceConfig| app.configure(config))
                .wrap(from_fn(crate::patience::answer_in_time))
                .wrap(from_fn(crate::limit::guard));
            connection::service(routes, app.base_url().into(), head_patience, draining.clone())
        }
    };
    let server = server.workers(1).shutdown_timeout(0).disable_signals().listen_uds("api", listener, service)?.run();
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
