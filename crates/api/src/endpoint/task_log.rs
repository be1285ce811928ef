//! `GET /api/backgroundtask/{id}/log`: what a task's handler wrote down for
//! people, a page at a time.

use std::fmt::Write;

use actix_web::http::StatusCode;
use actix_web::http::header::{CONTENT_TYPE, LINK, X_CONTENT_TYPE_OPTIONS};
use actix_web::{HttpRequest, HttpResponse, web};
use chrono::SecondsFormat;
use longhaul_model::LogLevel;
use longhaul_model::store::log::{StoredLine, kept, lines};
use schemars::JsonSchema;
use serde::Serialize;

use super::get_task::{find_task, public_id};
use crate::body::Link;
use crate::error::{NOT_ACCEPTABLE, UNKNOWN_TASK};
use crate::negotiation::{Preference, preference};
use crate::openapi::integer;
use crate::page::{LIMIT, LIMIT_AT_MOST, Page};
use crate::{ApiError, App, Caller, Operation, TaskBody, json_response};

/// A line of a log.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "PascalCase")]
#[schemars(rename = "LogLine")]
pub(crate) struct LineBody {
    /// The line's number, from 1. Missing numbers are those of dropped lines.
    number: i64,
    /// UTC, with milliseconds.
    #[schemars(with = "chrono::DateTime<chrono::Utc>")]
    at: String,
    attempt: u16,
    level: LogLevel,
    line: String,
}

impl From<StoredLine> for LineBody {
    fn from(line: StoredLine) -> Self {
        Self {
            number: line.number,
            at: line.at.to_rfc3339_opts(SecondsFormat::Millis, true),
            attempt: line.attempt,
            level: line.level,
            line: line.line,
        }
    }
}

/// A page of a log.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "PascalCase")]
#[schemars(rename = "Log")]
struct LogBody {
    items: Vec<LineBody>,
    /// Number of dropped lines of the whole log.
    dropped: i64,
    links: Vec<Link>,
}

pub(super) fn operation() -> Operation {
    Operation::new("Tasks", "getTaskLog", "Lists a task's log lines, by page.")
        .path("id", "The task's `Id`; case does not matter.", public_id())
        .query("after", "The last number of the previous page.", integer(0, i64::MAX, 0))
        .query("limit", "Lines on a page.", integer(1, LIMIT_AT_MOST.into(), LIMIT.into()))
        .negotiated()
        .answers::<LogBody>(200, "A page, as JSON or as plain text with a `Link` to the next one.")
        .answers_bytes(200, "text/plain", "")
        .problem(UNKNOWN_TASK)
}

/// `200` with the lines after the one with number `after`, `limit` of them (1 to
/// 1,000, 100 if absent), as JSON or plain text, and a link to the next page if
/// there is one; `404` as for the task itself.
pub(crate) async fn handle(
    app: web::Data<App>,
    caller: Caller,
    id: web::Path<String>,
    request: HttpRequest,
) -> Result<HttpResponse, ApiError> {
    let as_text = wants_text(&request)?;
    let page = Page::<i64>::read(&request)?;
    let limit = page.limit;
    let (task, id_prefix) = find_task(&app, &caller, &id).await?;
    let (guid, logged) = (task.id, task.logged);
    let mut found = lines(app.pool(), guid, page.after, limit + 1).await?;
    let more = page.cut(&mut found);
    let self_url = TaskBody::new(task, id_prefix, app.base_url()).self_url;
    let next = found.last().filter(|_| more).map(|last| format!("{self_url}/log?after={}&limit={limit}", last.number));
    if as_text {
        return Ok(text_response(&found, page.after, next.as_deref()));
    }
    let dropped = (logged - kept(app.pool(), guid).await?).max(0);
    let links = next.map(|href| Link { href, rel: "Next".to_owned() }).into_iter().collect();
    let items = found.into_iter().map(LineBody::from).collect();
    Ok(json_response(StatusCode::OK, &LogBody { items, dropped, links }))
}

fn wants_text(request: &HttpRequest) -> Result<bool, ApiError> {
    let [json, text] =
        [("application", "json"), ("text", "plain")].map(|(kind, subtype)| preference(request, kind, subtype));
    match (json, text) {
        (Preference::REFUSED, Preference::REFUSED) => Err(ApiError::new(
            NOT_ACCEPTABLE,
            "A log is application/json or text/plain; send Accept with one of them, or none.",
        )),
        (json, text) => Ok(text > json),
    }
}

fn text_response(lines: &[StoredLine], after: i64, next: Option<&str>) -> HttpResponse {
    let mut response = HttpResponse::Ok();
    // Handlers may log what others sent them: a browser must not take it for HTML.
    response.insert_header((CONTENT_TYPE, "text/plain; charset=utf-8"));
    response.insert_header((X_CONTENT_TYPE_OPTIONS, "nosniff"));
    if let Some(next) = next {
        response.insert_header((LINK, format!("<{next}>; rel=\"next\"")));
    }
    response.body(as_text(lines, after))
}

/// One line each. What follows a line break within a line is indented, so that it
/// can't be taken for a line of its own.
fn as_text(lines: &[StoredLine], after: i64) -> String {
    let (mut text, mut last) = (String::new(), after);
    for line in lines {
        let missing = line.number - last - 1;
        if missing > 0 {
            // Writing to a String does not fail.
            let _written = writeln!(text, "({missing} dropped)");
        }
        last = line.number;
        let at = line.at.to_rfc3339_opts(SecondsFormat::Millis, true);
        let said = line.line.replace('\n', "\n    ");
        let _written = writeln!(text, "{at} {:<5} {said}", line.level.name());
    }
    text
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use longhaul_model::LogLevel;
    use longhaul_model::store::log::StoredLine;

    use super::as_text;

    #[test]
    fn a_line_break_within_a_line_makes_no_second_line() {
        let line = |number, line: &str| StoredLine {
            number,
            at: DateTime::UNIX_EPOCH,
            attempt: 1,
            level: LogLevel::Warn,
            line: line.to_owned(),
        };
        let text = as_text(&[line(3, "a\n1970-01-01T00:00:00.000Z Info  forged"), line(4, "b")], 1);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines,
            [
                "(1 dropped)",
                "1970-01-01T00:00:00.000Z Warn  a",
                "    1970-01-01T00:00:00.000Z Info  forged",
                "1970-01-01T00:00:00.000Z Warn  b"
            ]
        );
    }
}
