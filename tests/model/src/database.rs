//! What the statements do to the tables. Each takes effect at one moment, as the locks have it;
//! those that do not are divided (`Writing`, `Task::retry_asked`, `Gate`).

use crate::memory::{Finish, Hand, Late, Outcome, Writing};
use crate::promise::Promise;
use crate::scenario::Bug;
use crate::state::{Id, Lease, Number, Ready, Row, Set, State, TASKS};

impl State {
    /// Notes that a step has broken a promise.
    pub(crate) fn breaks(&mut self, promise: Promise) {
        self.broke = self.broke.with(promise as usize);
    }

    /// `at_work!` in `crates/model/src/store/mod.rs`.
    fn at_work(&self, id: Id, attempt: u8) -> bool {
        let task = &self.tasks[id];
        match task.row {
            Row::Running => task.attempt == attempt,
            Row::Queued | Row::Retrying => task.attempt < attempt,
            _ => false,
        }
    }

    /// The fence: the lease is there, and has the task.
    fn is_fenced_in(&self, id: Id, lease: Number) -> bool {
        self.leases[lease].is_some_and(|lease| !lease.shortened || lease.tasks.has(id))
    }

    /// A transaction that writes progress holds the lease `FOR KEY SHARE`: nobody may delete it.
    pub(crate) fn is_key_shared(&self, lease: Number) -> bool {
        let writing = self.late.iter().flatten().filter_map(|late| match late {
            Late::Flush(writing) | Late::Words(writing) => Some(writing),
            _ => None,
        });
        writing
            .filter(|writing| writing.fenced)
            .any(|writing| writing.writes.iter().flatten().any(|(number, _)| *number == lease))
    }

    /// Whether the worker of this lease is at work, as the rescuer sees it.
    pub(crate) fn is_at_work(&self, lease: &Lease) -> bool {
        let worker = &self.workers[lease.worker];
        !lease.is_former && !worker.lost && !worker.stopped
    }

    /// The claim of `room` tasks; returns those. `sees_gate`: what its snapshot has of the queue.
    pub(crate) fn claim(&mut self, worker: usize, lease: Number, room: usize, sees_gate: bool) -> Set {
        let from = if sees_gate { Ready::Admitted } else { Ready::Stored };
        // Such a claim fails on the row of its lease. A worker that was presumed dead gets nothing.
        if self.leases[lease].is_some() || self.workers[worker].lost {
            return Set::EMPTY;
        }
        let hands = self.workers[worker].hands;
        let taken: Set =
            (0..TASKS).filter(|id| self.tasks[*id].ready == from && hands[*id] == Hand::Empty).take(room).collect();
        if !taken.is_empty() {
            taken.iter().for_each(|id| self.tasks[id].ready = Ready::No);
            self.leases[lease] =
                Some(Lease { worker, is_former: false, tasks: taken, shortened: false, begun: Set::EMPTY });
        }
        taken
    }

    /// `release_lease`: forbids a lease, and puts back what it has.
    pub(crate) fn release_lease(&mut self, worker: usize, lease: Number, is_former: bool, bug: Option<Bug>) {
        let tasks = match &mut self.leases[lease] {
            Some(held) => {
                held.shortened = true;
                std::mem::take(&mut held.tasks)
            }
            None if bug == Some(Bug::GiveBackOfNothing) => return,
            none => {
                let (tasks, begun) = (Set::EMPTY, Set::EMPTY);
                *none = Some(Lease { worker, is_former, tasks, shortened: false, begun });
                tasks
            }
        };
        self.put_back(tasks, None, bug);
    }

    /// `put_back`: tasks of a lease that is gone. With `crashed` their worker may have begun them:
    /// those that it had, as nobody but the model knows.
    pub(crate) fn put_back(&mut self, tasks: Set, crashed: Option<Set>, bug: Option<Bug>) {
        for id in tasks.iter().filter(|id| self.tasks[*id].row.is_open()).collect::<Set>().iter() {
            let task = &mut self.tasks[id];
            let mut begun = crashed.is_some() && task.row == Row::Running;
            if bug == Some(Bug::UnbegunSpent) && crashed.is_some() && !begun {
                begun = true;
                task.attempt += 1;
            }
            let justly = crashed.is_some_and(|begun| begun.has(id));
            if begun && justly {
                task.justly_spent = task.attempt;
            }
            let is_last = begun && task.attempt >= task.max_attempts;
            let over = if task.request { Some(Row::Cancelled) } else { is_last.then_some(Row::Failed) };
            if let Some(row) = over {
                if row == Row::Failed && !justly {
                    self.breaks(Promise::AttemptsKept);
                }
                self.end(id, row);
            } else {
                task.row = Row::Queued;
                task.admitted = false;
                task.ready = Ready::Stored;
            }
        }
    }

    /// The row says that the task is over, and `longhaul.end_tasks` does what follows.
    pub(crate) fn end(&mut self, id: Id, row: Row) {
        let task = &mut self.tasks[id];
        let was_over = task.row.is_end();
        task.row = row;
        (task.request, task.admitted, task.started_under) = (false, false, None);
        task.noted = task.followed;
        task.justly_spent = task.justly_spent.max(task.attempt);
        if was_over {
            self.breaks(Promise::EndsOnce);
        }
    }

    /// Something of the attempt under this lease is written.
    fn writes_for(&mut self, id: Id, lease: Number) {
        if self.tasks[id].started_under.is_some_and(|latest| latest != lease) {
            self.breaks(Promise::Fenced);
        }
    }

    /// The first part of a statement that writes progress: the fence.
    pub(crate) fn read_fence(&self, mut writing: Writing) -> Writing {
        for (id, write) in writing.writes.iter_mut().enumerate() {
            *write = write.filter(|(lease, _)| self.is_fenced_in(id, *lease));
        }
        writing.fenced = true;
        writing
    }

    /// The second part: the rows of tasks. Returns those that were written.
    pub(crate) fn write_progress(&mut self, writing: &Writing, bug: Option<Bug>) -> Set {
        let mut written = Set::EMPTY;
        for (id, write) in writing.writes.iter().enumerate() {
            let Some((lease, attempt)) = *write else { continue };
            // Once, what was not over could be written.
            let may = self.at_work(id, attempt) || bug == Some(Bug::FlushOverEnd) && self.tasks[id].row.is_open();
            if may {
                self.writes_for(id, lease);
                (self.tasks[id].row, self.tasks[id].attempt) = (Row::Running, attempt);
                written = written.with(id);
            }
        }
        written
    }

    /// The statement that stores ends: `FINISH`. `FINISH_PLAIN` does the same to plain successes.
    /// Returns the tasks that were changed.
    pub(crate) fn finish(&mut self, finish: &Finish, bug: Option<Bug>) -> Set {
        let (mut stored, mut missed) = (Set::EMPTY, Set::EMPTY);
        for (id, end) in finish.ends.iter().enumerate() {
            let Some(end) = *end else { continue };
            let fenced_in = match bug {
                Some(Bug::NoFence) => true,
                Some(Bug::StruckAccepted) => self.leases[end.lease].is_some(),
                _ => self.is_fenced_in(id, end.lease),
            };
            if !fenced_in || !self.at_work(id, end.attempt) {
                missed = missed.with(end.lease);
                continue;
            }
            stored = stored.with(id);
            if end.began {
                self.writes_for(id, end.lease);
            }
            if end.won && end.outcome != Outcome::Succeeded {
                self.breaks(Promise::SuccessStays);
            }
            let task = &mut self.tasks[id];
            task.attempt = end.attempt - u8::from(!end.outcome.counts());
            match end.outcome {
                Outcome::Succeeded | Outcome::Failed | Outcome::Cancelled => {
                    self.end(id, end.outcome.row());
                    let task = &mut self.tasks[id];
                    task.noted &= end.special || bug != Some(Bug::EndTrustsClaim);
                }
                Outcome::Retry | Outcome::Snooze => {
                    (task.row, task.scheduled, task.admitted) = (end.outcome.row(), true, false);
                    if end.outcome == Outcome::Retry {
                        task.justly_spent = task.attempt;
                    }
                }
                Outcome::Release => (task.row, task.ready, task.admitted) = (Row::Queued, Ready::Stored, false),
            }
        }
        for number in (0..self.leases.len()).filter(|number| finish.emptied.has(*number)) {
            if !missed.has(number) {
                self.leases[number] = None;
            }
        }
        for lease in
            (0..self.leases.len()).filter(|number| finish.emptied.has(*number) || finish.shortened.has(*number))
        {
            if let Some(lease) = &mut self.leases[lease] {
                lease.shortened = true;
                lease.tasks = lease.tasks.minus(stored);
            }
        }
        stored
    }

    /// `promote`: the task is due.
    pub(crate) fn promote(&mut self, id: Id, bug: Option<Bug>) {
        let task = &mut self.tasks[id];
        task.scheduled = false;
        match task.row {
            Row::Scheduled => (task.row, task.ready) = (Row::Queued, Ready::Stored),
            Row::Retrying => task.ready = Ready::Stored,
            // It is only here (`only_here`): queued all the same.
            _ if bug != Some(Bug::FlushOverEnd) => (task.row, task.ready) = (Row::Queued, Ready::Stored),
            _ => {}
        }
    }

    /// `longhaul.cancel`.
    pub(crate) fn cancel(&mut self, id: Id) {
        let task = &mut self.tasks[id];
        if task.ready != Ready::No || task.scheduled || task.blocked {
            (task.ready, task.scheduled, task.blocked) = (Ready::No, false, false);
            self.end(id, Row::Cancelled);
        } else {
            // A trigger marks the task as followed, so that its end has the request removed.
            task.request = true;
        }
    }

    /// The rest of `longhaul.retry`, which has locked the task's row; `strikes`: its first statement
    /// found the task over, and struck it from its lease.
    pub(crate) fn retry(&mut self, id: Id, strikes: bool, max_attempts: u8) {
        let task = &mut self.tasks[id];
        task.retry_asked = false;
        if !matches!(task.row, Row::Failed | Row::Cancelled) {
            return;
        }
        (task.row, task.ready, task.request, task.noted) = (Row::Queued, Ready::Stored, false, false);
        task.max_attempts = task.attempt + max_attempts;
        if strikes {
            for lease in self.leases.iter_mut().flatten().filter(|lease| lease.tasks.has(id)) {
                (lease.tasks, lease.shortened) = (lease.tasks.without(id), true);
            }
        }
    }

    /// `longhaul.follow_dependents`: task 1 waits for task 0, and fails if that does.
    pub(crate) fn follow(&mut self) {
        self.tasks[0].noted = false;
        if self.tasks[1].blocked {
            self.tasks[1].blocked = false;
            if self.tasks[0].row == Row::Succeeded {
                self.tasks[1].ready = Ready::Stored;
            } else {
                self.end(1, Row::Failed);
            }
        }
    }
}
