//! Which faults come in which order, drawn from a seed.

use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;

/// A kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Kind {
    KillWorker,
    FreezeWorker,
    KillApi,
    FreezeApi,
    TerminateSessions,
    CancelStatements,
    CrashServer,
    CutConnections,
    DelayConnections,
    SilenceConnections,
    SwallowAll,
    ShortTimeouts,
    OperatorLocks,
    Storm,
    KillListeners,
    RollingRestart,
}

impl Kind {
    pub(crate) const ALL: [Kind; 16] = [
        Kind::KillWorker,
        Kind::FreezeWorker,
        Kind::KillApi,
        Kind::FreezeApi,
        Kind::TerminateSessions,
        Kind::CancelStatements,
        Kind::CrashServer,
        Kind::CutConnections,
        Kind::DelayConnections,
        Kind::SilenceConnections,
        Kind::SwallowAll,
        Kind::ShortTimeouts,
        Kind::OperatorLocks,
        Kind::Storm,
        Kind::KillListeners,
        Kind::RollingRestart,
    ];

    /// What it is called in the table.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::KillWorker => "SIGKILL of a worker",
            Kind::FreezeWorker => "SIGSTOP and SIGCONT of a worker",
            Kind::KillApi => "SIGKILL of an API",
            Kind::FreezeApi => "SIGSTOP and SIGCONT of an API",
            Kind::TerminateSessions => "sessions terminated",
            Kind::CancelStatements => "statements cancelled",
            Kind::CrashServer => "PostgreSQL stopped at once, and restarted",
            Kind::CutConnections => "connections cut",
            Kind::DelayConnections => "connections slow",
            Kind::SilenceConnections => "old connections silent",
            Kind::SwallowAll => "all connections silent for a while",
            Kind::ShortTimeouts => "statement_timeout and lock_timeout short",
            Kind::OperatorLocks => "an operator's locks on the queue's tables",
            Kind::Storm => "storm of pauses, limits, cancels, retries",
            Kind::KillListeners => "LISTEN sessions terminated",
            Kind::RollingRestart => "rolling restart",
        }
    }
}

/// One fault.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Fault {
    pub(crate) kind: Kind,
    /// How long it lasts, in seconds.
    pub(crate) seconds: f64,
    /// The quiet before it, in seconds.
    pub(crate) quiet: f64,
    /// Chooses whom it hits, among other things.
    pub(crate) choice: u64,
}

/// An endless sequence of faults: each round has every kind once.
pub(crate) struct Plan {
    random: Pcg64Mcg,
    round: Vec<Kind>,
}

impl Plan {
    pub(crate) fn of(seed: u64) -> Self {
        Self { random: Pcg64Mcg::seed_from_u64(seed), round: Vec::new() }
    }
}

impl Iterator for Plan {
    type Item = Fault;

    fn next(&mut self) -> Option<Fault> {
        if self.round.is_empty() {
            self.round = Kind::ALL.to_vec();
            self.round.shuffle(&mut self.random);
        }
        Some(Fault {
            kind: self.round.pop()?,
            seconds: self.random.random_range(0.3..4.0),
            quiet: self.random.random_range(0.2..2.0),
            choice: self.random.random(),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::{Kind, Plan};

    #[test]
    fn a_seed_is_a_plan_and_each_round_has_every_kind() {
        let faults: Vec<_> = Plan::of(7).take(64).collect();
        assert_eq!(faults, Plan::of(7).take(64).collect::<Vec<_>>());
        assert_ne!(faults, Plan::of(8).take(64).collect::<Vec<_>>());
        for round in faults.chunks(Kind::ALL.len()) {
            assert_eq!(round.iter().map(|fault| fault.kind).collect::<HashSet<_>>().len(), Kind::ALL.len());
        }
    }
}
