//! Maintenance services: one file each, all of one shape.
//!
//! A service has a name and `run_once`, which takes no input, may run in any
//! number of processes at once, and says how long to wait before the next run.
//!
//! One row that the database refuses must not stop a service. So a service also says what
//! its run works on, and how to work on some of that: if a run is refused, its batch is
//! processed by halves, and the rows at fault are set aside and tried again later
//! ([`longhaul_model::store::aside`]).

mod bookkeeper;
mod canceller;
mod follower;
mod gatekeeper;
mod promoter;
mod pulse;
mod repairer;
mod rescuer;
mod retention;
mod scheduler;
mod streak;

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use longhaul_model::store::aside::{due, process_again, process_apart};
use longhaul_model::store::{SERVICE_DEADLINE, is_passing, within};
use longhaul_model::uuid::Uuid;
use tokio_util::sync::CancellationToken;

pub(crate) use bookkeeper::Bookkeeper;
pub(crate) use canceller::Canceller;
pub(crate) use follower::Follower;
pub(crate) use gatekeeper::Gatekeeper;
pub(crate) use promoter::Promoter;
pub(crate) use pulse::{Counter, Sampler, write_down};
pub(crate) use repairer::Repairer;
pub(crate) use rescuer::Rescuer;
pub(crate) use retention::Retainer;
pub(crate) use scheduler::Scheduler;

use streak::Streak;

use crate::executor::panic_text;
use crate::shared::Shared;

/// A maintenance service.
pub(crate) trait Service: Send + Sync + 'static {
    /// In logs.
    const NAME: &'static str;

    /// Does what is due. Returns the wait until the next run.
    fn run_once(&self, shared: &Shared) -> impl Future<Output = sqlx::Result<Duration>> + Send;

    /// The parts of its work, each with the name under which rows are set aside; in this
    /// order they are processed by halves. None, unless a service says otherwise.
    const PARTS: &'static [&'static str] = &[];

    /// What this part of a run would work on now.
    fn choose(&self, _shared: &Shared, _part: &str) -> impl Future<Output = sqlx::Result<Vec<String>>> + Send {
        std::future::ready(Ok(Vec::new()))
    }

    /// Works on these of them. What is not there any more is passed over.
    fn process(
        &self,
        _shared: &Shared,
        _part: &str,
        _ids: Vec<String>,
    ) -> impl Future<Output = sqlx::Result<()>> + Send {
        std::future::ready(Ok(()))
    }

    /// Ends the wait early. Never, unless a service says otherwise.
    fn woken(&self, _shared: &Shared) -> impl Future<Output = ()> + Send {
        std::future::pending()
    }
}

/// The wait after a run that failed.
const AFTER_FAILURE: Duration = Duration::from_secs(1);
/// How often a service looks for rows that were set aside and are to be tried again.
const AGAIN_EVERY: Duration = Duration::from_secs(5);

/// A run, the same by halves, and another try at what was set aside, each with its deadline; and
/// what is written down about them.
const LONGEST_RUN: Duration = SERVICE_DEADLINE.saturating_mul(4);

/// How long a run that is under way may take once the worker stops: what it has not committed
/// by then is undone, and another worker does it.
const STOPS_WITHIN: Duration = Duration::from_secs(5);

/// Runs a service until `stop`, over failures of the database too.
pub(crate) async fn run<S: Service>(service: S, shared: Arc<Shared>, stop: CancellationToken) {
    let patience = async {
        stop.cancelled().await;
        tokio::time::sleep(STOPS_WITHIN).await;
    };
    tokio::select! {
        () = run_again_and_again(service, shared, &stop) => {}
        () = patience => tracing::warn!(service = S::NAME, "a maintenance run was aborted because the worker stops"),
    }
}

async fn run_again_and_again<S: Service>(service: S, shared: Arc<Shared>, stop: &CancellationToken) {
    let mut streak = Streak::default();
    let mut again_at = Instant::now();
    let pulse = shared.metrics.vitals().watch(S::NAME, LONGEST_RUN);
    loop {
        pulse.beat(LONGEST_RUN);
        let began = Instant::now();
        let mut run = within(SERVICE_DEADLINE, caught(service.run_once(&shared))).await;
        if let Err(error) = &run
            && !is_passing(error)
            && !S::PARTS.is_empty()
        {
            tracing::warn!(service = S::NAME, %error, "the database refused a batch; processing it in halves");
            match within(SERVICE_DEADLINE, run_apart(&service, &shared)).await {
                // It has no batch that could be at fault.
                Ok(None) => {}
                Ok(Some(wait)) => run = Ok(wait),
                Err(error) => run = Err(error),
            }
        }
        if run.is_ok() && began >= again_at {
            again_at = began + AGAIN_EVERY;
            run = match within(SERVICE_DEADLINE, try_again(&service, &shared)).await {
                Ok(()) => run,
                Err(error) => Err(error),
            };
        }
        let failures = shared.metrics.worker().maintained(S::NAME, began.elapsed(), run.is_err());
        let error = run.as_ref().err().map_or_else(String::new, ToString::to_string);
        // Rarely anything to wait for: not a part of every service's future.
        Box::pin(streak.is(failures, &shared, S::NAME, &error)).await;
        let wait = match run {
            Ok(wait) => wait,
            Err(error) => {
                let passes = is_passing(&error);
                tracing::warn!(service = S::NAME, passes, %error, "a maintenance run failed; retrying");
                AFTER_FAILURE
            }
        };
        pulse.beat(wait.saturating_add(LONGEST_RUN));
        tokio::select! {
            () = stop.cancelled() => return,
            () = service.woken(&shared) => {}
            () = tokio::time::sleep(wait) => {}
        }
    }
}

/// A panic would end the service for good, in each worker that meets the same row. So it is an error
/// like that of a value that can't be read: the row is found by halves.
async fn caught<T>(work: impl Future<Output = sqlx::Result<T>>) -> sqlx::Result<T> {
    AssertUnwindSafe(work).catch_unwind().await.unwrap_or_else(|panic| {
        let text = panic_text(&*panic);
        tracing::error!(panic = text, "a maintenance service panicked; this is a defect of Longhaul, please report it");
        Err(sqlx::Error::Decode(format!("a panic: {text}").into()))
    })
}

/// Processes what the service would work on now by halves. Returns the wait until the next
/// run: none, since there may be more. Nothing if there is nothing to work on.
async fn run_apart<S: Service>(service: &S, shared: &Shared) -> sqlx::Result<Option<Duration>> {
    let (mut chosen, mut processed, mut set_aside) = (0, 0, 0);
    for part in S::PARTS {
        let batch = caught(service.choose(shared, part)).await?;
        chosen += batch.len();
        let (done, refused) =
            process_apart(&shared.pool, part, batch, |ids| caught(service.process(shared, part, ids))).await?;
        processed += done.len();
        set_aside += refused;
    }
    // A batch that was refused as a whole, and not by halves, was another's: it may have
    // been a row that has gone by now.
    let wait = if processed + set_aside > 0 { Duration::ZERO } else { AFTER_FAILURE };
    Ok((chosen > 0).then_some(wait))
}

/// Tries rows again whose time has come.
async fn try_again<S: Service>(service: &S, shared: &Shared) -> sqlx::Result<()> {
    if S::PARTS.is_empty() {
        return Ok(());
    }
    let again = due(&shared.pool, S::PARTS).await?;
    for part in S::PARTS {
        let rows = again.iter().filter(|(of, _)| of == part).map(|(_, id)| id.clone()).collect();
        process_again(&shared.pool, part, rows, |ids| caught(service.process(shared, part, ids))).await?;
    }
    Ok(())
}

/// Guids of tasks among the ids of rows.
fn tasks(ids: &[String]) -> Vec<Uuid> {
    ids.iter().filter_map(|id| id.parse().ok()).collect()
}

fn texts(ids: Vec<Uuid>) -> Vec<String> {
    ids.iter().map(Uuid::to_string).collect()
}

#[cfg(test)]
mod tests {
    use longhaul_model::store::is_refusal;

    use super::caught;

    #[tokio::test]
    async fn a_panic_is_an_error_of_the_row_that_was_met() {
        let error = caught(async { panic!("as told") as sqlx::Result<()> }).await.expect_err("an error");
        assert!(is_refusal(&error) && error.to_string().contains("a panic: as told"), "{error}");
    }
}
