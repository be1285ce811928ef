//! `/workers`: who works.

use std::time::Duration;

use actix_web::{HttpResponse, web};
use longhaul_api::{ApiError, App, Caller};
use longhaul_model::store::worker::{Worker, list};
use maud::{Markup, html};

use super::table;
use crate::format::{moment, number};
use crate::respond::page;
use crate::shell::Shell;

const ENDED_WITHIN: Duration = Duration::from_secs(24 * 3600);
const SHOWN: u32 = 1_000;

pub(crate) async fn show(app: web::Data<App>, caller: Caller) -> Result<HttpResponse, ApiError> {
    let workers = list(app.pool(), ENDED_WITHIN, SHOWN).await?;
    let (living, gone): (Vec<&Worker>, Vec<&Worker>) = workers.iter().partition(|worker| worker.ended_at.is_none());
    let busy = living.iter().map(|worker| worker.running).sum();
    let slots = living.iter().map(|worker| i64::from(worker.slots)).sum();
    let main = html! {
        div.title { h1 { "Workers" } p.soft { (number(living.len() as i64)) " running, " (number(busy)) " of " (number(slots)) " slots busy; " (number(gone.len() as i64)) " ended in the last day" } }
        section.card #living data-live {
            @if living.is_empty() {
                (table::empty("No workers", html! { "Tasks wait. Start one with " code { "longhaul work" } "." }))
            } @else {
                (draw(&living, &app, "Live workers"))
            }
        }
        @if !gone.is_empty() {
            section.card #gone data-live {
                header { h2 { "Ended in the last day" } }
                (draw(&gone, &app, "Workers that have ended"))
            }
        }
    };
    Ok(page(Shell::new("Workers", "/workers", &caller).page(main)))
}

fn draw(workers: &[&Worker], app: &App, caption: &str) -> Markup {
    html! {
        div.scroll {
            table {
                caption.unseen { (caption) }
                thead { tr {
                    th scope="col" { "Worker" } th scope="col" { "State" } th scope="col" { "Busy" } th scope="col" { "Queues" }
                    th.right scope="col" { "Heartbeat" } th.right scope="col" { "Since" } th.right scope="col" { "Version" }
                } }
                tbody {
                    @for worker in workers {
                        tr #{ "w-" (worker.id) } {
                            th scope="row" { (worker.name) " " span.id { "#" (worker.id) } }
                            td.state-cell { span class={ "tag " (tone(&worker.state)) } { (worker.state) } }
                            td.bar {
                                meter.depth max=(worker.slots) value=(worker.running.min(worker.slots.into())) aria-label={ "Busy slots of " (worker.name) } {}
                                span.percent { (number(worker.running)) "/" (number(worker.slots.into())) }
                            }
                            td.soft data-name="Queues" { (worker.queues.join(", ")) }
                            td.right.soft data-name="Heartbeat" { (moment(worker.heartbeat_at, app.now())) }
                            td.right.soft data-name=(if worker.ended_at.is_some() { "Ended" } else { "Since" }) { (moment(worker.ended_at.unwrap_or(worker.started_at), app.now())) }
                            td.right.soft data-name="Version" { (worker.version) }
                        }
                    }
                }
            }
        }
    }
}

fn tone(state: &str) -> &'static str {
    match state {
        "alive" => "good",
        "silent" => "warn",
        "lost" => "bad",
        _ => "",
    }
}
