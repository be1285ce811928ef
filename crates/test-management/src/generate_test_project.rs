//! `GenerateTestProject`: makes a project of any size with readable text.

use longhaul_model::schemars::JsonSchema;
use longhaul_model::{CreateContext, CreateError, Outcome, ProblemKind, Progress, RunContext, RunError, TaskType};
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::permission::CREATE_PROJECTS;
use crate::problem::{PROJECT_EXISTS, UNKNOWN_PROJECT};
use crate::search;
use crate::synthetic::Synthetic;

/// Creates a project with entities of several kinds, readable random text and relationships, to
/// test indexing, searches and performance.
///
/// The same parameters create the same texts and relationships. Entities are written in batches,
/// each in one transaction with its checkpoint. A cancelled task leaves the entities that it has
/// created.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
#[schemars(crate = "longhaul_model::schemars")]
pub struct GenerateTestProject {
    /// The new project's guid. Default: the task's guid.
    #[serde(default)]
    pub project_id: Option<Uuid>,
    /// The new project's name. Default: a name with its size and seed.
    #[serde(default)]
    #[schemars(length(min = 1, max = 200))]
    pub name: Option<String>,
    /// Number of entities.
    #[serde(default = "default_entities")]
    #[schemars(range(min = 1, max = 10_000_000))]
    pub entities: i64,
    /// Number of earlier entities that each entity is related to.
    #[serde(default = "default_relationships")]
    #[schemars(range(min = 0, max = 20))]
    pub relationships_per_entity: u8,
    /// The seed of texts and relationships.
    #[serde(default)]
    #[schemars(range(min = 0, max = 4_294_967_295_u32))]
    pub seed: u32,
}

fn default_entities() -> i64 {
    1_000
}

fn default_relationships() -> u8 {
    1
}

/// Entities in one transaction.
const BATCH: i64 = 5_000;

/// Where to go on.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Checkpoint {
    entities: i64,
    relationships: i64,
}

/// The result.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Report {
    project_id: Uuid,
    entities: i64,
    relationships: i64,
}

impl TaskType for GenerateTestProject {
    const NAME: &'static str = "GenerateTestProject";
    const ID_PREFIX: &'static str = "generatetestproject_";
    const PROBLEMS: &'static [ProblemKind] = &[PROJECT_EXISTS];

    async fn create(&self, context: &CreateContext) -> Result<Progress, CreateError> {
        context.require(CREATE_PROJECTS)?;
        if let Some(project_id) = self.project_id {
            let taken: bool = sqlx::query_scalar("SELECT EXISTS (SELECT FROM records.project WHERE id = $1)")
                .bind(project_id)
                .fetch_one(&context.pool)
                .await?;
            if taken {
                return Err(CreateError::Impossible { kind: PROJECT_EXISTS, detail: taken_detail(project_id) });
            }
        }
        Ok(Progress::of(0, self.entities).with_message("Waiting to generate the project"))
    }

    async fn run(self, context: RunContext) -> Result<Outcome, RunError> {
        let project_id = self.project_id.unwrap_or_else(|| context.task_id());
        let checkpoint = match context.checkpoint()? {
            Some(checkpoint) => checkpoint,
            None => self.begin(&context, project_id).await?,
        };
        let synthetic = Synthetic::new(project_id, self.seed, self.relationships_per_entity);
        Run { parameters: self, project_id, synthetic, context, checkpoint }.run().await
    }
}

fn taken_detail(project_id: Uuid) -> String {
    format!("The project {project_id} already exists; choose another ProjectId, or omit it.")
}

impl GenerateTestProject {
    /// Makes the empty project.
    async fn begin(&self, context: &RunContext, project_id: Uuid) -> Result<Checkpoint, RunError> {
        let name =
            self.name.clone().unwrap_or_else(|| format!("Test project of {} (seed {})", self.entities, self.seed));
        let mut transaction = context.pool().begin().await?;
        let made = sqlx::query("INSERT INTO records.project (id, name) VALUES ($1, $2) ON CONFLICT DO NOTHING")
            .bind(project_id)
            .bind(name)
            .execute(&mut *transaction)
            .await?;
        if made.rows_affected() == 0 {
            return Err(RunError::permanent(PROJECT_EXISTS, taken_detail(project_id)));
        }
        let checkpoint = Checkpoint::default();
        context.save_checkpoint_in(&mut transaction, &checkpoint).await?;
        transaction.commit().await?;
        Ok(checkpoint)
    }
}

struct Run {
    parameters: GenerateTestProject,
    project_id: Uuid,
    synthetic: Synthetic,
    context: RunContext,
    checkpoint: Checkpoint,
}

impl Run {
    async fn run(mut self) -> Result<Outcome, RunError> {
        let total = self.parameters.entities;
        self.context.progress().set_total(total);
        self.context.progress().set_processed(self.checkpoint.entities);
        self.context.progress().set_message("Generating entities");
        while self.checkpoint.entities < total {
            if self.context.cancellation().is_cancelled() {
                return Ok(Outcome::Cancelled);
            }
            self.batch().await?;
        }
        self.context.progress().set_message("Gathering statistics");
        sqlx::query("SELECT records.analyze_entities()").execute(self.context.pool()).await?;
        let Checkpoint { entities, relationships } = self.checkpoint;
        self.context.progress().set_message(format!("Generated {entities} entities and {relationships} relationships"));
        Outcome::with_result(Report { project_id: self.project_id, entities, relationships })
    }

    async fn batch(&mut self) -> Result<(), RunError> {
        let first = self.checkpoint.entities + 1;
        let last = (self.checkpoint.entities + BATCH).min(self.parameters.entities);
        let mut rows = self.synthetic.batch();
        for number in first..=last {
            rows.add(number);
        }
        let mut transaction = self.context.pool().begin().await?;
        // If a batch is lost in a crash of the server, so is its checkpoint.
        search::tune(&mut transaction).await?;
        let project: Option<Uuid> = sqlx::query_scalar("SELECT id FROM records.project WHERE id = $1 FOR KEY SHARE")
            .bind(self.project_id)
            .fetch_optional(&mut *transaction)
            .await?;
        if project.is_none() {
            let detail = format!("The project {} was deleted while it was being generated.", self.project_id);
            return Err(RunError::permanent(UNKNOWN_PROJECT, detail));
        }
        let next = Checkpoint { entities: last, relationships: self.checkpoint.relationships + rows.relationships };
        copy(
            &mut transaction,
            "COPY records.entity (id, project_id, kind, key, name, fields) FROM STDIN",
            rows.entity_rows,
        )
        .await?;
        copy(
            &mut transaction,
            "COPY records.relationship (source_id, target_id, kind) FROM STDIN",
            rows.relationship_rows,
        )
        .await?;
        self.context.progress().set_processed(next.entities);
        self.context.save_checkpoint_in(&mut transaction, &next).await?;
        transaction.commit().await?;
        self.checkpoint = next;
        Ok(())
    }
}

/// Rows in COPY's text format (PostgreSQL manual, COPY).
async fn copy(connection: &mut PgConnection, sql: &str, rows: String) -> sqlx::Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    let mut copy = connection.copy_in_raw(sql).await?;
    copy.send(rows.into_bytes()).await?;
    copy.finish().await?;
    Ok(())
}
