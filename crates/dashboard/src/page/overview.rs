//! `/`: the queue at a glance.

use longhaul_api::percent_encoded;
use std::time::Duration;

use actix_web::{HttpRequest, HttpResponse, web};
use longhaul_api::access::permission::{VIEW_QUEUES, VIEW_TASKS};
use longhaul_api::{ApiError, App, Caller};
use longhaul_model::State;
use longhaul_model::store::aside::{self, SetAside};
use longhaul_model::store::list::{Listed, Listing, listed};
use longhaul_model::store::overview::{COUNTED, Glance, Minute, Overview, last_hour, overview};
use longhaul_model::store::unsuccessful::{Cause, LOOKED_AT, Totals, causes, last_failures, totals};
use maud::{Markup, html};

use super::table;
use crate::chart::Chart;
use crate::filter::Chosen;
use crate::format::{at_most, number, span};
use crate::respond::page_after_form;
use crate::shell::Shell;

/// Tasks in the short lists.
const FEW: usize = 6;
/// Causes of failures that are shown.
const CAUSES: i64 = 5;

pub(crate) async fn show(app: web::Data<App>, caller: Caller, request: HttpRequest) -> Result<HttpResponse, ApiError> {
    let own = caller.sight(&[VIEW_TASKS]).created_by();
    let (running, failed, causes) =
        tokio::try_join!(few(&app, &caller, State::Running), failures(&app, own), causes(app.pool(), own, CAUSES))?;
    // As the API's overview: whoever may not see queues sees no sums either.
    let sums = if caller.may(VIEW_QUEUES) {
        Some(tokio::try_join!(overview(app.pool()), last_hour(app.pool()), totals(app.pool()), aside_now(&app))?)
    } else {
        None
    };
    let main = html! {
        h1.unseen { "Overview" }
        @if let Some((now, minutes, totals, (aside, rows))) = &sums {
            (set_aside(*aside, rows))
            (figures(now, minutes, totals))
            (charts(minutes))
        }
        div.two {
            section.card #running data-live {
                header { h2 { "Running now" } a href="/tasks?state=Running" { "All" } }
                @if running.tasks.is_empty() {
                    (table::empty("Nothing runs", html! { "Start a task with " code { "POST /api/backgroundtasks" } "; " a href="/api/docs" { "the API's page" } " shows how." }))
                } @else {
                    (table::tasks(&running.tasks, app.now(), None, "Running tasks"))
                }
            }
            section.card #failures data-live {
                header { h2 { "Recent failures" } a href="/tasks?state=Failed" { "All" } }
                @if failed.is_empty() {
                    (table::empty("Nothing failed", html! { "No failed tasks within the retention period." }))
                } @else {
                    (why(&causes))
                    (table::tasks(&failed, app.now(), None, "Failed tasks, newest first"))
                }
            }
        }
        @if let Some((now, ..)) = &sums {
            section.card #depths data-live {
                header { h2 { "Queues" } a href="/queues" { "Pauses and limits" } }
                (queues(&now.queues))
            }
        }
    };
    Ok(page_after_form(&request, Shell::new("Overview", "/", &caller), main))
}

/// The newest tasks in this state that the caller sees, as far as one look finds them.
async fn few(app: &App, caller: &Caller, state: State) -> sqlx::Result<Listing> {
    let chosen = Chosen { states: vec![state], ..Chosen::default() };
    match chosen.seen_by(caller, app.now()) {
        Some(filter) => filter.page(app.pool(), None, FEW, Duration::ZERO).await,
        None => Ok(Listing::default()),
    }
}

/// The tasks that failed last, of those that the caller sees.
async fn failures(app: &App, created_by: Option<&str>) -> sqlx::Result<Vec<Listed>> {
    listed(app.pool(), &last_failures(app.pool(), created_by, FEW as i64).await?).await
}

async fn aside_now(app: &App) -> sqlx::Result<(i64, Vec<SetAside>)> {
    tokio::try_join!(aside::count(app.pool()), aside::list(app.pool(), FEW as i64))
}

/// What the failures of the last day are.
fn why(causes: &[Cause]) -> Markup {
    html! {
        @if !causes.is_empty() {
            p.causes {
                span.soft { @if causes.iter().any(|cause| cause.looked_at >= LOOKED_AT) { "Of the last " (number(LOOKED_AT)) ": " } @else { "In the last day: " } }
                @for cause in causes {
                    @match &cause.code {
                        Some(code) => { a.chip href={ "/tasks?state=Failed&code=" (percent_encoded(code)) } { b { (number(cause.tasks)) } " " (code) } }
                        None => { span.chip { b { (number(cause.tasks)) } " without a code" } }
                    }
                    " "
                }
            }
        }
    }
}

fn figures(now: &Overview, minutes: &[Minute], totals: &Totals) -> Markup {
    let sum = |of: fn(&Glance) -> i64| now.queues.iter().map(of).sum::<i64>();
    let capped = now.queues.iter().any(|queue| queue.ready >= COUNTED || queue.held >= COUNTED);
    let waiting = sum(|queue| queue.ready + queue.held);
    // Of very many, the sample of the last minute knows.
    let sampled = minutes.iter().rev().find_map(|minute| minute.waiting);
    let waiting = if capped {
        html! { "≈ " (number(sampled.unwrap_or(waiting).max(waiting))) }
    } else {
        html! { (number(waiting)) }
    };
    let oldest = now.queues.iter().filter_map(|queue| queue.oldest_waiting).reduce(f64::max);
    let last = minutes.iter().rev().nth(1).map_or(0, |minute| minute.succeeded + minute.failed + minute.cancelled);
    let workers = now.workers;
    html! {
        dl.figures #figures data-live {
            (table::figure("Running", html! { (number(sum(|queue| queue.running))) }, html! { "of " (number(workers.slots)) " slots" }, ""))
            (table::figure("Waiting", waiting, html! { (at_most(sum(|queue| queue.held), COUNTED)) " held back" }, ""))
            (table::figure("Oldest waiting", html! { (oldest.map_or("–".to_owned(), span)) }, html! { "of those ready" },
                if oldest.is_some_and(|oldest| oldest > 300.0) { "warn" } else { "" }))
            (table::figure("Scheduled", html! { (at_most(sum(|queue| queue.scheduled), COUNTED)) }, html! { "for later" }, ""))
            (table::figure("Ended", html! { (number(last)) }, html! { "in the last minute" @if let Some(succeeded) = totals.succeeded { ", " (number(succeeded)) " succeeded in all" } }, ""))
            (table::figure("Failed", html! { (number(totals.failed_last_hour)) }, html! { "in the last hour, " (number(totals.failed)) " in all" }, if totals.failed_last_hour > 0 { "bad" } else { "" }))
            (table::figure("Workers", html! { (number(workers.alive)) }, html! { @if workers.silent > 0 { (number(workers.silent)) " silent" } @else { "alive" } },
                if workers.alive == 0 { "bad" } else if workers.silent > 0 { "warn" } else { "" }))
        }
    }
}

/// Rows that a maintenance service can't process.
fn set_aside(number_aside: i64, rows: &[SetAside]) -> Markup {
    html! {
        section #aside data-live {
            @if !rows.is_empty() {
                div.card {
                    header { h2 { "Set aside: " (number(number_aside)) } span.soft { "A maintenance service can't process these rows and tries again later" } }
                    ul {
                        @for row in rows {
                            li {
                                span.tag.bad { (row.service) } " "
                                @match &row.public_id {
                                    Some(id) => { a href={ "/tasks/" (percent_encoded(id)) } { (id) } }
                                    None => { (row.id) }
                                }
                                " " span.soft { (row.error) }
                            }
                        }
                    }
                    @if number_aside > rows.len() as i64 { p.soft { "The first " (rows.len()) " are shown; " code { "SELECT * FROM longhaul.set_aside_tasks" } " shows all." } }
                }
            }
        }
    }
}

fn charts(minutes: &[Minute]) -> Markup {
    let times: Vec<String> = minutes.iter().map(|minute| format!("{} UTC", minute.at.format("%H:%M"))).collect();
    let of = |pick: fn(&Minute) -> Option<f64>| minutes.iter().map(pick).collect::<Vec<_>>();
    let charts = [
        (
            "Completed per minute",
            Chart {
                title: "Completed tasks per minute",
                unit: "tasks",
                parts: vec![
                    ("succeeded", "good", of(|minute| Some(minute.succeeded as f64))),
                    ("cancelled", "mild", of(|minute| Some(minute.cancelled as f64))),
                ],
                times: &times,
            },
        ),
        (
            "Failures per minute",
            Chart {
                title: "Failures per minute",
                unit: "failures",
                parts: vec![
                    ("for good", "bad", of(|minute| Some(minute.failed as f64))),
                    ("tried again", "again", of(|minute| Some(minute.retried as f64))),
                ],
                times: &times,
            },
        ),
        (
            "Waiting",
            Chart {
                title: "Tasks waiting",
                unit: "tasks",
                parts: vec![("waiting", "calm", of(|minute| minute.waiting.map(|waiting| waiting as f64)))],
                times: &times,
            },
        ),
        (
            "Oldest waiting",
            Chart {
                title: "Waiting time of the oldest task",
                unit: "s",
                parts: vec![("s", "old", of(|minute| minute.oldest_waiting))],
                times: &times,
            },
        ),
    ];
    html! {
        section.charts #charts data-live aria-label="The last hour" {
            @for (name, chart) in &charts {
                figure.card {
                    figcaption {
                        h2 { (name) }
                        span.key { @for (part, class, _) in chart.parts.iter().filter(|_| chart.parts.len() > 1) { span class={ "dot " (class) } {} (part) " " } }
                    }
                    (chart.draw())
                }
            }
        }
    }
}

fn queues(queues: &[Glance]) -> Markup {
    let most = queues.iter().map(|queue| queue.ready + queue.held).max().unwrap_or(0).max(1);
    html! {
        div.scroll {
            table {
                caption.unseen { "Queues and their depth" }
                thead { tr {
                    th scope="col" { "Queue" } th scope="col" { "Depth" } th.right scope="col" { "Waiting" } th.right scope="col" { "Held" }
                    th.right scope="col" { "Scheduled" } th.right scope="col" { "Running" } th.right scope="col" { "Oldest" }
                } }
                tbody {
                    @for queue in queues {
                        tr {
                            th scope="row" {
                                a href={ "/tasks?queue=" (percent_encoded(&queue.name)) "&state=Queued&state=Scheduled&state=Running&state=Retrying" } { (queue.name) }
                                @if queue.paused { " " span.tag.warn { "paused" } }
                                @if queue.workers == 0 { " " span.tag.bad title="No live worker serves this queue; its tasks wait." { "no worker" } }
                            }
                            td.depth { meter.depth max=(most) value=(queue.ready + queue.held) aria-label={ "Depth of " (queue.name) } {} }
                            td.right data-name="Waiting" { (at_most(queue.ready, COUNTED)) }
                            td.right data-name="Held" { (at_most(queue.held, COUNTED)) }
                            td.right data-name="Scheduled" { (at_most(queue.scheduled, COUNTED)) }
                            td.right data-name="Running" { (number(queue.running)) }
                            td.right data-name="Oldest" { (queue.oldest_waiting.map_or("–".to_owned(), span)) }
                        }
                    }
                }
            }
        }
    }
}
