//! `/schedules`: cron schedules.

use actix_web::{HttpRequest, HttpResponse, web};
use longhaul_api::access::permission::EDIT_SCHEDULES;
use longhaul_api::percent_encoded;
use longhaul_api::{ApiError, App, Caller};
use longhaul_model::store::cron::{self, Schedule};
use maud::{Markup, html};

use super::table;
use crate::filter::{Form, field, fields, sent};
use crate::format::{moment, number};
use crate::notice::Notice;
use crate::problem::WRONG_FIELD;
use crate::respond::{go_saying, page_after_form};
use crate::shell::Shell;

const SHOWN: u32 = 500;

pub(crate) async fn show(app: web::Data<App>, caller: Caller, request: HttpRequest) -> Result<HttpResponse, ApiError> {
    let fields = fields(&request)?;
    let name = field(&fields, "name");
    let after = field(&fields, "after").unwrap_or_default();
    if name.unwrap_or(after).contains('\0') {
        return Err(ApiError::new(WRONG_FIELD, "The name of a schedule is expected."));
    }
    let schedules = match name {
        Some(name) => cron::schedule(app.pool(), name).await?.into_iter().collect(),
        None => cron::schedules(app.pool(), after, SHOWN).await?,
    };
    let main = html! {
        div.title { h1 { "Schedules" } p.soft { "Repeated tasks" } }
        section.card #list data-live {
            @if let Some(name) = name.filter(|_| schedules.is_empty()) {
                (table::empty("Not found", html! { "There is no schedule " (name) ". " a href="/schedules" { "All schedules" } }))
            } @else if schedules.is_empty() {
                (table::empty("No schedules", html! { "Create one with " code { "POST /api/schedules" } "; " a href="/api/docs" { "the API's page" } " shows how." }))
            } @else {
                (draw(&schedules, &app, caller.may(EDIT_SCHEDULES)))
            }
            @if name.is_some() && !schedules.is_empty() {
                nav.pages aria-label="Pages" { a.push href="/schedules" { "All schedules" } }
            }
            @if schedules.len() == SHOWN as usize && let Some(last) = schedules.last() {
                nav.pages aria-label="Pages" { a.push href={ "/schedules?after=" (percent_encoded(&last.name)) } { "More" } }
            }
        }
    };
    Ok(page_after_form(&request, Shell::new("Schedules", "/schedules", &caller), main))
}

fn draw(schedules: &[Schedule], app: &App, may: bool) -> Markup {
    html! {
        div.scroll {
            table {
                caption.unseen { "Schedules by name" }
                thead { tr {
                    th scope="col" { "Schedule" } th scope="col" { "State" } th scope="col" { "When" } th scope="col" { "Starts" }
                    th.right scope="col" { "Next" } th.right scope="col" { "Last" } th.right scope="col" { "Tasks" }
                    @if may { th scope="col" { span.unseen { "Change" } } }
                } }
                tbody {
                    @for schedule in schedules {
                        tr {
                            th scope="row" { (schedule.name) @if let Some(problem) = &schedule.problem { div.says { (problem) } } }
                            td.state-cell { span class={ "tag " (tone(&schedule.state)) } { (schedule.state) } }
                            td data-name="When" { code { (schedule.cron) } " " span.soft { (schedule.time_zone) } }
                            td data-name="Starts" { a href={ "/tasks?by=" (percent_encoded(&format!("schedule:{}", schedule.name))) } { (schedule.type_name) } }
                            td.right.soft data-name="Next" { @if let Some(at) = schedule.next_at { (moment(at, app.now())) } @else { "–" } }
                            td.right.soft data-name="Last" {
                                @if let (Some(at), Some(task)) = (schedule.last_fired_at, &schedule.last_task) {
                                    a href={ "/tasks/" (percent_encoded(task)) } { (moment(at, app.now())) }
                                } @else { "–" }
                            }
                            td.right.soft data-name="Tasks" { (number(schedule.fired)) }
                            @if may {
                                td.right {
                                    form method="post" action={ "/schedules/" (percent_encoded(&schedule.name)) } {
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
    caller: Caller,
    name: web::Path<String>,
    form: Form,
) -> Result<HttpResponse, ApiError> {
    match field(&sent(form)?, "deed") {
        Some("pause") => app.pause_schedule(&caller, &name).await?,
        Some("resume") => app.resume_schedule(&caller, &name).await?,
        _ => return Err(ApiError::new(WRONG_FIELD, "'deed' is pause or resume.")),
    }
    Ok(go_saying("/schedules", Notice::ScheduleChanged))
}
