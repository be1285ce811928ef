//! `CountPrimes`: progress, checkpoints, cancelling, a queue and a retry policy of
//! its own.

use std::time::Duration;

use longhaul::schemars::JsonSchema;
use longhaul::serde::{Deserialize, Serialize};
use longhaul::{CreateContext, CreateError, Outcome, Progress, RetryPolicy, RunContext, RunError, TaskType};

/// Counts the primes up to a number.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(crate = "longhaul::serde", rename_all = "PascalCase", deny_unknown_fields)]
#[schemars(crate = "longhaul::schemars")]
pub(crate) struct CountPrimes {
    /// The last number that is looked at.
    #[schemars(range(min = 1, max = 1_000_000_000))]
    up_to: u64,
}

/// Where to go on after a crash.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(crate = "longhaul::serde")]
struct Checkpoint {
    looked_at: u64,
    primes: u64,
}

/// What a finished task tells.
#[derive(Debug, Serialize)]
#[serde(crate = "longhaul::serde", rename_all = "PascalCase")]
struct Counted {
    primes: u64,
}

/// Numbers between two looks at the cancellation token.
const BLOCK: u64 = 20_000;

impl TaskType for CountPrimes {
    const NAME: &'static str = "CountPrimes";
    const ID_PREFIX: &'static str = "countprimes_";
    const QUEUE: &'static str = "numbers";
    const RETRY: RetryPolicy =
        RetryPolicy { max_attempts: 3, first_delay: Duration::from_secs(1), max_delay: Duration::from_secs(60) };

    /// What the answer to the POST shows. Refuse here what makes no sense.
    async fn create(&self, _context: &CreateContext) -> Result<Progress, CreateError> {
        Ok(Progress::of(0, self.up_to.cast_signed()).with_message("Waiting to count"))
    }

    async fn run(self, context: RunContext) -> Result<Outcome, RunError> {
        let mut done: Checkpoint = context.checkpoint()?.unwrap_or_default();
        context.progress().set_message("Counting primes");
        while done.looked_at < self.up_to {
            if context.cancellation().is_cancelled() {
                return Ok(Outcome::Cancelled);
            }
            let block = done.looked_at + 1..=self.up_to.min(done.looked_at + BLOCK);
            done.looked_at = *block.end();
            done.primes += longhaul::blocking(move || block.filter(|number| is_prime(*number)).count() as u64).await?;
            context.progress().set_processed(done.looked_at.cast_signed());
            context.save_checkpoint(&done)?;
        }
        Outcome::with_result(Counted { primes: done.primes })
    }
}

fn is_prime(number: u64) -> bool {
    number > 1 && (2..).take_while(|divisor| divisor * divisor <= number).all(|divisor| !number.is_multiple_of(divisor))
}
