//! `GET /api/tasks`: tasks by filter, newest first, a page at a time.

use std::str::FromStr;
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use chrono::{DateTime, Utc};
use longhaul_model::State;
use longhaul_model::store::find::TaskFilter;
use longhaul_model::store::list::{ListFilter, Listed};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::access::permission::VIEW_TASKS;
use crate::body::{Link, WHOLE_SECONDS, whole_seconds};
use crate::error::INVALID_REQUEST;
use crate::negotiation::must_accept_json;
use crate::openapi::{guid, integer, text};
use crate::page::{LIMIT_AT_MOST, refusal};
use crate::{Access, ApiError, App, Operation, TaskBody, json_response};

/// Tasks on a page unless the client says otherwise.
const LIMIT: u32 = 50;
/// A page is looked for so long at most.
const PATIENCE: Duration = Duration::from_millis(50);
/// Characters of any filter at most.
const LONGEST: usize = 1_000;

/// A task of a list.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "PascalCase")]
#[schemars(rename = "ListedTask")]
struct ListedBody {
    queue: String,
    /// 0 (first) to 9 (last).
    #[schemars(range(min = 0, max = 9))]
    priority: i16,
    /// Attempts it may have.
    max_attempts: i16,
    /// Who asked for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    created_by: Option<String>,
    /// The worker that runs it, or ran it last.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    worker: Option<String>,
    /// What its last failed attempt said.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    last_error: Option<String>,
    #[serde(flatten)]
    task: TaskBody,
}

/// A page of tasks.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "PascalCase")]
#[schemars(rename = "TaskList")]
struct ListBody {
    /// Newest first.
    items: Vec<ListedBody>,
    /// About how many tasks fit, where that can be told without looking at them all.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "i64")]
    total: Option<i64>,
    /// Whether `Total` was counted, not estimated.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "bool")]
    total_is_exact: Option<bool>,
    /// There if the page was not full when its time was over: tasks accepted since then
    /// have been looked at, and `Next` looks at older ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", regex(pattern = WHOLE_SECONDS))]
    looked_back_to: Option<String>,
    /// `Next`, if there may be more.
    links: Vec<Link>,
}

/// The query.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Query {
    state: String,
    #[serde(rename = "type")]
    type_name: String,
    queue: String,
    key: String,
    #[serde(rename = "createdBy")]
    created_by: String,
    #[serde(rename = "acceptedAfter")]
    accepted_after: String,
    #[serde(rename = "acceptedBefore")]
    accepted_before: String,
    #[serde(rename = "errorCode")]
    error_code: String,
    text: String,
    after: String,
    limit: Option<u32>,
}

pub(super) fn operation() -> Operation {
    Operation::new("Tasks", "listTasks", "Tasks by filter, newest first, a page at a time.")
        .description(
            "Fast whatever the number of tasks: a page is looked for about 50 ms at most. If few of the newest tasks \
             fit, it may come with fewer items than `limit`, or none; `LookedBackTo` and `Next` are there then. \
             `Total` is an estimate unless `TotalIsExact`.",
        )
        .query("state", "States, with commas between them.", text())
        .query("type", "Names of task types, with commas between them.", text())
        .query("queue", "A queue.", text())
        .query("key", "Whose they are: the key that their type gives them.", text())
        .query("createdBy", "Who asked for them.", text())
        .query("acceptedAfter", "Accepted then (RFC 3339) or later.", text())
        .query("acceptedBefore", "Accepted before then (RFC 3339).", text())
        .query("errorCode", "The `code` of why they failed, or why their last attempt did.", text())
        .query(
            "text",
            "The beginning of an id, or what stands in the parameters, the message, the error, the key or who asked for \
             it; case does not matter.",
            text(),
        )
        .query("after", "Those that come after this one; see `Next`.", guid())
        .query("limit", "Tasks on a page.", integer(1, LIMIT_AT_MOST.into(), LIMIT.into()))
        .needs(Access::Permission(VIEW_TASKS))
        .negotiated()
        .answers::<ListBody>(200, "A page.")
        .problem(INVALID_REQUEST)
}

/// `200` with a page.
pub(super) async fn handle(app: web::Data<App>, request: HttpRequest) -> Result<HttpResponse, ApiError> {
    must_accept_json(&request)?;
    let query = web::Query::<Query>::from_query(request.query_string())
        .map_err(|error| refusal("?", format!("A query parameter is wrong: {error}.")))?
        .into_inner();
    let limit = query.limit.unwrap_or(LIMIT);
    if !(1..=LIMIT_AT_MOST).contains(&limit) {
        return Err(refusal("limit", format!("A number from 1 to {LIMIT_AT_MOST} is expected.")));
    }
    let filter = query.filter()?;
    let after = parse::<Uuid>("after", &query.after, "The id that Next names is expected.")?;
    let (page, count) = tokio::try_join!(filter.page(app.pool(), after, limit as usize, PATIENCE), async {
        if after.is_none() { filter.count(app.pool()).await } else { Ok(None) }
    },)?;
    // What fits on one page has been counted.
    let whole = after.is_none() && page.next.is_none();
    let counted = i64::try_from(page.tasks.len()).unwrap_or(i64::MAX);
    let next = page.next.map(|next| Link { href: query.next(&app, next, limit), rel: "Next".to_owned() });
    Ok(json_response(
        StatusCode::OK,
        &ListBody {
            items: page.tasks.into_iter().map(|listed| ListedBody::new(listed, app.base_url())).collect(),
            total: if whole { Some(counted) } else { count.map(|count| count.tasks.max(counted)) },
            total_is_exact: if whole { Some(true) } else { count.map(|count| count.exact) },
            looked_back_to: page.looked_back_to.map(whole_seconds),
            links: next.into_iter().collect(),
        },
    ))
}

impl Query {
    /// The filter, or everything that is wrong with it.
    fn filter(&self) -> Result<ListFilter, ApiError> {
        let named = [
            ("state", &self.state),
            ("type", &self.type_name),
            ("queue", &self.queue),
            ("key", &self.key),
            ("createdBy", &self.created_by),
            ("errorCode", &self.error_code),
            ("text", &self.text),
        ];
        for (name, value) in named {
            if value.contains('\0') || value.chars().count() > LONGEST {
                return Err(refusal(name, format!("At most {LONGEST} characters, none of them U+0000, are expected.")));
            }
        }
        let states = parts(&self.state)
            .map(|name| name.parse::<State>().map_err(|error| refusal("state", format!("{error}."))))
            .collect::<Result<_, _>>()?;
        let given = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
        let time = "A time such as 2026-01-31T21:50:00Z is expected.";
        Ok(ListFilter {
            tasks: TaskFilter {
                types: parts(&self.type_name).map(str::to_owned).collect(),
                states,
                queue: given(&self.queue),
                key: given(&self.key),
                created_by: given(&self.created_by),
                accepted_after: parse::<DateTime<Utc>>("acceptedAfter", &self.accepted_after, time)?,
                accepted_before: parse::<DateTime<Utc>>("acceptedBefore", &self.accepted_before, time)?,
                error_code: given(&self.error_code),
            },
            text: given(&self.text),
        })
    }

    /// The address of the page that goes on after `after`.
    fn next(&self, app: &App, after: Uuid, limit: u32) -> String {
        let mut query = String::new();
        let pairs = [
            ("state", &self.state),
            ("type", &self.type_name),
            ("queue", &self.queue),
            ("key", &self.key),
            ("createdBy", &self.created_by),
            ("acceptedAfter", &self.accepted_after),
            ("acceptedBefore", &self.accepted_before),
            ("errorCode", &self.error_code),
            ("text", &self.text),
        ];
        for (name, value) in pairs.into_iter().filter(|(_, value)| !value.is_empty()) {
            query.push_str(&format!("{name}={}&", escaped(value)));
        }
        format!("{}/api/tasks?{query}after={after}&limit={limit}", app.base_url())
    }
}

fn parts(list: &str) -> impl Iterator<Item = &str> {
    list.split(',').map(str::trim).filter(|part| !part.is_empty())
}

fn parse<T: FromStr>(name: &str, text: &str, expected: &str) -> Result<Option<T>, ApiError> {
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|_| refusal(name, expected.to_owned()))
}

/// Percent-encoded, for a value in a query (RFC 3986, 3.4).
pub(super) fn escaped(value: &str) -> String {
    let mut escaped = String::new();
    for byte in value.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b',' | b':' => {
                escaped.push(char::from(byte));
            }
            _ => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}

impl ListedBody {
    fn new(Listed { task, more }: Listed, base_url: &str) -> Self {
        let guid = task.id.to_string();
        let id_prefix = more.public_id.strip_suffix(&guid).unwrap_or_default();
        Self {
            task: TaskBody::new(task, id_prefix, base_url),
            queue: more.queue,
            priority: more.priority,
            max_attempts: more.max_attempts,
            created_by: more.created_by,
            worker: more.worker,
            last_error: more.last_error,
        }
    }
}
