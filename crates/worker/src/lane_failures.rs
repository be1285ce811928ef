//! How often each lane has failed in a row.

use std::sync::atomic::{AtomicU32, Ordering};

use longhaul_telemetry::Metrics;

/// Claims and storings of ends that have failed since the lane's last one that succeeded. One
/// lane's success says nothing of another's trouble.
#[derive(Debug)]
pub(crate) struct LaneFailures(Vec<AtomicU32>);

impl LaneFailures {
    pub(crate) fn of(lanes: usize) -> Self {
        Self((0..lanes).map(|_| AtomicU32::new(0)).collect())
    }

    pub(crate) fn failed(&self, lane: usize, metrics: &Metrics) {
        self.0[lane].fetch_add(1, Ordering::Relaxed);
        metrics.worker().database_failed(self.longest());
    }

    pub(crate) fn succeeded(&self, lane: usize, metrics: &Metrics) {
        if self.0[lane].swap(0, Ordering::Relaxed) > 0 {
            metrics.worker().database_answered(self.longest());
        }
    }

    /// Of the lane that has failed most often.
    pub(crate) fn longest(&self) -> u32 {
        self.0.iter().map(|failures| failures.load(Ordering::Relaxed)).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::LaneFailures;

    #[test]
    fn a_lane_that_succeeds_does_not_hide_one_that_fails() {
        let (lanes, metrics) = (LaneFailures::of(2), longhaul_telemetry::Metrics::default());
        for _ in 0..3 {
            lanes.failed(1, &metrics);
            lanes.failed(0, &metrics);
            lanes.succeeded(0, &metrics);
        }
        assert_eq!(lanes.longest(), 3);
        lanes.succeeded(1, &metrics);
        assert_eq!(lanes.longest(), 0);
    }
}
