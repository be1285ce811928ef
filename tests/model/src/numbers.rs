//! Numbers of leases, and what need not be told apart.

use crate::memory::{End, Hand, Late};
use crate::state::{LEASES, Number, Set, State};

impl State {
    /// The least number of a lease that nothing knows.
    pub(crate) fn new_number(&self) -> Number {
        let known = self.known_numbers();
        (0..LEASES).find(|number| !known.has(*number)).unwrap_or(LEASES)
    }

    fn known_numbers(&self) -> Set {
        let mut known: Set = (0..LEASES).filter(|number| self.leases[*number].is_some()).collect();
        let mut knows = |number: Number| known = known.with(number);
        for worker in &self.workers {
            (0..LEASES).filter(|number| worker.held[*number].is_some()).for_each(&mut knows);
            worker.unanswered.into_iter().for_each(&mut knows);
            for hand in worker.hands {
                match hand {
                    Hand::Empty => {}
                    Hand::Waiting { lease, .. } | Hand::Running { lease, .. } | Hand::Ended(End { lease, .. }) => {
                        knows(lease);
                    }
                }
            }
        }
        for late in self.late.iter().flatten() {
            match late {
                Late::Claim { lease, .. } => knows(*lease),
                Late::Finish(finish) => finish.ends.iter().flatten().for_each(|end| knows(end.lease)),
                Late::Flush(writing) | Late::Words(writing) => {
                    writing.writes.iter().flatten().for_each(|(lease, _)| knows(*lease));
                }
            }
        }
        self.tasks.iter().filter_map(|task| task.started_under).for_each(&mut knows);
        known
    }

    /// Forgets what makes no difference any more, so that states that are alike are one.
    pub(crate) fn tidy(&mut self) {
        // An empty lease forbids a claim that may still come.
        for number in 0..LEASES {
            let comes = |late: &Late| matches!(late, Late::Claim { lease, .. } if *lease == number);
            if self.leases[number].is_some_and(|lease| lease.tasks.is_empty())
                && !self.late.iter().flatten().any(comes)
                && !self.workers.iter().any(|worker| worker.unanswered == Some(number))
            {
                self.leases[number] = None;
            }
        }
        // So does what a worker knows of a lease that is gone, once it holds nothing of it.
        for worker in &mut self.workers {
            for (held, lease) in worker.held.iter_mut().zip(&self.leases) {
                *held = held.filter(|held| lease.is_some() || !held.answered || !held.tasks.is_empty());
            }
        }
        self.late.sort_by_key(Option::is_none);
        for task in &mut self.tasks {
            if task.row.is_end() {
                task.started_under = None;
            }
        }
    }
}
