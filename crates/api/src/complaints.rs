//! Everything that is wrong with a request, in one answer.

use longhaul_model::{ParameterError, UnknownTaskType};

use crate::ApiError;
use crate::error::{PAYLOAD_TOO_LARGE, UNKNOWN_TASK_TYPE};

/// When so much is wrong, the rest is not looked at.
const AT_MOST: usize = 10_000;

/// What is wrong with a request.
#[derive(Debug, Default)]
pub(crate) struct Complaints {
    errors: Vec<ParameterError>,
    /// The request's envelope is in order.
    only_parameters: Option<bool>,
    /// Nothing else is wrong but this type.
    only_type: Option<String>,
    /// Why the request is not even looked at.
    too_large: Option<String>,
}

impl Complaints {
    /// Whether so much is wrong that the rest need not be looked at.
    pub(crate) fn are_many(&self) -> bool {
        self.errors.len() >= AT_MOST
    }

    /// About something of the envelope at `pointer` (a JSON pointer).
    pub(crate) fn add(&mut self, pointer: impl Into<String>, message: impl Into<String>) {
        self.add_all(vec![ParameterError { pointer: pointer.into(), message: message.into() }]);
    }

    /// About the envelope.
    pub(crate) fn add_all(&mut self, errors: Vec<ParameterError>) {
        if !errors.is_empty() {
            self.only_parameters = Some(false);
            self.only_type = None;
            self.errors.extend(errors);
        }
    }

    /// About the parameters of the task at `place`.
    pub(crate) fn add_parameters(&mut self, place: &str, errors: Vec<ParameterError>) {
        if !errors.is_empty() {
            self.only_parameters.get_or_insert(true);
            self.only_type = None;
            self.errors.extend(errors.into_iter().map(|error| error.below(place)));
        }
    }

    /// About the type of the task at `place`.
    pub(crate) fn add_type(&mut self, place: &str, unknown: &UnknownTaskType) {
        let is_first = self.errors.is_empty() && place.is_empty();
        self.add(format!("{place}/Type"), format!("{unknown}."));
        self.only_type = is_first.then(|| format!("{unknown}."));
    }

    /// About the size, which leaves out all else.
    pub(crate) fn add_size(&mut self, detail: String) {
        self.too_large = Some(detail);
    }

    /// Where anything is wrong.
    #[cfg(test)]
    pub(crate) fn into_pointers(self) -> Result<(), Vec<String>> {
        if self.errors.is_empty() { Ok(()) } else { Err(self.errors.into_iter().map(|error| error.pointer).collect()) }
    }

    /// The answer, if anything is wrong with what is no task itself.
    pub(crate) fn into_whole_result(self) -> Result<(), ApiError> {
        if self.errors.is_empty() { Ok(()) } else { Err(ApiError::invalid_request(self.errors)) }
    }

    /// The answer, if anything is wrong.
    pub(crate) fn into_result(self) -> Result<(), ApiError> {
        match self {
            Self { too_large: Some(detail), .. } => Err(ApiError::new(PAYLOAD_TOO_LARGE, detail)),
            Self { only_type: Some(detail), .. } => Err(ApiError::new(UNKNOWN_TASK_TYPE, detail)),
            Self { only_parameters: None, .. } => Ok(()),
            Self { only_parameters: Some(true), errors, .. } => Err(ApiError::invalid_parameters(errors)),
            Self { only_parameters: Some(false), errors, .. } => Err(ApiError::invalid_request(errors)),
        }
    }
}
