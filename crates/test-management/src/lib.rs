//! Test management, a domain beside the queue: the task types that ship with Longhaul, one file
//! each, and the records that they act on.

mod automated_test_import;
mod bulk_action;
mod create_ticket_link;
mod delete_project;
mod deletion;
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
pub mod search;
mod sync_incidents;
mod synthetic;
pub mod trackers;
mod xml_text;

use std::borrow::Cow;

use longhaul_model::Registry;
use sqlx::migrate::Migrator;

pub use automated_test_import::AutomatedTestImport;
pub use bulk_action::{Action, BulkAction};
pub use create_ticket_link::CreateTicketLink;
pub use delete_project::DeleteProject;
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
    // Webhooks keep account of their migrations in the same table.
    ignore_missing: true,
    ..sqlx::migrate!("migrations/records")
};

/// The task types of test management.
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
}

/// What the database roles may do with the records and the search index.
pub const GRANTS: &str = include_str!("../migrations/roles/records.sql");

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
