//! The soak's task types: what their handlers do is written in their parameters, and what they
//! did into tables of the schema `soak`, behind the fence of the queue.

use std::time::Duration;

use longhaul::schemars::JsonSchema;
use longhaul::serde::{Deserialize, Serialize};
use longhaul::uuid::Uuid;
use longhaul::{Outcome, Registry, RetryPolicy, RunContext, RunError, TaskType, sqlx};
use longhaul_model::problem::ATTEMPT_FAILED;

/// Worker deaths spend attempts, and the soak kills many workers.
const RETRY: RetryPolicy =
    RetryPolicy { max_attempts: 100, first_delay: Duration::from_millis(200), max_delay: Duration::from_secs(2) };

/// What a task does.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(crate = "longhaul::serde", deny_unknown_fields)]
#[schemars(crate = "longhaul::schemars")]
pub(crate) struct Job {
    /// Names the request that asked for it.
    pub(crate) token: String,
    /// How many effects it has.
    pub(crate) steps: u32,
    /// How long it rests before each.
    pub(crate) step_ms: u64,
    /// How often it snoozes, one time a step.
    #[serde(default)]
    pub(crate) snoozes: u32,
    /// How many attempts fail, one a step.
    #[serde(default)]
    pub(crate) failures: u32,
    /// It fails for good after its last step.
    #[serde(default)]
    pub(crate) fails: bool,
    /// Whose turn it is, or what makes it the same as another.
    #[serde(default)]
    pub(crate) key: Option<String>,
    /// How many children it has.
    #[serde(default)]
    pub(crate) children: u32,
    /// How long after it was accepted it may begin.
    #[serde(default)]
    pub(crate) later_ms: i64,
}

/// The checkpoint: committed with each effect.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(crate = "longhaul::serde")]
struct Kept {
    step: u32,
    snoozes: u32,
    failures: u32,
    spread: bool,
}

/// One run of a handler, and what it writes down.
struct Run<'a> {
    id: Uuid,
    job: &'a Job,
    context: &'a RunContext,
    kept: Kept,
}

impl Run<'_> {
    /// Writes a row and the checkpoint in one transaction. The time is taken while the lease is
    /// locked, so this run had the task at that moment.
    async fn note(&self, kind: &str) -> Result<(), RunError> {
        let mut transaction = self.context.pool().begin().await?;
        self.context.save_checkpoint_in(&mut transaction, &self.kept).await?;
        self.insert(&mut transaction, kind).await?;
        transaction.commit().await?;
        Ok(())
    }

    async fn insert(&self, transaction: &mut sqlx::PgConnection, kind: &str) -> Result<(), RunError> {
        sqlx::query("INSERT INTO soak.effect (task, run, attempt, kind, step) VALUES ($1, $2, $3, $4, $5)")
            .bind(self.context.task_id())
            .bind(self.id)
            .bind(i32::from(self.context.attempt()))
            .bind(kind)
            .bind(self.kept.step.cast_signed())
            .execute(transaction)
            .await?;
        Ok(())
    }

    /// Writes down how the run ends, without any fence.
    async fn end(&self, outcome: &str) -> Result<(), RunError> {
        sqlx::query("INSERT INTO soak.ended (task, run, outcome) VALUES ($1, $2, $3)")
            .bind(self.context.task_id())
            .bind(self.id)
            .bind(outcome)
            .execute(self.context.pool())
            .await?;
        Ok(())
    }

    async fn spread(&mut self) -> Result<(), RunError> {
        self.kept.spread = true;
        let mut transaction = self.context.pool().begin().await?;
        self.context.save_checkpoint_in(&mut transaction, &self.kept).await?;
        self.insert(&mut transaction, "spread").await?;
        let children = (0..self.job.children).map(|number| {
            let token = format!("{}/{number}", self.job.token);
            Piece(Job { token, steps: 1, step_ms: 5, ..self.job.plain() })
        });
        self.context.start_children_in(&mut transaction, children).await?;
        transaction.commit().await?;
        Ok(())
    }
}

impl Job {
    /// A job that does one thing, without anything special.
    fn plain(&self) -> Job {
        Job { snoozes: 0, failures: 0, fails: false, key: None, children: 0, later_ms: 0, ..self.clone() }
    }

    async fn run(&self, context: &RunContext) -> Result<Outcome, RunError> {
        let kept: Kept = context.checkpoint()?.unwrap_or_default();
        let mut run = Run { id: Uuid::now_v7(), job: self, context, kept };
        context.progress().set_total(self.steps.into());
        context.progress().set_processed(run.kept.step.into());
        run.note("start").await?;
        if self.children > 0 && !run.kept.spread {
            run.spread().await?;
            run.end("waits").await?;
            return Ok(Outcome::AwaitChildren);
        }
        while run.kept.step < self.steps {
            tokio::select! {
                () = context.cancellation().cancelled() => {
                    run.end("stopped").await?;
                    return Ok(Outcome::Cancelled);
                }
                () = tokio::time::sleep(Duration::from_millis(self.step_ms)) => {}
            }
            run.kept.step += 1;
            run.note("effect").await?;
            context.progress().set_processed(run.kept.step.into());
            if run.kept.snoozes < self.snoozes.min(run.kept.step) {
                run.kept.snoozes += 1;
                run.note("snooze").await?;
                return Ok(Outcome::Snooze(Duration::from_millis(50)));
            }
            if run.kept.failures < self.failures.min(run.kept.step) {
                run.kept.failures += 1;
                run.note("failure").await?;
                return Err(RunError::retry_after(Duration::from_millis(100), ATTEMPT_FAILED, "as planned"));
            }
        }
        if self.fails {
            run.end("fails").await?;
            return Err(RunError::permanent(ATTEMPT_FAILED, "as planned"));
        }
        run.end("done").await?;
        Ok(Outcome::done())
    }
}

macro_rules! task_type {
    ($name:ident, $queue:literal, $prefix:literal $(, $($more:tt)*)?) => {
        #[doc = concat!("A job in the queue `", $queue, "`.")]
        #[derive(Debug, Serialize, Deserialize, JsonSchema)]
        #[serde(crate = "longhaul::serde", transparent)]
        #[schemars(crate = "longhaul::schemars", transparent)]
        pub(crate) struct $name(pub(crate) Job);

        impl TaskType for $name {
            const NAME: &'static str = stringify!($name);
            const ID_PREFIX: &'static str = $prefix;
            const QUEUE: &'static str = $queue;
            const RETRY: RetryPolicy = RETRY;
            // A statement of a handler over a connection that has fallen silent has no other end.
            const TIMEOUT: Option<Duration> = Some(Duration::from_secs(20));
            $($($more)*)?

            async fn run(self, context: RunContext) -> Result<Outcome, RunError> {
                self.0.run(&context).await
            }
        }
    };
}

task_type!(Piece, "soak", "piece_");
task_type!(Limited, "limited", "limited_");
task_type!(Rated, "rated", "rated_");
task_type!(
    Turn,
    "turns",
    "turn_",
    fn key(&self) -> Option<String> {
        self.0.key.clone()
    }
);
task_type!(
    Sole,
    "soak",
    "sole_",
    fn unique_key(&self) -> Option<String> {
        self.0.key.clone()
    }
);

/// Runs for so long, and asks the database for nothing meanwhile.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(crate = "longhaul::serde")]
#[schemars(crate = "longhaul::schemars")]
struct Long {
    seconds: u64,
}

/// The kind of effect that each start of a [`Long`] is.
pub(crate) const LONG_STARTS: &str = "long";

impl TaskType for Long {
    const NAME: &'static str = "Long";
    const ID_PREFIX: &'static str = "long_";
    const QUEUE: &'static str = "soak";

    async fn run(self, context: RunContext) -> Result<Outcome, RunError> {
        sqlx::query("INSERT INTO soak.effect (task, run, attempt, kind, step) VALUES ($1, $2, $3, $4, 0)")
            .bind(context.task_id())
            .bind(Uuid::now_v7())
            .bind(i32::from(context.attempt()))
            .bind(LONG_STARTS)
            .execute(context.pool())
            .await?;
        tokio::time::sleep(Duration::from_secs(self.seconds)).await;
        Ok(Outcome::done())
    }
}

pub(crate) fn registry() -> Registry {
    Registry::new().with::<Piece>().with::<Limited>().with::<Rated>().with::<Turn>().with::<Sole>().with::<Long>()
}
