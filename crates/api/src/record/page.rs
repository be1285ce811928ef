//! One page of a list: `limit`, `after` (an id), and filters by guid.

use actix_web::web;
use longhaul_model::ParameterError;
use uuid::Uuid;

use crate::body::Link;
use crate::error::ApiError;

/// How many records a page has, unless asked otherwise.
pub(super) const DEFAULT_LIMIT: i64 = 20;
pub(super) const MOST: i64 = 100;

/// A query parameter that narrows a list down to one guid.
#[derive(Debug, PartialEq)]
pub struct Filter {
    /// Its name in the query.
    pub name: &'static str,
    /// The column that must be equal.
    pub column: &'static str,
}

/// What a client asks for.
#[derive(Debug, PartialEq)]
pub(super) struct Page {
    pub(super) limit: i64,
    /// The last id of the previous page.
    pub(super) after: Uuid,
    filters: Vec<(&'static Filter, Uuid)>,
}

impl Page {
    /// Reads the query string and lists everything that is wrong with it.
    pub(super) fn parse(query_string: &str, known: &'static [Filter]) -> Result<Self, ApiError> {
        let pairs = web::Query::<Vec<(String, String)>>::from_query(query_string)
            .map(web::Query::into_inner)
            .unwrap_or_default();
        let mut page = Page { limit: DEFAULT_LIMIT, after: Uuid::nil(), filters: Vec::new() };
        let mut errors = Vec::new();
        let mut complain =
            |name: &str, message: String| errors.push(ParameterError { pointer: name.to_owned(), message });
        for (name, value) in pairs {
            if name == "limit" {
                match value.parse() {
                    Ok(limit) if (1..=MOST).contains(&limit) => page.limit = limit,
                    _ => complain("limit", format!("A number from 1 to {MOST} is expected.")),
                }
            } else if name == "after" {
                match Uuid::try_parse(&value) {
                    Ok(after) => page.after = after,
                    Err(_) => complain("after", "The guid of a record is expected.".to_owned()),
                }
            } else if let Some(filter) = known.iter().find(|filter| filter.name == name) {
                match Uuid::try_parse(&value) {
                    Ok(id) => page.filters.push((filter, id)),
                    Err(_) => complain(filter.name, "A guid is expected.".to_owned()),
                }
            } else {
                let names: Vec<&str> = ["limit", "after"].into_iter().chain(known.iter().map(|f| f.name)).collect();
                complain(
                    &name.chars().take(100).collect::<String>(),
                    format!("Unknown; the known ones are {}.", names.join(", ")),
                );
            }
        }
        if errors.is_empty() { Ok(page) } else { Err(ApiError::invalid_request(errors)) }
    }

    /// The filters in SQL, whose values are the parameters from `$first` on.
    pub(super) fn condition(&self, first: usize) -> String {
        let conditions =
            self.filters.iter().enumerate().map(|(at, (filter, _))| format!("{} = ${}", filter.column, first + at));
        std::iter::once("true".to_owned()).chain(conditions).collect::<Vec<_>>().join(" AND ")
    }

    pub(super) fn values(&self) -> impl Iterator<Item = Uuid> {
        self.filters.iter().map(|(_, value)| *value)
    }

    /// The address of the page after this id.
    pub(super) fn link(&self, address: &str, rel: &str, after: Uuid) -> Link {
        let mut href = format!("{address}?limit={}", self.limit);
        for (filter, value) in &self.filters {
            href.push_str(&format!("&{}={value}", filter.name));
        }
        if !after.is_nil() {
            href.push_str(&format!("&after={after}"));
        }
        Link { href, rel: rel.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::{Filter, Page};
    use uuid::Uuid;

    const KNOWN: &[Filter] = &[Filter { name: "project", column: "r.project_id" }];

    #[test]
    fn a_page_is_read_and_its_links_lead_on() {
        let id = "c651ed19-5375-475a-a539-9f6401467130";
        let page = Page::parse(&format!("limit=5&project={id}"), KNOWN).expect("a page");
        assert_eq!(page.condition(3), "true AND r.project_id = $3");
        let link = page.link("http://h/api/x", "Next", Uuid::max());
        assert_eq!(link.href, format!("http://h/api/x?limit=5&project={id}&after={}", Uuid::max()));
    }

    #[test]
    fn everything_that_is_wrong_is_told_at_once() {
        let error = Page::parse("limit=0&after=x&project=y&colour=1", KNOWN).expect_err("refused");
        assert!(error.to_string().contains("The request has 4 errors"), "{error}");
    }
}
