//! The tasks of this worker process, by lease.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use longhaul_model::State;
use longhaul_model::store::LeaseKey;
use longhaul_model::store::finish::{AttemptEnd, LeaseChanges};
use longhaul_model::store::give_back::HeldTasks;
use uuid::Uuid;

/// The leases of this process and the tasks under them that have not been stored as ended.
/// Lanes write it; the keeper compares it with the database.
#[derive(Debug, Default)]
pub(crate) struct Leases {
    held: Mutex<HashMap<LeaseKey, Lease>>,
}

#[derive(Debug, Default)]
struct Lease {
    /// Its claim was answered.
    answered: bool,
    tasks: HashSet<Uuid>,
    /// A task of it was given up without an end that the database has. Only the database
    /// knows whether the lease still holds that task, so the keeper settles the lease.
    unsettled: bool,
}

impl Leases {
    /// A claim under this lease is about to be sent.
    pub(crate) fn claims(&self, lease: LeaseKey) {
        self.lock().insert(lease, Lease::default());
    }

    /// The claim was answered with these tasks.
    pub(crate) fn claimed(&self, lease: LeaseKey, tasks: impl ExactSizeIterator<Item = Uuid>) {
        let mut held = self.lock();
        if tasks.len() == 0 {
            held.remove(&lease);
        } else {
            held.insert(lease, Lease { answered: true, tasks: tasks.collect(), unsettled: false });
        }
    }

    /// The lease was given back as a whole.
    pub(crate) fn gave_back(&self, lease: LeaseKey) {
        self.lock().remove(&lease);
    }

    /// A task was given up without an end that is to be stored, or its end was fenced off.
    pub(crate) fn gave_up(&self, lease: LeaseKey, task: Uuid) {
        if let Some(lease) = self.lock().get_mut(&lease) {
            lease.tasks.remove(&task);
            lease.unsettled = true;
        }
    }

    /// What becomes of the leases of these ends, once they are stored.
    pub(crate) fn changes(&self, worker_id: i32, ends: &[AttemptEnd]) -> LeaseChanges {
        let mut ending: HashMap<i64, (usize, bool)> = HashMap::new();
        for end in ends {
            let (count, may_run_again) = ending.entry(end.lease_number).or_default();
            *count += 1;
            // What failed or was cancelled, too: someone may retry it at once.
            *may_run_again |= end.verdict.state() != State::Succeeded;
        }
        let held = self.lock();
        let mut changes = LeaseChanges::default();
        for (number, (count, may_run_again)) in ending {
            let lease = held.get(&LeaseKey { worker_id, number });
            if lease.is_some_and(|lease| lease.tasks.len() <= count && !lease.unsettled) {
                changes.emptied.push(number);
            } else if may_run_again {
                changes.shortened.push(number);
            }
        }
        changes
    }

    /// The database has these ends.
    pub(crate) fn ended<'a>(&self, worker_id: i32, ends: impl Iterator<Item = &'a AttemptEnd>) {
        let mut held = self.lock();
        for end in ends {
            let key = LeaseKey { worker_id, number: end.lease_number };
            if let Some(lease) = held.get_mut(&key) {
                lease.tasks.remove(&end.id);
                if lease.tasks.is_empty() && !lease.unsettled {
                    held.remove(&key);
                }
            }
        }
    }

    /// The worker has become another one: what was held is another's.
    pub(crate) fn forget_all_but(&self, worker_id: i32) {
        self.lock().retain(|lease, _| lease.worker_id == worker_id);
    }

    /// What is held under this worker's leases. Leases that are empty and unsettled are
    /// forgotten: whoever asks settles them.
    pub(crate) fn held_by(&self, worker_id: i32) -> HeldTasks {
        let mut held = self.lock();
        held.retain(|_, lease| !lease.answered || !lease.tasks.is_empty());
        held.iter()
            .filter(|(key, _)| key.worker_id == worker_id)
            .map(|(key, lease)| (key.number, lease.answered.then(|| lease.tasks.clone())))
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<LeaseKey, Lease>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::Leases;
    use longhaul_model::Progress;
    use longhaul_model::store::LeaseKey;
    use longhaul_model::store::finish::{AttemptEnd, AttemptOutcome};
    use std::time::Duration;
    use uuid::Uuid;

    const LEASE: LeaseKey = LeaseKey { worker_id: 1, number: 7 };

    fn end(task: u128) -> AttemptEnd {
        AttemptEnd {
            id: Uuid::from_u128(task),
            lease_number: LEASE.number,
            attempt: 1,
            elapsed: Duration::ZERO,
            progress: Progress::unknown(),
            checkpoint: None,
            verdict: AttemptOutcome::Succeeded(None),
            asked_to_cancel: false,
            special: false,
        }
    }

    fn with_two_tasks() -> Leases {
        let leases = Leases::default();
        leases.claims(LEASE);
        leases.claimed(LEASE, [1, 2].map(Uuid::from_u128).into_iter());
        leases
    }

    #[test]
    fn a_lease_is_emptied_with_its_last_task() {
        let leases = with_two_tasks();
        assert!(leases.changes(1, &[end(1)]).emptied.is_empty());
        leases.ended(1, [end(1)].iter());
        assert_eq!(leases.changes(1, &[end(2)]).emptied, [7]);
        leases.ended(1, [end(2)].iter());
        assert!(leases.held_by(1).is_empty());
    }

    #[test]
    fn a_lease_with_a_task_that_was_given_up_is_never_emptied_by_the_worker() {
        let leases = with_two_tasks();
        leases.gave_up(LEASE, Uuid::from_u128(1));
        assert!(leases.changes(1, &[end(2)]).emptied.is_empty(), "the database may still have the first");
        assert_eq!(leases.held_by(1)[&7].as_ref().map(std::collections::HashSet::len), Some(1));
        leases.ended(1, [end(2)].iter());
        assert!(!leases.held_by(1).contains_key(&7), "the keeper settles it");
    }

    #[test]
    fn only_a_success_stays_in_a_lease_that_goes_on() {
        let leases = with_two_tasks();
        assert!(leases.changes(1, &[end(1)]).shortened.is_empty());
        let cancelled = AttemptEnd { verdict: AttemptOutcome::Cancelled, ..end(1) };
        assert_eq!(leases.changes(1, &[cancelled]).shortened, [7], "someone may retry it at once");
    }

    #[test]
    fn a_lease_whose_claim_is_under_way_is_left_alone() {
        let leases = Leases::default();
        leases.claims(LEASE);
        assert_eq!(leases.held_by(1)[&7], None);
        leases.claimed(LEASE, std::iter::empty());
        assert!(leases.held_by(1).is_empty());
    }
}
