//! How long one try to beat may take, and when the next one follows.

use std::time::Duration;

use longhaul_model::store::DEADLINE;
use longhaul_model::store::worker::PATIENCE;

/// A beat may take so long over a connection that must be made anew, to a server that is far away.
const SHORTEST: Duration = Duration::from_secs(1);

/// Both are counted from the beginning of the try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BeatTry {
    /// It is given up after this time.
    pub(crate) limit: Duration,
    /// If it fails sooner, the next one waits for this time.
    pub(crate) pause: Duration,
}

/// The last beat that was answered was sent `age` ago. Until the worker may be presumed dead, a
/// try takes a third of the time that is left, so that two more fit in. With a heartbeat below
/// three seconds the shortest limit leaves time for fewer.
pub(crate) fn beat_try(heartbeat: Duration, age: Duration) -> BeatTry {
    let pause = (heartbeat / 10).min(Duration::from_secs(1));
    let left = heartbeat.mul_f64(PATIENCE).saturating_sub(age);
    if left.is_zero() {
        return BeatTry { limit: late_limit(heartbeat), pause };
    }
    let third = left / 3;
    BeatTry { limit: third.clamp(SHORTEST, DEADLINE), pause: third.clamp(pause / 5, pause) }
}

/// Once the worker may have been presumed dead: time to connect anew, however slow the server is.
pub(crate) fn late_limit(heartbeat: Duration) -> Duration {
    (heartbeat / 2).clamp(Duration::from_secs(1), DEADLINE)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{BeatTry, PATIENCE, SHORTEST, beat_try};

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_try_has_a_third_of_the_time_that_is_left() {
        for (heartbeat, age, limit, pause) in [
            // In time, then later and later.
            (5_000, 5_000, 1_166, 500),
            (5_000, 5_500, 1_000, 500),
            (5_000, 7_000, 1_000, 500),
            (5_000, 7_600, 1_000, 300),
            (5_000, 8_200, 1_000, 100),
            (5_000, 8_499, 1_000, 100),
            // The worker may have been presumed dead.
            (5_000, 8_500, 2_500, 500),
            (5_000, 60_000, 2_500, 500),
            // Other heartbeats.
            (1_000, 1_000, 1_000, 100),
            (1_000, 1_700, 1_000, 100),
            (100, 100, 1_000, 10),
            (100, 170, 1_000, 10),
            (600_000, 600_000, 10_000, 1_000),
            (600_000, 1_020_000, 10_000, 1_000),
        ] {
            let expected = BeatTry { limit: ms(limit), pause: ms(pause) };
            let BeatTry { limit, pause } = beat_try(ms(heartbeat), ms(age));
            let in_whole_ms = |time: Duration| ms(u64::try_from(time.as_millis()).expect("a short time"));
            let found = BeatTry { limit: in_whole_ms(limit), pause: in_whole_ms(pause) };
            assert_eq!(found, expected, "heartbeat {heartbeat}, age {age}");
        }
    }

    #[test]
    fn two_more_tries_begin_in_time_after_one_that_hangs() {
        for heartbeat in [3_000, 5_000, 30_000, 600_000].map(ms) {
            for percent in 100..170 {
                let age = heartbeat * percent / 100;
                // Very late there is time for no more than the shortest.
                if percent == 100 || beat_try(heartbeat, age).limit > SHORTEST {
                    let third = (0..2).fold(age, |age, _| age + beat_try(heartbeat, age).limit);
                    assert!(third < heartbeat.mul_f64(PATIENCE), "{heartbeat:?}, {age:?}");
                }
            }
        }
    }
}
