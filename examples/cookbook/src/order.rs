//! A chain of steps, each with retries of its own.

use longhaul::schemars::JsonSchema;
use longhaul::serde::{Deserialize, Serialize};
use longhaul::uuid::Uuid;
use longhaul::{Outcome, ProblemKind, RunContext, RunError, TaskType};

const DECLINED: ProblemKind = ProblemKind { code: "card-declined", title: "The card was declined", status: 500 };

/// Reserves what was ordered.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(crate = "longhaul::serde", rename_all = "PascalCase", deny_unknown_fields)]
#[schemars(crate = "longhaul::schemars")]
pub(crate) struct ReserveStock {
    order: i64,
}

impl TaskType for ReserveStock {
    const NAME: &'static str = "ReserveStock";
    const ID_PREFIX: &'static str = "reservestock_";

    async fn run(self, _context: RunContext) -> Result<Outcome, RunError> {
        Outcome::with_result(format!("shelf {}", self.order % 10))
    }
}

/// Charges the customer.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(crate = "longhaul::serde", rename_all = "PascalCase", deny_unknown_fields)]
#[schemars(crate = "longhaul::schemars")]
pub(crate) struct ChargeCard {
    cents: i64,
}

impl TaskType for ChargeCard {
    const NAME: &'static str = "ChargeCard";
    const ID_PREFIX: &'static str = "chargecard_";

    async fn run(self, _context: RunContext) -> Result<Outcome, RunError> {
        if self.cents > 100_000 {
            return Err(RunError::permanent(DECLINED, "The bank declined the card."));
        }
        Ok(Outcome::done())
    }
}

/// Ships what was reserved.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(crate = "longhaul::serde", rename_all = "PascalCase", deny_unknown_fields)]
#[schemars(crate = "longhaul::schemars")]
pub(crate) struct ShipOrder {
    order: i64,
}

impl TaskType for ShipOrder {
    const NAME: &'static str = "ShipOrder";
    const ID_PREFIX: &'static str = "shiporder_";

    async fn run(self, context: RunContext) -> Result<Outcome, RunError> {
        let before = context.prerequisites(Uuid::nil(), 10).await?;
        let reserved = before.into_iter().find(|task| task.type_name == ReserveStock::NAME);
        let place = reserved.and_then(|task| task.result).unwrap_or_default();
        Outcome::with_result(format!("Order {} left {}.", self.order, place.as_str().unwrap_or("the store")))
    }
}
