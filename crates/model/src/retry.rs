//! When a failed attempt is retried.

use std::time::Duration;

/// The retry policy of a task type.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RetryPolicy {
    /// The maximum number of attempts, 1 to 1000; 1 means no retry.
    pub max_attempts: u16,
    /// The wait after the first failed attempt.
    pub first_delay: Duration,
    /// The longest wait (before jitter).
    pub max_delay: Duration,
}

impl RetryPolicy {
    /// Five attempts over three to four minutes: after 5, 15, 45 and 135 s.
    pub const DEFAULT: RetryPolicy =
        RetryPolicy { max_attempts: 5, first_delay: Duration::from_secs(5), max_delay: Duration::from_secs(15 * 60) };

    /// The wait after the failure of attempt number `attempt` (1 is the first):
    /// `first_delay` × 3^(attempt−1), at most `max_delay`, times a jitter
    /// between 0.75 and 1.25 that `random` (0 to 1) chooses, so that tasks that
    /// failed together do not return together.
    #[must_use]
    pub fn delay_after(&self, attempt: u16, random: f64) -> Duration {
        let exponent = i32::from(attempt.max(1) - 1).min(30);
        let seconds = self.first_delay.as_secs_f64() * 3f64.powi(exponent);
        let bounded = seconds.min(self.max_delay.as_secs_f64());
        Duration::from_secs_f64(bounded * (0.75 + 0.5 * random.clamp(0.0, 1.0)))
    }
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self::DEFAULT
    }
}

#[cfg(test)]
mod tests {
    use super::RetryPolicy;
    use std::time::Duration;

    #[test]
    fn delays_grow_to_the_limit_and_jitter_stays_within_a_quarter() {
        let policy = RetryPolicy::DEFAULT;
        assert_eq!(policy.delay_after(1, 0.5), Duration::from_secs(5));
        assert_eq!(policy.delay_after(2, 0.5), Duration::from_secs(15));
        assert_eq!(policy.delay_after(60_000, 0.5), policy.max_delay);
        assert_eq!(policy.delay_after(1, 0.0), Duration::from_secs_f64(3.75));
        assert_eq!(policy.delay_after(1, 1.0), Duration::from_secs_f64(6.25));
    }
}
