//! Tests for task types: a private database for each test, tasks that run inline to their end, a
//! clock that tests move, and handlers that run alone.
//!
//! ```
//! # use longhaul::schemars::JsonSchema;
//! # use longhaul::serde::{Deserialize, Serialize};
//! # use longhaul::{Outcome, Program, Registry, RunContext, RunError, State, TaskType};
//! # #[derive(Serialize, Deserialize, JsonSchema)]
//! # #[serde(crate = "longhaul::serde", deny_unknown_fields)]
//! # #[schemars(crate = "longhaul::schemars")]
//! # struct Greet { name: String }
//! # impl TaskType for Greet {
//! #     const NAME: &'static str = "Greet";
//! #     const ID_PREFIX: &'static str = "greet_";
//! #     async fn run(self, _context: RunContext) -> Result<Outcome, RunError> {
//! #         Outcome::with_result(format!("Hello, {}!", self.name))
//! #     }
//! # }
//! use longhaul_test::TestQueue;
//!
//! # #[tokio::main]
//! # async fn main() {
//! // In a test: #[tokio::test]
//! let queue = TestQueue::start(Program::new(Registry::new().with::<Greet>())).await;
//! let stored = queue.client().enqueue(&Greet { name: "Ada".into() }).await.expect("it is stored");
//! queue.assert_enqueued::<Greet>(|greet| greet.name == "Ada").await;
//!
//! queue.run_all().await;
//! let task = queue.task(stored.uuid).await;
//! assert_eq!((task.state, task.result), (State::Succeeded, Some("Hello, Ada!".into())));
//!
//! // The handler alone.
//! let run = queue.perform(&Greet { name: "Grace".into() }).run().await;
//! assert_eq!(run.outcome.expect("a success"), Outcome::Done(Some("Hello, Grace!".into())));
//! # }
//! ```
//!
//! The databases are on one private PostgreSQL for all tests of a process, or on the server of
//! `DATABASE_URL`, with a login that may create databases. Tests may run in parallel.

mod perform;
mod queue;

pub use perform::{Perform, Performed};
pub use queue::TestQueue;
