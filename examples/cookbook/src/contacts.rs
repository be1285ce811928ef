//! An import that shows its progress and does nothing twice, however often it is interrupted.

use longhaul::schemars::JsonSchema;
use longhaul::serde::{Deserialize, Serialize};
use longhaul::{CreateContext, CreateError, Outcome, Progress, RunContext, RunError, TaskType, sqlx};

/// Lines of one transaction.
const BATCH: usize = 500;

/// Imports contacts: lines such as `Ada Lovelace <ada@example.com>`.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(crate = "longhaul::serde", rename_all = "PascalCase", deny_unknown_fields)]
#[schemars(crate = "longhaul::schemars")]
pub(crate) struct ImportContacts {
    #[schemars(length(min = 1))]
    lines: Vec<String>,
}

/// Where to continue.
#[derive(Default, Serialize, Deserialize)]
#[serde(crate = "longhaul::serde", rename_all = "PascalCase")]
struct Done {
    lines: usize,
    imported: u64,
    skipped: usize,
}

impl TaskType for ImportContacts {
    const NAME: &'static str = "ImportContacts";
    const ID_PREFIX: &'static str = "importcontacts_";
    const QUEUE: &'static str = "imports";

    async fn create(&self, _context: &CreateContext) -> Result<Progress, CreateError> {
        Ok(Progress::of(0, elements(self.lines.len())).with_message("Waiting to import"))
    }

    async fn run(self, context: RunContext) -> Result<Outcome, RunError> {
        let mut done: Done = context.checkpoint()?.unwrap_or_default();
        context.progress().set_message("Importing contacts");
        while done.lines < self.lines.len() {
            if context.cancellation().is_cancelled() {
                return Ok(Outcome::Cancelled);
            }
            let lines = &self.lines[done.lines..self.lines.len().min(done.lines + BATCH)];
            let (mut names, mut addresses) = (Vec::new(), Vec::new());
            for line in lines {
                match line.strip_suffix('>').and_then(|line| line.split_once(" <")) {
                    Some((name, address)) => {
                        names.push(name);
                        addresses.push(address);
                    }
                    None => {
                        done.skipped += 1;
                        context.log().warn(format_args!("skipped: {line}"));
                    }
                }
            }
            let insert = "INSERT INTO contact (name, address) SELECT * FROM unnest($1::text[], $2::text[])
                          ON CONFLICT DO NOTHING";
            // The contacts and the checkpoint are one transaction.
            let mut transaction = context.pool().begin().await?;
            let stored = sqlx::query(insert).bind(names).bind(addresses).execute(&mut *transaction).await?;
            done.lines += lines.len();
            done.imported += stored.rows_affected();
            context.progress().set_processed(elements(done.lines));
            context.save_checkpoint_in(&mut transaction, &done).await?;
            transaction.commit().await?;
        }
        Outcome::with_result(done)
    }
}

fn elements(lines: usize) -> i64 {
    i64::try_from(lines).unwrap_or(i64::MAX)
}
