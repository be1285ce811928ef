//! Calls to a service that allows only so many a minute.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use longhaul::schemars::JsonSchema;
use longhaul::serde::{Deserialize, Serialize};
use longhaul::{Outcome, ProblemKind, RetryPolicy, RunContext, RunError, TaskType};

const BUSY: ProblemKind =
    ProblemKind { code: "partner-busy", title: "The partner asks for fewer requests", status: 503 };

/// Asks the partner for an exchange rate.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(crate = "longhaul::serde", rename_all = "PascalCase", deny_unknown_fields)]
#[schemars(crate = "longhaul::schemars")]
pub(crate) struct FetchRate {
    #[schemars(length(equal = 3))]
    currency: String,
}

impl TaskType for FetchRate {
    const NAME: &'static str = "FetchRate";
    const ID_PREFIX: &'static str = "fetchrate_";
    // The limit is one of this queue, so that nothing else is delayed by it.
    const QUEUE: &'static str = "partner";
    const RETRY: RetryPolicy =
        RetryPolicy { max_attempts: 10, first_delay: Duration::from_secs(1), max_delay: Duration::from_secs(300) };

    async fn run(self, context: RunContext) -> Result<Outcome, RunError> {
        let Some(partner) = context.resources().get::<Partner>() else {
            return Err(std::io::Error::other("the program has no Partner").into());
        };
        match partner.rate(&self.currency) {
            Ok(rate) => Outcome::with_result(rate),
            Err(TooMany { retry_after }) => {
                Err(RunError::not_before(retry_after, BUSY, "The partner asks for fewer requests."))
            }
        }
    }
}

/// Stands for a client of the partner's API. It refuses the first request.
#[derive(Default)]
pub(crate) struct Partner {
    was_asked: AtomicBool,
}

/// An answer `429` with its `Retry-After`.
struct TooMany {
    retry_after: Duration,
}

impl Partner {
    fn rate(&self, currency: &str) -> Result<f64, TooMany> {
        if !self.was_asked.swap(true, Ordering::Relaxed) {
            return Err(TooMany { retry_after: Duration::from_secs(1) });
        }
        Ok(if currency == "EUR" { 1.0 } else { 1.5 })
    }
}
