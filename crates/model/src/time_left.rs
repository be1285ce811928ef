//! How long an attempt will still take, and how sure that is.

use serde::Serialize;

/// The estimated time until a task completes, in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct TimeLeft {
    /// The estimate.
    pub seconds: f64,
    /// The lower end of the 90 % interval.
    pub low: f64,
    /// The upper end of the 90 % interval.
    pub high: f64,
}

/// Foretells the end of an attempt from what it reported so far.
///
/// The fraction is taken for a random walk with a drift (the rate), both unknown
/// and both allowed to change. From one report to the next, the fraction grows by
/// the rate times the time, plus an error whose square grows with the time; so the
/// rate is the sum of the growth over the sum of the time, and the noise is the sum
/// of the squared errors over the sum of the time. Older reports are forgotten
/// exponentially, so that a rate that changed is followed. The time such a walk
/// needs for what remains has a known mean and variance (the inverse Gaussian
/// distribution), and the rate's own uncertainty adds to it, the more the longer
/// the way is compared with the time that is remembered, and the more the errors
/// lately leaned to one side.
///
/// The first report of an attempt is where it begins: what a checkpoint brought
/// along from earlier attempts is no rate. Needs no more memory for long tasks.
#[derive(Debug, Clone, Default)]
pub(crate) struct Forecast {
    first_at: f64,
    /// The last report: seconds since the attempt began, and the fraction.
    last: Option<(f64, f64)>,
    /// Sums over what is remembered: reports, time, growth, errors and their squares.
    count: f64,
    time: f64,
    growth: f64,
    errors: f64,
    squares: f64,
}

/// Memory, as a share of the time since the first report, so that it suits short
/// and long tasks …
const MEMORY_SHARE: f64 = 1.0 / 6.0;
/// … but no less and no more than these, in seconds …
const SHORTEST_MEMORY: f64 = 3.0;
const LONGEST_MEMORY: f64 = 600.0;
/// … and never fewer than about this many reports, since two tell no noise.
const FEWEST_REPORTS: f64 = 8.0;
/// Until there were this many, nothing is foretold.
const REPORTS_NEEDED: f64 = 3.0;
/// Reports closer together than this (in seconds) count as one.
const TOO_CLOSE: f64 = 0.001;
/// How many standard deviations nine of ten lie within.
const NINE_OF_TEN: f64 = 1.645;
/// However steady a task is, its end is not foretold better than this.
const LEAST_SPREAD: f64 = 0.03;
/// Squared coefficients of variation beyond this tell nothing more.
const GREATEST_VARIATION: f64 = 100.0;
/// Guesses beyond this, ten years in seconds, are none.
const LONGEST: f64 = 10.0 * 365.25 * 24.0 * 3600.0;

impl Forecast {
    /// The attempt is this far (0 to 1) at this time, in seconds since it began.
    /// The fraction may fall, when totals grow.
    pub(crate) fn report(&mut self, at: f64, fraction: f64) {
        if !at.is_finite() || !fraction.is_finite() {
            return;
        }
        let Some((last_at, last_fraction)) = self.last else {
            self.first_at = at;
            self.last = Some((at, fraction));
            return;
        };
        let (passed, grown) = (at - last_at, fraction - last_fraction);
        if passed < TOO_CLOSE {
            return;
        }
        self.last = Some((at, fraction));
        // What the reports before did not foretell.
        let error = if self.time > 0.0 { grown - self.growth / self.time * passed } else { 0.0 };
        let memory = ((at - self.first_at) * MEMORY_SHARE).clamp(SHORTEST_MEMORY, LONGEST_MEMORY);
        let keep = (-passed / memory).exp().max(1.0 - 1.0 / FEWEST_REPORTS);
        let remember = |sum: &mut f64, new: f64| *sum = *sum * keep + new;
        remember(&mut self.count, 1.0);
        remember(&mut self.time, passed);
        remember(&mut self.growth, grown);
        remember(&mut self.errors, error);
        remember(&mut self.squares, error * error);
    }

    /// How long it takes from the last report on; `None` while that is unknown:
    /// too few reports, no growth, or nothing left.
    pub(crate) fn left(&self) -> Option<TimeLeft> {
        let (_, fraction) = self.last?;
        let remains = 1.0 - fraction;
        if self.count < REPORTS_NEEDED * 0.9 || self.growth <= 0.0 || remains <= 0.0 {
            return None;
        }
        let rate = self.growth / self.time;
        let mean = remains / rate;
        if !mean.is_finite() || mean > LONGEST {
            return None;
        }
        // Few reports underrate the noise.
        let noise = self.squares / self.time * (1.0 + 1.0 / self.count);
        // A sum that forgets exponentially is as sure as a plain one over twice the
        // time.
        let remembered = 2.0 * self.time;
        // What noise alone does not explain: the errors lean one way, since the rate
        // has changed and is not yet followed.
        let lean = ((self.errors / self.time).powi(2) - noise / remembered).max(0.0) / (rate * rate);
        let variation = noise / (remains * rate) * (1.0 + mean / remembered) + lean;
        let spread = variation.min(GREATEST_VARIATION).ln_1p().sqrt().max(LEAST_SPREAD);
        // The end is only seen with a report.
        let between = self.time / self.count;
        let times = (NINE_OF_TEN * spread).exp();
        Some(TimeLeft { seconds: mean, low: (mean / times - between).max(0.0), high: mean * times + between })
    }

    /// The same from this time on, in seconds since the attempt began. May be
    /// below 0: the end is overdue.
    pub(crate) fn left_at(&self, at: f64) -> Option<TimeLeft> {
        let (last_at, _) = self.last?;
        let TimeLeft { seconds, low, high } = self.left()?;
        let passed = (at - last_at).max(0.0);
        Some(TimeLeft { seconds: seconds - passed, low: low - passed, high: high - passed })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Forecast, TimeLeft};

    fn holds(left: TimeLeft, truth: f64) -> bool {
        left.low <= truth && truth <= left.high
    }

    proptest! {
        #[test]
        fn at_a_constant_rate_the_interval_holds_the_truth(
            took in 2.0_f64..100_000.0,
            resumed_at in 0.0_f64..0.9,
            began_at in 0.0_f64..50.0,
            jitters in prop::collection::vec(0.2_f64..1.8, 12..200),
        ) {
            let mut forecast = Forecast::default();
            let mean = took / 220.0;
            let (mut at, mut steps) = (began_at, 0);
            for jitter in jitters {
                let fraction = resumed_at + (1.0 - resumed_at) * (at - began_at) / took;
                forecast.report(at, fraction);
                let truth = took - (at - began_at);
                steps += 1;
                if steps > 4 {
                    let left = forecast.left().expect("a guess");
                    prop_assert!(holds(left, truth), "{truth} is not in {left:?} after {steps}");
                    prop_assert!((left.seconds - truth).abs() <= 1e-6 * took, "{truth} is not {left:?}");
                }
                at += mean * jitter;
            }
        }

        #[test]
        fn after_a_change_of_rate_it_converges(
            faster in any::<bool>(),
            reports in 40.0_f64..200.0,
            every in 1.0_f64..10.0,
        ) {
            // The first 30 % take so many reports; then the rate is four times as
            // high, or a quarter.
            let first = reports * every;
            let rate_before = 0.3 / first;
            let rate_after = rate_before * if faster { 4.0 } else { 0.25 };
            let ends = first + 0.7 / rate_after;
            let mut forecast = Forecast::default();
            let (mut at, mut worst) = (0.0, 0.0_f64);
            while at < ends {
                let fraction = if at < first { rate_before * at } else { 0.3 + rate_after * (at - first) };
                forecast.report(at, fraction);
                // Half of the second part is enough to know it.
                if at > first + (ends - first) * 0.5 && ends - at > 3.0 * every {
                    let left = forecast.left().expect("a guess");
                    worst = worst.max((left.seconds / (ends - at)).ln().abs());
                    prop_assert!(holds(left, ends - at), "{} is not in {left:?}", ends - at);
                }
                at += every;
            }
            prop_assert!(worst < 0.4, "off by {worst} at worst");
        }

        #[test]
        fn whatever_is_reported_a_guess_is_a_number_and_not_negative(
            reports in prop::collection::vec((0.0_f64..1e7, prop_oneof![0.0_f64..=1.0, Just(f64::NAN), Just(0.0), Just(1.0)]), 0..60),
            in_order in any::<bool>(),
        ) {
            let mut reports = reports;
            if in_order {
                reports.sort_by(|a, b| a.0.total_cmp(&b.0));
            }
            let mut forecast = Forecast::default();
            for (at, fraction) in reports {
                forecast.report(at, fraction);
                if let Some(TimeLeft { seconds, low, high }) = forecast.left() {
                    prop_assert!(seconds.is_finite() && high.is_finite());
                    prop_assert!(0.0 <= low && low <= seconds && seconds <= high);
                }
            }
        }
    }

    /// Batches take very different times; nine of ten intervals should hold.
    #[test]
    fn of_intervals_of_unsteady_tasks_most_hold_the_truth() {
        let mut state = 7_u64;
        // Knuth's linear congruential generator: good enough, and the same every time.
        let mut uniform = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 11) as f64 / (1_u64 << 53) as f64
        };
        let (mut held, mut asked) = (0, 0);
        for _ in 0..300 {
            // Exponentially distributed times of 120 batches.
            let times: Vec<f64> = (0..120).map(|_| -(1.0 - uniform()).ln()).collect();
            let ends: f64 = times.iter().sum();
            let (mut forecast, mut at) = (Forecast::default(), 0.0);
            forecast.report(0.0, 0.0);
            for (done, time) in times.iter().enumerate() {
                at += time;
                forecast.report(at, (done + 1) as f64 / 120.0);
                if [20, 40, 60, 80, 100].contains(&done)
                    && let Some(left) = forecast.left()
                {
                    asked += 1;
                    held += i32::from(holds(left, ends - at));
                }
            }
        }
        let share = f64::from(held) / f64::from(asked);
        assert!(asked > 1_400 && (0.85..=0.97).contains(&share), "{held} of {asked}: {share}");
    }

    #[test]
    fn nothing_is_foretold_without_growth_or_at_the_end() {
        let mut forecast = Forecast::default();
        assert_eq!(forecast.left(), None);
        for second in 0..10 {
            forecast.report(f64::from(second), 0.4);
        }
        assert_eq!(forecast.left(), None, "no growth");
        for second in 10..20 {
            forecast.report(f64::from(second), 1.0);
        }
        assert_eq!(forecast.left(), None, "nothing is left");
    }
}
