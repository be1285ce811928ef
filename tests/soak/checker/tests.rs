//! A history in which all is well, and one fault of each kind planted into it.

use std::collections::BTreeMap;

use longhaul::uuid::Uuid;

use super::{Kind, check};
use crate::history::{Answer, Effect, End, Family, History, Micros, Plan, Rate, Request, RunEnd, Seen, Task};

/// The tasks of [`sound`].
const PLAIN: Uuid = Uuid::from_u128(1);
const AFTER: Uuid = Uuid::from_u128(2);
const PARENT: Uuid = Uuid::from_u128(3);
const CHILD: Uuid = Uuid::from_u128(4);
const LIMITED: [Uuid; 2] = [Uuid::from_u128(5), Uuid::from_u128(6)];
const SOLE: [Uuid; 2] = [Uuid::from_u128(7), Uuid::from_u128(8)];
const SPREADS: Uuid = Uuid::from_u128(9);

fn task(id: Uuid, queue: &str) -> Task {
    Task {
        id,
        type_name: "Piece".to_owned(),
        queue: queue.to_owned(),
        token: Some(token(id)),
        key: None,
        end: Some(End::Succeeded),
        error: None,
        attempt_errors: BTreeMap::new(),
        parent: None,
        family: None,
        prerequisites: Vec::new(),
        run_at: None,
        finished_at: Some(1_000_000),
        plan: Plan { steps: 2, ..Plan::default() },
    }
}

fn token(id: Uuid) -> String {
    format!("t{}", id.as_u128())
}

fn effect(task: Uuid, run: u128, kind: &str, step: u32, at: Micros) -> Effect {
    Effect { task, run: Uuid::from_u128(run), kind: kind.to_owned(), step, at }
}

/// A run with a start and two effects, from this moment on.
fn run(task: Uuid, run: u128, at: Micros) -> [Effect; 3] {
    [
        effect(task, run, "start", 0, at),
        effect(task, run, "effect", 1, at + 10),
        effect(task, run, "effect", 2, at + 20),
    ]
}

fn request(id: Uuid, answer: Answer) -> Request {
    Request { at: 0.0, tokens: vec![token(id)], answers: vec![answer], unique_key: None }
}

fn accepted(id: Uuid) -> Request {
    request(id, Answer::Accepted(vec![id]))
}

/// Of everything one, and nothing wrong.
fn sound() -> History {
    let mut parent = task(PARENT, "soak");
    parent.token = None;
    parent.plan.steps = 0;
    parent.family = Some(Family { children: 1, succeeded: 1, failed: 0, cancelled: 0 });
    let mut child = task(CHILD, "soak");
    child.parent = Some(PARENT);
    child.finished_at = Some(900_000);
    let mut after = task(AFTER, "soak");
    after.prerequisites = vec![(PLAIN, true)];
    after.run_at = Some(500);
    let mut sole = SOLE.map(|id| task(id, "soak"));
    sole.iter_mut().for_each(|task| task.key = Some("k".to_owned()));
    let tasks = [task(PLAIN, "soak"), after, parent, child, task(SPREADS, "soak")];
    let effects = [
        run(PLAIN, 1, 100),
        run(AFTER, 2, 1_000),
        run(CHILD, 4, 100),
        run(LIMITED[0], 5, 100),
        run(LIMITED[1], 6, 120),
        run(SOLE[0], 7, 100),
        run(SOLE[1], 8, 200),
        run(SPREADS, 9, 100),
    ];
    let mut sole_again = request(SOLE[1], Answer::Accepted(vec![SOLE[1]]));
    sole_again.unique_key = Some("k".to_owned());
    let mut effects = effects.concat();
    effects.sort_by_key(|effect| effect.at);
    History {
        requests: vec![
            accepted(PLAIN),
            // A batch: its parent's id comes after those of its tasks.
            request(CHILD, Answer::Accepted(vec![CHILD, PARENT])),
            sole_again,
            // One that found the other's task, one that nobody knows of, and one that was refused.
            Request {
                tokens: vec!["found".to_owned()],
                unique_key: Some("k".to_owned()),
                ..request(SOLE[0], Answer::Accepted(vec![SOLE[0]]))
            },
            Request { tokens: vec!["unknown".to_owned()], ..request(PLAIN, Answer::Unknown) },
            Request { tokens: vec!["refused".to_owned()], ..request(PLAIN, Answer::Refused) },
        ],
        tasks: tasks.into_iter().chain(sole).chain(LIMITED.map(|id| task(id, "limited"))).collect(),
        effects,
        ends: vec![RunEnd { task: PLAIN, outcome: "done".to_owned() }],
        seen: [1, 2].map(|processed| Seen { task: PLAIN, attempt: 1, interruptions: 0, server: 1, processed }).to_vec(),
        limits: BTreeMap::from([("limited".to_owned(), 1)]),
        limits_per_key: BTreeMap::new(),
        rates: BTreeMap::from([("soak".to_owned(), Rate { burst: 8.0, a_second: 0.0 })]),
        contradictions: Vec::new(),
        repaired: Vec::new(),
    }
}

fn of(history: &mut History, id: Uuid) -> &mut Task {
    history.tasks.iter_mut().find(|task| task.id == id).expect("a task")
}

type Plant = fn(&mut History);

/// Every kind of violation, each with ways to plant it.
const PLANTS: [(Kind, &[Plant]); 17] = [
    (Kind::Lost, &[|history| history.tasks.retain(|task| task.id != PLAIN)]),
    (
        Kind::Unasked,
        &[
            |history| history.requests[0].answers = vec![Answer::Refused],
            |history| history.requests[0].answers = vec![Answer::Accepted(vec![AFTER])],
            |history| history.requests[3].unique_key = Some("another".to_owned()),
        ],
    ),
    (Kind::Torn, &[|history| history.requests[4].tokens.push(token(PLAIN))]),
    (Kind::TwoTasks, &[|history| of(history, AFTER).token = Some(token(PLAIN))]),
    (Kind::Stranded, &[|history| of(history, PLAIN).end = None]),
    (Kind::Misplaced, &[|history| history.contradictions.push(format!("{PLAIN}: it is in two places"))]),
    (Kind::Repaired, &[|history| history.repaired.push((PLAIN, "it was in no place".to_owned()))]),
    (
        Kind::FalselyFailed,
        &[
            |history| of(history, PLAIN).end = Some(End::Failed),
            |history| {
                of(history, PLAIN).end = Some(End::Failed);
                of(history, PLAIN).error = Some("attempt-failed".to_owned());
            },
            |history| {
                of(history, LIMITED[0]).end = Some(End::Failed);
                of(history, LIMITED[0]).error = Some("poison-task".to_owned());
            },
            |history| of(history, LIMITED[0]).end = Some(End::Cancelled),
            |history| of(history, PLAIN).attempt_errors = BTreeMap::from([("attempt-failed".to_owned(), 1)]),
        ],
    ),
    (Kind::EffectLost, &[|history| history.effects.retain(|effect| effect.task != PLAIN || effect.step != 1)]),
    (Kind::EffectDoubled, &[|history| history.effects.push(effect(PLAIN, 1, "effect", 2, 130))]),
    (
        Kind::Overtaken,
        &[
            |history| {
                history.effects.push(effect(PLAIN, 11, "start", 2, 130));
                history.effects.push(effect(PLAIN, 1, "effect", 3, 140));
            },
            |history| history.effects.push(effect(PLAIN, 1, "effect", 3, 60_000_000)),
        ],
    ),
    (
        Kind::ProgressFell,
        &[|history| history.seen.push(Seen { task: PLAIN, attempt: 1, interruptions: 0, server: 1, processed: 1 })],
    ),
    (
        Kind::LimitBroken,
        &[
            |history| history.effects.push(effect(LIMITED[0], 5, "effect", 3, 130)),
            |history| history.limits_per_key = BTreeMap::from([("soak".to_owned(), 1)]),
            |history| history.rates.values_mut().for_each(|rate| rate.burst = 2.0),
        ],
    ),
    (Kind::UniqueBroken, &[|history| history.effects.push(effect(SOLE[0], 7, "effect", 3, 210))]),
    (Kind::TooEarly, &[|history| of(history, AFTER).run_at = Some(1_001)]),
    (
        Kind::OutOfOrder,
        &[
            |history| of(history, PLAIN).prerequisites = vec![(AFTER, false)],
            |history| of(history, LIMITED[0]).prerequisites = vec![(PARENT, false)],
            |history| {
                of(history, PLAIN).end = Some(End::Failed);
                of(history, PLAIN).error = Some("attempt-failed".to_owned());
                of(history, PLAIN).plan.fails = true;
            },
        ],
    ),
    (
        Kind::FamilyWrong,
        &[
            |history| of(history, PARENT).family = Some(Family { children: 1, succeeded: 0, failed: 1, cancelled: 0 }),
            |history| of(history, PARENT).family = None,
            |history| of(history, CHILD).finished_at = Some(60_000_000),
            |history| of(history, SPREADS).plan.children = 2,
        ],
    ),
];

#[test]
fn a_sound_history_breaks_no_promise() {
    assert_eq!(check(&sound()), []);
}

#[test]
fn every_planted_violation_is_found() {
    for (kind, plants) in PLANTS {
        for (number, plant) in plants.iter().enumerate() {
            let mut history = sound();
            plant(&mut history);
            history.effects.sort_by_key(|effect| effect.at);
            let found = check(&history);
            assert!(found.iter().any(|violation| violation.kind == kind), "{kind:?} {number}: {found:#?}");
        }
    }
}

#[test]
fn what_may_happen_is_no_violation() {
    let plants: [Plant; 7] = [
        |history| {
            of(history, LIMITED[0]).end = Some(End::Cancelled);
            of(history, LIMITED[0]).plan.may_be_cancelled = true;
        },
        // A later run goes on where the first one was when it was killed.
        |history| {
            history.effects.retain(|effect| effect.task != PLAIN || effect.step < 2);
            history.effects.push(effect(PLAIN, 11, "start", 1, 200));
            history.effects.push(effect(PLAIN, 11, "effect", 2, 210));
        },
        |history| {
            of(history, LIMITED[0]).end = Some(End::Failed);
            of(history, LIMITED[0]).error = Some("poison-task".to_owned());
            of(history, LIMITED[0]).attempt_errors = BTreeMap::from([("worker-lost".to_owned(), 3)]);
        },
        |history| history.seen.push(Seen { task: PLAIN, attempt: 1, interruptions: 0, server: 2, processed: 1 }),
        |history| history.seen.push(Seen { task: PLAIN, attempt: 1, interruptions: 1, server: 1, processed: 1 }),
        |history| history.seen.push(Seen { task: PLAIN, attempt: 2, interruptions: 0, server: 1, processed: 1 }),
        |history| history.requests[0].answers = vec![Answer::Unknown, Answer::Refused, Answer::Accepted(vec![PLAIN])],
    ];
    for (number, plant) in plants.iter().enumerate() {
        let mut history = sound();
        plant(&mut history);
        history.effects.sort_by_key(|effect| effect.at);
        assert_eq!(check(&history), [], "{number}");
    }
}
