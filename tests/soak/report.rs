//! The table at the end: one line for each kind of fault.

use std::collections::{BTreeMap, HashMap};

use longhaul::uuid::Uuid;

use crate::checker::{Kind as Broken, Violation};
use crate::history::History;
use crate::plan::Kind;

/// A fault that was carried out.
#[derive(Debug, Clone)]
pub(crate) struct Done {
    pub(crate) kind: Kind,
    /// Seconds since the soak began, until the next one.
    pub(crate) from: f64,
    pub(crate) to: f64,
    /// How long after its end tasks were accepted and done again.
    pub(crate) recovered_in: f64,
}

#[derive(Debug, Default, Clone)]
struct Line {
    runs: usize,
    tasks: usize,
    lost: usize,
    stranded: usize,
    falsely_failed: usize,
    doubled: usize,
    other: usize,
    worst: f64,
}

/// A violation belongs to the fault in whose time its task was asked for.
pub(crate) fn table(history: &History, done: &[Done], violations: &[Violation]) -> String {
    let mut lines: BTreeMap<Kind, Line> = BTreeMap::new();
    let mut asked: HashMap<&str, f64> = HashMap::new();
    for request in &history.requests {
        let at = done.iter().find(|fault| fault.from <= request.at && request.at < fault.to);
        for token in &request.tokens {
            asked.insert(token, request.at);
        }
        if let Some(fault) = at {
            lines.entry(fault.kind).or_default().tasks += request.tokens.len();
        }
    }
    let tokens: HashMap<Uuid, &str> =
        history.tasks.iter().filter_map(|task| Some((task.id, task.token.as_deref()?))).collect();
    for fault in done {
        let line = lines.entry(fault.kind).or_default();
        line.runs += 1;
        line.worst = line.worst.max(fault.recovered_in);
    }
    let mut others = Line::default();
    for violation in violations {
        let token = violation.token.as_deref().or_else(|| tokens.get(&violation.task?).copied());
        let at = token.and_then(|token| asked.get(token.split('/').next().unwrap_or(token)));
        let fault = at.and_then(|at| done.iter().find(|fault| fault.from <= *at && *at < fault.to));
        let line = fault.map_or(&mut others, |fault| lines.entry(fault.kind).or_default());
        match violation.kind {
            Broken::Lost | Broken::EffectLost => line.lost += 1,
            Broken::Stranded | Broken::Misplaced | Broken::Repaired => line.stranded += 1,
            Broken::FalselyFailed => line.falsely_failed += 1,
            Broken::TwoTasks | Broken::EffectDoubled | Broken::Overtaken | Broken::UniqueBroken => line.doubled += 1,
            _ => line.other += 1,
        }
    }
    let mut text = String::from(
        "| fault | runs | tasks | lost | stranded | falsely failed | doubled | other | worst time to recover |\n\
         | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n",
    );
    let kinds = lines.iter().map(|(kind, line)| (kind.name(), line));
    for (name, line) in kinds.chain([("at other times", &others)]) {
        let Line { runs, tasks, lost, stranded, falsely_failed, doubled, other, worst } = line;
        text += &format!(
            "| {name} | {runs} | {tasks} | {lost} | {stranded} | {falsely_failed} | {doubled} | {other} | {worst:.1} s |\n"
        );
    }
    text
}
