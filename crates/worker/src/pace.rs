//! How many tasks to hold ahead of the free slots.

use std::time::Duration;

/// Learns how long tasks take, and says how many to claim ahead: as many as the
/// slots finish in [`AHEAD`], so that a slow task never sits behind a big
/// prefetched batch while another worker is idle.
#[derive(Debug)]
pub(crate) struct Pace {
    /// Exponentially weighted mean, in seconds; unknown at first.
    mean: Option<f64>,
}

/// How much work may wait in the worker.
const AHEAD: Duration = Duration::from_millis(30);
/// However short tasks are, no more than this many wait.
const MOST_AHEAD: usize = 2_000;

impl Pace {
    pub(crate) const fn unknown() -> Self {
        Self { mean: None }
    }

    pub(crate) fn learn(&mut self, took: Duration) {
        let took = took.as_secs_f64();
        self.mean = Some(match self.mean {
            // Slow tasks are believed sooner than fast ones.
            Some(mean) if took > mean => mean + (took - mean) * 0.2,
            Some(mean) => mean + (took - mean) * 0.05,
            None => took,
        });
    }

    /// How many tasks may wait for a slot.
    pub(crate) fn ahead(&self, slots: usize) -> usize {
        let Some(mean) = self.mean else { return 0 };
        let rounds = AHEAD.as_secs_f64() / mean.max(1e-6);
        let tasks = (rounds * slots as f64).min(MOST_AHEAD as f64) as usize;
        // Less than a round ahead is no gain.
        if tasks < slots { 0 } else { tasks }
    }
}

#[cfg(test)]
mod tests {
    use super::Pace;
    use std::time::Duration;

    #[test]
    fn nothing_is_held_ahead_until_tasks_are_known_to_be_short() {
        let mut pace = Pace::unknown();
        assert_eq!(pace.ahead(32), 0);
        pace.learn(Duration::from_micros(20));
        assert!(pace.ahead(32) >= 1_000);
    }

    #[test]
    fn one_slow_task_is_enough_to_stop_holding_ahead() {
        let mut pace = Pace::unknown();
        pace.learn(Duration::from_micros(20));
        pace.learn(Duration::from_secs(1));
        assert_eq!(pace.ahead(32), 0);
    }
}
