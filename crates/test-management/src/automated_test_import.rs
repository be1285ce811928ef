//! `AutomatedTestImport`: makes an automated test run of a JUnit XML report.

use longhaul_model::schemars::JsonSchema;
use longhaul_model::{
    CreateContext, CreateError, FileKind, Outcome, ParameterError, ProblemKind, Progress, Report as BodyReport,
    RunContext, RunError, TaskType,
};
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use uuid::Uuid;

use crate::junit::Report;
use crate::permission::{EDIT_AUTOMATED_TESTS, MANAGE_UPLOADS};
use crate::problem::{INVALID_JUNIT, UNKNOWN_PROJECT, UNKNOWN_UPLOAD};
use crate::refusal::Refusal;
use crate::result_node::{Node, NodeStatus, insert_nodes};
use crate::xml_text::{XmlText, read_xml};

/// Creates an automated test run, with the tree of its suites and cases, from a JUnit XML report:
/// an uploaded file or inline text. Elements are bytes of the report.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
#[schemars(crate = "longhaul_model::schemars")]
pub struct AutomatedTestImport {
    /// The project that the run belongs to.
    pub project_id: Uuid,
    /// The run's name. Default: the name in the report.
    #[serde(default)]
    #[schemars(length(min = 1, max = 500))]
    pub name: Option<String>,
    /// A file from `POST /api/upload`. Either this or `Content`.
    #[serde(default)]
    pub upload_id: Option<Uuid>,
    /// The report itself, for small reports (a request body may have at most 1 MiB).
    #[serde(default)]
    pub content: Option<String>,
}

/// Nodes that go to the database in one statement.
const NODES_AT_ONCE: usize = 1_000;
const READING: &str = "Reading report";

/// Saved in the transaction that made the run.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Imported {
    automated_test_run_id: Uuid,
    suites: i64,
    cases: i64,
    passed: i64,
    failed: i64,
    errors: i64,
    skipped: i64,
    /// What of the report was not understood, in sentences.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    not_understood: Vec<String>,
}

impl TaskType for AutomatedTestImport {
    const NAME: &'static str = "AutomatedTestImport";
    const ID_PREFIX: &'static str = "automatedtestimport_";
    const PROBLEMS: &'static [ProblemKind] = &[UNKNOWN_PROJECT, UNKNOWN_UPLOAD, INVALID_JUNIT];

    async fn create(&self, context: &CreateContext) -> Result<Progress, CreateError> {
        context.require_in(EDIT_AUTOMATED_TESTS, self.project_id)?;
        if self.upload_id.is_some() == self.content.is_some() {
            return Err(CreateError::Invalid(vec![ParameterError {
                pointer: "/Parameters/UploadId".to_owned(),
                message: "Exactly one of UploadId and Content is required.".to_owned(),
            }]));
        }
        known_project(&context.pool, self.project_id).await?;
        Ok(Progress::of(0, self.bytes(context).await?).with_message(READING))
    }

    async fn run(self, context: RunContext) -> Result<Outcome, RunError> {
        if let Some(imported) = context.checkpoint::<Imported>()? {
            return done(&imported);
        }
        known_project(context.pool(), self.project_id).await?;
        let xml = self.text(&context).await?;
        context.progress().set_total(i64::try_from(xml.text.len()).unwrap_or(i64::MAX));
        context.progress().set_message(READING);

        let run_id = Uuid::now_v7();
        let mut imported = Imported { automated_test_run_id: run_id, ..Imported::default() };
        let mut report = Report::of(&xml);
        let mut transaction = context.pool().begin().await?;
        sqlx::query("INSERT INTO records.automated_test_run (id, project_id, name) VALUES ($1, $2, $3)")
            .bind(run_id)
            .bind(self.project_id)
            .bind(self.name.as_deref().unwrap_or("JUnit report"))
            .execute(&mut *transaction)
            .await?;
        let mut nodes = Vec::with_capacity(NODES_AT_ONCE);
        loop {
            if context.cancellation().is_cancelled() {
                return Ok(Outcome::Cancelled);
            }
            let more = read_batch(&mut report, &mut nodes)?;
            nodes.iter().for_each(|node| imported.count(node));
            insert_nodes(&mut transaction, run_id, &nodes).await?;
            nodes.clear();
            context.progress().set_processed(i64::try_from(report.bytes_read()).unwrap_or(i64::MAX));
            context.progress().set_message(format!("Imported {} cases", imported.cases));
            if !more {
                break;
            }
        }
        if let (None, Some(name)) = (&self.name, &report.name) {
            sqlx::query("UPDATE records.automated_test_run SET name = $2 WHERE id = $1")
                .bind(run_id)
                .bind(name)
                .execute(&mut *transaction)
                .await?;
        }
        imported.not_understood = report.notes.sentences();
        context.progress().set_processed(i64::MAX);
        context.save_checkpoint_in(&mut transaction, &imported).await?;
        transaction.commit().await?;
        let Imported { suites, cases, passed, failed, errors, skipped, .. } = imported;
        context.log().info(format_args!(
            "{cases} cases in {suites} suites: {passed} passed, {failed} failed, {errors} errors, {skipped} skipped."
        ));
        for sentence in &imported.not_understood {
            context.log().warn(sentence);
        }
        done(&imported)
    }
}

impl AutomatedTestImport {
    /// Of what someone else uploaded it is not told that it is there.
    async fn bytes(&self, context: &CreateContext) -> Result<i64, Refusal> {
        if let Some(content) = &self.content {
            return Ok(i64::try_from(content.len()).unwrap_or(i64::MAX));
        }
        let of_others = context.require(MANAGE_UPLOADS).is_ok();
        let maker = context.created_by().filter(|_| !of_others);
        let bytes = "SELECT length(content)::bigint FROM records.upload WHERE id = $1 AND ($2::text IS NULL OR created_by = $2)";
        sqlx::query_scalar(bytes)
            .bind(self.upload_id)
            .bind(maker)
            .fetch_optional(&context.pool)
            .await?
            .ok_or_else(|| unknown_upload(self.upload_id))
    }

    /// For a task that came from SQL no `create` step has asked whose file it is. A database
    /// role has none: such a task reads files that nobody said whose they are.
    async fn text(&self, context: &RunContext) -> Result<XmlText, RunError> {
        if let Some(content) = &self.content {
            // A text already, whatever it declares.
            must_be_xml(content.as_bytes())?;
            return Ok(XmlText { text: content.clone(), replaced_in: None });
        }
        let from_sql = context.created_by().await?.filter(|made_by| made_by.starts_with("sql:"));
        let content: Option<Vec<u8>> = sqlx::query_scalar(
            "SELECT content FROM records.upload WHERE id = $1 AND ($2::text IS NULL OR created_by IS NULL)",
        )
        .bind(self.upload_id)
        .bind(from_sql)
        .fetch_optional(context.pool())
        .await?;
        let content = content.ok_or_else(|| unknown_upload(self.upload_id))?;
        must_be_xml(&content)?;
        read_xml(content)
            .map_err(|error| Refusal::Impossible(INVALID_JUNIT, format!("The report can't be read: {error}.")).into())
    }
}

/// Calls a file what it is that is something else for certain.
fn must_be_xml(content: &[u8]) -> Result<(), Refusal> {
    match FileKind::of(content) {
        FileKind::Xml | FileKind::Utf16 | FileKind::Csv | FileKind::Text => Ok(()),
        kind => Err(no_report(kind)),
    }
}

fn no_report(kind: FileKind) -> Refusal {
    Refusal::Impossible(INVALID_JUNIT, format!("The file is {kind}, not a JUnit report in XML."))
}

impl Imported {
    fn count(&mut self, node: &Node) {
        let Some(status) = node.status else {
            self.suites += 1;
            return;
        };
        self.cases += 1;
        *match status {
            NodeStatus::Passed => &mut self.passed,
            NodeStatus::Failed => &mut self.failed,
            NodeStatus::Error => &mut self.errors,
            NodeStatus::Skipped => &mut self.skipped,
        } += 1;
    }
}

/// Whether there may be more.
fn read_batch(report: &mut Report<'_>, nodes: &mut Vec<Node>) -> Result<bool, Refusal> {
    while nodes.len() < NODES_AT_ONCE {
        match report.next() {
            Ok(Some(node)) => nodes.push(node),
            Ok(None) => return Ok(false),
            Err(error) => {
                // A table or a text has no element that could be wrong.
                let kind = FileKind::of(report.text().as_bytes());
                if !report.has_begun() && kind != FileKind::Xml {
                    return Err(no_report(kind));
                }
                return Err(Refusal::Impossible(INVALID_JUNIT, format!("The report has an error {error}.")));
            }
        }
    }
    Ok(true)
}

async fn known_project(pool: &PgPool, id: Uuid) -> Result<(), Refusal> {
    let known: bool = sqlx::query_scalar("SELECT EXISTS (SELECT FROM records.project WHERE id = $1)")
        .bind(id)
        .fetch_one(pool)
        .await?;
    if known {
        return Ok(());
    }
    Err(Refusal::Impossible(UNKNOWN_PROJECT, format!("There is no project {id}; check ProjectId.")))
}

fn unknown_upload(id: Option<Uuid>) -> Refusal {
    let detail = format!("There is no upload {}; check UploadId.", id.unwrap_or_default());
    Refusal::Unseen(UNKNOWN_UPLOAD, detail)
}

fn done(imported: &Imported) -> Result<Outcome, RunError> {
    let id = imported.automated_test_run_id;
    let report = BodyReport::new()
        .with_result(imported)?
        .with_member("AutomatedTestRunId", id.to_string())
        .with_link("AutomatedTestRun", format!("/api/automatedtestrun/{id}"));
    Ok(Outcome::with_report(report))
}
