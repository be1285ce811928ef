//! The permission that webhooks ask for, in the original's path form.

pub(crate) const EDIT_WEBHOOKS: &str = "Administration/Webhooks/Edit";

/// Each permission with its purpose. `docs/security.md` has the same table; a test compares them.
pub const PERMISSIONS: &[(&str, &str)] =
    &[(EDIT_WEBHOOKS, " Making webhooks, seeing what they were sent, their secrets; `DeliverWebhook`.")];
