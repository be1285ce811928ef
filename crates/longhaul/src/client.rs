//! From a value to a stored task in one step.

use std::sync::Arc;
use std::time::{Duration, Instant};

use longhaul_model::store::bulk::enqueue_many;
use longhaul_model::store::cancel::{self, Cancelled, Retried};
use longhaul_model::store::depth::{self, QueueDepth};
use longhaul_model::store::enqueue::{NewTask, enqueue};
use longhaul_model::store::is_passing;
use longhaul_model::store::keyed::{Stored, Together, enqueue_all, enqueue_unique};
use longhaul_model::store::linked::LinkError;
use longhaul_model::store::read::{self, Task};
use longhaul_model::{DatabaseClock, Keyring, PublicId, TaskType};
use sqlx::{PgPool, Postgres, Transaction};

use crate::uuid::Uuid;

/// Stores tasks of your types, and reads, cancels and retries tasks. Create one for each process and
/// clone it, which is cheap.
///
/// ```no_run
/// # use longhaul::schemars::JsonSchema;
/// # use longhaul::serde::{Deserialize, Serialize};
/// # use longhaul::{Outcome, RunContext, RunError, TaskType};
/// # #[derive(Serialize, Deserialize, JsonSchema)]
/// # #[serde(crate = "longhaul::serde", deny_unknown_fields)]
/// # #[schemars(crate = "longhaul::schemars")]
/// # struct SendFarewell { account: i64 }
/// # impl TaskType for SendFarewell {
/// #     const NAME: &'static str = "SendFarewell";
/// #     const ID_PREFIX: &'static str = "sendfarewell_";
/// #     async fn run(self, _context: RunContext) -> Result<Outcome, RunError> { Ok(Outcome::done()) }
/// # }
/// use longhaul::Client;
/// use longhaul::sqlx::{self, PgPool};
///
/// async fn close_accounts(pool: PgPool) -> Result<(), Box<dyn std::error::Error>> {
///     let client = Client::new(pool.clone()).await?;
///     // One task, durable when this returns.
///     let stored = client.enqueue(&SendFarewell { account: 1 }).await?;
///     println!("{} is stored", stored.id);
///     // In a transaction of yours: it exists if that commits.
///     let mut transaction = pool.begin().await?;
///     sqlx::query("UPDATE account SET closed = true WHERE id = 2").execute(&mut *transaction).await?;
///     client.enqueue_in(&mut transaction, &SendFarewell { account: 2 }).await?;
///     transaction.commit().await?;
///     // Many, all or none.
///     let farewells: Vec<SendFarewell> = (3..10_000).map(|account| SendFarewell { account }).collect();
///     client.enqueue_all(&farewells).await?;
///     Ok(())
/// }
/// ```
#[derive(Debug, Clone)]
pub struct Client {
    pool: PgPool,
    clock: Arc<DatabaseClock>,
    keyring: Option<Keyring>,
}

/// What became of a task that was to be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Enqueued {
    /// The public id of the task: of the new one, or of that with the same unique key.
    pub id: PublicId,
    /// The same without its prefix.
    pub uuid: Uuid,
    /// False if a task with its unique key exists already. Then nothing was stored.
    pub is_new: bool,
}

/// Why a task was not stored.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The parameters can't be written as JSON, or are secret and there is no key
    /// ([`Client::with_keyring`]).
    #[error("the parameters can't be stored: {0}")]
    Parameters(#[from] serde_json::Error),
    /// The database does not answer, or refuses the task.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

impl From<LinkError> for ClientError {
    fn from(error: LinkError) -> Self {
        match error {
            LinkError::Database(error) => Self::Database(error),
            other => Self::Database(sqlx::Error::Encode(Box::new(other))),
        }
    }
}

/// For so long a task of its own transaction is tried again while the database does not answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// The first wait before that, doubled each time.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// From so many tasks on, COPY is faster than one statement.
const COPY_FROM: usize = 500;

impl Client {
    /// A client that uses this pool.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn new(pool: PgPool) -> sqlx::Result<Self> {
        let clock = Arc::new(DatabaseClock::learn(&pool).await?);
        Ok(Self { pool, clock, keyring: None })
    }

    /// Sets the keys that encrypt [`Secret`](crate::Secret) parameters.
    #[must_use]
    pub fn with_keyring(mut self, keyring: Keyring) -> Self {
        self.keyring = Some(keyring);
        self
    }

    /// A task that is not stored yet, so that you can set when it runs, its priority, tags and so on,
    /// for [`Client::store`].
    ///
    /// # Errors
    /// If its parameters can't be written as JSON, or are secret and there is no key.
    pub fn new_task<T: TaskType>(&self, task: &T) -> Result<NewTask, ClientError> {
        let id = self.clock.new_id();
        Ok(match &self.keyring {
            Some(keyring) => NewTask::sealed(id, task, keyring)?,
            None => NewTask::of(id, task)?,
        })
    }

    /// Stores a task. It is durable when this returns. While the database does not answer it tries
    /// again for ten seconds, without ever storing the task twice.
    ///
    /// # Errors
    /// If the task could not be stored. If the database did not answer to the last, it may have been
    /// stored all the same.
    pub async fn enqueue<T: TaskType>(&self, task: &T) -> Result<Enqueued, ClientError> {
        self.store(self.new_task(task)?).await
    }

    /// The same for a task with options, from [`Client::new_task`]. Storing the same task again
    /// changes nothing.
    ///
    /// # Errors
    /// As [`Client::enqueue`].
    pub async fn store(&self, task: NewTask) -> Result<Enqueued, ClientError> {
        let (began, mut pause) = (Instant::now(), FIRST_PAUSE);
        loop {
            match self.try_to_store(&task).await {
                Ok(stored) => return Ok(enqueued(&task, stored)),
                // It is stored already: an earlier try was carried out, and its answer was lost.
                Err(error) if is_known(&error) => return Ok(enqueued(&task, None)),
                Err(error) if is_passing(&error) && began.elapsed() < PATIENCE => {
                    tracing::debug!(%error, "a task could not be stored; trying again");
                    tokio::time::sleep(pause).await;
                    pause *= 2;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Returns the id of the task that has its unique key, if there is one.
    async fn try_to_store(&self, task: &NewTask) -> sqlx::Result<Option<Uuid>> {
        if task.unique_key.is_none() {
            return enqueue(&self.pool, std::slice::from_ref(task)).await.map(|_accepted_at| None);
        }
        let mut transaction = self.pool.begin().await?;
        let stored = enqueue_unique(&mut transaction, task).await?;
        transaction.commit().await?;
        Ok(other(stored))
    }

    /// Stores a task in your transaction: it exists once that commits, and never if it is rolled
    /// back.
    ///
    /// # Errors
    /// If the task could not be stored. Then the transaction can't be committed.
    pub async fn enqueue_in<T: TaskType>(
        &self,
        transaction: &mut Transaction<'_, Postgres>,
        task: &T,
    ) -> Result<Enqueued, ClientError> {
        self.store_in(transaction, self.new_task(task)?).await
    }

    /// The same for a task with options, from [`Client::new_task`].
    ///
    /// # Errors
    /// As [`Client::enqueue_in`].
    pub async fn store_in(
        &self,
        transaction: &mut Transaction<'_, Postgres>,
        task: NewTask,
    ) -> Result<Enqueued, ClientError> {
        let stored = enqueue_unique(transaction, &task).await?;
        Ok(enqueued(&task, other(stored)))
    }

    /// Stores many tasks in one transaction: all or none, except those whose unique key another task
    /// has. Returns them in their order.
    ///
    /// # Errors
    /// If they could not be stored.
    pub async fn enqueue_all<T: TaskType>(&self, tasks: &[T]) -> Result<Vec<Enqueued>, ClientError> {
        let tasks = tasks.iter().map(|task| self.new_task(task)).collect::<Result<Vec<_>, _>>()?;
        self.store_all(tasks).await
    }

    /// The same for tasks with options, from [`Client::new_task`].
    ///
    /// # Errors
    /// If they could not be stored.
    pub async fn store_all(&self, tasks: Vec<NewTask>) -> Result<Vec<Enqueued>, ClientError> {
        if tasks.len() >= COPY_FROM && tasks.iter().all(|task| task.unique_key.is_none()) {
            let mut transaction = self.pool.begin().await?;
            let stored = tasks.iter().map(|task| enqueued(task, None)).collect();
            enqueue_many(&mut transaction, tasks).await?;
            transaction.commit().await?;
            return Ok(stored);
        }
        let together = Together { tasks, ..Together::default() };
        let (_accepted_at, others) = enqueue_all(&self.pool, &together).await?;
        Ok(together.tasks.iter().zip(others).map(|(task, other)| enqueued(task, other)).collect())
    }

    /// A task as it is now; `None` if there is none with this id.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn task(&self, id: Uuid) -> sqlx::Result<Option<Task>> {
        read::task(&self.pool, id).await
    }

    /// Cancels a task; `None` if there is none with this id.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn cancel(&self, id: Uuid) -> sqlx::Result<Option<Cancelled>> {
        cancel::cancel(&self.pool, id).await
    }

    /// Runs a failed or cancelled task again; `None` if there is none with this id.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn retry(&self, id: Uuid) -> sqlx::Result<Option<Retried>> {
        cancel::retry(&self.pool, id).await
    }

    /// How many tasks wait and run in each queue. Cheap however many there are: great numbers are
    /// estimates.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn queues(&self) -> sqlx::Result<Vec<QueueDepth>> {
        Ok(depth::read(&self.pool).await?.queues)
    }
}

fn other(stored: Stored) -> Option<Uuid> {
    match stored {
        Stored::Existing(id) => Some(id),
        Stored::New(_) | Stored::KeyReused => None,
    }
}

/// `other`: the task that has its unique key; its own after a lost answer.
fn enqueued(task: &NewTask, other: Option<Uuid>) -> Enqueued {
    let uuid = other.unwrap_or(task.id);
    Enqueued { id: PublicId::new(task.info.id_prefix, uuid), uuid, is_new: uuid == task.id }
}

/// The task is there.
fn is_known(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(|error| error.constraint() == Some("task_pkey"))
}
