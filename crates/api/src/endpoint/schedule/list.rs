//! `GET /api/schedules`: schedules by name, a page at a time.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use longhaul_model::ParameterError;
use longhaul_model::store::cron;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::body::Link;
use crate::negotiation::must_accept_json;
use crate::openapi::{integer, text};
use crate::schedule::ScheduleBody;
use crate::{ApiError, App, Operation, json_response};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Page {
    #[serde(default)]
    after: String,
    limit: Option<u16>,
}

const LIMIT: u16 = 100;
const LIMIT_AT_MOST: u16 = 1_000;

/// Schedules by name, and a link to the next page if there is one.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "PascalCase")]
#[schemars(rename = "ScheduleList")]
struct ListBody {
    items: Vec<ScheduleBody>,
    links: Vec<Link>,
}

pub(super) fn operation() -> Operation {
    Operation::new("Schedules", "listSchedules", "Cron schedules by name, a page at a time.")
        .query("after", "The name that the page before ended with.", text())
        .query("limit", "Schedules on a page.", integer(1, LIMIT_AT_MOST.into(), LIMIT.into()))
        .negotiated()
        .answers::<ListBody>(200, "A page.")
}

/// `200` with the schedules after `after` by name, `limit` of them (1 to 1,000,
/// 100 if absent), and a link to the next page if there is one.
pub(super) async fn handle(app: web::Data<App>, request: HttpRequest) -> Result<HttpResponse, ApiError> {
    must_accept_json(&request)?;
    let complain = |pointer: &str, message: String| {
        ApiError::invalid_request(vec![ParameterError { pointer: pointer.to_owned(), message }])
    };
    let page = web::Query::<Page>::from_query(request.query_string())
        .map_err(|error| complain("?", format!("The query parameters are after and limit: {error}.")))?
        .into_inner();
    let limit = page.limit.unwrap_or(LIMIT);
    if !(1..=LIMIT_AT_MOST).contains(&limit) {
        return Err(complain("limit", format!("A number from 1 to {LIMIT_AT_MOST} is expected.")));
    }
    if page.after.contains('\0') {
        return Err(complain("after", "The name of a schedule is expected.".to_owned()));
    }
    let mut schedules = cron::schedules(app.pool(), &page.after, limit + 1).await?;
    let more = schedules.len() > usize::from(limit);
    schedules.truncate(usize::from(limit));
    let next = schedules.last().filter(|_| more).map(|last| Link {
        href: format!("{}/api/schedules?after={}&limit={limit}", app.base_url(), last.name),
        rel: "Next".to_owned(),
    });
    let items = schedules.into_iter().map(|schedule| ScheduleBody::new(schedule, app.base_url())).collect();
    Ok(json_response(StatusCode::OK, &ListBody { items, links: next.into_iter().collect() }))
}
