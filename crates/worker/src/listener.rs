//! Wakes the lanes when something becomes ready.

use std::sync::Arc;
use std::time::Duration;

use longhaul_model::store::wakeup::READY;
use sqlx::postgres::PgListener;
use tokio_util::sync::CancellationToken;

use crate::lane::Shared;

/// Listens until `stop`. Lanes also poll, so a lost connection costs latency
/// and nothing else.
pub(crate) async fn run(shared: Arc<Shared>, queues: Vec<String>, stop: CancellationToken) {
    while !stop.is_cancelled() {
        let listening = listen(&shared, &queues);
        tokio::select! {
            () = stop.cancelled() => return,
            Err(error) = listening => tracing::warn!(%error, "listening failed; it is tried again"),
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(Duration::from_secs(1)) => {}
        }
    }
}

async fn listen(shared: &Shared, queues: &[String]) -> sqlx::Result<std::convert::Infallible> {
    let mut listener = PgListener::connect_with(&shared.pool).await?;
    listener.listen(READY).await?;
    // What became ready before LISTEN was not told.
    shared.wake();
    loop {
        match listener.try_recv().await? {
            Some(notification) if queues.iter().any(|queue| queue == notification.payload()) => shared.wake(),
            Some(_) => {}
            // Reconnected: what was told meanwhile is lost.
            None => shared.wake(),
        }
    }
}
