//! Webhooks: HTTP requests that tell receivers of the ends of tasks (`docs/webhooks.md`).

mod deliver_webhook;
mod http;
mod permission;
mod problem;
mod sender;

use std::borrow::Cow;

use sqlx::migrate::Migrator;

pub use deliver_webhook::DeliverWebhook;
pub use http::configure;
pub use permission::PERMISSIONS;
pub use problem::KINDS;
pub use sender::{WebhookSettings, Webhooks};

/// The tables and triggers of webhooks, in the schema `records`.
pub static MIGRATIONS: Migrator = Migrator {
    table_name: Cow::Borrowed("records.migration"),
    create_schemas: Cow::Borrowed(&[Cow::Borrowed("records")]),
    // The records of test management keep account of their migrations in the same table.
    ignore_missing: true,
    ..sqlx::migrate!("migrations/webhooks")
};

/// What the database roles may do with webhooks.
pub const GRANTS: &str = include_str!("../migrations/roles/webhooks.sql");
