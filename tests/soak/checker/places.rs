//! What the queue's tables hold once everything has come to rest.

use std::collections::HashMap;

use longhaul::uuid::Uuid;

use super::{Kind, Violation};
use crate::history::{End, History};

pub(super) fn check(history: &History, found: &mut Vec<Violation>) {
    for task in history.tasks.iter().filter(|task| task.end.is_none()) {
        found.push(Violation::of_task(Kind::Stranded, task.id, format!("{} is open", task.type_name)));
    }
    for says in &history.contradictions {
        let task = says.get(..36).and_then(|id| id.parse::<Uuid>().ok());
        found.push(Violation { kind: Kind::Misplaced, task, token: None, says: says.clone() });
    }
    for (id, why) in &history.repaired {
        found.push(Violation::of_task(Kind::Repaired, *id, why));
    }
    let mut planned: HashMap<Uuid, usize> = HashMap::new();
    let failures = history.effects.iter().filter(|row| row.kind == "failure").map(|row| row.task);
    let fails = history.ends.iter().filter(|end| end.outcome == "fails").map(|end| end.task);
    for task in failures.chain(fails) {
        *planned.entry(task).or_default() += 1;
    }
    for task in &history.tasks {
        let errors = |code: &str| task.attempt_errors.get(code).copied().unwrap_or(0);
        // Each planned failure has its row; more rows are failures that nobody planned.
        let planned = planned.get(&task.id).copied().unwrap_or(0);
        if errors("attempt-failed") > planned {
            let says = format!("{} attempts failed, {planned} of them as planned", errors("attempt-failed"));
            found.push(Violation::of_task(Kind::FalselyFailed, task.id, says));
        }
        let fine = match (task.end, task.error.as_deref()) {
            (Some(End::Failed), Some("attempt-failed")) => task.plan.fails,
            // Its workers were killed while it ran, which is known to have happened.
            (Some(End::Failed), Some("poison-task")) => errors("worker-lost") + errors("poison-task") >= 3,
            (Some(End::Failed), Some("children-failed")) => task.family.is_some(),
            (Some(End::Failed), Some("dependency-failed")) => !task.prerequisites.is_empty(),
            (Some(End::Failed), _) => false,
            (Some(End::Cancelled), _) => task.plan.may_be_cancelled,
            _ => true,
        };
        if !fine {
            let says = format!("it ended {:?} ({:?}) though nothing was wrong with it", task.end, task.error);
            found.push(Violation::of_task(Kind::FalselyFailed, task.id, says));
        }
    }
}
