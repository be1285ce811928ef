//! The database's clock.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use sqlx::PgExecutor;
use uuid::{ContextV7, Timestamp, Uuid};

/// Creates task ids that contain the database's time.
///
/// The claim's floor trusts that ids grow with time over all machines, so the time in a UUIDv7 is
/// the database's: this clock learns how far the local one is off and corrects it. Even a machine
/// whose clock is wrong by a year creates ids in the right order.
#[derive(Debug)]
pub struct DatabaseClock {
    /// Database time minus local time.
    offset_ms: AtomicI64,
    counter: std::sync::Mutex<ContextV7>,
}

impl DatabaseClock {
    /// A clock set by the database.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn learn(executor: impl PgExecutor<'_>) -> sqlx::Result<Self> {
        let clock = Self::with_offset(0);
        clock.refresh(executor).await?;
        Ok(clock)
    }

    /// A clock with a known offset in milliseconds (database minus local).
    #[must_use]
    pub fn with_offset(offset_ms: i64) -> Self {
        Self { offset_ms: AtomicI64::new(offset_ms), counter: std::sync::Mutex::new(ContextV7::new()) }
    }

    /// Measures the offset again. The error is half the round trip.
    ///
    /// # Errors
    /// If the database does not answer; the old offset stays.
    pub async fn refresh(&self, executor: impl PgExecutor<'_>) -> sqlx::Result<()> {
        let (sent, began) = (local_ms(), Instant::now());
        let database: i64 = sqlx::query_scalar("SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint")
            .fetch_one(executor)
            .await?;
        let half_trip = i64::try_from(began.elapsed().as_millis() / 2).unwrap_or(0);
        self.offset_ms.store(database - (sent + half_trip), Ordering::Relaxed);
        Ok(())
    }

    /// The database's time now, in milliseconds since 1970.
    #[must_use]
    pub fn now_ms(&self) -> i64 {
        local_ms() + self.offset_ms.load(Ordering::Relaxed)
    }

    /// A new task id: a UUIDv7 (RFC 9562) with the database's time, growing
    /// within this process even inside one millisecond.
    #[must_use]
    pub fn new_id(&self) -> Uuid {
        let now = u64::try_from(self.now_ms()).unwrap_or(0);
        let counter = self.counter.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let nanos = (now % 1000) as u32 * 1_000_000;
        Uuid::new_v7(Timestamp::from_unix(&*counter, now / 1000, nanos))
    }
}

fn local_ms() -> i64 {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the local clock, to correct it")]
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// The smallest UUIDv7 of a moment (milliseconds since 1970): a lower bound for
/// every id made then or later.
#[must_use]
pub(crate) fn id_floor(ms: i64) -> Uuid {
    let ms = u64::try_from(ms).unwrap_or(0) & 0xFFFF_FFFF_FFFF;
    Uuid::from_u128(u128::from(ms) << 80)
}

/// The moment in a UUIDv7, in milliseconds since 1970.
#[must_use]
pub(crate) fn id_ms(id: Uuid) -> i64 {
    i64::try_from(id.as_u128() >> 80).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::{DatabaseClock, id_floor, id_ms, local_ms};

    #[test]
    fn ids_grow_and_carry_the_corrected_time() {
        let year = 365 * 24 * 3600 * 1000;
        let clock = DatabaseClock::with_offset(-year);
        let ids: Vec<_> = (0..10_000).map(|_| clock.new_id()).collect();
        assert!(ids.is_sorted());
        let expected = local_ms() - year;
        assert!((id_ms(ids[0]) - expected).abs() < 5_000);
        assert!(id_floor(id_ms(ids[0])) <= ids[0]);
        assert!(id_floor(id_ms(ids[0]) + 1) > ids[0]);
    }
}
