//! How often one client may ask.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use governor::clock::{Clock, DefaultClock};
use governor::state::keyed::HashMapStateStore;
use governor::{Quota, RateLimiter};

use super::Rate;
use crate::ApiError;

type Buckets<K> = RateLimiter<K, HashMapStateStore<K>, DefaultClock>;

/// Counts requests (by GCRA, which is a leaky bucket that needs one number a client).
///
/// Whoever is someone is counted as that one, wherever they come from; whoever is not,
/// by address. An address that shows wrong credentials again and again is not listened
/// to for a while, so that what they cost is bounded.
pub(crate) struct Limiter {
    callers: Buckets<String>,
    addresses: Buckets<IpAddr>,
    wrong: Buckets<IpAddr>,
    ignored: Mutex<HashMap<IpAddr, Instant>>,
    clock: DefaultClock,
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
            ignored: Mutex::default(),
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

    /// Before credentials are looked at.
    pub(crate) fn may_try(&self, address: Option<IpAddr>) -> Result<(), ApiError> {
        let Some(address) = address.map(network) else { return Ok(()) };
        let mut ignored = self.ignored.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(until) = ignored.get(&address) else { return Ok(()) };
        match until.checked_duration_since(Instant::now()) {
            Some(left) if !left.is_zero() => Err(refusal(left)),
            _ => {
                ignored.remove(&address);
                Ok(())
            }
        }
    }

    /// They were wrong.
    pub(crate) fn was_wrong(&self, address: Option<IpAddr>) {
        let Some(address) = address.map(network) else { return };
        if let Err(until) = self.wrong.check_key(&address) {
            let until = Instant::now() + until.wait_time_from(self.clock.now());
            self.ignored.lock().unwrap_or_else(PoisonError::into_inner).insert(address, until);
        }
    }

    /// Forgets clients that were quiet; to be called now and then.
    pub(crate) fn forget(&self) {
        self.callers.retain_recent();
        self.addresses.retain_recent();
        self.wrong.retain_recent();
        let now = Instant::now();
        self.ignored.lock().unwrap_or_else(PoisonError::into_inner).retain(|_, until| *until > now);
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

    #[test]
    fn an_address_that_guesses_is_not_listened_to() {
        let limiter = limiter(1000);
        let (guesser, other) = (Some(IpAddr::from([192, 0, 2, 1])), Some(IpAddr::from([192, 0, 2, 2])));
        for _ in 0..31 {
            limiter.may_try(guesser).expect("within the burst");
            limiter.was_wrong(guesser);
        }
        limiter.may_try(guesser).expect_err("one too many");
        limiter.may_try(other).expect("another address");
        limiter.forget();
        limiter.may_try(guesser).expect_err("it is not forgotten at once");
    }

    #[test]
    fn a_client_can_t_move_within_its_network() {
        let address = |text: &str| network(text.parse().expect("an address"));
        assert_eq!(address("2001:db8:1:2:3:4:5:6"), address("2001:db8:1:2::9"));
        assert_ne!(address("2001:db8:1:2::"), address("2001:db8:1:3::"));
        assert_eq!(address("192.0.2.1").to_string(), "192.0.2.1");
    }
}
