//! Work that waits for a person, in two ways.

use std::time::Duration;

use longhaul::schemars::JsonSchema;
use longhaul::serde::{Deserialize, Serialize};
use longhaul::sqlx::PgPool;
use longhaul::{Client, Outcome, ProblemKind, PublicId, RunContext, RunError, TaskType, sqlx};

const REJECTED: ProblemKind = ProblemKind { code: "rejected", title: "The article was rejected", status: 500 };

/// Publishes an article.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(crate = "longhaul::serde", rename_all = "PascalCase", deny_unknown_fields)]
#[schemars(crate = "longhaul::schemars")]
pub(crate) struct PublishArticle {
    article: i64,
}

impl TaskType for PublishArticle {
    const NAME: &'static str = "PublishArticle";
    const ID_PREFIX: &'static str = "publisharticle_";

    async fn run(self, _context: RunContext) -> Result<Outcome, RunError> {
        Outcome::with_result(format!("Article {} is public.", self.article))
    }
}

/// The editor's click: the decision and the task that follows from it are one transaction.
pub(crate) async fn approve(client: &Client, pool: &PgPool, article: i64) -> longhaul::anyhow::Result<PublicId> {
    let mut transaction = pool.begin().await?;
    sqlx::query("INSERT INTO approval (article, approved) VALUES ($1, true)")
        .bind(article)
        .execute(&mut *transaction)
        .await?;
    let task = client.enqueue_in(&mut transaction, &PublishArticle { article }).await?;
    transaction.commit().await?;
    Ok(task.id)
}

/// Waits until an editor has decided about an article. Completes only then.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(crate = "longhaul::serde", rename_all = "PascalCase", deny_unknown_fields)]
#[schemars(crate = "longhaul::schemars")]
pub(crate) struct AwaitApproval {
    article: i64,
}

impl TaskType for AwaitApproval {
    const NAME: &'static str = "AwaitApproval";
    const ID_PREFIX: &'static str = "awaitapproval_";

    async fn run(self, context: RunContext) -> Result<Outcome, RunError> {
        let decision: Option<bool> = sqlx::query_scalar("SELECT approved FROM approval WHERE article = $1")
            .bind(self.article)
            .fetch_optional(context.pool())
            .await?;
        match decision {
            None => {
                context.progress().set_message("Waiting for an editor");
                // Occupies no worker and spends no attempt.
                Ok(Outcome::Snooze(Duration::from_secs(2)))
            }
            Some(false) => Err(RunError::permanent(REJECTED, "An editor rejected the article.")),
            Some(true) => Ok(Outcome::done()),
        }
    }
}
