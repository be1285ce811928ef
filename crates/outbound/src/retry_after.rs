//! The other side's `Retry-After` (RFC 9110, 10.2.3): reading it, and keeping to it.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, NaiveDateTime, TimeDelta, Utc};
use reqwest::header::{DATE, HeaderMap, HeaderName, RETRY_AFTER};
use tokio::time::Instant;

/// When to ask again: seconds, or a date, which is read by the other side's own clock (its
/// `Date`). Longer than `most` is cut.
#[must_use]
pub fn retry_after(headers: &HeaderMap, most: Duration) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        text.parse().map_or(most, Duration::from_secs)
    } else {
        let left = date(headers, RETRY_AFTER)? - date(headers, DATE)?;
        left.max(TimeDelta::zero()).to_std().ok()?
    };
    Some(wait.min(most))
}

/// A date in any of the three forms that HTTP has (RFC 9110, 5.6.7).
fn date(headers: &HeaderMap, name: HeaderName) -> Option<DateTime<Utc>> {
    let text = headers.get(name)?.to_str().ok()?.trim();
    if let Ok(date) = DateTime::parse_from_rfc2822(text) {
        return Some(date.to_utc());
    }
    // Years of two digits are read as POSIX does: 69 to 99 are of the last century.
    ["%A, %d-%b-%y %H:%M:%S GMT", "%a %b %e %H:%M:%S %Y"]
        .into_iter()
        .find_map(|form| NaiveDateTime::parse_from_str(text, form).ok())
        .map(|date| date.and_utc())
}

/// Who asked this process to be left alone, and until when.
#[derive(Debug)]
pub struct Quiet<K>(Mutex<HashMap<K, Instant>>);

impl<K> Default for Quiet<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Eq + Hash> Quiet<K> {
    /// Leaves this one alone for so long, or for as long as it asked before.
    pub fn keep(&self, who: K, wait: Duration) {
        let until = Instant::now() + wait;
        let mut quiet = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = quiet.entry(who).or_insert(until);
        *kept = until.max(*kept);
    }

    /// How long it is still to be left alone, if it is.
    pub fn rest(&self, who: &K) -> Option<Duration> {
        let mut quiet = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let rest = quiet.get(who)?.saturating_duration_since(Instant::now());
        if rest.is_zero() {
            quiet.remove(who);
            return None;
        }
        Some(rest)
    }

    /// It has answered: what it asked for before counts no longer.
    pub fn end(&self, who: &K) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(who);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use reqwest::header::{DATE, HeaderMap, HeaderValue, RETRY_AFTER};

    use super::{Quiet, retry_after};

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn retry_after_is_seconds_or_a_date_by_the_other_sides_clock() {
        let mut headers = HeaderMap::new();
        assert_eq!(retry_after(&headers, HOUR), None);
        for (text, seconds) in [("7", Some(7)), (" 0 ", Some(0)), ("99999999999999999999999", Some(3600)), ("-1", None)]
        {
            headers.insert(RETRY_AFTER, HeaderValue::from_static(text));
            assert_eq!(retry_after(&headers, HOUR), seconds.map(Duration::from_secs), "{text}");
        }
        headers.insert(RETRY_AFTER, HeaderValue::from_static("Wed, 21 Oct 2015 07:28:30 GMT"));
        assert_eq!(retry_after(&headers, HOUR), None, "whose clock?");
        headers.insert(DATE, HeaderValue::from_static("Wed, 21 Oct 2015 07:28:00 GMT"));
        for (text, seconds) in [
            ("Wed, 21 Oct 2015 07:28:30 GMT", Some(30)),
            ("Wednesday, 21-Oct-15 07:28:31 GMT", Some(31)),
            ("Wed Oct 21 07:28:32 2015", Some(32)),
            ("Wed, 21 Oct 2015 07:00:00 GMT", Some(0)),
            ("Wed, 21 Oct 2099 07:00:00 GMT", Some(3600)),
            ("soon", None),
            ("", None),
        ] {
            headers.insert(RETRY_AFTER, HeaderValue::from_static(text));
            assert_eq!(retry_after(&headers, HOUR), seconds.map(Duration::from_secs), "{text}");
        }
    }

    #[test]
    fn who_asked_to_be_left_alone_is_until_then() {
        let quiet = Quiet::default();
        quiet.keep("a", HOUR);
        quiet.keep("a", Duration::from_secs(1));
        assert!(quiet.rest(&"a").is_some_and(|rest| rest > HOUR / 2), "the longer one counts");
        assert_eq!(quiet.rest(&"b"), None);
        quiet.keep("b", Duration::ZERO);
        assert_eq!(quiet.rest(&"b"), None, "it is over");
        quiet.end(&"a");
        assert_eq!(quiet.rest(&"a"), None);
    }
}
