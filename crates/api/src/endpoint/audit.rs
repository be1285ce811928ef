//! `GET /api/audit`: who did what, the latest first, a page at a time.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use longhaul_model::store::audit::{AuditFilter, RecordedEntry, entries};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::access::permission::VIEW_AUDIT;
use crate::body::{Link, WHOLE_SECONDS, whole_seconds};
use crate::negotiation::must_accept_json;
use crate::openapi::{integer, text};
use crate::page::{LIMIT, LIMIT_AT_MOST, refusal};
use crate::{Access, ApiError, App, Operation, json_response};

/// Something that someone did.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "PascalCase")]
#[schemars(rename = "AuditEntry")]
struct EntryBody {
    /// Later entries have larger numbers, except for entries of the same moment.
    number: i64,
    #[schemars(regex(pattern = WHOLE_SECONDS))]
    at: String,
    /// E.g. `key:ci`.
    who: String,
    /// Where the request came from.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    address: Option<String>,
    /// The id of the operation, e.g. `cancelTask`.
    deed: String,
    /// The target: a task's `Id`, a queue, or a path.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    target: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "std::collections::BTreeMap<String, Value>")]
    details: Option<Value>,
}

/// A page.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "PascalCase")]
#[schemars(rename = "AuditList")]
struct ListBody {
    /// Newest first.
    items: Vec<EntryBody>,
    /// `Next`, if there are more.
    links: Vec<Link>,
}

/// The query.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Query {
    who: Option<String>,
    deed: Option<String>,
    target: Option<String>,
    after: Option<i64>,
    limit: u32,
}

impl Default for Query {
    fn default() -> Self {
        Self { who: None, deed: None, target: None, after: None, limit: LIMIT }
    }
}

pub(super) fn operation() -> Operation {
    Operation::new("Access", "listAudit", "Lists audit entries, newest first, by page.")
        .needs(Access::Permission(VIEW_AUDIT))
        .query("who", "Entries of this caller, e.g. `key:ci`.", text())
        .query("deed", "Entries of this operation, e.g. `cancelTask`.", text())
        .query("target", "Entries with this target, e.g. a task's `Id`.", text())
        .query("after", "The last number of the previous page.", integer(0, i64::MAX, i64::MAX))
        .query("limit", "Entries on a page.", integer(1, LIMIT_AT_MOST.into(), LIMIT.into()))
        .negotiated()
        .answers::<ListBody>(200, "A page.")
}

/// `200` with a page.
pub(super) async fn handle(app: web::Data<App>, request: HttpRequest) -> Result<HttpResponse, ApiError> {
    must_accept_json(&request)?;
    let query = web::Query::<Query>::from_query(request.query_string())
        .map_err(|error| refusal("?", format!("A query parameter is invalid: {error}.")))?
        .into_inner();
    if !(1..=LIMIT_AT_MOST).contains(&query.limit) {
        return Err(refusal("limit", format!("A number from 1 to {LIMIT_AT_MOST} is expected.")));
    }
    for (name, value) in [("who", &query.who), ("deed", &query.deed), ("target", &query.target)] {
        if value.as_ref().is_some_and(|value| value.contains('\0')) {
            return Err(refusal(name, "A text without U+0000 is expected.".to_owned()));
        }
    }
    let limit = query.limit;
    let filter = AuditFilter { who: query.who, deed: query.deed, target: query.target, before: query.after };
    let mut found = entries(app.pool(), &filter, i64::from(limit) + 1).await?;
    let more = found.len() > limit as usize;
    found.truncate(limit as usize);
    let next = found.last().filter(|_| more).map(|last| {
        let pairs = [("who", &filter.who), ("deed", &filter.deed), ("target", &filter.target)];
        let narrowed: String = pairs
            .into_iter()
            .filter_map(|(name, value)| Some(format!("{name}={}&", crate::percent::query_value(value.as_deref()?))))
            .collect();
        Link {
            href: format!("{}/api/audit?{narrowed}after={}&limit={limit}", app.base_url(), last.number),
            rel: "Next".to_owned(),
        }
    });
    let items = found.into_iter().map(EntryBody::from).collect();
    Ok(json_response(StatusCode::OK, &ListBody { items, links: next.into_iter().collect() }))
}

impl From<RecordedEntry> for EntryBody {
    fn from(entry: RecordedEntry) -> Self {
        Self {
            number: entry.number,
            at: whole_seconds(entry.at),
            who: entry.who,
            address: entry.address,
            deed: entry.deed,
            target: entry.target,
            details: entry.details,
        }
    }
}
