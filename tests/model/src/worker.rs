//! What a worker has in memory, and what it makes of answers.

use crate::memory::{End, Finish, Hand, Held, Late, Outcome, Worker, Writes, Writing};
use crate::scenario::{Bug, Scenario};
use crate::state::{Id, LEASES, Number, Set, State, TASKS};

impl Worker {
    /// Its memory is gone.
    pub(crate) fn forget(&mut self) {
        self.hands = [Hand::Empty; TASKS];
        self.held = [None; LEASES];
        (self.unanswered, self.looked, self.renamed) = (None, None, false);
    }

    /// `held_by` in `crates/worker/src/leases.rs`: leases that are empty and unsettled are forgotten.
    pub(crate) fn forget_settled(&mut self) {
        for held in &mut self.held {
            *held = held.filter(|held| !held.answered || !held.tasks.is_empty());
        }
    }

    fn gave_up(&mut self, lease: Number, id: Id) {
        if let Some(held) = &mut self.held[lease] {
            (held.tasks, held.unsettled) = (held.tasks.without(id), true);
        }
    }

    fn is_done_with(&mut self, lease: Number, id: Id) {
        if let Some(held) = &mut self.held[lease] {
            held.tasks = held.tasks.without(id);
            if held.tasks.is_empty() && !held.unsettled {
                self.held[lease] = None;
            }
        }
    }
}

impl State {
    /// For how many more tasks a worker has slots.
    pub(crate) fn room(&self, scenario: &Scenario, worker: usize) -> usize {
        let busy = self.workers[worker].hands.iter().filter(|hand| **hand != Hand::Empty).count();
        scenario.slots.saturating_sub(busy)
    }

    /// A claim is about to be sent under a new lease.
    pub(crate) fn begin_claim(&mut self, worker: usize) -> Number {
        let lease = self.new_number();
        let worker = &mut self.workers[worker];
        worker.held[lease] = Some(Held { answered: false, tasks: Set::EMPTY, unsettled: false });
        worker.unanswered = Some(lease);
        lease
    }

    /// It was answered.
    pub(crate) fn claimed(&mut self, worker: usize, lease: Number, tasks: Set) {
        let rows = self.tasks;
        let worker = &mut self.workers[worker];
        worker.unanswered = None;
        worker.held[lease] = (!tasks.is_empty()).then_some(Held { answered: true, tasks, unsettled: false });
        for id in tasks.iter() {
            worker.hands[id] = Hand::Waiting { lease, attempt: rows[id].attempt + 1, special: rows[id].followed };
        }
    }

    pub(crate) fn give_back(&mut self, number: usize, bug: Option<Bug>) {
        let worker = &mut self.workers[number];
        if let Some(lease) = worker.unanswered.take() {
            worker.held[lease] = None;
            // Leases of the number that it had before it was presumed dead.
            let is_former = worker.renamed;
            self.release_lease(number, lease, is_former, bug);
        }
    }

    pub(crate) fn start(&mut self, worker: usize, id: Id) {
        let Hand::Waiting { lease, attempt, special } = self.workers[worker].hands[id] else { return };
        self.workers[worker].hands[id] = Hand::Running { lease, attempt, special, told: false, lost: false };
        // One that has lost its lease by now may say nothing.
        if let Some(held) = &mut self.leases[lease]
            && held.tasks.has(id)
        {
            held.begun = held.begun.with(id);
            self.tasks[id].started_under = Some(lease);
        }
    }

    /// What attempts of the worker have to say now.
    pub(crate) fn writes(&self, worker: usize) -> Writes {
        self.workers[worker].hands.map(|hand| match hand {
            Hand::Running { lease, attempt, lost: false, .. } => Some((lease, attempt)),
            _ => None,
        })
    }

    /// Last words of ends that wait.
    pub(crate) fn words(&self, worker: usize) -> Writing {
        let writes = self.workers[worker].hands.map(|hand| match hand {
            Hand::Ended(End { lease, attempt, words: true, .. }) => Some((lease, attempt)),
            _ => None,
        });
        Writing { writes, fenced: false }
    }

    /// Last words were stored.
    pub(crate) fn said(&mut self, worker: usize) {
        for hand in &mut self.workers[worker].hands {
            if let Hand::Ended(end) = hand {
                end.words = false;
            }
        }
    }

    pub(crate) fn flush(&mut self, worker: usize, bug: Option<Bug>) {
        let writing = self.read_fence(Writing { writes: self.writes(worker), fenced: false });
        let written = self.write_progress(&writing, bug);
        for id in (0..TASKS).filter(|id| !written.has(*id)) {
            // `still_held`.
            if let Hand::Running { lease, lost, .. } = &mut self.workers[worker].hands[id]
                && !self.leases[*lease].is_some_and(|lease| lease.tasks.has(id))
            {
                *lost = true;
            }
        }
    }

    pub(crate) fn comes_late(&mut self, late: Late) {
        if let Some(free) = self.late.iter_mut().find(|late| late.is_none()) {
            *free = Some(late);
        }
    }

    pub(crate) fn handler_dropped(&mut self, number: usize, id: Id, bug: Option<Bug>) {
        let worker = &mut self.workers[number];
        let Hand::Running { lease, .. } = worker.hands[id] else { return };
        worker.hands[id] = Hand::Empty;
        if bug == Some(Bug::DroppedCountsAsEnded) {
            worker.is_done_with(lease, id);
        } else {
            worker.gave_up(lease, id);
        }
    }

    /// The ends that wait, and what becomes of their leases (`changes` in
    /// `crates/worker/src/leases.rs`). `None` if there are none.
    pub(crate) fn ends(&self, worker: usize, bug: Option<Bug>) -> Option<Finish> {
        let worker = &self.workers[worker];
        let ends = worker.hands.map(|hand| match hand {
            Hand::Ended(end) => Some(end),
            _ => None,
        });
        let mut finish = Finish { ends, emptied: Set::EMPTY, shortened: Set::EMPTY };
        for lease in ends.iter().flatten().map(|end| end.lease) {
            let of_lease = || ends.iter().flatten().filter(|end| end.lease == lease);
            let strikes = of_lease().any(|end| match end.outcome {
                Outcome::Succeeded => false,
                Outcome::Failed | Outcome::Cancelled => bug != Some(Bug::FailureStaysInLease),
                Outcome::Retry | Outcome::Snooze | Outcome::Release => true,
            });
            let is_emptied =
                worker.held[lease].is_some_and(|held| held.tasks.count() <= of_lease().count() && !held.unsettled);
            if is_emptied {
                finish.emptied = finish.emptied.with(lease);
            } else if strikes {
                finish.shortened = finish.shortened.with(lease);
            }
        }
        ends.iter().any(Option::is_some).then_some(finish)
    }

    /// Ends were answered: these were stored.
    pub(crate) fn ended(&mut self, number: usize, stored: Set) {
        let worker = &mut self.workers[number];
        for id in 0..TASKS {
            let Hand::Ended(end) = worker.hands[id] else { continue };
            worker.hands[id] = Hand::Empty;
            if stored.has(id) {
                worker.is_done_with(end.lease, id);
            } else {
                worker.gave_up(end.lease, id);
            }
        }
    }

    /// What once became of ends that met an error.
    pub(crate) fn refuse(&mut self, worker: usize, bug: Option<Bug>) {
        if bug == Some(Bug::PassingErrorRefuses) {
            for hand in &mut self.workers[worker].hands {
                if let Hand::Ended(end) = hand {
                    end.outcome = Outcome::Failed;
                }
            }
        }
    }

    /// The keeper finds out that the worker was presumed dead.
    pub(crate) fn registers_anew(&mut self, number: usize) {
        for lease in self.leases.iter_mut().flatten().filter(|lease| lease.worker == number) {
            lease.is_former = true;
        }
        for late in self.late.iter_mut().flatten() {
            if let Late::Claim { worker, is_former, .. } = late
                && *worker == number
            {
                *is_former = true;
            }
        }
        let worker = &mut self.workers[number];
        for hand in &mut worker.hands {
            if let Hand::Running { lost, .. } = hand {
                *lost = true;
            }
        }
        (worker.lost, worker.renamed) = (false, true);
    }

    /// The lane finds out.
    pub(crate) fn notice(&mut self, number: usize) {
        let worker = &mut self.workers[number];
        for hand in &mut worker.hands {
            if !matches!(hand, Hand::Running { .. }) {
                *hand = Hand::Empty;
            }
        }
        worker.held = [None; LEASES];
        (worker.unanswered, worker.renamed) = (None, false);
    }

    pub(crate) fn stop(&mut self, number: usize) {
        let worker = &mut self.workers[number];
        worker.stops = true;
        for hand in &mut worker.hands {
            if let Hand::Waiting { lease, attempt, special } = *hand {
                let outcome = Outcome::Release;
                *hand = Hand::Ended(End { lease, attempt, outcome, words: false, special, began: false, won: false });
            }
        }
    }

    /// The leases that `give_back` settles, each with the tasks that the worker holds of it.
    pub(crate) fn unsettled_leases(&self, number: usize) -> Vec<(Number, Set)> {
        let of_worker = |lease: &Number| {
            self.leases[*lease]
                .is_some_and(|lease| lease.worker == number && !lease.is_former && !lease.tasks.is_empty())
                && !self.is_key_shared(*lease)
        };
        let differs = |lease: Number| {
            let kept = match self.workers[number].held[lease] {
                Some(Held { answered: false, .. }) => return None,
                Some(held) => held.tasks,
                None => Set::EMPTY,
            };
            let tasks = self.leases[lease].map(|lease| lease.tasks).unwrap_or_default();
            (kept.is_empty() || !tasks.minus(kept).is_empty()).then_some((lease, kept))
        };
        (0..LEASES).filter(of_worker).filter_map(differs).collect()
    }

    /// Whether comparing its leases changes anything.
    pub(crate) fn compare_settles(&self, number: usize) -> bool {
        self.unsettled_leases(number).iter().any(|(lease, kept)| {
            let tasks = self.leases[*lease].map(|lease| lease.tasks).unwrap_or_default();
            kept.is_empty() || tasks.minus(*kept).iter().any(|id| self.tasks[id].row.is_open())
        })
    }
}
