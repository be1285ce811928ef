//! `GET /api/externalsystemlink/{id}/tickets?q=…&limit=…`: finds tickets in a
//! tracker, each with the link that makes an incident of it.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use longhaul_api::openapi::{guid, integer, text};
use longhaul_api::record::not_found;
use longhaul_api::{Access, ApiError, App, Caller, Link, Operation, json_response, must_accept_json};
use longhaul_model::schemars::JsonSchema;
use longhaul_model::{CreateError, ParameterError};
use serde::Serialize;
use uuid::Uuid;

use crate::external_system::{link, trackers};
use crate::permission::EDIT_INCIDENTS;
use crate::problem::{TRACKER_MISBEHAVED, TRACKER_NOT_ALLOWED, TRACKER_REFUSED, UNKNOWN_EXTERNAL_SYSTEM_LINK};
use crate::refusal::Refusal;
use crate::trackers::Ticket;
use longhaul_api::percent_encoded;

/// How many tickets are answered, unless asked otherwise.
const DEFAULT_LIMIT: usize = 20;
const MOST: usize = 100;

/// Tickets of a tracker.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "PascalCase")]
#[schemars(crate = "longhaul_model::schemars", rename = "TicketSearchResult")]
struct TicketsBody {
    query: String,
    limit: usize,
    items: Vec<Item>,
    links: Vec<Link>,
}

/// A ticket, with the link that creates an incident from it.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "PascalCase")]
#[schemars(crate = "longhaul_model::schemars", rename = "FoundTicket")]
struct Item {
    #[serde(flatten)]
    ticket: Ticket,
    links: Vec<Link>,
}

pub(super) fn operation() -> Operation {
    Operation::new("Tickets", "searchTickets", "Finds tickets in a tracker.")
        .needs(Access::Somewhere(EDIT_INCIDENTS))
        .path("id", "The project's connection to the tracker.", guid())
        .required_query("q", "Words of the ticket's title, or its key; at most 500 bytes.", text())
        .query("limit", "Maximum number of tickets.", integer(1, 100, 20))
        .negotiated()
        .answers::<TicketsBody>(200, "The tickets, the last changed first.")
        .problem(not_found(UNKNOWN_EXTERNAL_SYSTEM_LINK))
        .problem(TRACKER_REFUSED)
        .problem(TRACKER_NOT_ALLOWED)
        .problem(TRACKER_MISBEHAVED)
}

pub(super) async fn handle(
    app: web::Data<App>,
    caller: Caller,
    id: web::Path<String>,
    request: HttpRequest,
) -> Result<HttpResponse, ApiError> {
    must_accept_json(&request)?;
    let (words, limit) = parse(request.query_string())?;
    let found = match Uuid::try_parse(&id) {
        Ok(id) => link(app.pool(), id).await?,
        Err(_) => None,
    };
    let link = found.filter(|link| caller.may_in(EDIT_INCIDENTS, link.project_id)).ok_or_else(|| {
        let detail = format!("There is no external system link {}.", id.chars().take(100).collect::<String>());
        ApiError::new(not_found(UNKNOWN_EXTERNAL_SYSTEM_LINK), detail)
    })?;
    let refused = |refusal: Refusal| ApiError::from(CreateError::from(refusal));
    let tracker =
        trackers(app.resources()).and_then(|trackers| Ok(trackers.connect(&link.connection)?)).map_err(refused)?;
    let tickets = tracker.search(&words, limit).await.map_err(|error| refused(error.into()))?;
    let address = format!("{}/api/externalsystemlink/{}", app.base_url(), link.id);
    let items = tickets
        .into_iter()
        .take(limit)
        .map(|ticket| {
            let href = format!("{address}/ticket/{}/link", percent_encoded(&ticket.id));
            Item { ticket, links: vec![Link { href, rel: "StartCreateIncident".to_owned() }] }
        })
        .collect();
    let own = format!("{address}/tickets?q={}&limit={limit}", percent_encoded(&words));
    let body = TicketsBody { items, limit, links: vec![Link { href: own, rel: "Self".to_owned() }], query: words };
    Ok(json_response(StatusCode::OK, &body))
}

/// Reads the query string and lists everything that is wrong with it.
fn parse(query_string: &str) -> Result<(String, usize), ApiError> {
    let pairs =
        web::Query::<Vec<(String, String)>>::from_query(query_string).map(web::Query::into_inner).unwrap_or_default();
    let (mut words, mut limit, mut errors) = (String::new(), DEFAULT_LIMIT, Vec::new());
    let mut complain = |name: &str, message: String| errors.push(ParameterError { pointer: name.to_owned(), message });
    for (name, value) in pairs {
        match name.as_str() {
            "q" => words = value.trim().to_owned(),
            "limit" => match value.parse() {
                Ok(number) if (1..=MOST).contains(&number) => limit = number,
                _ => complain("limit", format!("A number from 1 to {MOST} is expected.")),
            },
            other => complain(
                &other.chars().take(100).collect::<String>(),
                "Unknown; the known ones are q, limit.".to_owned(),
            ),
        }
    }
    if words.is_empty() {
        complain("q", "Required: words of the ticket's title, or its key.".to_owned());
    } else if words.len() > 500 || words.chars().any(char::is_control) {
        complain("q", "At most 500 bytes, without control characters, are expected.".to_owned());
    }
    if errors.is_empty() { Ok((words, limit)) } else { Err(ApiError::invalid_request(errors)) }
}
