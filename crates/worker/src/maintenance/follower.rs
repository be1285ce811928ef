//! Acts upon the ends of tasks that others wait for.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use longhaul_model::store::follow::Part;
use longhaul_model::store::leader::lead;
use longhaul_model::store::linked::{follow, sum_children};

use super::{Service, tasks, texts};
use crate::shared::Shared;

/// Lets dependents go and ends or wakes parents: as soon as a notification says
/// that there is something to do, and once a second in case it got lost. One worker
/// of the fleet also brings the progress of parents that wait up to date.
#[derive(Default)]
pub(crate) struct Follower {
    shows: Mutex<Shows>,
}

/// Who shows the progress of parents.
struct Shows {
    /// This worker asks to be the one, or to stay it, from then on.
    ask_at: Instant,
    /// It is the one.
    leads: bool,
}

impl Default for Shows {
    fn default() -> Self {
        Self { ask_at: Instant::now(), leads: false }
    }
}

/// How old a waiting parent's progress is at most.
const SHOWN_EVERY: Duration = Duration::from_millis(250);
const IDLE: Duration = Duration::from_secs(1);
const TERM: Duration = Duration::from_secs(5);

impl Service for Follower {
    const NAME: &'static str = "follower";

    async fn run_once(&self, shared: &Shared) -> sqlx::Result<Duration> {
        while follow(&shared.pool).await? > 0 {}
        if !self.leads(shared).await? {
            return Ok(IDLE);
        }
        Ok(if sum_children(&shared.pool).await? > 0 { SHOWN_EVERY } else { IDLE })
    }

    const PARTS: &'static [&'static str] =
        &[Part::Dependents.service(), Part::Ends.service(), Part::Parents.service(), Part::Progress.service()];

    async fn choose(&self, shared: &Shared, part: &str) -> sqlx::Result<Vec<String>> {
        of(part).choose(&shared.pool).await.map(texts)
    }

    async fn process(&self, shared: &Shared, part: &str, ids: Vec<String>) -> sqlx::Result<()> {
        of(part).process(&shared.pool, &tasks(&ids)).await
    }

    async fn woken(&self, shared: &Shared) {
        shared.followed.notified().await;
    }
}

/// The part of this name.
fn of(name: &str) -> Part {
    [Part::Dependents, Part::Ends, Part::Parents]
        .into_iter()
        .find(|part| part.service() == name)
        .unwrap_or(Part::Progress)
}

impl Follower {
    async fn leads(&self, shared: &Shared) -> sqlx::Result<bool> {
        let now = Instant::now();
        {
            let shows = self.shows.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            if now < shows.ask_at {
                return Ok(shows.leads);
            }
        }
        let leads = lead(&shared.pool, Self::NAME, shared.identity.worker_id(), TERM).await?.is_some();
        *self.shows.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Shows { ask_at: now + TERM / 2, leads };
        Ok(leads)
    }
}
