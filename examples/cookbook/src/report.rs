//! A report of each day, made at night.

use longhaul::chrono::NaiveDate;
use longhaul::schemars::JsonSchema;
use longhaul::serde::{Deserialize, Serialize};
use longhaul::{Outcome, RunContext, RunError, TaskType, same_parameters, sqlx};

/// Counts the contacts that were added on a day.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(crate = "longhaul::serde", rename_all = "PascalCase", deny_unknown_fields)]
#[schemars(crate = "longhaul::schemars")]
pub(crate) struct DailyReport {
    /// Yesterday, if absent.
    #[serde(default)]
    day: Option<NaiveDate>,
}

#[derive(Serialize)]
#[serde(crate = "longhaul::serde", rename_all = "PascalCase")]
struct Report {
    day: NaiveDate,
    contacts: i64,
}

impl TaskType for DailyReport {
    const NAME: &'static str = "DailyReport";
    const ID_PREFIX: &'static str = "dailyreport_";
    const QUEUE: &'static str = "reports";
    const PRIORITY: u8 = 8;

    /// Two reports of the same day do not run at once.
    fn unique_key(&self) -> Option<String> {
        same_parameters(self)
    }

    async fn run(self, context: RunContext) -> Result<Outcome, RunError> {
        let counted = "SELECT day, (SELECT count(*) FROM contact WHERE added_on = day)
                       FROM (SELECT coalesce($1, current_date - 1)) AS asked (day)";
        let (day, contacts): (NaiveDate, i64) =
            sqlx::query_as(counted).bind(self.day).fetch_one(context.pool()).await?;
        Outcome::with_result(Report { day, contacts })
    }
}
