//! The permissions that the shipped task types and the addresses of their records
//! ask for, in the original's path form.

use longhaul_api::record::Permissions;

macro_rules! permissions {
    ($($(#[doc = $doc:literal])* $name:ident = $path:literal;)*) => {
        $($(#[doc = $doc])* pub(crate) const $name: &str = $path;)*

        /// Each with what it is for. `docs/security.md` has the same table; a test
        /// compares them.
        pub const PERMISSIONS: &[(&str, &str)] = &[$(($path, concat!($($doc),*))),*];
    };
}

permissions! {
    /// `Link…`, `CreateTicketLink`, `SyncIncidents`; finding tickets; changing incidents.
    EDIT_INCIDENTS = "TestManagement/ManageIncidents/Edit";
    /// `AutomatedTestImport`; uploads; runs of automated tests.
    EDIT_AUTOMATED_TESTS = "TestManagement/ManageAutomatedTests/Edit";
    /// Seeing, using and deleting files that others uploaded.
    MANAGE_UPLOADS = "Administration/Uploads/Manage";
    /// `bulkaction`.
    EDIT_ENTITIES = "TestManagement/ManageEntities/Edit";
    /// Searching; reading all records but external systems.
    VIEW_RECORDS = "TestManagement/Records/View";
    /// Making and deleting script assignments, agile runs and links of incidents.
    EDIT_RECORDS = "TestManagement/Records/Edit";
    /// `Reindex`.
    REINDEX = "Administration/SearchIndex/Rebuild";
    /// `DeleteProject`.
    DELETE_PROJECTS = "Administration/Projects/Delete";
    /// `GenerateTestProject`.
    CREATE_PROJECTS = "Administration/Projects/Create";
    /// Reading external systems and projects' links to them; their credentials are never shown.
    VIEW_EXTERNAL_SYSTEMS = "Administration/ExternalSystems/View";
    /// Making, changing and deleting them.
    EDIT_EXTERNAL_SYSTEMS = "Administration/ExternalSystems/Edit";
}

/// Those for records that anyone with them may see, make and delete.
pub(crate) const RECORDS: Permissions = Permissions { view: VIEW_RECORDS, edit: EDIT_RECORDS };
