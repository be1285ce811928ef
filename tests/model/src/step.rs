//! What each step does.

use crate::action::Action;
use crate::memory::{End, Hand, Late, Life, Outcome, Writing};
use crate::promise::Promise;
use crate::scenario::{Bug, Scenario};
use crate::state::{Id, Number, Ready, Row, Set, State, TASKS};

/// The state after the step.
pub(crate) fn next(scenario: &Scenario, state: &State, action: Action) -> State {
    let mut next = *state;
    next.take(scenario, action);
    next.tidy();
    next
}

impl State {
    fn take(&mut self, scenario: &Scenario, action: Action) {
        let bug = scenario.bug;
        if matches!(
            action,
            Action::ClaimUnanswered(_)
                | Action::ClaimCut(_)
                | Action::FlushLate(_)
                | Action::WordsCut(_)
                | Action::StoreUnanswered(_)
                | Action::StoreCut(_)
                | Action::Freeze(_)
                | Action::Kill(_)
        ) {
            self.left.faults -= 1;
        }
        match action {
            Action::ClaimLooks(worker) => self.workers[worker].looked = Some(self.gate.is_closed),
            Action::Claim(worker) => {
                let lease = self.begin_claim(worker);
                let tasks = self.run_claim(scenario, worker, lease);
                self.claimed(worker, lease, tasks);
            }
            Action::ClaimUnanswered(worker) => {
                let lease = self.begin_claim(worker);
                self.run_claim(scenario, worker, lease);
            }
            Action::ClaimCut(worker) => {
                let lease = self.begin_claim(worker);
                self.workers[worker].looked = None;
                self.comes_late(Late::Claim { worker, lease, is_former: false });
            }
            Action::GiveBack(worker) => self.give_back(worker, bug),
            Action::Start(worker, id) => self.start(worker, id),
            Action::Flush(worker) => self.flush(worker, bug),
            Action::FlushLate(worker) => {
                self.comes_late(Late::Flush(Writing { writes: self.writes(worker), fenced: false }));
            }
            Action::HandlerEnds(worker, id, outcome) => self.handler_ends(scenario, worker, id, outcome),
            Action::HandlerDropped(worker, id) => self.handler_dropped(worker, id, bug),
            Action::Words(worker) => {
                let writing = self.read_fence(self.words(worker));
                self.write_progress(&writing, bug);
                self.said(worker);
            }
            Action::WordsCut(worker) => self.comes_late(Late::Words(self.words(worker))),
            Action::Store(worker) => {
                if let Some(finish) = self.ends(worker, bug) {
                    let stored = self.finish(&finish, bug);
                    self.ended(worker, stored);
                }
            }
            Action::StoreUnanswered(worker) => {
                if let Some(finish) = self.ends(worker, bug) {
                    self.finish(&finish, bug);
                    self.refuse(worker, bug);
                }
            }
            Action::StoreCut(worker) => {
                if let Some(finish) = self.ends(worker, bug) {
                    self.comes_late(Late::Finish(finish));
                    self.refuse(worker, bug);
                }
            }
            Action::LateRuns(place) => self.late_runs(scenario, place),
            Action::LateNever(place) => self.late[place] = None,
            Action::Promote(id) => self.promote(id, bug),
            Action::CloseGate
            | Action::GateLooks
            | Action::CountBegins
            | Action::Count
            | Action::CountAgain
            | Action::Admit(_) => self.keep_gate(action),
            Action::Cancel(id) => {
                self.left.cancels -= 1;
                self.cancel(id);
            }
            Action::Tell(worker, id) => {
                if let Hand::Running { told, .. } = &mut self.workers[worker].hands[id] {
                    *told = true;
                }
            }
            Action::RetryBegins(id) => {
                self.left.retries -= 1;
                if self.tasks[id].row.is_end() {
                    self.retry(id, true, scenario.attempts);
                } else {
                    self.tasks[id].retry_asked = true;
                }
            }
            Action::RetryEnds(id) => self.retry(id, false, scenario.attempts),
            Action::Freeze(worker) => self.workers[worker].life = Life::Frozen,
            Action::GoOn(worker) => self.workers[worker].life = Life::Up,
            Action::Kill(number) => {
                self.gate.claims_before = self.gate.claims_before.map(|before| before.without(number));
                let worker = &mut self.workers[number];
                worker.life = Life::Gone;
                worker.forget();
            }
            Action::Presume(worker) => self.workers[worker].lost = true,
            Action::Rescue(number) => {
                if let Some(lease) = self.leases[number].take() {
                    self.put_back(lease.tasks, Some(lease.begun), bug);
                }
            }
            Action::Beat(worker) => self.registers_anew(worker),
            Action::Notice(worker) => self.notice(worker),
            Action::Compare(worker) => self.compare(worker, bug),
            Action::Stop(worker) => self.stop(worker),
            Action::Leave(worker) => {
                let worker = &mut self.workers[worker];
                (worker.life, worker.stopped) = (Life::Gone, true);
                worker.forget();
            }
            Action::Depend => {
                let over = self.tasks[0].row.is_end();
                self.tasks[0].followed = true;
                self.tasks[0].noted = over;
                (self.tasks[1].row, self.tasks[1].blocked) = (Row::Queued, true);
            }
            Action::Follow => self.follow(),
        }
    }

    /// The snapshot of a claim is that of the moment in which it began, if the scenario says so.
    fn run_claim(&mut self, scenario: &Scenario, worker: usize, lease: Number) -> Set {
        let sees_gate = self.workers[worker].looked.take().unwrap_or(self.gate.is_closed);
        // It has let go of its locks.
        self.gate.claims_before = self.gate.claims_before.map(|before| before.without(worker));
        self.claim(worker, lease, self.room(scenario, worker), sees_gate)
    }

    fn late_runs(&mut self, scenario: &Scenario, place: usize) {
        let Some(late) = self.late[place] else { return };
        // Only last words that read their snapshot, and flushes that once did, have two parts.
        let in_parts = match late {
            Late::Flush(_) => scenario.bug == Some(Bug::FlushOverEnd),
            Late::Words(_) => scenario.bug == Some(Bug::WordsByKeyShare),
            _ => false,
        };
        self.late[place] = None;
        match late {
            Late::Claim { is_former: true, .. } => {}
            Late::Claim { worker, lease, .. } => {
                let sees_gate = self.gate.is_closed;
                self.claim(worker, lease, scenario.slots, sees_gate);
            }
            Late::Finish(finish) => {
                self.finish(&finish, scenario.bug);
            }
            Late::Flush(writing) | Late::Words(writing) if writing.fenced => {
                self.write_progress(&writing, scenario.bug);
            }
            Late::Flush(writing) | Late::Words(writing) => {
                let writing = self.read_fence(writing);
                if in_parts {
                    let is_flush = matches!(late, Late::Flush(_));
                    self.late[place] = Some(if is_flush { Late::Flush(writing) } else { Late::Words(writing) });
                } else {
                    self.write_progress(&writing, scenario.bug);
                }
            }
        }
    }

    fn keep_gate(&mut self, action: Action) {
        match action {
            Action::CloseGate => self.gate.is_closed = true,
            Action::GateLooks => {
                let claims = (0..self.workers.len()).filter(|worker| self.workers[*worker].looked.is_some());
                self.gate.claims_before = Some(claims.collect());
            }
            Action::CountBegins => {
                self.gate.claims_before = Some(Set::EMPTY);
                self.gate.counting = Some((0..TASKS).filter(|id| self.is_leased_and_open(*id)).collect());
            }
            Action::Count => {
                let counted = self.gate.counting.take().unwrap_or_default();
                counted.iter().for_each(|id| self.tasks[id].admitted = true);
                self.gate.counted = true;
            }
            Action::CountAgain => {
                for id in 0..TASKS {
                    self.tasks[id].admitted &= self.tasks[id].ready == Ready::Admitted || self.is_leased_and_open(id);
                }
            }
            Action::Admit(id) => {
                (self.tasks[id].ready, self.tasks[id].admitted) = (Ready::Admitted, true);
                self.gate.has_admitted = true;
            }
            _ => {}
        }
    }

    fn is_leased_and_open(&self, id: Id) -> bool {
        self.tasks[id].row.is_open() && self.leases.iter().flatten().any(|lease| lease.tasks.has(id))
    }

    fn handler_ends(&mut self, scenario: &Scenario, worker: usize, id: Id, outcome: Outcome) {
        if let Hand::Running { lease, attempt, special, .. } = self.workers[worker].hands[id] {
            self.left.snoozes -= u8::from(outcome == Outcome::Snooze);
            let won = outcome == Outcome::Succeeded;
            let words = scenario.words && !won;
            self.workers[worker].hands[id] =
                Hand::Ended(End { lease, attempt, outcome, words, special, began: true, won });
        }
    }

    fn compare(&mut self, number: usize, bug: Option<Bug>) {
        for (lease, kept) in self.unsettled_leases(number) {
            let Some(held) = &mut self.leases[lease] else { continue };
            let lost: Set = held.tasks.minus(kept).iter().filter(|id| self.tasks[*id].row.is_open()).collect();
            if kept.is_empty() {
                self.leases[lease] = None;
            } else if !lost.is_empty() {
                (held.tasks, held.shortened) = (held.tasks.minus(lost), true);
            }
            if !lost.is_empty() {
                self.breaks(Promise::NothingRepaired);
                self.put_back(lost, None, bug);
            }
        }
        self.workers[number].forget_settled();
    }
}
