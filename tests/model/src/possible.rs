//! When each step can be taken.

use crate::action::Action;
use crate::memory::{Hand, Late, Life, Outcome};
use crate::scenario::{Bug, Scenario};
use crate::state::{Ready, Row, State, TASKS, WORKERS};

/// Every step that can be taken in this state.
pub(crate) fn possible(scenario: &Scenario, state: &State, actions: &mut Vec<Action>) {
    for worker in 0..WORKERS {
        of_worker(scenario, state, worker, actions);
    }
    for (place, late) in state.late.iter().enumerate() {
        let Some(late) = late else { continue };
        let waits =
            matches!(late, Late::Finish(finish) if finish.emptied.iter().any(|lease| state.is_key_shared(lease)));
        if !waits {
            actions.push(Action::LateRuns(place));
        }
        actions.push(Action::LateNever(place));
    }
    for (number, lease) in state.leases.iter().enumerate() {
        if lease.is_some_and(|lease| !state.is_at_work(&lease)) && !state.is_key_shared(number) {
            actions.push(Action::Rescue(number));
        }
    }
    of_tasks(scenario, state, actions);
    if scenario.gate {
        of_gate(scenario, state, actions);
    }
    if scenario.follows {
        if state.tasks[1].row == Row::Absent {
            actions.push(Action::Depend);
        }
        if state.tasks[0].noted {
            actions.push(Action::Follow);
        }
    }
}

fn of_tasks(scenario: &Scenario, state: &State, actions: &mut Vec<Action>) {
    for (id, task) in state.tasks.iter().enumerate() {
        if task.scheduled {
            actions.push(Action::Promote(id));
        }
        if task.row.is_open() && !task.request && state.left.cancels > 0 {
            actions.push(Action::Cancel(id));
        }
        // A retry of a task that waits finds it open both times.
        let runs = task.row.is_open() && task.ready == Ready::No && !task.scheduled && !task.blocked;
        if (runs || matches!(task.row, Row::Failed | Row::Cancelled)) && !task.retry_asked && state.left.retries > 0 {
            actions.push(Action::RetryBegins(id));
        }
        if task.retry_asked {
            actions.push(Action::RetryEnds(id));
        }
    }
    debug_assert!(scenario.tasks <= TASKS);
}

fn of_gate(scenario: &Scenario, state: &State, actions: &mut Vec<Action>) {
    let gate = &state.gate;
    if !gate.is_closed {
        actions.push(Action::CloseGate);
        return;
    }
    if !gate.counted && gate.counting.is_none() {
        match gate.claims_before {
            None => actions.push(Action::GateLooks),
            Some(before) if before.is_empty() || scenario.bug == Some(Bug::GateDoesNotWait) => {
                actions.push(Action::CountBegins);
            }
            Some(_) => {}
        }
    }
    if gate.counting.is_some() {
        actions.push(Action::Count);
    }
    if !gate.counted {
        return;
    }
    actions.push(Action::CountAgain);
    let first = state.tasks.iter().position(|task| task.ready == Ready::Stored);
    if let Some(id) = first
        && state.tasks.iter().all(|task| !task.admitted)
    {
        actions.push(Action::Admit(id));
    }
}

fn of_worker(scenario: &Scenario, state: &State, number: usize, actions: &mut Vec<Action>) {
    let worker = &state.workers[number];
    let others_work = (0..WORKERS)
        .filter(|other| *other != number)
        .all(|other| state.workers[other].life == Life::Up && !state.workers[other].stops);
    if worker.life != Life::Up {
        if !worker.lost && !worker.stopped {
            actions.push(Action::Presume(number));
        }
        if worker.life == Life::Frozen {
            actions.push(Action::GoOn(number));
        }
        return;
    }
    // Workers are alike: it may as well be the first one that faults befall.
    let faulty = state.left.faults > 0 && number == 0;
    // At most two statements that were given up may still run.
    let room_for_late = state.late.iter().any(Option::is_none);
    if faulty && others_work && !worker.stops {
        if scenario.faults.freezes {
            actions.push(Action::Freeze(number));
        }
        if scenario.faults.kills {
            actions.push(Action::Kill(number));
        }
    }
    if scenario.stops && number == 0 && !worker.stops && others_work {
        actions.push(Action::Stop(number));
    }
    if worker.renamed {
        actions.push(Action::Notice(number));
    } else if worker.lost {
        actions.push(Action::Beat(number));
    } else if state.compare_settles(number) {
        actions.push(Action::Compare(number));
    }
    let ends = state.ends(number, scenario.bug);
    let rests = worker.hands.iter().all(|hand| *hand == Hand::Empty);
    if worker.stops && rests && !worker.renamed && !worker.lost {
        actions.push(Action::Leave(number));
    }
    if worker.unanswered.is_some() && !worker.stops {
        actions.push(Action::GiveBack(number));
    } else if ends.is_none() && state.room(scenario, number) > 0 && !worker.stops && !worker.renamed {
        of_claim(scenario, state, number, faulty, room_for_late, actions);
    }
    for id in 0..TASKS {
        match worker.hands[id] {
            Hand::Waiting { .. } if !worker.renamed && !worker.stops => actions.push(Action::Start(number, id)),
            Hand::Running { lost: true, .. } => actions.push(Action::HandlerDropped(number, id)),
            Hand::Running { attempt, told, .. } => {
                let task = &state.tasks[id];
                if task.request && !told {
                    actions.push(Action::Tell(number, id));
                }
                actions.push(Action::HandlerEnds(number, id, Outcome::Succeeded));
                for outcome in scenario.outcomes {
                    let may = match outcome {
                        Outcome::Retry => attempt < task.max_attempts && !told,
                        Outcome::Snooze => state.left.snoozes > 0 && !told,
                        _ => !told,
                    };
                    if may {
                        actions.push(Action::HandlerEnds(number, id, *outcome));
                    }
                }
                if told {
                    actions.push(Action::HandlerEnds(number, id, Outcome::Cancelled));
                }
                if worker.stops {
                    actions.push(Action::HandlerEnds(number, id, Outcome::Release));
                }
            }
            _ => {}
        }
    }
    if scenario.flushes && state.writes(number).iter().any(Option::is_some) {
        actions.push(Action::Flush(number));
        if faulty && scenario.faults.flushes && room_for_late {
            actions.push(Action::FlushLate(number));
        }
    }
    let Some(finish) = ends else { return };
    let may_cut = faulty && scenario.faults.ends;
    if finish.ends.iter().flatten().any(|end| end.words) {
        actions.push(Action::Words(number));
        if may_cut && room_for_late {
            actions.push(Action::WordsCut(number));
        }
        return;
    }
    if !finish.emptied.iter().any(|lease| state.is_key_shared(lease)) {
        actions.push(Action::Store(number));
        if may_cut {
            actions.push(Action::StoreUnanswered(number));
        }
    }
    if may_cut && room_for_late {
        actions.push(Action::StoreCut(number));
    }
}

fn of_claim(
    scenario: &Scenario,
    state: &State,
    number: usize,
    faulty: bool,
    room_for_late: bool,
    actions: &mut Vec<Action>,
) {
    if scenario.gate && state.workers[number].looked.is_none() {
        actions.push(Action::ClaimLooks(number));
        return;
    }
    actions.push(Action::Claim(number));
    if faulty && scenario.faults.claims {
        actions.push(Action::ClaimUnanswered(number));
        if room_for_late {
            actions.push(Action::ClaimCut(number));
        }
    }
}
