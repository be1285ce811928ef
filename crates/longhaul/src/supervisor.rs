//! What a process tells the service manager that started it: that it is ready, lives, and stops
//! (sd_notify(3), which systemd and others speak).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use longhaul_telemetry::Vitals;
use sd_notify::NotifyState;
use tokio_util::sync::CancellationToken;

/// The service manager, if there is one: it has put `NOTIFY_SOCKET` into the environment.
#[derive(Debug, Clone, Default)]
pub(crate) struct Supervisor(Arc<Told>);

#[derive(Debug, Default)]
struct Told {
    watched: AtomicBool,
    stopping: AtomicBool,
}

impl Supervisor {
    /// From here on it is told `READY=1` once the process is, `WATCHDOG=1` while all loops go
    /// round, and `STOPPING=1` upon `stop`. Of several parts of a process, the first one does it.
    pub(crate) fn watch(&self, vitals: &Vitals, stop: &CancellationToken) {
        if std::env::var_os("NOTIFY_SOCKET").is_none() || self.0.watched.swap(true, Ordering::Relaxed) {
            return;
        }
        let (supervisor, vitals, stop) = (self.clone(), vitals.clone(), stop.clone());
        tokio::spawn(async move {
            tokio::join!(
                async {
                    tokio::select! {
                        () = vitals.ready() => tell(&[NotifyState::Ready, NotifyState::Status("ready")]),
                        () = stop.cancelled() => {}
                    }
                    stop.cancelled().await;
                    supervisor.stops();
                },
                keep_alive(&vitals),
            );
        });
    }

    /// The process stops: said once.
    pub(crate) fn stops(&self) {
        if self.0.watched.load(Ordering::Relaxed) && !self.0.stopping.swap(true, Ordering::Relaxed) {
            tell(&[NotifyState::Stopping, NotifyState::Status("stopping")]);
        }
    }
}

/// Three times as often as it is expected, if it is.
async fn keep_alive(vitals: &Vitals) {
    let Some(expected) = sd_notify::watchdog_enabled() else { return };
    let mut ticks = tokio::time::interval((expected / 3).max(Duration::from_millis(1)));
    let mut known = Vec::new();
    loop {
        ticks.tick().await;
        let silent = vitals.silent();
        if silent.is_empty() {
            tell(&[NotifyState::Watchdog]);
        } else if silent != known {
            let stuck = silent.join(", ");
            tracing::error!(loops = stuck, "parts of this process stand still: it is not kept alive any more");
            tell(&[NotifyState::Status(&format!("stands still: {stuck}"))]);
        }
        known = silent;
    }
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, ?states, "the service manager could not be told");
    }
}
