//! The permissions that the API itself asks for. Task types have their own.

macro_rules! permissions {
    ($($(#[doc = $doc:literal])* $name:ident = $path:literal;)*) => {
        $($(#[doc = $doc])* pub const $name: &str = $path;)*

        /// Each with what it is for. `docs/security.md` has the same table; a test
        /// compares them.
        pub const ALL: &[(&str, &str)] = &[$(($path, concat!($($doc),*))),*];
    };
}

permissions! {
    /// Seeing tasks that others started, their logs, relatives and streams.
    VIEW_TASKS = "Administration/Tasks/View";
    /// Cancelling and retrying tasks that others started.
    MANAGE_TASKS = "Administration/Tasks/Manage";
    /// Choosing the queue, the priority or the key of tasks that one starts.
    PLACE_TASKS = "Administration/Tasks/Place";
    /// Seeing queues: their depth, pauses and limits.
    VIEW_QUEUES = "Administration/Queues/View";
    /// Pausing queues and task types, changing limits.
    EDIT_QUEUES = "Administration/Queues/Edit";
    /// Seeing schedules and the parameters that they start tasks with.
    VIEW_SCHEDULES = "Administration/Schedules/View";
    /// Making, changing, pausing and deleting schedules.
    EDIT_SCHEDULES = "Administration/Schedules/Edit";
    /// The dashboard's pages, which show and do what the API would for the same person.
    VIEW_DASHBOARD = "Administration/Dashboard/View";
    /// Figures about the service for a monitoring system.
    VIEW_METRICS = "Administration/Metrics/View";
    /// Reading who did what.
    VIEW_AUDIT = "Administration/Audit/View";
}
