//! `GET /api/tasks`: tasks by filter, newest first, a page at a time.

use std::str::FromStr;
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
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
use crate::percent::query_value;
use crate::task_request::rfc3339;
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
pub(super) struct ListedBody {
    #[serde(flatten)]
    task: TaskBody,
    queue: String,
    /// 0 (first) to 9 (last).
    #[schemars(range(min = 0, max = 9))]
    priority: i16,
    /// The maximum number of attempts.
    max_attempts: i16,
    /// The creator.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    created_by: Option<String>,
    /// The worker that runs it, or ran it last.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    worker: Option<String>,
    /// The error of its last failed attempt.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    last_error: Option<String>,
    /// Words by which people find it, as it was given them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tags: Vec<String>,
    /// An attempt that takes longer is given up; there if that is not what its type says.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "f64")]
    timeout_seconds: Option<f64>,
}

/// A page of tasks.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "PascalCase")]
#[schemars(rename = "TaskList")]
struct ListBody {
    /// Newest first.
    items: Vec<ListedBody>,
    /// The number of matching tasks, if it is available without reading all of them: exact for
    /// failed and cancelled tasks, for open tasks if they are few, and for succeeded tasks if only states
    /// are asked for; else an estimate.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "i64")]
    total: Option<i64>,
    /// Whether `Total` was counted, not estimated.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "bool")]
    total_is_exact: Option<bool>,
    /// Present if the page was not full when its time was over: tasks accepted since then have been
    /// searched, and `Next` searches older ones.
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
    tag: String,
    text: String,
    after: String,
    limit: Option<u32>,
}

pub(super) fn operation() -> Operation {
    Operation::new("Tasks", "listTasks", "Lists tasks by filter, newest first, by page.")
        .description(
            "Fast with any number of tasks: a page takes about 50 ms at most. If few of the newest tasks match, the \
             page may have fewer items than `limit`, or none; it then has `LookedBackTo` and `Next`. `Total` is an \
             estimate unless `TotalIsExact`.",
        )
        .query("state", "States, separated by commas.", text())
        .query("type", "Names of task types, separated by commas.", text())
        .query("queue", "A queue.", text())
        .query("key", "The key of the tasks.", text())
        .query("createdBy", "The creator.", text())
        .query("acceptedAfter", "Accepted at this time (RFC 3339) or later.", text())
        .query("acceptedBefore", "Accepted before this time (RFC 3339).", text())
        .query("errorCode", "The error `code` of the task, or of its last attempt.", text())
        .query("tag", "One of their tags; case matters.", text())
        .query(
            "text",
            "The beginning of an id, or a text in the parameters, the message, the error, the key or the creator; \
             case does not matter.",
            text(),
        )
        .query("after", "Tasks after this id; see `Next`.", guid())
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
        .map_err(|error| refusal("?", format!("A query parameter is invalid: {error}.")))?
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
            ("tag", &self.tag),
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
        let time = |name, text: &str| match rfc3339(text) {
            None if !text.is_empty() => {
                Err(refusal(name, "A time such as 2026-01-31T21:50:00Z is expected.".to_owned()))
            }
            time => Ok(time),
        };
        Ok(ListFilter {
            tasks: TaskFilter {
                types: parts(&self.type_name).map(str::to_owned).collect(),
                states,
                queue: given(&self.queue),
                key: given(&self.key),
                created_by: given(&self.created_by),
                accepted_after: time("acceptedAfter", &self.accepted_after)?,
                accepted_before: time("acceptedBefore", &self.accepted_before)?,
                error_code: given(&self.error_code),
                tag: given(&self.tag),
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
            ("tag", &self.tag),
            ("text", &self.text),
        ];
        for (name, value) in pairs.into_iter().filter(|(_, value)| !value.is_empty()) {
            query.push_str(&format!("{name}={}&", query_value(value)));
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

impl ListedBody {
    pub(super) fn new(Listed { task, more }: Listed, base_url: &str) -> Self {
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
            tags: more.tags,
            timeout_seconds: more.timeout_seconds,
        }
    }
}
