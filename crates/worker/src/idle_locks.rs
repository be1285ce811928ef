//! Holds the idle locks while the worker wants_locks (`longhaul_model::store::idle`).

use std::sync::Arc;
use std::time::Duration;

use longhaul_model::connect::own_connection;
use longhaul_model::store::failure::waited_for_lock;
use longhaul_model::store::idle::{acquire, release, release_all};
use longhaul_model::store::migrate::read_only;
use longhaul_model::store::{DEADLINE, within};
use sqlx::{PgConnection, PgPool};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::idle::Mode;
use crate::shared::Shared;

/// How often it looks whether other workers still hold the locks that it relies on, and whether
/// its connection is still there and leads to a server that takes tasks.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// The wait after its connection was lost.
const PAUSE: Duration = Duration::from_secs(1);
/// The wait after a transaction that stored tasks stayed open for a second, doubled up to
/// [`LONGEST_RETREAT`].
const FIRST_RETREAT: Duration = Duration::from_millis(100);
const LONGEST_RETREAT: Duration = Duration::from_secs(8);
/// How long it takes to give its locks back when the worker stops, at most.
const FAREWELL: Duration = Duration::from_secs(2);

/// Why it ended.
enum End {
    Stopped,
    /// Its locks are not there any more: a pooler hands out other sessions.
    Pooled,
}

/// Runs until `stop`. Without it lanes look more often, and nothing is lost.
pub(crate) async fn run(shared: Arc<Shared>, pool: PgPool, queues: Vec<String>, stop: CancellationToken) {
    while !stop.is_cancelled() {
        // A connection of its own, made as those of `pool` are: it is held for good.
        let own = own_connection(&pool);
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
        match kept {
            Ok(End::Stopped) => return,
            Ok(End::Pooled) => {
                tracing::warn!(
                    "idle locks need a session, and a pooler gives each transaction another one: set \
                     LONGHAUL_DIRECT_DATABASE_URL; until then lanes look for tasks all the time"
                );
                return;
            }
            Err(error) => tracing::warn!(%error, "the connection for idle locks failed; retrying"),
        }
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
) -> sqlx::Result<End> {
    check(&mut *connection).await?;
    // What an earlier session lost, others may rely on.
    within(DEADLINE, release_all(&mut *connection, queues)).await?;
    // Queues whose lock this session has. For the others another worker is idle.
    let mut held: Vec<String> = Vec::new();
    let (mut retreat, mut look_at) = (FIRST_RETREAT, Instant::now() + LOOK_EVERY);
    shared.idle.connected(true);
    shared.wake_all();
    while !stop.is_cancelled() {
        let mode = shared.idle.mode();
        let wants_locks = matches!(mode, Mode::Acquiring | Mode::Idle);
        if !wants_locks && !held.is_empty() {
            if !within(DEADLINE, release(&mut *connection, &held)).await? {
                return Ok(End::Pooled);
            }
            // The gatekeeper has to look for itself from here on.
            look_after_gates(shared, &held);
            held.clear();
        }
        let wanted: Vec<String> = queues.iter().filter(|queue| wants_locks && !held.contains(queue)).cloned().collect();
        let before = held.len();
        shared.idle.begin_acquiring();
        if mode == Mode::Acquiring && wanted.is_empty() {
            // Whatever cut the listener's connection may have cut this one, and its locks are gone.
            check(&mut *connection).await?;
        }
        if !wanted.is_empty() {
            match within(DEADLINE, acquire(&mut *connection, &wanted)).await {
                Ok(answers) => {
                    held.extend(answers.into_iter().filter(|(_, is_held)| *is_held).map(|(queue, _)| queue));
                    retreat = FIRST_RETREAT;
                }
                Err(error) if waited_for_lock(&error) => {
                    // A transaction that stored tasks is still open. Until it ends, the lanes look
                    // again and again.
                    if shared.idle.lock_released() {
                        shared.wake_all();
                    }
                    within(DEADLINE, release_all(&mut *connection, queues)).await?;
                    held.clear();
                    look_after_gates(shared, queues);
                    tokio::select! {
                        () = stop.cancelled() => {}
                        () = tokio::time::sleep(retreat) => {}
                    }
                    retreat = (retreat * 2).min(LONGEST_RETREAT);
                    continue;
                }
                Err(error) => return Err(error),
            }
        }
        // What was stored before without a notification.
        look_after_gates(shared, &held[before..]);
        if (wants_locks && shared.idle.become_idle()) || held.len() > before {
            shared.wake();
        }
        tokio::select! {
            () = stop.cancelled() => {}
            () = shared.idle.news() => {}
            () = tokio::time::sleep_until(look_at) => {
                check(&mut *connection).await?;
                look_at = Instant::now() + LOOK_EVERY;
            }
        }
    }
    within(FAREWELL, release(&mut *connection, &held)).await?;
    Ok(End::Stopped)
}

/// Whether the connection is there and leads to a server that takes tasks: advisory locks can be
/// taken on a standby, too.
async fn check(connection: &mut PgConnection) -> sqlx::Result<()> {
    match within(DEADLINE, read_only(connection)).await? {
        None => Ok(()),
        Some(why) => Err(sqlx::Error::Protocol(why.to_string())),
    }
}

fn look_after_gates(shared: &Shared, queues: &[String]) {
    for queue in queues.iter().filter(|queue| shared.gates.is_gated(queue)) {
        shared.gates.changed(queue);
    }
}
