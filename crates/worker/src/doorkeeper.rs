//! Holds the idle locks while the worker sleeps (`longhaul_model::store::idle`).

use std::sync::Arc;
use std::time::Duration;

use longhaul_model::connect::{ping, pool_options};
use longhaul_model::store::idle::{fall_asleep, give_up, wake_up};
use longhaul_model::store::{DEADLINE, within};
use sqlx::{PgConnection, PgPool};
use tokio_util::sync::CancellationToken;

use crate::idle::Mode;
use crate::shared::Shared;

/// How often it looks whether other workers still hold the locks that it relies on, and whether
/// its connection is still there.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// While the worker is awake: whether a queue is gated now.
const LOOK_EVERY_AWAKE: Duration = Duration::from_secs(1);
/// SQLSTATE of a lock that was not to be had in time (PostgreSQL manual, Appendix A).
const LOCK_NOT_AVAILABLE: &str = "55P03";
/// The wait after its connection was lost.
const PAUSE: Duration = Duration::from_secs(1);

/// Runs until `stop`. Without it tasks wait for the next poll, and nothing else is lost.
pub(crate) async fn run(shared: Arc<Shared>, pool: PgPool, queues: Vec<String>, stop: CancellationToken) {
    // A connection of its own, made as those of `pool` are: it is held for good.
    let own = pool_options(1).connect_lazy_with((*pool.connect_options()).clone());
    while !stop.is_cancelled() {
        let kept = tokio::select! {
            () = stop.cancelled() => return,
            connection = within(DEADLINE, own.acquire()) => match connection {
                // Locks of a session end with it, so it goes into no pool.
                Ok(connection) => keep(&shared, &mut connection.detach(), &queues, &stop).await,
                Err(error) => Err(error),
            },
        };
        shared.idle.connected(false);
        // Nobody is notified on its behalf from here on.
        shared.wake_all();
        let Err(error) = kept else { return };
        tracing::warn!(%error, "the connection for idle locks failed; retrying");
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(PAUSE) => {}
        }
    }
}

/// Follows what the lanes find, until `stop`.
async fn keep(
    shared: &Shared,
    connection: &mut PgConnection,
    queues: &[String],
    stop: &CancellationToken,
) -> sqlx::Result<()> {
    // Queues whose lock this session has. For the others another worker sleeps.
    let mut held: Vec<String> = Vec::new();
    // A transaction was open for so long that its tasks have ids from long ago.
    let mut late = false;
    shared.idle.connected(true);
    shared.wake();
    while !stop.is_cancelled() {
        let mode = shared.idle.mode();
        // The gatekeeper wants to hear of the tasks of gated queues, however busy lanes are.
        let stays = |queue: &String| matches!(mode, Mode::Tired | Mode::Asleep) || shared.gates.is_gated(queue);
        let (keeps, leaves): (Vec<String>, Vec<String>) = held.into_iter().partition(stays);
        held = keeps;
        if !leaves.is_empty() {
            within(DEADLINE, wake_up(&mut *connection, &leaves)).await?;
        }
        let wanted: Vec<String> =
            queues.iter().filter(|queue| stays(queue) && !held.contains(queue)).cloned().collect();
        let before = held.len();
        shared.idle.tries();
        if !wanted.is_empty() {
            match within(DEADLINE, fall_asleep(&mut *connection, &wanted)).await {
                Ok(answers) => {
                    held.extend(answers.into_iter().filter(|(_, is_held)| *is_held).map(|(queue, _)| queue));
                }
                Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some(LOCK_NOT_AVAILABLE) => {
                    // A transaction that stored tasks is still open. Until it ends, the lanes look
                    // again and again.
                    within(DEADLINE, give_up(&mut *connection, queues)).await?;
                    held.clear();
                    late = true;
                    continue;
                }
                Err(error) => return Err(error),
            }
        }
        if shared.idle.fall_asleep() || held.len() > before {
            // Whatever was stored without a notification can be seen by now.
            if std::mem::take(&mut late) {
                shared.idle.sweep_next();
            }
            shared.wake();
        }
        tokio::select! {
            () = stop.cancelled() => {}
            () = shared.idle.news() => {}
            () = tokio::time::sleep(if mode == Mode::Awake { LOOK_EVERY_AWAKE } else { LOOK_EVERY }) => {
                ping(&mut *connection).await?;
            }
        }
    }
    within(DEADLINE, wake_up(&mut *connection, &held)).await
}
