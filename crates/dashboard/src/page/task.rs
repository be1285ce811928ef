//! `/tasks/{id}`: one task.

use actix_web::{HttpRequest, HttpResponse, web};
use chrono::{DateTime, Utc};
use longhaul_api::access::permission::VIEW_TASKS;
use longhaul_api::percent_encoded;
use longhaul_api::{ApiError, App, Caller};
use longhaul_model::store::cancel::{Cancelled, Retried, chosen};
use longhaul_model::store::detail::{Detail, Failure, detail};
use longhaul_model::store::linked::{Relative, children, dependents, prerequisites};
use longhaul_model::store::log::{StoredLine, lines};
use longhaul_model::store::read::Task;
use longhaul_model::store::why::Reason;
use longhaul_model::{Report, State, StepState, split_public_id};
use maud::{Markup, html};
use serde_json::Value;
use uuid::Uuid;

use super::table;
use crate::format::{json, moment, number, percent, span, state};
use crate::graph::{DRAWN, Graph};
use crate::notice::Notice;
use crate::problem::{NO_PAGE, NOT_DONE};
use crate::respond::{go_saying, page_after_form};
use crate::shell::Shell;

/// The header by which the script asks for what changes only.
const REFRESH: &str = "longhaul-refresh";
/// Lines of the log that are shown.
const TAIL: u32 = 200;
/// Children that are shown.
const CHILDREN: i64 = 24;
/// Relatives that are read in each direction.
const RELATIVES: i64 = 200;

struct Shown {
    /// What changes only: for the script that keeps the page up to date.
    only_live: bool,
    detail: Detail,
    before: Vec<Relative>,
    after: Vec<Relative>,
    children: Vec<Relative>,
    log: Vec<StoredLine>,
}

pub(crate) async fn show(
    app: web::Data<App>,
    caller: Caller,
    id: web::Path<String>,
    request: HttpRequest,
) -> Result<HttpResponse, ApiError> {
    let only_live = request.headers().contains_key(REFRESH);
    let detail = find(&app, &caller, &id).await?;
    let guid = detail.listed.task.id;
    let from = detail.listed.task.logged.saturating_sub(i64::from(TAIL)).max(0);
    let (mut before, mut after, mut children, log) = tokio::try_join!(
        prerequisites(app.pool(), guid, Uuid::nil(), RELATIVES),
        dependents(app.pool(), guid, Uuid::nil(), RELATIVES),
        children(app.pool(), guid, 0, CHILDREN),
        async { if only_live { Ok(Vec::new()) } else { lines(app.pool(), guid, from, TAIL).await } },
    )?;
    for relatives in [&mut before, &mut after, &mut children] {
        relatives.retain(|relative| caller.sees(relative.created_by.as_deref()));
    }
    let shown = Shown { only_live, detail, before, after, children, log };
    let title = format!("{} {}", shown.detail.listed.task.type_name, shown.detail.listed.more.public_id);
    let main = shown.draw(&app, &caller);
    // What is over does not change any more.
    let shell = Shell::new(title, "/tasks", &caller);
    let shell = if shown.detail.listed.task.state.is_end() { shell.still() } else { shell };
    Ok(page_after_form(&request, shell, main))
}

/// It, if the caller may see it; else it is not there.
async fn find(app: &App, caller: &Caller, id: &str) -> Result<Detail, ApiError> {
    let unknown = || {
        let id: String = id.chars().take(100).collect();
        ApiError::new(NO_PAGE, format!("There is no task {id}. It never existed, or its retention period is over."))
    };
    let (_, guid) = split_public_id(id).ok_or_else(unknown)?;
    let found = chosen(app.pool(), &[guid], caller.sight(&[VIEW_TASKS])).await?;
    if !found.first().is_some_and(|found| found.public_id.eq_ignore_ascii_case(id)) {
        return Err(unknown());
    }
    detail(app.pool(), guid).await?.ok_or_else(unknown)
}

/// Cancels it.
pub(crate) async fn cancel(
    app: web::Data<App>,
    caller: Caller,
    id: web::Path<String>,
) -> Result<HttpResponse, ApiError> {
    let notice = match app.cancel_task(&caller, &id).await? {
        Cancelled::AtOnce => Notice::Cancelled,
        Cancelled::Requested => Notice::Cancelling,
        Cancelled::Ended => {
            return Err(ApiError::new(NOT_DONE, "It completed before it could be cancelled."));
        }
    };
    Ok(go_saying(&format!("/tasks/{}", percent_encoded(&id)), notice))
}

/// Runs it again.
pub(crate) async fn retry(
    app: web::Data<App>,
    caller: Caller,
    id: web::Path<String>,
) -> Result<HttpResponse, ApiError> {
    let why = match app.retry_task(&caller, &id).await? {
        Retried::Queued => return Ok(go_saying(&format!("/tasks/{}", percent_encoded(&id)), Notice::Retried)),
        Retried::Open => "It has not completed; only failed or cancelled tasks can be retried.",
        Retried::Succeeded => "It succeeded; start a new task instead.",
        Retried::Taken => "Another open task has its unique key; wait until that task completes.",
        Retried::Exhausted => "It has reached the maximum number of attempts; start a new task instead.",
    };
    Err(ApiError::new(NOT_DONE, why))
}

impl Shown {
    fn draw(&self, app: &App, caller: &Caller) -> Markup {
        let task = &self.detail.listed.task;
        let id = self.detail.listed.more.public_id.as_str();
        let events =
            (!task.state.is_end()).then(|| format!("/api/backgroundtask/{}/events?log=true", percent_encoded(id)));
        html! {
            div.task data-events=[events] {
                section.card.head #head data-live {
                    div.title {
                        h1 { (task.type_name) " " span #state { (state(task.state)) } }
                        (deeds(task, id, caller.manages(task.created_by.as_deref())))
                    }
                    p.id.whole { (id) }
                    (progress(task))
                }
                (self.reasons(app))
                div.columns {
                    div.main {
                        (self.error())
                        (self.outcome())
                        @if !self.only_live {
                            section.card {
                                header { h2 { "Parameters" } }
                                pre tabindex="0" aria-label="Parameters" { (json(&self.detail.parameters)) }
                            }
                        }
                        (self.attempts(app))
                        (self.picture())
                        @if !self.only_live {
                            (self.log())
                            (same(id, app.base_url()))
                        }
                    }
                    div.side {
                        (self.facts(app))
                        (self.parts())
                        div #checkpoint data-live {
                            @if let Some(checkpoint) = &self.detail.checkpoint {
                                section.card { header { h2 { "Checkpoint" } } pre tabindex="0" aria-label="Checkpoint" { (json(checkpoint)) } }
                            }
                        }
                    }
                }
            }
        }
    }

    /// Why it waits. The state tells the script when this is over.
    fn reasons(&self, app: &App) -> Markup {
        let reasons: &[Reason] = &self.detail.reasons;
        html! {
            div #reasons data-live data-state=(self.detail.listed.task.state.name()) {
                @if !reasons.is_empty() {
                    section.card {
                        header { h2 { "Why it waits" } }
                        ul.reasons {
                            @for reason in reasons {
                                li class=[stands_still(&reason.code).then_some("still")] {
                                    p { (reason.says) @if let Some(until) = until(reason) { span.soft { " · " (moment(until, app.now())) } } }
                                    (coded(&reason.code, longhaul_book::reason_path(&reason.code)))
                                }
                            }
                        }
                    }
                }
            }
        }
    }

    fn error(&self) -> Markup {
        let error = self.detail.listed.task.error.as_ref();
        html! {
            div #error data-live {
                @if let Some(error) = error {
                    section.card.bad {
                        header { h2 { (text(error, "title")) } (code(error)) }
                        p { (text(error, "detail")) }
                    }
                }
            }
        }
    }

    fn outcome(&self) -> Markup {
        let report = self.detail.listed.task.result.clone().map(Report::from_stored).unwrap_or_default();
        html! {
            div #outcome data-live {
                @if let Some(result) = &report.result {
                    section.card { header { h2 { "Result" } } pre tabindex="0" aria-label="Result" { (json(result)) } }
                }
            }
        }
    }

    fn attempts(&self, app: &App) -> Markup {
        let failures: &[Failure] = &self.detail.failures;
        html! {
            div #attempts data-live {
                @if !failures.is_empty() {
                    section.card {
                        header { h2 { "Failed attempts" } span.soft { (number(failures.len() as i64)) } }
                        ol.attempts reversed {
                            @for failure in failures {
                                li {
                                    p { b { "Attempt " (failure.attempt) } span.soft { " · " (moment(failure.failed_at, app.now()))
                                        @if let Some(ms) = failure.duration_ms { " · ran " (span(ms as f64 / 1_000.0)) }
                                        @if let Some(worker) = &failure.worker { " · " (worker) } } }
                                    p { (code(&failure.error)) " " (text(&failure.error, "detail")) }
                                }
                            }
                        }
                    }
                }
            }
        }
    }

    fn log(&self) -> Markup {
        let task = &self.detail.listed.task;
        html! {
            section.card.log {
                header { h2 { "Log" } span.soft { "the last " (number(i64::from(TAIL))) " lines" } }
                @if self.log.is_empty() && task.state.is_end() {
                    (table::empty("No log lines", html! { "The handler logged nothing." }))
                } @else {
                    ol #log tabindex="0" aria-label="Log" data-last=(self.log.last().map_or(0, |line| line.number)) {
                        @for line in &self.log {
                            li class={ "line-" (line.level.name().to_lowercase()) } {
                                time datetime=(line.at.format("%Y-%m-%dT%H:%M:%S%.3fZ")) { (line.at.format("%H:%M:%S%.3f")) }
                                span.level { (line.level.name()) }
                                span.text { (line.line) }
                            }
                        }
                    }
                }
            }
        }
    }

    fn facts(&self, app: &App) -> Markup {
        let (task, more) = (&self.detail.listed.task, &self.detail.listed.more);
        let now = app.now();
        html! {
            section.card #facts data-live {
                header { h2 { "Details" } }
                dl.list {
                    dt { "Queue" } dd { a href={ "/tasks?queue=" (percent_encoded(&more.queue)) } { (more.queue) } }
                    dt { "Priority" } dd { (more.priority) }
                    dt { "Attempt" } dd { (task.attempt) " of " (more.max_attempts) }
                    dt { "Accepted" } dd { (moment(task.accepted_at, now)) }
                    @if let Some(at) = task.run_at { dt { "Scheduled for" } dd { (moment(at, now)) } }
                    @if let Some(at) = more.started_at { dt { "Started" } dd { (moment(at, now)) } }
                    @if let Some(at) = task.finished_at { dt { "Ended" } dd { (moment(at, now)) } dt { "Took" } dd { (table::took(more.started_at, task.finished_at)) } }
                    @if let Some(worker) = &more.worker { dt { "Worker" } dd { (worker) } }
                    @if let Some(by) = &more.created_by { dt { "Created by" } dd { a href={ "/tasks?by=" (percent_encoded(by)) } { (by) } } }
                    @if let Some(key) = &more.key { dt { "Key" } dd { (key) } }
                    @if !more.tags.is_empty() {
                        dt { "Tags" }
                        dd { @for (at, tag) in more.tags.iter().enumerate() { @if at > 0 { ", " } a href=(format!("/tasks?tag={}", percent_encoded(tag))) { (tag) } } }
                    }
                    @if let Some(seconds) = more.timeout_seconds { dt { "Time limit" } dd { (seconds) " s" } }
                    @if let Some(count) = task.waits_for { dt { "Waits for" } dd { (number(count.into())) " tasks" } }
                    @if let Some(parent) = &task.parent { dt { "Parent" } dd { a href={ "/tasks/" (percent_encoded(parent)) } { (parent) } } }
                }
            }
        }
    }

    fn picture(&self) -> Markup {
        let (task, more) = (&self.detail.listed.task, &self.detail.listed.more);
        let graph = Graph {
            own: (&task.type_name, &more.public_id, task.state),
            parent: task.parent.as_deref(),
            before: &self.before,
            after: &self.after,
        };
        let left_out = self.before.len().saturating_sub(DRAWN) + self.after.len().saturating_sub(DRAWN);
        html! {
            div #picture data-live {
                @if !graph.is_empty() {
                    section.card {
                        header { h2 { "Related tasks" } }
                        div.scroll tabindex="0" role="group" aria-label="Diagram of the related tasks" { (graph.draw()) }
                        @if left_out > 0 { p.soft { (number(left_out as i64)) " more are not drawn." } }
                    }
                }
            }
        }
    }

    fn parts(&self) -> Markup {
        let family = self.detail.listed.task.family.as_ref();
        html! {
            div #parts data-live {
                @if let Some(family) = family {
                    section.card {
                        header { h2 { "Children" } span.soft { (number(family.children.into())) } }
                        p { (number(family.succeeded.into())) " succeeded, " (number(family.failed.into())) " failed, " (number(family.cancelled.into())) " cancelled" }
                        ul.parts {
                            @for child in &self.children {
                                li { (state(child.state)) " " a href={ "/tasks/" (percent_encoded(&child.public_id)) } { (child.type_name) " " @if let Some(number) = child.number { "#" (number) } } }
                            }
                        }
                        @if i64::from(family.children) > CHILDREN { p.soft { "The first " (CHILDREN) " are shown." } }
                    }
                }
            }
        }
    }
}

/// The code of an error, which leads to what the documentation says of it.
fn code(error: &Value) -> Markup {
    let code = text(error, "code");
    coded(code, longhaul_book::error_path(code))
}

fn coded(code: &str, help: Option<String>) -> Markup {
    html! {
        @match help {
            Some(help) => a href=(help) title="What this means" { code { (code) } },
            None => code { (code) },
        }
    }
}

/// Whether a task waits in vain until someone does something.
fn stands_still(code: &str) -> bool {
    matches!(code, "queue-paused" | "type-paused" | "no-worker" | "set-aside" | "worker-silent" | "stranded")
}

/// Until when a reason holds a task, if that is known.
fn until(reason: &Reason) -> Option<DateTime<Utc>> {
    reason.details.get("Until").and_then(Value::as_str)?.parse().ok()
}

fn deeds(task: &Task, id: &str, may: bool) -> Markup {
    html! {
        div.buttons {
            @if !may {
                span.soft { "You have read-only access." }
            } @else if !task.state.is_end() {
                form method="post" action={ "/tasks/" (percent_encoded(id)) "/cancel" } { button.danger type="submit" { "Cancel" } }
            } @else if task.state != State::Succeeded {
                form method="post" action={ "/tasks/" (percent_encoded(id)) "/retry" } { button.primary type="submit" { "Retry" } }
            }
        }
    }
}

fn progress(task: &Task) -> Markup {
    let fraction = table::shown(task.state, task.progress.fraction);
    let steps: Vec<StepState> =
        task.steps.clone().and_then(|steps| serde_json::from_value(steps).ok()).unwrap_or_default();
    html! {
        div.progress {
            progress #bar class={ "bar bar-" (task.state.name().to_lowercase()) } max="1" value=(format!("{fraction:.3}")) aria-label="Progress" {}
            span.percent #percent { (percent(fraction)) }
        }
        (message(task))
        p.soft.meta {
            span #elements { @if let Some(elements) = table::elements(task.progress.processed, task.progress.total) { (elements) " elements" } }
            span #left { @if let Some(left) = task.time_left { "about " (span(left.seconds)) " left (" (span(left.low)) " to " (span(left.high)) ")" } }
        }
        ol.steps #steps {
            @for step in &steps {
                li {
                    span.name { (step.name) }
                    progress.bar.bar-running max="1" value=(format!("{:.2}", step.fraction)) aria-label={ "Step " (step.name) } {}
                    span.percent { (percent(step.fraction)) }
                }
            }
        }
    }
}

/// What it is doing; or, if it ended without success, how it ended and what it was at.
fn message(task: &Task) -> Markup {
    let last = task.progress.message.as_deref();
    let how = match task.state {
        State::Failed => Some(
            task.error
                .as_ref()
                .map_or_else(|| "It failed.".to_owned(), |error| format!("It failed: {}", text(error, "title"))),
        ),
        State::Cancelled => Some("It was cancelled.".to_owned()),
        _ => None,
    };
    html! {
        @match how {
            Some(how) => {
                p.message #message { (how) }
                @if let Some(last) = last { p.soft { "Its last message: " (last) } }
            }
            None => { p.message #message aria-live="polite" { (last.unwrap_or("–")) } }
        }
    }
}

/// The same for those who like to type.
fn same(id: &str, base_url: &str) -> Markup {
    let guid = split_public_id(id).map(|(_, guid)| guid.to_string()).unwrap_or_default();
    html! {
        details.card.same {
            summary { "This task with curl and SQL" }
            h3 { "curl" }
            pre tabindex="0" aria-label="With curl" {
                "curl " (base_url) "/api/backgroundtask/" (id) "\n"
                "curl -N -H 'Accept: text/event-stream' " (base_url) "/api/backgroundtask/" (id) "/events\n"
                "curl -H 'Accept: text/plain' " (base_url) "/api/backgroundtask/" (id) "/log\n"
                "curl -X DELETE " (base_url) "/api/backgroundtask/" (id) "\n"
                "curl -X POST " (base_url) "/api/backgroundtask/" (id) "/retry"
            }
            h3 { "SQL" }
            pre tabindex="0" aria-label="With SQL" {
                "SELECT * FROM longhaul.tasks WHERE id = '" (guid) "';\n"
                "SELECT * FROM longhaul.why('" (guid) "');\n"
                "SELECT * FROM longhaul.progress WHERE id = '" (guid) "';\n"
                "SELECT * FROM longhaul.task_logs WHERE task_id = '" (guid) "' ORDER BY number;\n"
                "SELECT longhaul.cancel('" (guid) "');\n"
                "SELECT longhaul.retry('" (guid) "');"
            }
        }
    }
}

fn text<'a>(problem: &'a Value, member: &str) -> &'a str {
    problem.get(member).and_then(Value::as_str).unwrap_or_default()
}
