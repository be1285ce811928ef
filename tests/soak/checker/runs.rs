//! What handlers did: effects, fences, progress, limits, times.

use std::collections::{BTreeMap, HashMap, HashSet};

use longhaul::uuid::Uuid;

use super::{END_TAKES, Index, Kind, Violation};
use crate::history::{Effect, End, History, Micros, Rate, Task};

pub(super) fn check(history: &History, index: &Index<'_>, found: &mut Vec<Violation>) {
    for task in &history.tasks {
        let effects = index.effects(task.id);
        exactly_once(task, effects, found);
        one_after_the_other(task, effects, found);
        if let (Some(run_at), Some((first, _))) = (task.run_at, index.at_work(task.id))
            && first < run_at
        {
            let says = format!("it began {} ms before its time", (run_at - first) / 1_000);
            found.push(Violation::of_task(Kind::TooEarly, task.id, says));
        }
    }
    progress(history, found);
    limits(history, index, found);
    unique(history, index, found);
}

fn exactly_once(task: &Task, effects: &[&Effect], found: &mut Vec<Violation>) {
    let mut times: BTreeMap<(&str, u32), usize> = BTreeMap::new();
    for effect in effects.iter().filter(|effect| effect.kind != "start") {
        *times.entry((effect.kind.as_str(), effect.step)).or_default() += 1;
    }
    for ((kind, step), times) in times.iter().filter(|(_, times)| **times > 1) {
        let says = format!("{kind} of step {step} was committed {times} times");
        found.push(Violation::of_task(Kind::EffectDoubled, task.id, says));
    }
    if task.end == Some(End::Succeeded) && task.token.is_some() {
        let missing: Vec<u32> = (1..=task.plan.steps).filter(|step| !times.contains_key(&("effect", *step))).collect();
        if !missing.is_empty() {
            found.push(Violation::of_task(
                Kind::EffectLost,
                task.id,
                format!("it succeeded without steps {missing:?}"),
            ));
        }
    }
}

/// Rows behind the fence were written while the run had the task: so a run's rows stand
/// together, whatever other runs of the task there were.
fn one_after_the_other(task: &Task, effects: &[&Effect], found: &mut Vec<Violation>) {
    let mut over: HashSet<Uuid> = HashSet::new();
    let mut current = None;
    for effect in effects {
        if current == Some(effect.run) {
            continue;
        }
        if !over.insert(effect.run) {
            let says = format!("run {} wrote a {} after another had begun", effect.run, effect.kind);
            found.push(Violation::of_task(Kind::Overtaken, task.id, says));
        }
        current = Some(effect.run);
    }
    if let (Some(finished), Some(last)) = (task.finished_at, effects.last())
        && task.end.is_some()
        && last.at > finished + END_TAKES
    {
        let says = format!("a {} came {} us after its end", last.kind, last.at - finished);
        found.push(Violation::of_task(Kind::Overtaken, task.id, says));
    }
}

fn progress(history: &History, found: &mut Vec<Violation>) {
    let mut highest: HashMap<(Uuid, u32, i16, Micros), i64> = HashMap::new();
    for seen in &history.seen {
        let before =
            highest.entry((seen.task, seen.attempt, seen.interruptions, seen.server)).or_insert(seen.processed);
        if seen.processed < *before {
            let says = format!("{} after {before} in attempt {}", seen.processed, seen.attempt);
            found.push(Violation::of_task(Kind::ProgressFell, seen.task, says));
        }
        *before = (*before).max(seen.processed);
    }
}

/// From its first to its last row behind the fence a run was at work all the time: so many of
/// these intervals may overlap as the limit says.
fn limits(history: &History, index: &Index<'_>, found: &mut Vec<Violation>) {
    // By queue and key: the limit, and from when to when its runs were at work.
    type Group = (usize, Vec<(Micros, Micros)>);
    let mut groups: HashMap<(&str, Option<&str>), Group> = HashMap::new();
    let mut begins: HashMap<&str, Vec<Micros>> = HashMap::new();
    for task in &history.tasks {
        let mut runs: HashMap<Uuid, (Micros, Micros)> = HashMap::new();
        for effect in index.effects(task.id) {
            runs.entry(effect.run).and_modify(|(_, last)| *last = effect.at).or_insert((effect.at, effect.at));
        }
        let limit = history.limits.get(&task.queue).map(|limit| (None, *limit));
        let per_key = history.limits_per_key.get(&task.queue).map(|limit| (task.key.as_deref(), *limit));
        for (key, limit) in limit.into_iter().chain(per_key) {
            let group = groups.entry((task.queue.as_str(), key)).or_insert((limit, Vec::new()));
            group.1.extend(runs.values());
        }
        begins.entry(&task.queue).or_default().extend(runs.values().map(|(first, _)| *first));
    }
    for ((queue, key), (limit, runs)) in groups {
        let most = most_at_once(&runs);
        if most > limit {
            let says = format!("{most} of {queue} {} were at work at once, not {limit}", key.unwrap_or_default());
            found.push(Violation { kind: Kind::LimitBroken, task: None, token: None, says });
        }
    }
    for (queue, rate) in &history.rates {
        if let Some(says) = too_many(begins.entry(queue).or_default(), *rate) {
            let says = format!("{queue}: {says}");
            found.push(Violation { kind: Kind::LimitBroken, task: None, token: None, says });
        }
    }
}

fn most_at_once(intervals: &[(Micros, Micros)]) -> usize {
    // At the same moment, what ends goes first: one may follow the other.
    let mut moments: Vec<(Micros, i32)> =
        intervals.iter().filter(|(from, to)| from < to).flat_map(|(from, to)| [(*from, 1), (*to, -1)]).collect();
    moments.sort_unstable();
    let (mut now, mut most) = (0_i32, 0_i32);
    for (_, change) in moments {
        now += change;
        most = most.max(now);
    }
    most.unsigned_abs() as usize
}

/// What was admitted may begin later, so only the sum since the beginning says something.
fn too_many(begins: &mut [Micros], rate: Rate) -> Option<String> {
    begins.sort_unstable();
    let first = *begins.first()?;
    begins.iter().enumerate().find_map(|(number, at)| {
        let allowed = rate.burst + rate.a_second * ((at - first) as f64 / 1e6 + 5.0);
        (number as f64 > allowed).then(|| format!("{number} began in {} ms, not {allowed}", (at - first) / 1_000))
    })
}

fn unique(history: &History, index: &Index<'_>, found: &mut Vec<Violation>) {
    let keys: HashSet<&str> = history.requests.iter().filter_map(|request| request.unique_key.as_deref()).collect();
    let mut by_key: HashMap<&str, Vec<(Micros, Micros)>> = HashMap::new();
    for task in &history.tasks {
        if let Some(key) = task.key.as_deref().filter(|key| keys.contains(key))
            && let Some(at_work) = index.at_work(task.id)
        {
            by_key.entry(key).or_default().push(at_work);
        }
    }
    for (key, at_work) in by_key {
        if most_at_once(&at_work) > 1 {
            let says = format!("two tasks of the unique key {key} were open at once");
            found.push(Violation { kind: Kind::UniqueBroken, task: None, token: None, says });
        }
    }
}
