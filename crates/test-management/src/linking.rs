//! What the three tasks that link a ticket have in common.

use longhaul_model::{
    CreateContext, CreateError, Outcome, Plan, ProblemKind, Progress, Report, RunContext, RunError, Step,
};
use serde::{Deserialize, Serialize};
use sqlx::{AssertSqlSafe, PgConnection};
use uuid::Uuid;

use crate::external_system::{Wanted, find_ticket, trackers};
use crate::incident::{self, Target};
use crate::permission::EDIT_INCIDENTS;
use crate::problem::{
    ALREADY_LINKED, UNKNOWN_AGILE_RUN, UNKNOWN_AGILE_RUN_STEP, UNKNOWN_AUTOMATED_TEST_RUN, UNKNOWN_RESULT_NODE,
    UNKNOWN_STEP_RESULT,
};
use crate::refusal::Refusal;

/// The steps, the first two of which are done inside the POST (the seed: 2 of 3
/// when the task is accepted).
const PLAN: Plan = Plan::new(&[
    Step { name: "Finding ticket", weight: 1 },
    Step { name: "Checking links", weight: 1 },
    Step { name: "Creating link", weight: 1 },
]);

/// Steps that are over once the POST is answered.
const DONE_BY_CREATE: usize = 2;

/// A ticket that is to be linked.
pub(crate) struct Linking<'a> {
    pub(crate) target: Target,
    pub(crate) key: &'a str,
    pub(crate) external_system_link_id: Option<Uuid>,
}

/// Saved in the transaction that made the link, so that a second attempt does
/// not take its own link for another's.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Linked {
    pub(crate) incident_id: Uuid,
}

impl Linking<'_> {
    /// Inside the POST: everything that can be known now is checked now.
    pub(crate) async fn create(&self, context: &CreateContext) -> Result<Progress, CreateError> {
        context.require_somewhere(EDIT_INCIDENTS)?;
        let mut connection = context.pool.acquire().await?;
        let may = |project| context.may_in(EDIT_INCIDENTS, project);
        let project_id = known_target(&mut connection, self.target, Hold::No, may).await?;
        // No connection is held while trackers think.
        drop(connection);
        let (link, ticket) =
            find_ticket(&context.pool, trackers(&context.resources)?, &self.wanted(project_id)).await?;
        if incident::is_linked(&context.pool, self.target, &link, &ticket.id).await? {
            return Err(already_linked(&ticket.key, self.target).into());
        }
        Ok(PLAN.after(DONE_BY_CREATE))
    }

    /// In the worker: looks again and links, in one transaction.
    pub(crate) async fn run(self, context: RunContext) -> Result<Outcome, RunError> {
        if let Some(Linked { incident_id }) = context.checkpoint()? {
            return Ok(linked(incident_id));
        }
        begin(&context, &PLAN);
        let mut connection = context.pool().acquire().await?;
        let project_id = known_target(&mut connection, self.target, Hold::No, anywhere).await?;
        drop(connection);
        let wanted = self.wanted(project_id);
        let asked = find_ticket(context.pool(), trackers(context.resources())?, &wanted);
        let (link, ticket) = tokio::select! {
            found = asked => found?,
            () = context.cancellation().cancelled() => return Ok(Outcome::Cancelled),
        };
        context.progress().set_step(&PLAN, DONE_BY_CREATE);

        let mut transaction = context.pool().begin().await?;
        known_target(&mut transaction, self.target, Hold::Yes, anywhere).await?;
        let made = incident::create(&mut transaction, &link, &ticket).await?;
        let incident_id = match made {
            Some(id) => id,
            None => incident::of_ticket(&mut *transaction, &link, &ticket.id).await?.ok_or(sqlx::Error::RowNotFound)?,
        };
        if !incident::link_to(&mut transaction, self.target, incident_id).await? {
            return Err(already_linked(&ticket.key, self.target).into());
        }
        context.progress().set_step(&PLAN, 3);
        context.progress().set_message(format!("Linked {}", ticket.key));
        context.save_checkpoint_in(&mut transaction, &Linked { incident_id }).await?;
        transaction.commit().await?;
        tracing::info!(
            task = context.public_id(),
            %incident_id,
            ticket = ticket.key,
            new_incident = made.is_some(),
            "ticket linked"
        );
        Ok(linked(incident_id))
    }

    fn wanted(&self, project_id: Uuid) -> Wanted<'_> {
        Wanted { project_id, key: self.key, external_system_link_id: self.external_system_link_id }
    }
}

/// The first attempt goes on from what the POST has shown; later ones and those
/// that began with nothing start over.
pub(crate) fn begin(context: &RunContext, plan: &Plan) {
    if context.progress().get().total == 0 {
        context.progress().set_step(plan, 0);
    }
}

/// The end of a task that linked a ticket: the incident's id and its address.
pub(crate) fn linked(incident_id: Uuid) -> Outcome {
    Outcome::with_report(
        Report::new()
            .with_member("IncidentId", incident_id.to_string())
            .with_link("Incident", format!("/api/incident/{incident_id}")),
    )
}

fn already_linked(key: &str, target: Target) -> Refusal {
    Refusal::Impossible(ALREADY_LINKED, format!("The ticket {key} is already linked to that {}.", target.words()))
}

/// Whether a look at the target also keeps it there until the end of the
/// transaction.
#[derive(Clone, Copy)]
enum Hold {
    /// For the POST, which writes nothing, not even a lock.
    No,
    Yes,
}

/// The worker does what the POST was allowed to ask for.
fn anywhere(_project: Uuid) -> bool {
    true
}

/// The project of the target. Outside the projects where one `may`, there is none.
async fn known_target(
    connection: &mut PgConnection,
    target: Target,
    hold: Hold,
    may: impl Fn(Uuid) -> bool + Send,
) -> Result<Uuid, Refusal> {
    match target {
        Target::StepResult(id) => {
            let sql = "SELECT a.project_id
                         FROM records.step_result s JOIN records.script_assignment a ON a.id = s.script_assignment_id
                        WHERE s.id = $1";
            let of = match hold {
                Hold::No => "",
                Hold::Yes => " FOR KEY SHARE OF s",
            };
            let project_id: Option<Uuid> =
                sqlx::query_scalar(AssertSqlSafe(format!("{sql}{of}"))).bind(id).fetch_optional(connection).await?;
            known(project_id.filter(|id| may(*id)), UNKNOWN_STEP_RESULT, || {
                format!("There is no step result {id}; check StepResultId.")
            })
        }
        Target::AgileRunStep { agile_run_id, step_id } => {
            let project_id: Option<Uuid> = sqlx::query_scalar("SELECT project_id FROM records.agile_run WHERE id = $1")
                .bind(agile_run_id)
                .fetch_optional(&mut *connection)
                .await?;
            let project_id = known(project_id.filter(|id| may(*id)), UNKNOWN_AGILE_RUN, || {
                format!("There is no agile run {agile_run_id}; check AgileRunId.")
            })?;
            let sql = "SELECT id FROM records.agile_run_step WHERE agile_run_id = $1 AND id = $2";
            known(part(connection, sql, agile_run_id, step_id, hold).await?, UNKNOWN_AGILE_RUN_STEP, || {
                format!("The agile run {agile_run_id} has no step {step_id}; check StepId.")
            })?;
            Ok(project_id)
        }
        Target::ResultNode { automated_test_run_id: run_id, result_node_id: node_id } => {
            let project_id: Option<Uuid> =
                sqlx::query_scalar("SELECT project_id FROM records.automated_test_run WHERE id = $1")
                    .bind(run_id)
                    .fetch_optional(&mut *connection)
                    .await?;
            let project_id = known(project_id.filter(|id| may(*id)), UNKNOWN_AUTOMATED_TEST_RUN, || {
                format!("There is no automated test run {run_id}; check AutomatedTestRunId.")
            })?;
            let sql = "SELECT id FROM records.result_node WHERE automated_test_run_id = $1 AND id = $2";
            known(part(connection, sql, run_id, node_id, hold).await?, UNKNOWN_RESULT_NODE, || {
                format!("The automated test run {run_id} has no result node {node_id}; check ResultNodeId.")
            })?;
            Ok(project_id)
        }
    }
}

/// The part of a run with this id, if it is one.
async fn part(
    connection: &mut PgConnection,
    sql: &'static str,
    run_id: Uuid,
    part_id: Uuid,
    hold: Hold,
) -> sqlx::Result<Option<Uuid>> {
    let lock = match hold {
        Hold::No => "",
        Hold::Yes => " FOR KEY SHARE",
    };
    let sql = AssertSqlSafe(format!("{sql}{lock}"));
    sqlx::query_scalar(sql).bind(run_id).bind(part_id).fetch_optional(connection).await
}

fn known(id: Option<Uuid>, kind: ProblemKind, detail: impl FnOnce() -> String) -> Result<Uuid, Refusal> {
    id.ok_or_else(|| Refusal::Impossible(kind, detail()))
}
