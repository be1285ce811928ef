//! `SyncIncidents`: refreshes incidents from their tickets.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::time::Duration;

use futures_util::future::join_all;
use longhaul_model::chrono::{DateTime, Utc};
use longhaul_model::schemars::JsonSchema;
use longhaul_model::{
    CreateContext, CreateError, Outcome, ProblemKind, Progress, RunContext, RunError, TaskType, counted,
};
use serde::{Deserialize, Serialize};
use sqlx::{FromRow, PgConnection, PgPool};
use uuid::Uuid;

use crate::external_system::{ExternalSystemLink, link, trackers};
use crate::incident::ticket_fields;
use crate::permission::EDIT_INCIDENTS;
use crate::problem::{TRACKER_UNAVAILABLE, UNKNOWN_EXTERNAL_SYSTEM_LINK, UNKNOWN_PROJECT};
use crate::refusal::Refusal;
use crate::trackers::{Found, Ticket, TrackerError, Trackers};

/// Refreshes incidents from their tickets: key, name and the field `Ticket`. All other fields stay
/// unchanged. If the tracker no longer has a ticket, its incident gets `VanishedAt`; nothing is
/// deleted.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
#[schemars(crate = "longhaul_model::schemars")]
pub struct SyncIncidents {
    /// The project. Default: all projects.
    #[serde(default)]
    pub project_id: Option<Uuid>,
    /// Only incidents of this connection.
    #[serde(default)]
    pub external_system_link_id: Option<Uuid>,
}

/// Incidents in one transaction.
const BATCH: i64 = 50;

/// Where to go on.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Checkpoint {
    /// When the first attempt began, by the database's clock: what has been
    /// synchronized since is done.
    began_at: Option<DateTime<Utc>>,
    /// The last incident that was looked at.
    last: Uuid,
    processed: i64,
    changed: i64,
    vanished: i64,
    /// Connections whose tracker did not say, with the reason. Their incidents
    /// are left out for the rest of the walk, so that one dead tracker does not
    /// hold up the others; the next attempt tries them again.
    failed: HashMap<Uuid, String>,
    /// The longest that one of these wants to be left alone.
    #[serde(default)]
    retry_after: Option<Duration>,
}

/// The result.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Report {
    incidents: i64,
    changed: i64,
    vanished: i64,
}

#[derive(Debug, FromRow)]
struct Row {
    id: Uuid,
    external_system_link_id: Uuid,
    ticket_id: String,
}

impl TaskType for SyncIncidents {
    const NAME: &'static str = "SyncIncidents";
    const ID_PREFIX: &'static str = "syncincidents_";
    const PROBLEMS: &'static [ProblemKind] = &[UNKNOWN_PROJECT, UNKNOWN_EXTERNAL_SYSTEM_LINK];

    async fn create(&self, context: &CreateContext) -> Result<Progress, CreateError> {
        context.require_for(EDIT_INCIDENTS, self.project_id)?;
        self.check(&context.pool).await?;
        Ok(Progress::of(0, self.count(&context.pool).await?).with_message("Asking trackers"))
    }

    async fn run(self, context: RunContext) -> Result<Outcome, RunError> {
        let mut checkpoint: Checkpoint = context.checkpoint()?.unwrap_or_default();
        if !checkpoint.failed.is_empty() {
            // The attempt before has walked to the end.
            checkpoint.failed.clear();
            checkpoint.retry_after = None;
            checkpoint.last = Uuid::nil();
        }
        if checkpoint.began_at.is_none() {
            checkpoint.began_at = sqlx::query_scalar("SELECT clock_timestamp()").fetch_one(context.pool()).await?;
        }
        let total = self.count(context.pool()).await?;
        context.progress().set_total(total.max(checkpoint.processed));
        context.progress().set_processed(checkpoint.processed);
        context.progress().set_message("Asking trackers");
        let mut links = HashMap::new();
        loop {
            let rows = self.page(context.pool(), &checkpoint).await?;
            let Some(last) = rows.last().map(|row| row.id) else { break };
            let asking = ask(&context, &mut links, &rows);
            let asked = tokio::select! {
                asked = asking => asked?,
                () = context.cancellation().cancelled() => return Ok(Outcome::Cancelled),
            };
            let mut next = Checkpoint { last, ..checkpoint.clone() };
            next.failed.extend(asked.failed);
            next.retry_after = next.retry_after.max(asked.retry_after);
            let mut transaction = context.pool().begin().await?;
            for (id, ticket) in &asked.tickets {
                match ticket {
                    Some(ticket) => next.changed += i64::from(refresh(&mut transaction, *id, ticket).await?),
                    None => next.vanished += i64::from(note_vanished(&mut transaction, *id).await?),
                }
            }
            next.processed += i64::try_from(asked.tickets.len()).unwrap_or(0);
            context.progress().set_processed(next.processed);
            context.save_checkpoint_in(&mut transaction, &next).await?;
            transaction.commit().await?;
            checkpoint = next;
        }
        if let Some(reason) = checkpoint.failed.values().next() {
            let failed = counted(checkpoint.failed.len(), "connection");
            let detail = format!("{failed} could not be synchronized; all others were. {reason}");
            return Err(match checkpoint.retry_after {
                Some(wait) => RunError::not_before(wait, TRACKER_UNAVAILABLE, detail),
                None => RunError::transient(TRACKER_UNAVAILABLE, detail),
            });
        }
        let Checkpoint { processed, changed, vanished, .. } = checkpoint;
        context.progress().set_total(processed);
        context.progress().set_processed(processed);
        context.progress().set_message(format!("Synchronized {processed} incidents"));
        Outcome::with_result(Report { incidents: processed, changed, vanished })
    }
}

impl SyncIncidents {
    async fn check(&self, pool: &PgPool) -> Result<(), Refusal> {
        let (project, connection): (bool, bool) = sqlx::query_as(
            "SELECT $1::uuid IS NULL OR EXISTS (SELECT FROM records.project WHERE id = $1),
                    $2::uuid IS NULL OR EXISTS (SELECT FROM records.external_system_link
                                                 WHERE id = $2 AND ($1::uuid IS NULL OR project_id = $1))",
        )
        .bind(self.project_id)
        .bind(self.external_system_link_id)
        .fetch_one(pool)
        .await?;
        if !project {
            let detail = "There is no such project; check ProjectId, or omit it for all projects.";
            return Err(Refusal::Impossible(UNKNOWN_PROJECT, detail.to_owned()));
        }
        if !connection {
            let detail = "There is no such external system link, or it is another project's; check \
                          ExternalSystemLinkId.";
            return Err(Refusal::Impossible(UNKNOWN_EXTERNAL_SYSTEM_LINK, detail.to_owned()));
        }
        Ok(())
    }

    async fn count(&self, pool: &PgPool) -> sqlx::Result<i64> {
        sqlx::query_scalar(
            "SELECT count(*) FROM records.incident i JOIN records.external_system_link l ON l.id = i.external_system_link_id
              WHERE ($1::uuid IS NULL OR l.project_id = $1) AND ($2::uuid IS NULL OR l.id = $2)",
        )
        .bind(self.project_id)
        .bind(self.external_system_link_id)
        .fetch_one(pool)
        .await
    }

    /// The next incidents in the order of their ids.
    async fn page(&self, pool: &PgPool, checkpoint: &Checkpoint) -> sqlx::Result<Vec<Row>> {
        let without: Vec<Uuid> = checkpoint.failed.keys().copied().collect();
        sqlx::query_as(
            "SELECT i.id, i.external_system_link_id, i.ticket_id
               FROM records.incident i JOIN records.external_system_link l ON l.id = i.external_system_link_id
              WHERE i.id > $1 AND ($2::uuid IS NULL OR l.project_id = $2) AND ($3::uuid IS NULL OR l.id = $3)
                AND i.synchronized_at < $4 AND l.id <> ALL ($5::uuid[])
              ORDER BY i.id LIMIT $6",
        )
        .bind(checkpoint.last)
        .bind(self.project_id)
        .bind(self.external_system_link_id)
        .bind(checkpoint.began_at)
        .bind(without)
        .bind(BATCH)
        .fetch_all(pool)
        .await
    }
}

/// What came of a batch.
#[derive(Default)]
struct Asked {
    /// The incidents whose trackers told, and what.
    tickets: Vec<(Uuid, Option<Ticket>)>,
    /// The connections that failed, with the reason.
    failed: HashMap<Uuid, String>,
    /// The longest that one of these wants to be left alone.
    retry_after: Option<Duration>,
}

/// Asks for the tickets of a batch, at once as far as the trackers allow.
async fn ask(
    context: &RunContext,
    links: &mut HashMap<Uuid, ExternalSystemLink>,
    rows: &[Row],
) -> Result<Asked, Refusal> {
    for row in rows {
        let id = row.external_system_link_id;
        if !links.contains_key(&id)
            && let Some(link) = link(context.pool(), id).await?
        {
            links.insert(id, link);
        }
    }
    let trackers = trackers(context.resources())?;
    let links = &*links;
    let answers = join_all(rows.iter().filter_map(|row| {
        let link = links.get(&row.external_system_link_id)?;
        Some(async move { (row, ask_one(trackers, link, &row.ticket_id).await) })
    }))
    .await;
    let mut asked = Asked::default();
    for (row, answer) in answers {
        match answer {
            Ok(ticket) => asked.tickets.push((row.id, ticket)),
            Err(error) => {
                tracing::warn!(task = context.public_id(), link = %row.external_system_link_id, ?error, "a tracker failed");
                asked.retry_after = asked.retry_after.max(error.retry_after());
                let detail = error.detail();
                if let Entry::Vacant(first) = asked.failed.entry(row.external_system_link_id) {
                    context.log().warn(format_args!("External system link {}: {detail}", first.key()));
                    first.insert(detail);
                }
            }
        }
    }
    // Incidents before the failure were asked for in vain: the next attempt asks
    // for all of that connection's again.
    let failed: HashSet<Uuid> =
        rows.iter().filter(|row| asked.failed.contains_key(&row.external_system_link_id)).map(|row| row.id).collect();
    asked.tickets.retain(|(id, _)| !failed.contains(id));
    Ok(asked)
}

/// The ticket, also when it was moved to another of the tracker's projects: the incident
/// follows it by its id.
async fn ask_one(
    trackers: &Trackers,
    link: &ExternalSystemLink,
    ticket_id: &str,
) -> Result<Option<Ticket>, TrackerError> {
    trackers.connect(&link.connection)?.find_by_id(ticket_id).await.map(Found::anywhere)
}

/// Writes what the ticket says; `false` if that is what is there. Other fields
/// are kept by the merge, whoever changes them meanwhile, and so is a name that is
/// not what the ticket said before: somebody gave it.
async fn refresh(transaction: &mut PgConnection, id: Uuid, ticket: &Ticket) -> sqlx::Result<bool> {
    sqlx::query("UPDATE records.incident SET synchronized_at = now(), vanished_at = NULL WHERE id = $1")
        .bind(id)
        .execute(&mut *transaction)
        .await?;
    let done = sqlx::query(
        "UPDATE records.entity SET key = $2,
                name = CASE WHEN name = coalesce(fields -> 'Ticket' ->> 'Summary', name) THEN $3 ELSE name END,
                fields = fields || jsonb_build_object('Ticket', $4::jsonb)
          WHERE id = $1 AND (key, fields -> 'Ticket') IS DISTINCT FROM ($2, $4::jsonb)",
    )
    .bind(id)
    .bind(&ticket.key)
    .bind(&ticket.summary)
    .bind(ticket_fields(ticket))
    .execute(transaction)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// `false` if it was noted before.
async fn note_vanished(transaction: &mut PgConnection, id: Uuid) -> sqlx::Result<bool> {
    let first: Option<bool> = sqlx::query_scalar(
        "UPDATE records.incident SET synchronized_at = now(), vanished_at = coalesce(vanished_at, now())
          WHERE id = $1 RETURNING vanished_at = now()",
    )
    .bind(id)
    .fetch_optional(transaction)
    .await?;
    Ok(first == Some(true))
}
