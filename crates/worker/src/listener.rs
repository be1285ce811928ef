//! Wakes the lanes when something becomes ready, and stops what is cancelled.

use std::sync::Arc;
use std::time::Duration;

use longhaul_model::StopReason;
use longhaul_model::connect::Listener;
use longhaul_model::store::wakeup::{ADMITTED, CANCEL, FOLLOWED, GATE, IDLE, READY};
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

use crate::shared::Shared;

/// Listens until `stop`. Without it lanes look more often, and nothing is lost.
pub(crate) async fn run(shared: Arc<Shared>, pool: PgPool, queues: Vec<String>, stop: CancellationToken) {
    while !stop.is_cancelled() {
        let listening = listen(&shared, &pool, &queues);
        tokio::select! {
            () = stop.cancelled() => return,
            Err(error) = listening => {
                shared.metrics.listen_lost("worker");
                // Lanes look for themselves, at once and from here on.
                shared.idle.listens(false);
                shared.wake_all();
                tracing::warn!(%error, "listening failed; retrying");
            }
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(Duration::from_secs(1)) => {}
        }
    }
}

async fn listen(shared: &Shared, pool: &PgPool, queues: &[String]) -> sqlx::Result<std::convert::Infallible> {
    let mut listener = Listener::connect(pool, &[READY, ADMITTED, GATE, CANCEL, FOLLOWED, IDLE]).await?;
    // What became ready before LISTEN was not told, nor which locks were released.
    shared.idle.listens(true);
    shared.wake_all();
    shared.followed.notify_one();
    shared.gates.changed("");
    let serves = |queue: &str| queues.iter().any(|served| served == queue);
    loop {
        let Some(notification) = listener.next().await? else {
            // Reconnected: what was told meanwhile is lost.
            shared.metrics.listen_lost("worker");
            shared.idle.lock_released();
            shared.wake_all();
            shared.gates.changed("");
            continue;
        };
        match notification.channel() {
            READY => {
                let serves = serves(notification.payload());
                if serves && shared.idle.notified() {
                    shared.wake_all();
                }
                // Where the queue is gated, the gatekeeper has the first look.
                if !shared.gates.arrived(notification.payload()) && serves {
                    shared.wake();
                }
            }
            ADMITTED if serves(notification.payload()) => shared.wake(),
            IDLE if serves(notification.payload()) && shared.idle.lock_released() => shared.wake_all(),
            GATE => shared.gates.changed(notification.payload()),
            FOLLOWED => shared.followed.notify_one(),
            CANCEL => {
                let attempt = notification.payload().parse().ok().and_then(|id| shared.in_flight.get(id));
                if let Some(attempt) = attempt {
                    attempt.stop(StopReason::Cancelled);
                }
            }
            _ => {}
        }
    }
}
