//! `Reindex`: rebuilds the search index of one project or all.

use longhaul_model::schemars::JsonSchema;
use longhaul_model::store::failure::{is_refusal, sqlstate};
use longhaul_model::{
    CreateContext, CreateError, Outcome, ProblemKind, Progress, RunContext, RunError, StopReason, TaskType, counted,
};
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use uuid::Uuid;

use crate::permission::REINDEX;
use crate::problem::UNKNOWN_PROJECT;
use crate::search::{self, Build, Compacted, Swapped};

/// Rebuilds the search index of one project or of all projects.
///
/// Processes entities in the order of their ids, in batches. Every batch and its checkpoint are one
/// transaction, so that no batch is done twice. The new index is built beside the current one and
/// replaces it atomically.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
#[schemars(crate = "longhaul_model::schemars", example = serde_json::json!({"Optimize": true, "ProjectId": "c651ed19-5375-475a-a539-9f6401467130"}), example = serde_json::json!({"Optimize": false, "SkipRelationships": true}))]
pub struct Reindex {
    /// The project. Default: all projects.
    #[serde(default)]
    pub project_id: Option<Uuid>,
    /// Compact the new index before it is used.
    #[serde(default)]
    pub optimize: bool,
    /// Leave out the names of related entities.
    #[serde(default)]
    pub skip_relationships: bool,
}

/// Entities in one transaction: about 80 ms of work, so that cancelling is
/// prompt; larger batches are no faster (docs/adr/0003).
const BATCH: i64 = 2_000;

/// What the `202` says (the seed's example).
const QUEUED: &str = "Queuing index events";

/// Queuing is an element of its own, as the seed's example shows it (1 of 10
/// done when the task is accepted); every entity is another.
const QUEUING: i64 = 1;

/// Entities that the database may refuse in one Reindex. More of them are no accident of some
/// texts, and the index in use is better than one without them.
const MOST_SKIPPED: i64 = 100;

/// Where to go on.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Checkpoint {
    /// Entities of the projects that are done.
    processed: i64,
    /// Those of them that the database refused.
    #[serde(default)]
    skipped: i64,
    /// Of several projects, the last one that is done.
    last_project: Option<Uuid>,
    /// The project at work. Workers of earlier releases read words in another way: they must
    /// not go on with this build, nor this release with theirs, so the member has a new name.
    #[serde(rename = "building")]
    current: Option<Current>,
    /// The project at work of a worker of an earlier release, whose entities are in `processed`.
    #[serde(rename = "current", default, skip_serializing)]
    former: Option<Current>,
    bytes_before: i64,
    bytes_after: i64,
    projects: i64,
}

impl Checkpoint {
    /// Entities done in all.
    fn done(&self) -> i64 {
        self.processed + self.current.as_ref().map_or(0, |current| current.documents + current.skipped)
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Current {
    project_id: Uuid,
    index_id: i64,
    documents: i64,
    /// Entities that the database refused.
    #[serde(default)]
    skipped: i64,
    /// The last entity that is done.
    last: Uuid,
}

/// The result of a Reindex.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Report {
    projects: i64,
    documents: i64,
    /// Entities that the database refused; the task's log names them.
    #[serde(skip_serializing_if = "Option::is_none")]
    skipped: Option<i64>,
    /// Sizes of the new indexes before and after compaction, if asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes_before_optimize: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes_after_optimize: Option<i64>,
}

impl TaskType for Reindex {
    const NAME: &'static str = "Reindex";
    const ID_PREFIX: &'static str = "reindex-";
    const PROBLEMS: &'static [ProblemKind] = &[UNKNOWN_PROJECT];

    fn key(&self) -> Option<String> {
        self.project_id.map(|project| project.to_string())
    }

    async fn create(&self, context: &CreateContext) -> Result<Progress, CreateError> {
        context.require_for(REINDEX, self.project_id)?;
        if let Some(project_id) = self.project_id
            && !project_exists(&context.pool, project_id).await?
        {
            return Err(CreateError::Impossible {
                kind: UNKNOWN_PROJECT,
                detail: format!(
                    "There is no project {project_id}; check ProjectId, or omit it to re-index all projects."
                ),
            });
        }
        let entities = count_entities(&context.pool, self.project_id).await?;
        Ok(Progress::of(QUEUING, QUEUING + entities).with_message(QUEUED))
    }

    async fn run(self, context: RunContext) -> Result<Outcome, RunError> {
        let checkpoint: Checkpoint = context.checkpoint()?.unwrap_or_default();
        Run { parameters: self, context, checkpoint }.run().await
    }
}

struct Run {
    parameters: Reindex,
    context: RunContext,
    checkpoint: Checkpoint,
}

/// How a part of the run ended.
enum Step {
    Done,
    Stopped,
}

impl Run {
    async fn run(mut self) -> Result<Outcome, RunError> {
        let pool = self.context.pool().clone();
        let total = QUEUING + count_entities(&pool, self.parameters.project_id).await?;
        self.forget_former();
        self.context.progress().set_total(total.max(QUEUING + self.checkpoint.done()));
        self.context.progress().set_processed(QUEUING + self.checkpoint.done());
        while let Some((project_id, name)) = self.next_project().await? {
            if let Step::Stopped = self.project(project_id, &name).await? {
                return Ok(Outcome::Cancelled);
            }
        }
        search::drop_unused(&pool).await?;
        // What came or went meanwhile: the end says what was really done.
        self.context.progress().set_total(QUEUING + self.checkpoint.processed);
        self.context.progress().set_processed(QUEUING + self.checkpoint.processed);
        let Checkpoint { processed, skipped, projects, .. } = self.checkpoint;
        self.context.progress().set_message(format!(
            "Indexed {} in {}",
            counted(processed - skipped, "entity"),
            counted(projects, "project")
        ));
        Outcome::with_result(Report {
            projects,
            documents: processed - skipped,
            skipped: (skipped > 0).then_some(skipped),
            bytes_before_optimize: self.parameters.optimize.then_some(self.checkpoint.bytes_before),
            bytes_after_optimize: self.parameters.optimize.then_some(self.checkpoint.bytes_after),
        })
    }

    fn forget_former(&mut self) {
        if let Some(former) = self.checkpoint.former.take() {
            self.context.log().warn("A worker of an earlier release began this index; it is rebuilt by this release.");
            self.checkpoint.processed -= former.documents;
        }
    }

    /// The project at work, else the next one in the order of ids.
    async fn next_project(&self) -> sqlx::Result<Option<(Uuid, String)>> {
        let wanted = self.checkpoint.current.as_ref().map(|current| current.project_id).or(self.parameters.project_id);
        if self.checkpoint.current.is_none() && self.parameters.project_id.is_some() && self.checkpoint.projects > 0 {
            return Ok(None);
        }
        sqlx::query_as(
            "SELECT id, name FROM records.project
              WHERE ($1::uuid IS NULL OR id = $1) AND ($2::uuid IS NULL OR id > $2)
              ORDER BY id LIMIT 1",
        )
        .bind(wanted)
        .bind(self.checkpoint.last_project)
        .fetch_optional(self.context.pool())
        .await
    }

    async fn project(&mut self, project_id: Uuid, name: &str) -> Result<Step, RunError> {
        let build = self.begin_or_go_on(project_id).await?;
        if let Step::Stopped = self.fill(build, name).await? {
            // Whoever stopped the worker wants the task to go on elsewhere.
            if self.context.stop_reason() == Some(StopReason::Cancelled) {
                search::discard(self.context.pool(), build).await?;
            }
            return Ok(Step::Stopped);
        }
        let pool = self.context.pool().clone();
        self.context.progress().set_message(format!("Finishing the index of {name}"));
        search::settle(&pool, build).await?;
        if self.parameters.optimize {
            self.context.progress().set_message(format!("Optimizing the index of {name}"));
            let Compacted { bytes_before, bytes_after } = search::compact(&pool, build).await?;
            self.checkpoint.bytes_before += bytes_before;
            self.checkpoint.bytes_after += bytes_after;
        }
        self.put_in_use(build).await?;
        Ok(Step::Done)
    }

    async fn begin_or_go_on(&mut self, project_id: Uuid) -> Result<Build, RunError> {
        if let Some(current) = &self.checkpoint.current {
            let build = Build { index_id: current.index_id, project_id };
            if search::exists(self.context.pool(), build).await? {
                return Ok(build);
            }
            tracing::warn!(
                task = self.context.public_id(),
                index_id = build.index_id,
                "the unfinished index is gone; rebuilding it"
            );
            self.context.log().warn("The unfinished index of an earlier attempt is gone; it is rebuilt.");
            self.checkpoint.current = None;
        }
        let mut transaction = self.context.pool().begin().await?;
        let build = search::begin(&mut transaction, project_id, self.context.task_id()).await?;
        let mut next = self.checkpoint.clone();
        next.current =
            Some(Current { project_id, index_id: build.index_id, documents: 0, skipped: 0, last: Uuid::nil() });
        self.context.save_checkpoint_in(&mut transaction, &next).await?;
        transaction.commit().await?;
        self.checkpoint = next;
        Ok(build)
    }

    async fn fill(&mut self, build: Build, name: &str) -> Result<Step, RunError> {
        self.context.progress().set_message(format!("Indexing {name}"));
        // Fewer while documents are long, or while one is looked for that the database refuses.
        let mut limit = BATCH / 8;
        loop {
            if self.context.cancellation().is_cancelled() {
                return Ok(Step::Stopped);
            }
            let Some(current) = self.checkpoint.current.clone() else { return Ok(Step::Done) };
            let mut transaction = self.context.pool().begin().await?;
            search::tune(&mut transaction).await?;
            let with_relationships = !self.parameters.skip_relationships;
            let batch = match search::add_batch(&mut transaction, build, current.last, limit, with_relationships).await
            {
                Ok(batch) => batch,
                Err(error) if may_be_one_entity(&error) => {
                    transaction.rollback().await?;
                    if limit > 1 {
                        limit = (limit / 8).max(1);
                    } else {
                        self.skip(build, current, error).await?;
                    }
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            let Some(last) = batch.last else { return Ok(Step::Done) };
            limit = if batch.documents < limit { batch.documents } else { limit }.saturating_mul(2).min(BATCH);
            let next = Checkpoint {
                current: Some(Current { documents: current.documents + batch.documents, last, ..current }),
                ..self.checkpoint.clone()
            };
            self.context.progress().set_processed(QUEUING + next.done());
            self.context.save_checkpoint_in(&mut transaction, &next).await?;
            transaction.commit().await?;
            for entity in batch.cut {
                self.context.log().warn(format_args!(
                    "{entity} has more text than can be indexed; searches do not find words near its end."
                ));
            }
            tracing::debug!(task = self.context.public_id(), attempt = self.context.attempt(), %last, documents = batch.documents, "batch indexed");
            self.checkpoint = next;
        }
    }

    /// Passes over the next entity, which the database refuses.
    async fn skip(&mut self, build: Build, current: Current, error: sqlx::Error) -> Result<(), RunError> {
        let mut transaction = self.context.pool().begin().await?;
        let Some((last, entity)) = search::next_entity(&mut transaction, build, current.last).await? else {
            return Err(error.into());
        };
        self.context.log().error(format_args!("{entity} can't be indexed, and searches do not find it: {error}"));
        if self.checkpoint.skipped + current.skipped == MOST_SKIPPED {
            return Err(error.into());
        }
        let next = Checkpoint {
            current: Some(Current { skipped: current.skipped + 1, last, ..current }),
            ..self.checkpoint.clone()
        };
        self.context.progress().set_processed(QUEUING + next.done());
        self.context.save_checkpoint_in(&mut transaction, &next).await?;
        transaction.commit().await?;
        self.checkpoint = next;
        Ok(())
    }

    async fn put_in_use(&mut self, build: Build) -> Result<(), RunError> {
        let (documents, skipped) =
            self.checkpoint.current.as_ref().map_or((0, 0), |current| (current.documents, current.skipped));
        let next = Checkpoint {
            processed: self.checkpoint.processed + documents + skipped,
            skipped: self.checkpoint.skipped + skipped,
            last_project: Some(build.project_id),
            current: None,
            projects: self.checkpoint.projects + 1,
            ..self.checkpoint.clone()
        };
        let mut transaction = self.context.pool().begin().await?;
        let swapped = search::swap(&mut transaction, build, documents).await?;
        self.context.save_checkpoint_in(&mut transaction, &next).await?;
        transaction.commit().await?;
        self.checkpoint = next;
        match swapped {
            Swapped::InUse { replaced: Some(old) } => tracing::debug!(old, new = build.index_id, "index replaced"),
            Swapped::InUse { replaced: None } => {}
            Swapped::Overtaken => {
                tracing::info!(index_id = build.index_id, "a Reindex that began later has already replaced the index");
                self.context
                    .log()
                    .info("A Reindex that began later has already replaced the index; this one was dropped.");
                search::discard(self.context.pool(), build).await?;
            }
            Swapped::NoProject => {
                self.context.log().warn(format_args!("The project {} was deleted in the meantime.", build.project_id));
                search::discard(self.context.pool(), build).await?;
            }
        }
        Ok(())
    }
}

/// Whether the database may have refused the values of one entity. What is too large for one
/// value, as a text beyond 1 GB, is an internal error to PostgreSQL (XX000).
fn may_be_one_entity(error: &sqlx::Error) -> bool {
    is_refusal(error) || sqlstate(error).is_some_and(|code| code == "XX000")
}

async fn project_exists(pool: &PgPool, project_id: Uuid) -> sqlx::Result<bool> {
    sqlx::query_scalar("SELECT EXISTS (SELECT FROM records.project WHERE id = $1)")
        .bind(project_id)
        .fetch_one(pool)
        .await
}

async fn count_entities(pool: &PgPool, project_id: Option<Uuid>) -> sqlx::Result<i64> {
    sqlx::query_scalar("SELECT count(*) FROM records.entity WHERE $1::uuid IS NULL OR project_id = $1")
        .bind(project_id)
        .fetch_one(pool)
        .await
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Checkpoint, Current};

    #[test]
    fn a_build_of_an_earlier_release_is_known_and_one_of_this_is_unknown_to_it() {
        let id = "11111111-1111-4111-8111-111111111111";
        let building = json!({"project_id": id, "index_id": 7, "documents": 40, "last": id});
        let former = json!({"processed": 100, "last_project": null, "current": building, "bytes_before": 0,
                            "bytes_after": 0, "projects": 1});
        let read: Checkpoint = serde_json::from_value(former).expect("a checkpoint");
        assert_eq!((read.done(), read.current), (100, None));
        assert_eq!(read.former.map(|former| former.documents), Some(40));

        let current: Current = serde_json::from_value(building).expect("a build");
        let written = Checkpoint { processed: 60, current: Some(current), ..Checkpoint::default() };
        assert_eq!(written.done(), 100);
        let written = serde_json::to_value(written).expect("JSON");
        assert_eq!((&written["processed"], written.get("current")), (&json!(60), None));
    }
}
