//! `DeleteProject`: deletes a project with everything in it.

use longhaul_model::schemars::JsonSchema;
use longhaul_model::{CreateContext, CreateError, Outcome, ProblemKind, Progress, RunContext, RunError, TaskType};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::deletion::delete_entities;
use crate::permission::DELETE_PROJECTS;
use crate::problem::UNKNOWN_PROJECT;
use crate::search;

/// Deletes a project: its entities, their relationships (also those to other
/// projects), its search index, and then the project itself.
///
/// Searches stop finding the project at once; the records go in batches, each in one transaction
/// with its checkpoint. A cancelled task leaves the rest of the project unchanged, without a search
/// index.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
#[schemars(crate = "longhaul_model::schemars")]
pub struct DeleteProject {
    /// The project.
    pub project_id: Uuid,
}

/// Entities in one transaction.
const BATCH: i64 = 2_000;

/// Where to go on.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Checkpoint {
    entities: i64,
    relationships: i64,
    /// Everything up to this entity is gone.
    last: Uuid,
}

/// The result.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Report {
    project_id: Uuid,
    entities: i64,
    relationships: i64,
}

impl TaskType for DeleteProject {
    const NAME: &'static str = "DeleteProject";
    const ID_PREFIX: &'static str = "deleteproject_";
    const PROBLEMS: &'static [ProblemKind] = &[UNKNOWN_PROJECT];

    fn key(&self) -> Option<String> {
        Some(self.project_id.to_string())
    }

    async fn create(&self, context: &CreateContext) -> Result<Progress, CreateError> {
        context.require_in(DELETE_PROJECTS, self.project_id)?;
        let entities: Option<i64> = sqlx::query_scalar(
            "SELECT (SELECT count(*) FROM records.entity e WHERE e.project_id = p.id) FROM records.project p WHERE p.id = $1",
        )
        .bind(self.project_id)
        .fetch_optional(&context.pool)
        .await?;
        match entities {
            Some(entities) => Ok(Progress::of(0, entities).with_message("Waiting to delete the project")),
            None => Err(CreateError::Impossible {
                kind: UNKNOWN_PROJECT,
                detail: format!("There is no project {}; check ProjectId.", self.project_id),
            }),
        }
    }

    async fn run(self, context: RunContext) -> Result<Outcome, RunError> {
        let checkpoint: Checkpoint = context.checkpoint()?.unwrap_or_default();
        Run { project_id: self.project_id, context, checkpoint }.run().await
    }
}

struct Run {
    project_id: Uuid,
    context: RunContext,
    checkpoint: Checkpoint,
}

impl Run {
    async fn run(mut self) -> Result<Outcome, RunError> {
        let pool = self.context.pool().clone();
        let left: i64 = sqlx::query_scalar("SELECT count(*) FROM records.entity WHERE project_id = $1")
            .bind(self.project_id)
            .fetch_one(&pool)
            .await?;
        self.context.progress().set_total(self.checkpoint.entities + left);
        self.context.progress().set_processed(self.checkpoint.entities);
        self.context.progress().set_message("Deleting the search index");
        search::forget(&pool, self.project_id).await?;
        search::drop_unused(&pool).await?;
        self.context.progress().set_message("Deleting the project's records");
        // An end that others keep filling is swept again.
        while !self.delete_if_empty().await? {
            self.checkpoint.last = Uuid::nil();
            while self.delete_batch().await? {
                if self.context.cancellation().is_cancelled() {
                    return Ok(Outcome::Cancelled);
                }
            }
        }
        // A Reindex may have put an index in use meanwhile.
        search::drop_unused(&pool).await?;
        let Checkpoint { entities, relationships, .. } = self.checkpoint;
        self.context.progress().set_total(entities);
        self.context.progress().set_processed(entities);
        self.context.progress().set_message(format!("Deleted {entities} entities and {relationships} relationships"));
        Outcome::with_result(Report { project_id: self.project_id, entities, relationships })
    }

    /// `false` when no entity is left after the last one.
    async fn delete_batch(&mut self) -> Result<bool, RunError> {
        let mut transaction = self.context.pool().begin().await?;
        search::tune(&mut transaction).await?;
        let ids: Vec<Uuid> = sqlx::query_scalar(
            "SELECT id FROM records.entity WHERE project_id = $1 AND id > $2
              ORDER BY project_id, id LIMIT $3 FOR UPDATE",
        )
        .bind(self.project_id)
        .bind(self.checkpoint.last)
        .bind(BATCH)
        .fetch_all(&mut *transaction)
        .await?;
        let Some(last) = ids.last() else { return Ok(false) };
        let deleted = delete_entities(&mut transaction, &ids).await?;
        let next = Checkpoint {
            entities: self.checkpoint.entities + deleted.entities,
            relationships: self.checkpoint.relationships + deleted.relationships,
            last: if deleted.whole { *last } else { self.checkpoint.last },
        };
        self.context.progress().set_processed(next.entities);
        self.context.save_checkpoint_in(&mut transaction, &next).await?;
        transaction.commit().await?;
        self.checkpoint = next;
        Ok(true)
    }

    /// Deletes the project unless it still has entities. `true` if it is gone,
    /// by whose hand ever. Its lock keeps out whoever would add to it.
    async fn delete_if_empty(&mut self) -> Result<bool, RunError> {
        let mut transaction = self.context.pool().begin().await?;
        sqlx::query("SELECT FROM records.project WHERE id = $1 FOR UPDATE")
            .bind(self.project_id)
            .execute(&mut *transaction)
            .await?;
        let filled: bool = sqlx::query_scalar("SELECT EXISTS (SELECT FROM records.entity WHERE project_id = $1)")
            .bind(self.project_id)
            .fetch_one(&mut *transaction)
            .await?;
        if filled {
            return Ok(false);
        }
        sqlx::query("DELETE FROM records.project WHERE id = $1")
            .bind(self.project_id)
            .execute(&mut *transaction)
            .await?;
        self.context.save_checkpoint_in(&mut transaction, &self.checkpoint).await?;
        transaction.commit().await?;
        Ok(true)
    }
}
