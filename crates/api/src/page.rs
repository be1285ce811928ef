//! Which part of a long list a client wants: `?after=…&limit=…`.

use actix_web::{HttpRequest, web};
use longhaul_model::ParameterError;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::ApiError;

/// A page has so many items unless the client says otherwise.
pub(crate) const LIMIT: u32 = 100;
/// … and at most so many.
pub(crate) const LIMIT_AT_MOST: u32 = 1_000;

/// The query parameters of a list.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Page<A: Default> {
    /// What the page before ended with; the first page without.
    #[serde(default)]
    pub(crate) after: A,
    #[serde(default = "usual")]
    pub(crate) limit: u32,
}

fn usual() -> u32 {
    LIMIT
}

impl<A: Default + DeserializeOwned> Page<A> {
    /// Reads the query, or says what is wrong with it.
    pub(crate) fn read(request: &HttpRequest) -> Result<Self, ApiError> {
        let page = web::Query::<Page<A>>::from_query(request.query_string())
            .map_err(|error| refusal("?", format!("The query parameters are after and limit: {error}.")))?
            .into_inner();
        if (1..=LIMIT_AT_MOST).contains(&page.limit) {
            Ok(page)
        } else {
            Err(refusal("limit", format!("A number from 1 to {LIMIT_AT_MOST} is expected.")))
        }
    }

    /// Cuts off the one item more than `limit` that was asked of the database, and
    /// tells whether it was there.
    pub(crate) fn cut<T>(&self, items: &mut Vec<T>) -> bool {
        let more = items.len() > self.limit as usize;
        items.truncate(self.limit as usize);
        more
    }
}

/// What is wrong with a query parameter.
pub(crate) fn refusal(parameter: &str, message: String) -> ApiError {
    ApiError::invalid_request(vec![ParameterError { pointer: parameter.to_owned(), message }])
}
