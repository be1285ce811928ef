//! Who is presumed dead, in time that goes by in tenths of a heartbeat.
//!
//! Two workers beat once a heartbeat, and one of those that live looks every fifth of it whether the
//! other is silent. The server goes away and comes back. What a look makes of a silence is that of
//! `PRESUME` in `crates/model/src/store/rescue.rs` and of `longhaul.silence` in
//! `migrations/current/functions/silence.sql`; how long a beat may hang before it is given up and tried
//! again is that of `crates/worker/src/beat_try.rs`.

use crate::explorer::Model;

/// Ticks of one heartbeat.
const HEARTBEAT: u8 = 10;
/// Ticks between two looks.
const LOOK_EVERY: u8 = 2;
/// More ticks than this between two looks are a gap.
const GAP: u8 = 5;
/// Halves of ticks: 1.7 heartbeats (`PATIENCE` in `crates/model/src/store/worker.rs`).
const PATIENCE: i16 = 34;
/// Milliseconds that the time limit of a beat has at least, and once the worker may be dead.
const SHORTEST_MS: u32 = 1_000;
const LATE_MS: u32 = 1_000;
/// A death is noticed after two heartbeats in which the server was there.
const NOTICED_WITHIN: u8 = 20;

/// Two workers, and a server that goes away.
#[derive(Debug, Clone, Copy)]
pub struct Silence {
    /// How often the server may go away.
    pub outages: u8,
    /// For so many ticks at most.
    pub longest: u8,
    /// The heartbeat in milliseconds.
    pub heartbeat_ms: u32,
    /// While the server is away, a beat may hang until it is given up.
    pub beats_hang: bool,
    /// A mistake on purpose.
    pub slip: Option<Slip>,
}

/// A mistake that the check has to find.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Slip {
    /// All time counts as silence, also when nobody could hear.
    OutageIsDeath,
    /// A beat that is tried again may take as long as the first try.
    LimitStays,
}

/// What must hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// Nobody who lives is presumed dead.
    TheLivingStay,
    /// Who died is presumed dead within two heartbeats, not counting what came before the end of
    /// the last outage.
    DeathsAreNoticedSoon,
    /// Who died can be presumed dead at all.
    DeathsAreNoticed,
}

/// A worker as its row and its keeper have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Worker {
    lives: bool,
    lost: bool,
    /// Ticks since the last beat that arrived.
    age: u8,
    /// Ticks until the next one is tried.
    beats_in: u8,
}

/// One moment.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Moment {
    workers: [Worker; 2],
    server_is_up: bool,
    outages_left: u8,
    /// Ticks since the server went away or came back, or someone died; up to what matters.
    for_ticks: u8,
    looks_in: u8,
    /// Ticks since the last look.
    looked: u8,
    /// The ticks that are gaps; the last tick is the lowest bit.
    gaps: u64,
}

/// What happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// A tenth of a heartbeat goes by.
    Tick,
    /// The same, and a beat that is tried hangs until it is given up.
    TickWhileBeatsHang,
    /// The server goes away.
    Down,
    /// It is back.
    Up,
    /// The second worker dies.
    Death,
}

impl Model for Silence {
    type State = Moment;
    type Action = Event;
    type Promise = Heard;

    const PROMISES: &'static [Heard] = &[Heard::TheLivingStay, Heard::DeathsAreNoticedSoon, Heard::DeathsAreNoticed];
    const COMES_TO_REST: Heard = Heard::DeathsAreNoticed;

    fn first(&self) -> Vec<Moment> {
        let begin = |age| Moment {
            workers: [0, age].map(|age| Worker { lives: true, lost: false, age, beats_in: HEARTBEAT - age }),
            server_is_up: true,
            outages_left: self.outages,
            for_ticks: 0,
            looks_in: 0,
            looked: 0,
            gaps: 0,
        };
        (0..HEARTBEAT).map(begin).collect()
    }

    fn actions(&self, now: &Moment, events: &mut Vec<Event>) {
        if now.server_is_up {
            events.push(Event::Tick);
            if now.outages_left > 0 {
                events.push(Event::Down);
            }
        } else {
            if now.for_ticks < self.longest {
                events.push(Event::Tick);
                if self.beats_hang && now.workers.iter().any(|worker| worker.lives && worker.beats_in == 1) {
                    events.push(Event::TickWhileBeatsHang);
                }
            }
            events.push(Event::Up);
        }
        if now.workers[1].lives {
            events.push(Event::Death);
        }
    }

    fn next(&self, now: &Moment, event: Event) -> Moment {
        let mut next = now.clone();
        match event {
            Event::Tick => self.tick(&mut next, false),
            Event::TickWhileBeatsHang => self.tick(&mut next, true),
            Event::Down => {
                (next.server_is_up, next.for_ticks) = (false, 0);
                next.outages_left -= 1;
            }
            Event::Up => (next.server_is_up, next.for_ticks) = (true, 0),
            Event::Death => {
                (next.workers[1].lives, next.workers[1].beats_in) = (false, 0);
                next.for_ticks = if next.server_is_up { 0 } else { next.for_ticks };
            }
        }
        next
    }

    fn keeps(&self, promise: Heard, now: &Moment) -> bool {
        match promise {
            Heard::TheLivingStay => now.workers.iter().all(|worker| !(worker.lives && worker.lost)),
            Heard::DeathsAreNoticedSoon => !now.server_is_up || now.for_ticks < NOTICED_WITHIN || self.is_rest(now),
            Heard::DeathsAreNoticed => true,
        }
    }

    fn helps(&self, event: Event) -> bool {
        matches!(event, Event::Tick | Event::Up)
    }

    fn is_rest(&self, now: &Moment) -> bool {
        now.workers.iter().all(|worker| worker.lives || worker.lost)
    }
}

impl Silence {
    fn tick(&self, now: &mut Moment, beats_hang: bool) {
        now.for_ticks = (now.for_ticks + 1).min(NOTICED_WITHIN.max(self.longest));
        now.looked += 1;
        now.gaps <<= 1;
        for worker in now.workers.iter_mut().filter(|worker| !worker.lost) {
            worker.age += 1;
            worker.beats_in = worker.beats_in.saturating_sub(1);
        }
        now.looks_in = now.looks_in.saturating_sub(1);
        // Whoever looks may come first.
        if now.looks_in == 0 {
            now.looks_in = LOOK_EVERY;
            if now.server_is_up {
                self.look(now);
            }
        }
        for worker in now.workers.iter_mut().filter(|worker| worker.lives && worker.beats_in == 0) {
            if now.server_is_up {
                (worker.age, worker.beats_in) = (0, HEARTBEAT);
            } else {
                worker.beats_in = if beats_hang { self.hangs_for(worker.age) } else { 1 };
            }
        }
        let oldest = now.workers.iter().filter(|worker| !worker.lost).map(|worker| worker.age).max().unwrap_or(0);
        now.gaps &= last(oldest);
    }

    /// Ticks until a beat that hangs is given up, and the next is tried.
    fn hangs_for(&self, age: u8) -> u8 {
        let tick_ms = self.heartbeat_ms / u32::from(HEARTBEAT);
        let in_ticks = |ms: u32| u8::try_from(ms.div_ceil(tick_ms)).unwrap_or(u8::MAX);
        let left = u32::from((PATIENCE / 2).unsigned_abs()).saturating_sub(u32::from(age));
        if left == 0 || self.slip == Some(Slip::LimitStays) {
            (HEARTBEAT / 2).max(in_ticks(LATE_MS))
        } else {
            in_ticks((left * tick_ms / 3).max(SHORTEST_MS))
        }
    }

    fn look(&self, now: &mut Moment) {
        if now.looked > GAP {
            now.gaps |= last(now.looked);
        }
        now.looked = 0;
        for worker in now.workers.iter_mut().filter(|worker| !worker.lost) {
            if self.silence(worker.age, now.gaps) > PATIENCE {
                (worker.lost, worker.age) = (true, 0);
            }
        }
    }

    /// In halves of ticks.
    fn silence(&self, age: u8, gaps: u64) -> i16 {
        let gaps = gaps & last(age);
        let age = 2 * i16::from(age);
        if self.slip == Some(Slip::OutageIsDeath) || gaps == 0 {
            return age;
        }
        let in_halves = |ticks: u32| i16::try_from(2 * ticks).unwrap_or(i16::MAX);
        let (total, last_end) = (in_halves(gaps.count_ones()), in_halves(gaps.trailing_zeros()));
        age - total - (total / 2).min(age - last_end - total).max(0)
    }
}

/// The last so many ticks.
fn last(ticks: u8) -> u64 {
    1u64.checked_shl(u32::from(ticks)).map_or(u64::MAX, |bit| bit - 1)
}
