//! Waiting with a deadline.

use std::time::{Duration, Instant};

/// Nothing in a test may take longer than this; far more than anything needs.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// Asks again and again until there is an answer.
///
/// # Panics
/// When there is none within [`DEADLINE`].
pub async fn until<T>(what: &str, ask: impl AsyncFnMut() -> Option<T>) -> T {
    until_or_tell(what, ask, async || String::new()).await
}

/// The same; `tell` says what is known of the reason when there is none in time.
///
/// # Panics
/// When there is none within [`DEADLINE`].
pub async fn until_or_tell<T>(
    what: &str,
    mut ask: impl AsyncFnMut() -> Option<T>,
    tell: impl AsyncFnOnce() -> String,
) -> T {
    let began = Instant::now();
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        if began.elapsed() >= DEADLINE {
            panic!("waited {DEADLINE:?} in vain: {what}\n{}", tell().await);
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
