//! Tasks in the database, from Rust: storing them in your own transaction, reading,
//! cancelling and retrying them.
//!
//! ```no_run
//! # use std::error::Error;
//! # use longhaul::schemars::JsonSchema;
//! # use longhaul::serde::{Deserialize, Serialize};
//! # use longhaul::store::{NewTask, enqueue};
//! # use longhaul::sqlx::{self, PgPool};
//! # use longhaul::{DatabaseClock, Outcome, RunContext, RunError, TaskType};
//! # #[derive(Serialize, Deserialize, JsonSchema)]
//! # #[serde(crate = "longhaul::serde", deny_unknown_fields)]
//! # #[schemars(crate = "longhaul::schemars")]
//! # struct SendFarewell { account: i64 }
//! # impl TaskType for SendFarewell {
//! #     const NAME: &'static str = "SendFarewell";
//! #     const ID_PREFIX: &'static str = "sendfarewell_";
//! #     async fn run(self, _context: RunContext) -> Result<Outcome, RunError> { Ok(Outcome::done()) }
//! # }
//! async fn close_account(pool: &PgPool, clock: &DatabaseClock, account: i64) -> Result<(), Box<dyn Error>> {
//!     let mut transaction = pool.begin().await?;
//!     sqlx::query("UPDATE account SET closed = true WHERE id = $1").bind(account).execute(&mut *transaction).await?;
//!     let farewell = SendFarewell { account };
//!     enqueue(&mut *transaction, &[NewTask::of(clock.new_id(), &farewell)?]).await?;
//!     transaction.commit().await?;
//!     Ok(())
//! }
//! ```
//!
//! If many tasks are stored one by one, an [`Enqueuer`] is several times as fast: concurrent tasks
//! share a statement and a commit, over one connection. Each caller gets its answer after the
//! commit.
//!
//! ```no_run
//! # use std::error::Error;
//! # use longhaul::schemars::JsonSchema;
//! # use longhaul::serde::{Deserialize, Serialize};
//! # use longhaul::store::{Enqueuer, NewTask};
//! # use longhaul::sqlx::PgPool;
//! # use longhaul::{DatabaseClock, Outcome, RunContext, RunError, TaskType};
//! # #[derive(Serialize, Deserialize, JsonSchema)]
//! # #[serde(crate = "longhaul::serde", deny_unknown_fields)]
//! # #[schemars(crate = "longhaul::schemars")]
//! # struct SendFarewell { account: i64 }
//! # impl TaskType for SendFarewell {
//! #     const NAME: &'static str = "SendFarewell";
//! #     const ID_PREFIX: &'static str = "sendfarewell_";
//! #     async fn run(self, _context: RunContext) -> Result<Outcome, RunError> { Ok(Outcome::done()) }
//! # }
//! struct Farewells {
//!     clock: DatabaseClock,
//!     // Made once, and shared or cloned: `Enqueuer::start(&pool)`.
//!     enqueuer: Enqueuer,
//! }
//!
//! impl Farewells {
//!     async fn send(&self, account: i64) -> Result<(), Box<dyn Error>> {
//!         let farewell = NewTask::of(self.clock.new_id(), &SendFarewell { account })?;
//!         self.enqueuer.enqueue(farewell).await?;
//!         Ok(())
//!     }
//! }
//! ```
//!
//! [`enqueue`], [`enqueue_many`] and [`Enqueuer`] ignore unique keys. [`enqueue_unique`] checks
//! them in your transaction, and [`enqueue_keyed`] in its own.

pub use longhaul_api::{EnqueueError, Enqueuer};
pub use longhaul_model::store::bulk::enqueue_many;
pub use longhaul_model::store::cancel::{Cancelled, Retried, cancel, retry};
pub use longhaul_model::store::enqueue::{NewTask, enqueue};
pub use longhaul_model::store::keyed::{IdempotencyKey, Stored, enqueue_keyed, enqueue_unique};
pub use longhaul_model::store::queue::{ChangeError, QueueSettings, change as change_queue, set as set_queue};
pub use longhaul_model::store::read::{Task, task, tasks};
