//! The task types that ship with Longhaul, one file each, and the records they
//! act on.

mod address;
mod automated_test_import;
mod bulk_action;
mod connection_failure;
mod create_ticket_link;
mod delete_project;
mod deletion;
mod deliver_webhook;
mod external_system;
mod generate_test_project;
pub mod http;
pub mod import;
mod incident;
mod junit;
mod link_ticket_to_agile_run_step;
mod link_ticket_to_automated_test_run_result_node;
mod link_ticket_to_step_result;
mod linking;
mod permission;
mod problem;
mod refusal;
mod reindex;
mod result_node;
mod retry_after;
pub mod search;
mod sync_incidents;
mod synthetic;
pub mod trackers;
pub mod webhook;
mod xml_text;

use std::borrow::Cow;
use std::sync::LazyLock;

use longhaul_model::Registry;
use longhaul_model::store::roles;
use sqlx::PgPool;
use sqlx::migrate::{MigrateError, Migrator};

pub use automated_test_import::AutomatedTestImport;
pub use bulk_action::{Action, BulkAction};
pub use create_ticket_link::CreateTicketLink;
pub use delete_project::DeleteProject;
pub use deliver_webhook::DeliverWebhook;
pub use generate_test_project::GenerateTestProject;
pub use link_ticket_to_agile_run_step::LinkTicketToAgileRunStep;
pub use link_ticket_to_automated_test_run_result_node::LinkTicketToAutomatedTestRunResultNode;
pub use link_ticket_to_step_result::LinkTicketToStepResult;
pub use permission::PERMISSIONS;
pub use problem::KINDS;
pub use reindex::Reindex;
pub use sync_incidents::SyncIncidents;

/// The schema of the records and the search index.
pub static MIGRATIONS: Migrator = Migrator {
    table_name: Cow::Borrowed("records.migration"),
    create_schemas: Cow::Borrowed(&[Cow::Borrowed("records")]),
    ..sqlx::migrate!("migrations/records")
};

/// Every shipped task type.
#[must_use]
pub fn registry() -> Registry {
    Registry::new()
        .with::<Reindex>()
        .with::<LinkTicketToStepResult>()
        .with::<LinkTicketToAgileRunStep>()
        .with::<LinkTicketToAutomatedTestRunResultNode>()
        .with::<CreateTicketLink>()
        .with::<SyncIncidents>()
        .with::<AutomatedTestImport>()
        .with::<GenerateTestProject>()
        .with::<DeleteProject>()
        .with::<BulkAction>()
        .with::<DeliverWebhook>()
}

/// The part of that schema that webhooks need, for programs with task types of their own.
pub static WEBHOOK_MIGRATIONS: LazyLock<Migrator> = LazyLock::new(|| Migrator {
    migrations: MIGRATIONS.iter().filter(|migration| migration.description.contains("webhook")).cloned().collect(),
    table_name: MIGRATIONS.table_name.clone(),
    create_schemas: MIGRATIONS.create_schemas.clone(),
    ..Migrator::DEFAULT
});

/// What the database roles may do with the records and the search index.
pub const GRANTS: &str =
    concat!(include_str!("../migrations/roles/records.sql"), include_str!("../migrations/roles/webhook.sql"));

/// The part of it that is about webhooks.
pub const WEBHOOK_GRANTS: &str = include_str!("../migrations/roles/webhook.sql");

/// Reads a text as an uploaded JUnit report is read, without storing anything: where
/// fuzzers come in. How many nodes it has.
///
/// # Errors
/// What is wrong with it.
pub fn read_as_report(text: &str) -> Result<usize, String> {
    let (mut report, mut nodes) = (junit::Report::new(text), 0);
    while report.next().map_err(|error| error.to_string())?.is_some() {
        nodes += 1;
    }
    Ok(nodes)
}

/// Brings the whole schema up to date: the queue's and the records', and what the
/// database roles may do with them.
///
/// # Errors
/// If a migration fails; it is rolled back.
pub async fn migrate(pool: &PgPool) -> Result<(), MigrateError> {
    longhaul_model::store::migrate::run(pool).await?;
    longhaul_model::store::migrate::apply(&MIGRATIONS, pool).await?;
    roles::establish(pool, &[roles::QUEUE_GRANTS, GRANTS]).await?;
    Ok(())
}
