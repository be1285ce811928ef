//! The task type of the scene.

use std::time::Duration;

use longhaul_model::problem::ATTEMPT_FAILED;
use longhaul_model::{Outcome, RetryPolicy, RunContext, RunError, TaskType};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

/// What the handler of a task does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(super) enum Does {
    /// Reports progress, a step and a line of its log.
    Reports,
    /// Fails twice.
    Retries,
    /// Snoozes once.
    Snoozes,
    /// Has three effects, each with a checkpoint in its transaction.
    Effects,
    /// Starts three children and waits for them.
    FansOut,
    /// Fails for good, until its name is in `public.allowed`.
    IsRefused,
    /// Runs until it is cancelled.
    IsCancelled,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub(super) struct Act {
    does: Does,
    name: String,
}

impl TaskType for Act {
    const NAME: &'static str = "Act";
    const ID_PREFIX: &'static str = "act-";
    const QUEUE: &'static str = "acts";
    // An ordinary error of a handler's statement spends one.
    const RETRY: RetryPolicy =
        RetryPolicy { max_attempts: 50, first_delay: Duration::from_millis(20), max_delay: Duration::from_millis(100) };
    // A handler that waits for something that the test no longer does.
    const TIMEOUT: Option<Duration> = Some(Duration::from_secs(30));

    async fn run(self, context: RunContext) -> Result<Outcome, RunError> {
        let done: i64 = context.checkpoint()?.unwrap_or_default();
        match self.does {
            Does::Reports => {
                context.progress().set_total(3);
                for step in 1..=3 {
                    context.progress().set_processed(step);
                    context.log().info(format_args!("step {step}"));
                    tokio::time::sleep(Duration::from_millis(15)).await;
                }
                return Outcome::with_result(json!({"steps": 3}));
            }
            Does::Retries if done < 2 => {
                self.note(&context, done + 1).await?;
                return Err(RunError::retry_after(Duration::from_millis(20), ATTEMPT_FAILED, "as planned"));
            }
            Does::Snoozes if done < 1 => {
                self.note(&context, done + 1).await?;
                return Ok(Outcome::Snooze(Duration::from_millis(30)));
            }
            Does::Effects => {
                for step in done + 1..=3 {
                    self.note(&context, step).await?;
                }
            }
            Does::FansOut if done == 0 => {
                let name = |number| format!("{}/{number}", self.name);
                let children = (1..=3).map(|number| Act { does: Does::Reports, name: name(number) });
                context.fan_out(children, &1_i64).await?;
                return Ok(Outcome::AwaitChildren);
            }
            Does::IsRefused => {
                let sql = "SELECT EXISTS (SELECT FROM public.allowed WHERE name = $1)";
                if !sqlx::query_scalar::<_, bool>(sql).bind(&self.name).fetch_one(context.pool()).await? {
                    return Err(RunError::permanent(ATTEMPT_FAILED, "as planned"));
                }
            }
            Does::IsCancelled => {
                context.cancellation().cancelled().await;
                return Ok(Outcome::Cancelled);
            }
            Does::Retries | Does::Snoozes | Does::FansOut => {}
        }
        Ok(Outcome::done())
    }
}

impl Act {
    /// Writes down a step and the checkpoint in one transaction.
    async fn note(&self, context: &RunContext, step: i64) -> Result<(), RunError> {
        let mut transaction = context.pool().begin().await?;
        sqlx::query("INSERT INTO public.effect (name, step) VALUES ($1, $2)")
            .bind(&self.name)
            .bind(step)
            .execute(&mut *transaction)
            .await?;
        context.save_checkpoint_in(&mut transaction, &step).await?;
        transaction.commit().await?;
        Ok(())
    }
}
