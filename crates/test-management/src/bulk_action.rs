//! `bulkaction`: does one thing to many entities.

use longhaul_model::problem::NOT_RUNNABLE;
use longhaul_model::schemars::JsonSchema;
use longhaul_model::{
    CreateContext, CreateError, Outcome, ParameterError, ProblemKind, Progress, RunContext, RunError, StopReason,
    TaskType,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::{AssertSqlSafe, PgConnection, PgPool};
use uuid::Uuid;

use crate::deletion::delete_entities;
use crate::permission::EDIT_ENTITIES;
use crate::problem::{NOT_INDEXED, UNKNOWN_PROJECT};
use crate::search;

/// Changes every entity of a project, of a kind, or that a search finds, or a combination of these.
/// At least one of them is required.
///
/// The search uses the index of the last Reindex, and runs once when the task starts. Entities are
/// changed in the order of their ids in batches, each in one transaction with its checkpoint, so
/// that nothing is done twice. Searches see the changes after the next Reindex.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
#[schemars(crate = "longhaul_model::schemars")]
pub struct BulkAction {
    /// The action.
    pub action: Action,
    /// The project. Default: all projects.
    #[serde(default)]
    pub project_id: Option<Uuid>,
    /// The kind, e.g. Requirement. Default: every kind.
    #[serde(default)]
    #[schemars(regex(pattern = r"^[A-Za-z][A-Za-z0-9]{0,39}$"))]
    pub kind: Option<String>,
    /// Words to search for, as in `GET /api/search`. At least one must be a word that the entities
    /// contain: `-draft` alone would match nearly all of them.
    #[serde(default)]
    #[schemars(length(min = 1, max = 1000))]
    pub query: Option<String>,
    /// The member of an entity's fields that SetField and RemoveField change.
    #[serde(default)]
    #[schemars(length(min = 1, max = 100))]
    pub field: Option<String>,
    /// The value for SetField: any JSON except null.
    #[serde(default)]
    pub value: Option<Value>,
}

/// The action of a bulkaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(crate = "longhaul_model::schemars")]
pub enum Action {
    /// Sets `Field` to `Value`.
    SetField,
    /// Removes `Field`.
    RemoveField,
    /// Deletes the entity and its relationships.
    Delete,
}

/// Entities in one transaction.
const BATCH: i64 = 2_000;

/// Where to go on.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Checkpoint {
    /// What a search found stands in `records.bulk_target`.
    searched: bool,
    total: i64,
    processed: i64,
    changed: i64,
    last: Uuid,
}

/// The result.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Report {
    /// Entities that were processed.
    found: i64,
    /// Entities that were changed.
    changed: i64,
}

impl TaskType for BulkAction {
    const NAME: &'static str = "bulkaction";
    const ID_PREFIX: &'static str = "bulkaction_";
    const PROBLEMS: &'static [ProblemKind] = &[UNKNOWN_PROJECT, NOT_INDEXED];

    async fn create(&self, context: &CreateContext) -> Result<Progress, CreateError> {
        context.require_for(EDIT_ENTITIES, self.project_id)?;
        let errors = self.complaints(&context.pool).await?;
        if !errors.is_empty() {
            return Err(CreateError::Invalid(errors));
        }
        if let Some(project_id) = self.project_id {
            let known: bool = sqlx::query_scalar("SELECT EXISTS (SELECT FROM records.project WHERE id = $1)")
                .bind(project_id)
                .fetch_one(&context.pool)
                .await?;
            if !known {
                return Err(CreateError::Impossible {
                    kind: UNKNOWN_PROJECT,
                    detail: format!("There is no project {project_id}; check ProjectId, or omit it."),
                });
            }
        }
        match self.count(&context.pool).await? {
            Some(total) => Ok(Progress::of(0, total).with_message("Waiting to change entities")),
            None => Err(CreateError::Impossible { kind: NOT_INDEXED, detail: NOT_INDEXED_DETAIL.to_owned() }),
        }
    }

    async fn run(self, context: RunContext) -> Result<Outcome, RunError> {
        // A task that was started from SQL has not been through `create`.
        if let Some(ParameterError { pointer, message }) = self.complaints(context.pool()).await?.first() {
            return Err(RunError::permanent(NOT_RUNNABLE, format!("{pointer}: {message} Nothing was changed.")));
        }
        let checkpoint: Checkpoint = context.checkpoint()?.unwrap_or_default();
        Run { parameters: self, context, checkpoint }.run().await
    }
}

const NOT_INDEXED_DETAIL: &str = "Query requires a search index, and there is none: run a Reindex first.";

impl BulkAction {
    /// Everything that the schema can't say.
    async fn complaints(&self, pool: &PgPool) -> sqlx::Result<Vec<ParameterError>> {
        let mut errors = self.misfits();
        if let Some(query) = &self.query
            && !search::narrows(pool, self.project_id, query).await?
        {
            errors.insert(
                0,
                ParameterError {
                    pointer: "/Parameters/Query".to_owned(),
                    message: "A query with at least one word that entities must have is expected: without one it \
                              matches nearly every entity."
                        .to_owned(),
                },
            );
        }
        Ok(errors)
    }

    /// Which parameters go together.
    fn misfits(&self) -> Vec<ParameterError> {
        let mut errors = Vec::new();
        let mut complain = |name: &str, message: &str| {
            let pointer = if name.is_empty() { "/Parameters".to_owned() } else { format!("/Parameters/{name}") };
            errors.push(ParameterError { pointer, message: message.to_owned() });
        };
        if self.project_id.is_none() && self.kind.is_none() && self.query.is_none() {
            complain("", "Specify which entities: give at least one of ProjectId, Kind and Query.");
        }
        match (self.action, &self.field) {
            (Action::SetField | Action::RemoveField, None) => {
                complain("Field", "This action requires Field, the name of a member of the entities' fields.");
            }
            (Action::Delete, Some(_)) => complain("Field", "Delete takes no Field; it deletes whole entities."),
            _ => {}
        }
        match (self.action, &self.value) {
            (Action::SetField, None) => {
                complain("Value", "SetField requires a Value other than null; RemoveField removes a field.");
            }
            (Action::RemoveField | Action::Delete, Some(_)) => complain("Value", "Only SetField takes Value."),
            _ => {}
        }
        errors
    }

    /// How many entities there are to change; `None` if a search is asked for
    /// and there is no index.
    async fn count(&self, pool: &PgPool) -> sqlx::Result<Option<i64>> {
        let Some(query) = &self.query else {
            return sqlx::query_scalar(
                "SELECT count(*) FROM records.entity
                  WHERE ($1::uuid IS NULL OR project_id = $1) AND ($2::text IS NULL OR kind = $2)",
            )
            .bind(self.project_id)
            .bind(&self.kind)
            .fetch_one(pool)
            .await
            .map(Some);
        };
        let Some(found) = search::entities_query(pool, self.project_id).await? else { return Ok(None) };
        let sql = format!("SELECT count(*) FROM ({found}) AS found JOIN {FITTING} ON e.id = found.entity_id");
        self.bind(&sql, query).fetch_one(pool).await.map(Some)
    }

    fn bind<'q>(
        &'q self,
        sql: &str,
        query: &'q str,
    ) -> sqlx::query::QueryScalar<'q, sqlx::Postgres, i64, sqlx::postgres::PgArguments> {
        // Not kept as a prepared statement: the tables' names change with every Reindex.
        sqlx::query_scalar(AssertSqlSafe(sql.to_owned()))
            .bind(search::question(query))
            .bind(self.project_id)
            .bind(&self.kind)
            .persistent(false)
    }
}

/// Entities as they are now: what was indexed may have changed since.
const FITTING: &str = "(SELECT id FROM records.entity
                         WHERE ($2::uuid IS NULL OR project_id = $2) AND ($3::text IS NULL OR kind = $3)) AS e";

struct Run {
    parameters: BulkAction,
    context: RunContext,
    checkpoint: Checkpoint,
}

impl Run {
    async fn run(mut self) -> Result<Outcome, RunError> {
        self.begin().await?;
        self.context.progress().set_total(self.checkpoint.total);
        self.context.progress().set_processed(self.checkpoint.processed);
        self.context.progress().set_message(match self.parameters.action {
            Action::SetField => "Setting a field",
            Action::RemoveField => "Removing a field",
            Action::Delete => "Deleting entities",
        });
        while self.batch().await? {
            if self.context.cancellation().is_cancelled() {
                // Whoever stopped the worker wants the task to go on elsewhere.
                if self.context.stop_reason() == Some(StopReason::Cancelled) {
                    self.forget_found().await?;
                }
                return Ok(Outcome::Cancelled);
            }
        }
        self.forget_found().await?;
        let Checkpoint { processed, changed, .. } = self.checkpoint;
        self.context.progress().set_total(processed);
        self.context.progress().set_processed(processed);
        self.context.progress().set_message(format!("Changed {changed} of {processed} entities"));
        Outcome::with_result(Report { found: processed, changed })
    }

    /// Settles what a search finds, once.
    async fn begin(&mut self) -> Result<(), RunError> {
        let pool = self.context.pool().clone();
        let Some(query) = self.parameters.query.clone() else {
            if self.checkpoint.total == 0 {
                self.checkpoint.total = self.parameters.count(&pool).await?.unwrap_or(0);
            }
            return Ok(());
        };
        if self.checkpoint.searched {
            return Ok(());
        }
        self.context.progress().set_message("Searching");
        let Some(found) = search::entities_query(&pool, self.parameters.project_id).await? else {
            return Err(RunError::permanent(NOT_INDEXED, NOT_INDEXED_DETAIL));
        };
        let mut transaction = pool.begin().await?;
        forget_ended(&mut transaction).await?;
        let sql = format!(
            "WITH found AS (
                 INSERT INTO records.bulk_target (task_id, entity_id)
                 SELECT '{}', e.id FROM ({found}) AS found JOIN {FITTING} ON e.id = found.entity_id
                 ON CONFLICT DO NOTHING
                 RETURNING 1)
             SELECT count(*) FROM found",
            self.context.task_id()
        );
        let total = self.parameters.bind(&sql, &query).fetch_one(&mut *transaction).await?;
        let next = Checkpoint { searched: true, total, ..Checkpoint::default() };
        self.context.save_checkpoint_in(&mut transaction, &next).await?;
        transaction.commit().await?;
        self.checkpoint = next;
        Ok(())
    }

    /// `false` when there is no entity after the last one.
    async fn batch(&mut self) -> Result<bool, RunError> {
        let mut transaction = self.context.pool().begin().await?;
        search::tune(&mut transaction).await?;
        let ids = self.next_ids(&mut transaction).await?;
        let Some(last) = ids.last().copied() else { return Ok(false) };
        // In one order everywhere, so that two bulk actions can't lock each other out.
        sqlx::query("SELECT FROM records.entity WHERE id = ANY ($1) ORDER BY id FOR UPDATE")
            .bind(&ids)
            .execute(&mut *transaction)
            .await?;
        let (changed, whole) = self.act(&mut transaction, &ids).await?;
        let mut next = Checkpoint { changed: self.checkpoint.changed + changed, ..self.checkpoint.clone() };
        if whole {
            next.processed += i64::try_from(ids.len()).unwrap_or(0);
            next.last = last;
        }
        self.context.progress().set_processed(next.processed);
        self.context.save_checkpoint_in(&mut transaction, &next).await?;
        transaction.commit().await?;
        self.checkpoint = next;
        Ok(true)
    }

    async fn next_ids(&self, connection: &mut PgConnection) -> sqlx::Result<Vec<Uuid>> {
        let last = self.checkpoint.last;
        if self.parameters.query.is_some() {
            return sqlx::query_scalar(
                "SELECT entity_id FROM records.bulk_target WHERE task_id = $1 AND entity_id > $2
                  ORDER BY task_id, entity_id LIMIT $3",
            )
            .bind(self.context.task_id())
            .bind(last)
            .bind(BATCH)
            .fetch_all(connection)
            .await;
        }
        let sql = match self.parameters.project_id {
            Some(_) => {
                "SELECT id FROM records.entity
                  WHERE project_id = $1 AND id > $2 AND ($3::text IS NULL OR kind = $3)
                  ORDER BY project_id, id LIMIT $4"
            }
            None => {
                "SELECT id FROM records.entity
                  WHERE $1::uuid IS NULL AND id > $2 AND ($3::text IS NULL OR kind = $3)
                  ORDER BY id LIMIT $4"
            }
        };
        sqlx::query_scalar(sql)
            .bind(self.parameters.project_id)
            .bind(last)
            .bind(&self.parameters.kind)
            .bind(BATCH)
            .fetch_all(connection)
            .await
    }

    /// Returns how many entities changed, and whether all of the batch is done.
    async fn act(&self, connection: &mut PgConnection, ids: &[Uuid]) -> Result<(i64, bool), RunError> {
        let field = self.parameters.field.as_deref().unwrap_or_default();
        let done = match self.parameters.action {
            Action::Delete => {
                let deleted = delete_entities(connection, ids).await?;
                return Ok((deleted.entities, deleted.whole));
            }
            Action::SetField => {
                sqlx::query(
                    "UPDATE records.entity SET fields = fields || jsonb_build_object($2::text, $3::jsonb)
                      WHERE id = ANY ($1) AND fields -> $2 IS DISTINCT FROM $3::jsonb",
                )
                .bind(ids)
                .bind(field)
                .bind(&self.parameters.value)
                .execute(connection)
                .await?
            }
            Action::RemoveField => {
                sqlx::query("UPDATE records.entity SET fields = fields - $2::text WHERE id = ANY ($1) AND fields ? $2")
                    .bind(ids)
                    .bind(field)
                    .execute(connection)
                    .await?
            }
        };
        Ok((i64::try_from(done.rows_affected()).unwrap_or(i64::MAX), true))
    }

    async fn forget_found(&self) -> sqlx::Result<()> {
        if self.parameters.query.is_some() {
            sqlx::query("DELETE FROM records.bulk_target WHERE task_id = $1")
                .bind(self.context.task_id())
                .execute(self.context.pool())
                .await?;
        }
        Ok(())
    }
}

/// Deletes what tasks that failed or were lost have left.
async fn forget_ended(connection: &mut PgConnection) -> sqlx::Result<()> {
    sqlx::query(
        "DELETE FROM records.bulk_target
          WHERE task_id IN (SELECT left_by.task_id FROM (SELECT DISTINCT task_id FROM records.bulk_target) AS left_by
                             WHERE NOT EXISTS (SELECT FROM longhaul.tasks t
                                                WHERE t.id = left_by.task_id
                                                  AND t.state NOT IN ('Succeeded', 'Failed', 'Cancelled')))",
    )
    .execute(connection)
    .await?;
    Ok(())
}
