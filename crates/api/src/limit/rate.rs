//! How often one client may ask.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use governor::clock::{Clock, DefaultClock};
use governor::state::keyed::HashMapStateStore;
use governor::{Quota, RateLimiter};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Rate;
use crate::ApiError;

type Buckets<K> = RateLimiter<K, HashMapStateStore<K>, DefaultClock>;

/// Counts requests (by GCRA, which is a leaky bucket that needs one number a client).
///
/// Whoever is someone is counted as that one, wherever they come from; whoever is not,
/// by address. The credentials of an address that shows wrong ones again and again are
/// looked at one after the other for a while, and wrong ones are not even told to be so:
/// what they cost is bounded, and right ones pass all the same, since others may share the
/// address.
pub(crate) struct Limiter {
    callers: Buckets<String>,
    addresses: Buckets<IpAddr>,
    wrong: Buckets<IpAddr>,
    guessers: Mutex<HashMap<IpAddr, Guesser>>,
    clock: DefaultClock,
}

/// An address that shows wrong credentials.
struct Guesser {
    /// It is one until then.
    until: Instant,
    /// One of its requests at a time has its credentials looked at.
    turn: Arc<Semaphore>,
}

/// Credentials of one request are being looked at.
pub(crate) struct Attempt<'a> {
    limiter: &'a Limiter,
    address: Option<IpAddr>,
    /// If the address guesses.
    turn: Option<OwnedSemaphorePermit>,
}

/// Wrong credentials of one address in a second, in the long run …
const WRONG_PER_SECOND: NonZeroU32 = NonZeroU32::new(2).expect("it is not zero");
/// … and at once.
const WRONG_AT_ONCE: NonZeroU32 = NonZeroU32::new(30).expect("it is not zero");

impl Limiter {
    pub(crate) fn new(rate: Rate) -> Self {
        let quota = Quota::per_second(rate.per_second).allow_burst(rate.burst);
        let wrong = Quota::per_second(WRONG_PER_SECOND).allow_burst(WRONG_AT_ONCE);
        Self {
            callers: RateLimiter::hashmap(quota),
            addresses: RateLimiter::hashmap(quota),
            wrong: RateLimiter::hashmap(wrong),
            guessers: Mutex::default(),
            clock: DefaultClock::default(),
        }
    }

    /// A request of someone who said who it is.
    pub(crate) fn caller(&self, subject: &str) -> Result<(), ApiError> {
        self.callers.check_key(&subject.to_owned()).map_err(|until| refusal(until.wait_time_from(self.clock.now())))
    }

    /// A request of someone who did not have to.
    pub(crate) fn address(&self, address: Option<IpAddr>) -> Result<(), ApiError> {
        let Some(address) = address.map(network) else { return Ok(()) };
        self.addresses.check_key(&address).map_err(|until| refusal(until.wait_time_from(self.clock.now())))
    }

    /// Before credentials are looked at: waits for the turn of an address that guesses.
    pub(crate) async fn attempt(&self, address: Option<IpAddr>) -> Attempt<'_> {
        let address = address.map(network);
        let turn = match self.turn(address) {
            // Nobody closes it.
            Some(turn) => turn.acquire_owned().await.ok(),
            None => None,
        };
        Attempt { limiter: self, address, turn }
    }

    fn turn(&self, address: Option<IpAddr>) -> Option<Arc<Semaphore>> {
        let mut guessers = self.guessers();
        let guesser = guessers.get(&address?)?;
        if guesser.until > Instant::now() {
            return Some(Arc::clone(&guesser.turn));
        }
        guessers.remove(&address?);
        None
    }

    fn guessers(&self) -> std::sync::MutexGuard<'_, HashMap<IpAddr, Guesser>> {
        self.guessers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets clients that were quiet; to be called now and then.
    pub(crate) fn forget(&self) {
        self.callers.retain_recent();
        self.addresses.retain_recent();
        self.wrong.retain_recent();
        let now = Instant::now();
        self.guessers().retain(|_, guesser| guesser.until > now);
    }
}

impl Attempt<'_> {
    /// The credentials were wrong.
    ///
    /// # Errors
    /// 429 if the address guessed before this one: then that is all it is told.
    pub(crate) fn was_wrong(self) -> Result<(), ApiError> {
        let Some(address) = self.address else { return Ok(()) };
        if let Err(until) = self.limiter.wrong.check_key(&address) {
            let wait = until.wait_time_from(self.limiter.clock.now());
            let until = Instant::now() + wait;
            let mut guessers = self.limiter.guessers();
            guessers
                .entry(address)
                .and_modify(|guesser| guesser.until = until)
                .or_insert_with(|| Guesser { until, turn: Arc::new(Semaphore::new(1)) });
            if self.turn.is_some() {
                return Err(refusal(wait));
            }
        }
        Ok(())
    }
}

/// Of an IPv6 address what one client can't change at will: the first 64 bits.
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))),
        address => address,
    }
}

fn refusal(wait: Duration) -> ApiError {
    // Whole seconds, so that it is over then.
    ApiError::too_many_requests(u32::try_from(wait.as_secs()).unwrap_or(u32::MAX).saturating_add(1))
}

#[cfg(test)]
mod tests {
    use super::{Limiter, Rate, network};
    use std::net::IpAddr;
    use std::num::NonZeroU32;

    fn limiter(burst: u32) -> Limiter {
        let one = NonZeroU32::MIN;
        Limiter::new(Rate { per_second: one, burst: NonZeroU32::new(burst).expect("a burst") })
    }

    #[test]
    fn one_client_s_requests_do_not_count_for_another() {
        let limiter = limiter(3);
        for _ in 0..3 {
            limiter.caller("a").expect("within the burst");
        }
        limiter.caller("a").expect_err("one too many");
        limiter.caller("b").expect("another caller");
        limiter.address(Some(IpAddr::from([192, 0, 2, 1]))).expect("no caller");
    }

    #[tokio::test]
    async fn an_address_that_guesses_is_told_nothing_but_that() {
        let limiter = limiter(1000);
        let (guesser, other) = (Some(IpAddr::from([192, 0, 2, 1])), Some(IpAddr::from([192, 0, 2, 2])));
        for _ in 0..31 {
            limiter.attempt(guesser).await.was_wrong().expect("within the burst");
        }
        limiter.attempt(guesser).await.was_wrong().expect_err("one too many");
        limiter.attempt(other).await.was_wrong().expect("another address");
        limiter.forget();
        limiter.attempt(guesser).await.was_wrong().expect_err("it is not forgotten at once");
        let first = limiter.attempt(guesser).await;
        let second = limiter.attempt(guesser);
        let mut second = std::pin::pin!(second);
        assert!(futures_util::poll!(&mut second).is_pending(), "one after the other");
        drop(first);
        assert!(futures_util::poll!(&mut second).is_ready());
    }

    #[test]
    fn a_client_can_t_move_within_its_network() {
        let address = |text: &str| network(text.parse().expect("an address"));
        assert_eq!(address("2001:db8:1:2:3:4:5:6"), address("2001:db8:1:2::9"));
        assert_ne!(address("2001:db8:1:2::"), address("2001:db8:1:3::"));
        assert_eq!(address("192.0.2.1").to_string(), "192.0.2.1");
    }
}
