//! The credentials for a tracker.

use std::fmt;

use longhaul_model::schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The credentials for a tracker.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
#[schemars(crate = "longhaul_model::schemars")]
pub struct Credentials {
    /// The account, if the tracker requires one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 200))]
    pub username: Option<String>,
    /// API key, token or password.
    #[schemars(length(min = 1, max = 4000))]
    pub secret: String,
}

// By hand, so that the secret does not get into a log.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("username", &self.username).finish_non_exhaustive()
    }
}
