//! `/schedules`: cron schedules.

use actix_web::{HttpRequest, HttpResponse, web};
use longhaul_api::access::permission::EDIT_SCHEDULES;
use longhaul_api::{ApiError, App, Caller};
use longhaul_model::store::cron::{self, Schedule};
use maud::{Markup, html};

use super::table;
use crate::filter::{Form, field, fields, sent};
use crate::format::{escaped, moment, number};
use crate::respond::{NO_PAGE, WRONG_FIELD, go, page};
use crate::shell::Shell;

const SHOWN: u32 = 500;

pub(crate) async fn show(app: web::Data<App>, caller: Caller, request: HttpRequest) -> Result<HttpResponse, ApiError> {
    let fields = fields(&request)?;
    let name = field(&fields, "name");
    let after = field(&fields, "after").unwrap_or_default();
    if name.unwrap_or(after).contains('\0') {
        return Err(ApiError::new(WRONG_FIELD, "A name of a schedule is expected."));
    }
    let schedules = match name {
        Some(name) => cron::schedule(app.pool(), name).await?.into_iter().collect(),
        None => cron::schedules(app.pool(), after, SHOWN).await?,
    };
    let main = html! {
        div.title { h1 { "Schedules" } p.soft { "Tasks that are started again and again" } }
        section.card #list data-live {
            @if let Some(name) = name.filter(|_| schedules.is_empty()) {
                (table::empty("It is not there", html! { "There is no schedule " (name) ". " a href="/schedules" { "All schedules" } }))
            } @else if schedules.is_empty() {
                (table::empty("No schedules", html! { "Make one with " code { "POST /api/schedules" } "; " a href="/api/docs" { "the API's page" } " shows how." }))
            } @else {
                (draw(&schedules, &app, caller.may(EDIT_SCHEDULES)))
            }
            @if name.is_some() && !schedules.is_empty() {
                nav.pages aria-label="Pages" { a.push href="/schedules" { "All schedules" } }
            }
            @if schedules.len() == SHOWN as usize && let Some(last) = schedules.last() {
                nav.pages aria-label="Pages" { a.push href={ "/schedules?after=" (escaped(&last.name)) } { "More" } }
            }
        }
    };
    let shell = Shell::new("Schedules", "/schedules", &caller).with_notice(field(&fields, "notice"));
    Ok(page(shell.page(main)))
}

fn draw(schedules: &[Schedule], app: &App, may: bool) -> Markup {
    html! {
        div.scroll {
            table {
                caption.unseen { "Schedules by name" }
                thead { tr {
                    th scope="col" { "Schedule" } th scope="col" { "State" } th scope="col" { "When" } th scope="col" { "Starts" }
                    th.right scope="col" { "Next" } th.right scope="col" { "Last" } th.right scope="col" { "Made" }
                    @if may { th scope="col" { span.unseen { "Change" } } }
                } }
                tbody {
                    @for schedule in schedules {
                        tr {
                            th scope="row" { (schedule.name) @if let Some(problem) = &schedule.problem { div.says { (problem) } } }
                            td.state-cell { span class={ "tag " (tone(&schedule.state)) } { (schedule.state) } }
                            td data-name="When" { code { (schedule.cron) } " " span.soft { (schedule.time_zone) } }
                            td data-name="Starts" { a href={ "/tasks?by=" (escaped(&format!("schedule:{}", schedule.name))) } { (schedule.type_name) } }
                            td.right.soft data-name="Next" { @if let Some(at) = schedule.next_at { (moment(at, app.now())) } @else { "–" } }
                            td.right.soft data-name="Last" {
                                @if let (Some(at), Some(task)) = (schedule.last_fired_at, &schedule.last_task) {
                                    a href={ "/tasks/" (escaped(task)) } { (moment(at, app.now())) }
                                } @else { "–" }
                            }
                            td.right.soft data-name="Made" { (number(schedule.fired)) }
                            @if may {
                                td.right {
                                    form method="post" action={ "/schedules/" (escaped(&schedule.name)) } {
                                        @if schedule.state == "paused" {
                                            button name="deed" value="resume" aria-label={ "Resume " (schedule.name) } { "Resume" }
                                        } @else {
                                            button name="deed" value="pause" aria-label={ "Pause " (schedule.name) } { "Pause" }
                                        }
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn tone(state: &str) -> &'static str {
    match state {
        "active" => "good",
        "paused" => "warn",
        "broken" => "bad",
        _ => "",
    }
}

/// Pauses or resumes one.
pub(crate) async fn change(
    app: web::Data<App>,
    name: web::Path<String>,
    request: HttpRequest,
    form: Form,
) -> Result<HttpResponse, ApiError> {
    let fields = sent(&request, form)?;
    let unknown = || ApiError::new(NO_PAGE, "There is no such schedule.");
    if name.contains('\0') {
        return Err(unknown());
    }
    let there = match field(&fields, "deed") {
        Some("pause") => cron::pause(app.pool(), &name).await?,
        Some("resume") => {
            let schedule = cron::schedule(app.pool(), &name).await?.ok_or_else(unknown)?;
            cron::resume(app.pool(), &name, schedule.next_after(app.now())).await?
        }
        _ => return Err(ApiError::new(WRONG_FIELD, "'deed' is pause or resume.")),
    };
    if there { Ok(go("/schedules?notice=schedule-changed")) } else { Err(unknown()) }
}
