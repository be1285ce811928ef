//! The follower's work by ids: what [`super::linked::follow`] does at once.

use sqlx::PgExecutor;
use uuid::Uuid;

/// A part of the work on linked tasks, which is chosen first and then done by ids, so that
/// one row that the database refuses can be set aside ([`super::aside`]). In this order:
/// what is set aside in one is passed over by the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Tasks that wait for ended ones.
    Dependents,
    /// Ended tasks, which are counted as children.
    Ends,
    /// Parents that stop, or whose last child has ended.
    Parents,
    /// Parents whose progress is their children's.
    Progress,
    /// Ends that were missed ([`super::linked::note_missed_ends`]).
    MissedEnds,
}

impl Part {
    /// Under which name rows are set aside.
    #[must_use]
    pub const fn service(self) -> &'static str {
        match self {
            Part::Dependents => "follower/dependents",
            Part::Ends => "follower/ends",
            Part::Parents => "follower/parents",
            Part::Progress => "follower/progress",
            Part::MissedEnds => "retention/ends",
        }
    }

    /// The tasks that this part would work on now.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn choose(self, executor: impl PgExecutor<'_>) -> sqlx::Result<Vec<Uuid>> {
        let sql = match self {
            Part::Dependents => "SELECT longhaul.dependents_to_follow(longhaul.ends_to_follow())",
            Part::Ends => "SELECT longhaul.ends_to_follow()",
            Part::Parents => "SELECT longhaul.parents_to_follow()",
            Part::Progress => "SELECT longhaul.parents_to_show()",
            Part::MissedEnds => "SELECT longhaul.ends_to_note()",
        };
        sqlx::query_scalar(sql).fetch_one(executor).await
    }

    /// Works on these tasks.
    ///
    /// # Errors
    /// If the database does not answer, or refuses one of them; nothing has changed then.
    pub async fn process(self, executor: impl PgExecutor<'_>, ids: &[Uuid]) -> sqlx::Result<()> {
        let sql = match self {
            Part::Dependents => {
                "SELECT longhaul.follow_dependents(
                     ARRAY(SELECT DISTINCT d.on_id FROM longhaul.dependency d JOIN longhaul.ended e ON e.id = d.on_id
                            WHERE d.task_id = ANY ($1) AND d.outcome IS NULL), $1)"
            }
            Part::Ends => "SELECT longhaul.follow_ended($1)",
            Part::Parents => "SELECT longhaul.follow_parents($1)",
            Part::Progress => "SELECT longhaul.show_children($1)",
            Part::MissedEnds => "SELECT longhaul.note_ends($1)",
        };
        sqlx::query(sql).bind(ids).execute(executor).await?;
        Ok(())
    }
}
