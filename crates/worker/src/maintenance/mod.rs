//! Services that look after the queue: one file each, all of one shape.
//!
//! A service has a name and `run_once`, which takes no input, may run in any
//! number of processes at once, and says how long to wait before the next run.

mod canceller;
mod follower;
mod gatekeeper;
mod promoter;
mod pulse;
mod rescuer;
mod retention;
mod scheduler;

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

pub(crate) use canceller::Canceller;
pub(crate) use follower::Follower;
pub(crate) use gatekeeper::Gatekeeper;
pub(crate) use promoter::Promoter;
pub(crate) use pulse::{Counter, Sampler, write_down};
pub(crate) use rescuer::Rescuer;
pub(crate) use retention::Retainer;
pub(crate) use scheduler::Scheduler;

use crate::lane::Shared;

/// A maintenance service.
pub(crate) trait Service: Send + Sync + 'static {
    /// In logs.
    const NAME: &'static str;

    /// Does what is due. Returns the wait until the next run.
    fn run_once(&self, shared: &Shared) -> impl Future<Output = sqlx::Result<Duration>> + Send;

    /// Ends the wait early. Never, unless a service says otherwise.
    fn woken(&self, _shared: &Shared) -> impl Future<Output = ()> + Send {
        std::future::pending()
    }
}

/// The wait after a run that failed.
const AFTER_FAILURE: Duration = Duration::from_secs(1);

/// Runs a service until `stop`, over failures of the database too.
pub(crate) async fn run<S: Service>(service: S, shared: Arc<Shared>, stop: CancellationToken) {
    loop {
        let began = Instant::now();
        let run = service.run_once(&shared).await;
        shared.metrics.worker().maintained(S::NAME, began.elapsed(), run.is_err());
        let wait = match run {
            Ok(wait) => wait,
            Err(error) => {
                tracing::warn!(service = S::NAME, %error, "a maintenance run failed; it is tried again");
                AFTER_FAILURE
            }
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = service.woken(&shared) => {}
            () = tokio::time::sleep(wait) => {}
        }
    }
}
