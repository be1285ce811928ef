//! Reads from the database what the checker judges.

use std::collections::{BTreeMap, HashMap};

use longhaul::serde_json::{self, Value};
use longhaul::sqlx::{self, FromRow, PgPool, Row};
use longhaul::uuid::Uuid;

use crate::clients::LOOSE;
use crate::history::{Effect, End, Family, History, Micros, Plan, Rate, RunEnd, Task};
use crate::types::Job;

/// How many tasks have not ended, and how much the queue still has to do with those that have.
pub(crate) async fn unrest(pool: &PgPool) -> sqlx::Result<i64> {
    sqlx::query_scalar(
        "SELECT (SELECT count(*) FROM longhaul.task WHERE state NOT IN ('Succeeded', 'Failed', 'Cancelled'))
              + (SELECT count(*) FROM longhaul.lease WHERE task_ids <> '{}')
              + (SELECT count(*) FROM longhaul.ended)
              + (SELECT count(*) FROM longhaul.set_aside)",
    )
    .fetch_one(pool)
    .await
}

const TASKS: &str = "
    SELECT t.id, t.type, t.queue, t.parameters, t.state::text AS state, t.error ->> 'code' AS error, t.parent_id,
           (extract(epoch FROM t.accepted_at) * 1e6)::bigint AS accepted_at,
           (extract(epoch FROM t.finished_at) * 1e6)::bigint AS finished_at,
           coalesce((SELECT jsonb_object_agg(e.code, e.n)
                       FROM (SELECT error ->> 'code' AS code, count(*) AS n FROM longhaul.attempt_error
                              WHERE task_id = t.id GROUP BY 1) AS e), '{}') AS attempt_errors,
           to_jsonb(f) AS family, p.if_failed AS parent_if_failed,
           ARRAY(SELECT d.on_id FROM longhaul.dependency d WHERE d.task_id = t.id ORDER BY d.on_id) AS prerequisites,
           ARRAY(SELECT d.if_failed FROM longhaul.dependency d WHERE d.task_id = t.id ORDER BY d.on_id) AS policies
      FROM longhaul.task t
      LEFT JOIN longhaul.family f ON f.parent_id = t.id
      LEFT JOIN longhaul.family p ON p.parent_id = t.parent_id";

/// What contradicts itself: the rule that every test of the suite ends with, and rows of tasks
/// that have ended which nobody will ask for again.
const CONTRADICTIONS: &str = "
    SELECT id || ': ' || problem FROM longhaul.contradictions()
     UNION ALL
    -- At rest, these have nothing of tasks that are over, however lately.
    SELECT s.id || ': the table ' || s.place || ' has it, and the task is over or gone'
      FROM (SELECT unnest(task_ids) AS id, 'lease' AS place FROM longhaul.lease
            UNION ALL SELECT id, 'ended' FROM longhaul.ended) AS s
      LEFT JOIN longhaul.task t ON t.id = s.id
     WHERE t.id IS NULL OR t.state IN ('Succeeded', 'Failed', 'Cancelled')
     UNION ALL
    SELECT service || ' has set aside ' || id || ': ' || error FROM longhaul.set_aside";

/// All but what clients have in memory.
pub(crate) async fn history(pool: &PgPool) -> anyhow::Result<History> {
    let rows = sqlx::query(TASKS).fetch_all(pool).await?;
    let mut tasks = rows.iter().map(task).collect::<sqlx::Result<Vec<Task>>>()?;
    cancellable(&mut tasks);
    let effects = sqlx::query(
        "SELECT task, run, kind, step, (extract(epoch FROM at) * 1e6)::bigint AS at FROM soak.effect ORDER BY effect.at",
    )
    .fetch_all(pool)
    .await?;
    let ends: Vec<(Uuid, String)> = sqlx::query_as("SELECT task, outcome FROM soak.ended").fetch_all(pool).await?;
    Ok(History {
        requests: Vec::new(),
        seen: Vec::new(),
        tasks,
        effects: effects.iter().map(Effect::from_row).collect::<sqlx::Result<Vec<Effect>>>()?,
        ends: ends.into_iter().map(|(task, outcome)| RunEnd { task, outcome }).collect(),
        limits: BTreeMap::from([("limited".to_owned(), 3)]),
        limits_per_key: BTreeMap::from([("turns".to_owned(), 1)]),
        rates: BTreeMap::from([("rated".to_owned(), Rate { burst: 10.0, a_second: 10.0 })]),
        contradictions: sqlx::query_scalar(CONTRADICTIONS).fetch_all(pool).await?,
        repaired: sqlx::query_as("SELECT task_id, problem FROM longhaul.repaired").fetch_all(pool).await?,
    })
}

impl FromRow<'_, sqlx::postgres::PgRow> for Effect {
    fn from_row(row: &sqlx::postgres::PgRow) -> sqlx::Result<Self> {
        Ok(Self {
            task: row.try_get("task")?,
            run: row.try_get("run")?,
            kind: row.try_get("kind")?,
            step: row.try_get::<i32, _>("step")?.unsigned_abs(),
            at: row.try_get("at")?,
        })
    }
}

fn task(row: &sqlx::postgres::PgRow) -> sqlx::Result<Task> {
    let parameters: Value = row.try_get("parameters")?;
    // A `Batch` has none of these.
    let job: Option<Job> = serde_json::from_value(parameters).ok();
    let accepted_at: Micros = row.try_get("accepted_at")?;
    let errors: Value = row.try_get("attempt_errors")?;
    let family: Option<Value> = row.try_get("family")?;
    let prerequisites: Vec<Uuid> = row.try_get("prerequisites")?;
    let policies: Vec<String> = row.try_get("policies")?;
    let loose = job.as_ref().is_some_and(|job| job.token.starts_with(LOOSE));
    let part = row.try_get::<Option<String>, _>("parent_if_failed")?.is_some_and(|if_failed| if_failed == "Cancel");
    Ok(Task {
        id: row.try_get("id")?,
        type_name: row.try_get("type")?,
        queue: row.try_get("queue")?,
        end: match row.try_get::<&str, _>("state")? {
            "Succeeded" => Some(End::Succeeded),
            "Failed" => Some(End::Failed),
            "Cancelled" => Some(End::Cancelled),
            _ => None,
        },
        error: row.try_get("error")?,
        attempt_errors: errors
            .as_object()
            .into_iter()
            .flatten()
            .map(|(code, count)| (code.clone(), count.as_u64().unwrap_or(0) as usize))
            .collect(),
        parent: row.try_get("parent_id")?,
        family: family.map(|family| {
            let count = |name: &str| family[name].as_u64().unwrap_or(0) as usize;
            Family {
                children: count("children"),
                succeeded: count("succeeded"),
                failed: count("failed"),
                cancelled: count("cancelled"),
            }
        }),
        prerequisites: prerequisites.into_iter().zip(policies.iter().map(|policy| policy != "Run")).collect(),
        run_at: job.as_ref().filter(|job| job.later_ms > 0).map(|job| accepted_at + (job.later_ms - WHOLE_MS) * 1_000),
        finished_at: row.try_get("finished_at")?,
        plan: Plan {
            steps: job.as_ref().map_or(0, |job| job.steps),
            fails: job.as_ref().is_some_and(|job| job.fails),
            children: job.as_ref().map_or(0, |job| job.children as usize),
            may_be_cancelled: loose || part || policies.iter().any(|policy| policy == "Cancel"),
            retried: loose,
        },
        key: job.as_ref().and_then(|job| job.key.clone()),
        token: job.map(|job| job.token),
    })
}

/// Ids, and with them times of acceptance, are in whole milliseconds.
const WHOLE_MS: i64 = 2;

/// Only what waits for something that did not succeed, or has brothers that did not, may be
/// cancelled because of it.
fn cancellable(tasks: &mut [Task]) {
    let ends: HashMap<Uuid, Option<End>> = tasks.iter().map(|task| (task.id, task.end)).collect();
    let unsuccessful = |id: &Uuid| ends.get(id).is_none_or(|end| *end != Some(End::Succeeded));
    for task in tasks.iter_mut().filter(|task| task.plan.may_be_cancelled && !task.plan.retried) {
        let parent = task.parent.as_ref().is_some_and(unsuccessful);
        task.plan.may_be_cancelled = parent || task.prerequisites.iter().any(|(id, must)| *must && unsuccessful(id));
    }
}
