//! Steering queues and task types: what the API's routes and the dashboard's forms share, so
//! that both follow the same rules and are written down alike, in the transaction of the
//! change.

use longhaul_model::store::queue::{ChangeError, change, pause_type};
use longhaul_model::{NAME_BYTES, check_text};
use serde_json::Value;

use crate::endpoint::find_queue;
use crate::page::refusal;
use crate::{ApiError, App, Caller};

impl App {
    /// Changes those settings of a queue that `settings` names, as `PATCH /api/queues/{name}`
    /// takes them.
    ///
    /// # Errors
    /// 404 if there is no such queue, 400 with everything that is wrong with the settings.
    pub async fn change_queue(&self, caller: &Caller, name: &str, settings: Value) -> Result<(), ApiError> {
        check_text("A queue's name", name, NAME_BYTES).map_err(|refused| refusal("name", refused.to_string()))?;
        find_queue(self, name).await?;
        if settings.as_object().is_some_and(serde_json::Map::is_empty) {
            return Ok(());
        }
        let mut transaction = self.pool().begin().await?;
        change(&mut *transaction, name, &settings).await?;
        caller.note(&mut transaction, "changeQueue", name, Some(settings)).await?;
        Ok(transaction.commit().await?)
    }

    /// Holds the tasks of a type, or lets them go.
    pub(crate) async fn pause_type(&self, caller: &Caller, name: &str, paused: bool) -> Result<(), ApiError> {
        let mut transaction = self.pool().begin().await?;
        pause_type(&mut *transaction, name, paused).await?;
        let deed = if paused { "pauseType" } else { "resumeType" };
        caller.note(&mut transaction, deed, name, None).await?;
        Ok(transaction.commit().await?)
    }
}

impl From<ChangeError> for ApiError {
    fn from(error: ChangeError) -> Self {
        match error {
            ChangeError::Refused(errors) => Self::invalid_request(errors),
            ChangeError::Database(error) => error.into(),
        }
    }
}
