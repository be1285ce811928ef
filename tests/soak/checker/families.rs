//! Tasks that belong together: what waits for others, and parents with their children.

use super::{END_TAKES, Index, Kind, Violation};
use crate::history::{End, Family, History, Task};

pub(super) fn check(history: &History, index: &Index<'_>, found: &mut Vec<Violation>) {
    for task in &history.tasks {
        in_order(task, index, found);
        family(task, index.children(task.id), found);
    }
}

fn in_order(task: &Task, index: &Index<'_>, found: &mut Vec<Violation>) {
    let began = index.at_work(task.id).map(|(first, _)| first);
    for (id, must_succeed) in &task.prerequisites {
        let Some(before) = index.tasks.get(id) else { continue };
        if let (Some(began), Some(last)) = (began, index.last_at_work(*id))
            && began < last
            && !before.plan.retried
        {
            found.push(Violation::of_task(Kind::OutOfOrder, task.id, format!("it began before {id} was over")));
        }
        let broken = *must_succeed && before.end != Some(End::Succeeded) && !before.plan.retried;
        if broken && (began.is_some() || task.end == Some(End::Succeeded)) && !task.plan.retried {
            found.push(Violation::of_task(Kind::OutOfOrder, task.id, format!("it ran although {id} did not succeed")));
        }
    }
}

fn family(task: &Task, children: &[&Task], found: &mut Vec<Violation>) {
    let count = |end: End| children.iter().filter(|child| child.end == Some(end)).count();
    let counted = Family {
        children: children.len(),
        succeeded: count(End::Succeeded),
        failed: count(End::Failed),
        cancelled: count(End::Cancelled),
    };
    match task.family {
        Some(family) if family != counted => {
            let says = format!("it counts {family:?}, and its children are {counted:?}");
            found.push(Violation::of_task(Kind::FamilyWrong, task.id, says));
        }
        None if !children.is_empty() => {
            found.push(Violation::of_task(Kind::FamilyWrong, task.id, "it has children and no family"));
        }
        _ => {}
    }
    let spread = task.plan.children;
    if spread > 0 && task.end == Some(End::Succeeded) && children.len() != spread {
        let says = format!("its handler started {} children, not {spread}", children.len());
        found.push(Violation::of_task(Kind::FamilyWrong, task.id, says));
    }
    if let (Some(finished), None) = (task.finished_at, task.token.as_ref()) {
        let late = children.iter().filter(|child| child.finished_at.is_none_or(|at| at > finished + END_TAKES)).count();
        if late > 0 && !task.plan.retried && !task.plan.may_be_cancelled {
            found.push(Violation::of_task(Kind::FamilyWrong, task.id, format!("it ended before {late} children")));
        }
    }
}
