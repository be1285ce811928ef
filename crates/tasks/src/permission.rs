//! The permissions that the shipped task types ask for, in the original's path
//! form.

/// Creating incidents and linking them.
pub(crate) const EDIT_INCIDENTS: &str = "TestManagement/ManageIncidents/Edit";
/// Storing the results of automated tests.
pub(crate) const EDIT_AUTOMATED_TESTS: &str = "TestManagement/ManageAutomatedTests/Edit";
