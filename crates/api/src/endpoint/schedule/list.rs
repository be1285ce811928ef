//! `GET /api/schedules`: schedules by name, a page at a time.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use longhaul_model::store::cron;
use schemars::JsonSchema;
use serde::Serialize;

use crate::access::permission::VIEW_SCHEDULES;
use crate::body::Link;
use crate::negotiation::must_accept_json;
use crate::openapi::{integer, text};
use crate::page::{LIMIT, LIMIT_AT_MOST, Page, refusal};
use crate::schedule::ScheduleBody;
use crate::{Access, ApiError, App, Operation, json_response};

/// Schedules by name, and a link to the next page if there is one.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "PascalCase")]
#[schemars(rename = "ScheduleList")]
struct ListBody {
    items: Vec<ScheduleBody>,
    links: Vec<Link>,
}

pub(super) fn operation() -> Operation {
    Operation::new("Schedules", "listSchedules", "Lists cron schedules by name, by page.")
        .needs(Access::Permission(VIEW_SCHEDULES))
        .query("after", "The last name of the previous page.", text())
        .query("limit", "Schedules on a page.", integer(1, LIMIT_AT_MOST.into(), LIMIT.into()))
        .negotiated()
        .answers::<ListBody>(200, "A page.")
}

/// `200` with the schedules after `after` by name, `limit` of them (1 to 1,000,
/// 100 if absent), and a link to the next page if there is one.
pub(super) async fn handle(app: web::Data<App>, request: HttpRequest) -> Result<HttpResponse, ApiError> {
    must_accept_json(&request)?;
    let page = Page::<String>::read(&request)?;
    let limit = page.limit;
    if page.after.contains('\0') {
        return Err(refusal("after", "The name of a schedule is expected.".to_owned()));
    }
    let mut schedules = cron::schedules(app.pool(), &page.after, limit + 1).await?;
    let more = page.cut(&mut schedules);
    let next = schedules.last().filter(|_| more).map(|last| Link {
        href: format!("{}/api/schedules?after={}&limit={limit}", app.base_url(), last.name),
        rel: "Next".to_owned(),
    });
    let items = schedules.into_iter().map(|schedule| ScheduleBody::new(schedule, app.base_url())).collect();
    Ok(json_response(StatusCode::OK, &ListBody { items, links: next.into_iter().collect() }))
}
