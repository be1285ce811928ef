//! `/search`: leads to the task with an id, or shows everything whose name a text
//! stands in, and the tasks that it stands in.

use longhaul_api::percent_encoded;
use std::time::Duration;

use actix_web::{HttpRequest, HttpResponse, web};
use longhaul_api::access::permission::{VIEW_QUEUES, VIEW_SCHEDULES, VIEW_TASKS};
use longhaul_api::{ApiError, App, Caller};
use longhaul_model::split_public_id;
use longhaul_model::store::cancel::chosen;
use longhaul_model::store::cron;
use longhaul_model::store::list::Listing;
use longhaul_model::store::queue;
use longhaul_model::store::task_type::known;
use longhaul_model::store::worker;
use maud::{Markup, html};

use super::table;
use crate::filter::{Chosen, field, fields};
use crate::problem::WRONG_FIELD;
use crate::respond::{go, page};
use crate::shell::Shell;

/// Of each kind so many are shown.
const SHOWN: usize = 20;
/// Tasks are looked for so long; the list of tasks goes on.
const PATIENCE: Duration = Duration::from_millis(40);
/// Schedules are read in parts of so many, and so many parts at most.
const PART: u32 = 1_000;
const PARTS: usize = 20;
/// Workers that have ended are found for so long.
const ENDED_WITHIN: Duration = Duration::from_secs(24 * 3600);
const WORKERS: u32 = 1_000;
const LONGEST: usize = 200;

/// Something with a name, where it is, and what it is at.
struct Found {
    name: String,
    address: String,
    says: String,
}

pub(crate) async fn find(app: web::Data<App>, caller: Caller, request: HttpRequest) -> Result<HttpResponse, ApiError> {
    let fields = fields(&request)?;
    let text = field(&fields, "q").unwrap_or_default().trim();
    if text.is_empty() {
        return Ok(go("/tasks"));
    }
    if text.contains('\0') || text.chars().count() > LONGEST {
        return Err(ApiError::new(WRONG_FIELD, format!("A text of at most {LONGEST} characters is expected.")));
    }
    if let Some((_, guid)) = split_public_id(text)
        && let Some(found) = chosen(app.pool(), &[guid], caller.sight(&[VIEW_TASKS])).await?.first()
    {
        return Ok(go(&format!("/tasks/{}", percent_encoded(&found.public_id))));
    }
    let sought = Chosen { text: Some(text.to_owned()), ..Chosen::default() };
    let wanted = text.to_lowercase();
    // What the API would not show is not found here either.
    let (may_queues, may_schedules) = (caller.may(VIEW_QUEUES), caller.may(VIEW_SCHEDULES));
    let (queues, types, schedules, workers, tasks) = tokio::try_join!(
        async { if may_queues { queues(&app, &wanted).await } else { Ok(Vec::new()) } },
        async { if may_queues { types(&app, &wanted).await } else { Ok(Vec::new()) } },
        async { if may_schedules { schedules(&app, &wanted).await } else { Ok(Vec::new()) } },
        async { if may_queues { workers(&app, &wanted).await } else { Ok(Vec::new()) } },
        seen(&app, &caller, &sought),
    )?;
    // Who asks for a type by its name wants its tasks.
    let (tasks, sought) = match types.as_slice() {
        [only] if tasks.tasks.is_empty() => {
            let of_type = Chosen { type_name: Some(only.name.clone()), ..Chosen::default() };
            (seen(&app, &caller, &of_type).await?, of_type)
        }
        _ => (tasks, sought),
    };
    let main = html! {
        div.title { h1 { "Search" } p.soft { "for “" (text) "”" } }
        (group("Queues", "queues", &queues))
        (group("Task types", "types", &types))
        (group("Schedules", "schedules", &schedules))
        (group("Workers", "workers", &workers))
        (tasks_found(&tasks, &sought, &app))
    };
    Ok(page(Shell::new("Search", "", &caller).with_search(text).still().page(main)))
}

fn group(heading: &str, id: &str, found: &[Found]) -> Markup {
    html! {
        @if !found.is_empty() {
            section.card id=(id) {
                header { h2 { (heading) } }
                ul.found {
                    @for one in found.iter().take(SHOWN) {
                        li { a href=(one.address) { (one.name) } " " span.soft { (one.says) } }
                    }
                }
                @if found.len() > SHOWN { p.soft { "The first " (SHOWN) " of " (found.len()) " are shown; enter more of the name." } }
            }
        }
    }
}

fn tasks_found(listing: &Listing, chosen: &Chosen, app: &App) -> Markup {
    let all = chosen.address("/tasks", None);
    html! {
        section.card #tasks {
            header { h2 { "Tasks" @if let Some(name) = &chosen.type_name { " of the type " (name) } } a href=(all) { "All of them" } }
            @if !listing.tasks.is_empty() {
                (table::tasks(&listing.tasks, app.now(), None, "Matching tasks, newest first"))
            } @else if listing.next.is_some() {
                (table::empty("No recent matches", html! { "Older tasks have not been searched: " a href=(all) { "search further back" } "." }))
            } @else {
                (table::empty("No matching tasks", html! { "Searched ids, parameters, messages, errors, keys and creators." }))
            }
        }
    }
}

/// The newest tasks that fit and that the caller sees.
async fn seen(app: &App, caller: &Caller, chosen: &Chosen) -> sqlx::Result<Listing> {
    match chosen.seen_by(caller, app.now()) {
        Some(filter) => filter.page(app.pool(), None, SHOWN, PATIENCE).await,
        None => Ok(Listing::default()),
    }
}

fn fits(name: &str, wanted: &str) -> bool {
    name.to_lowercase().contains(wanted)
}

async fn queues(app: &App, wanted: &str) -> sqlx::Result<Vec<Found>> {
    let all = queue::list(app.pool(), None).await?;
    let found = all.into_iter().filter(|queue| fits(&queue.name, wanted)).map(|queue| Found {
        address: format!("/queues#q-{}", percent_encoded(&queue.name)),
        says: if queue.paused_at.is_some() { "paused" } else { "open" }.to_owned(),
        name: queue.name,
    });
    Ok(found.collect())
}

async fn types(app: &App, wanted: &str) -> sqlx::Result<Vec<Found>> {
    let found = known(app.pool()).await?.into_iter().filter(|known| fits(&known.name, wanted)).map(|known| Found {
        address: format!("/tasks?type={}", percent_encoded(&known.name)),
        says: format!("queue {}{}", known.queue, if known.paused { ", paused" } else { "" }),
        name: known.name,
    });
    Ok(found.collect())
}

async fn schedules(app: &App, wanted: &str) -> sqlx::Result<Vec<Found>> {
    let (mut found, mut after) = (Vec::new(), String::new());
    for _ in 0..PARTS {
        let part = cron::schedules(app.pool(), &after, PART).await?;
        let is_last = part.len() < PART as usize;
        after = part.last().map(|last| last.name.clone()).unwrap_or_default();
        found.extend(part.into_iter().filter(|one| fits(&one.name, wanted) || fits(&one.type_name, wanted)).map(
            |one| Found {
                address: format!("/schedules?name={}", percent_encoded(&one.name)),
                says: format!("{}, {} {}, starts {}", one.state, one.cron, one.time_zone, one.type_name),
                name: one.name,
            },
        ));
        if is_last {
            break;
        }
    }
    Ok(found)
}

async fn workers(app: &App, wanted: &str) -> sqlx::Result<Vec<Found>> {
    let all = worker::list(app.pool(), ENDED_WITHIN, WORKERS).await?;
    let found = all.into_iter().filter(|worker| fits(&worker.name, wanted)).map(|worker| Found {
        address: format!("/workers#w-{}", worker.id),
        says: format!("{}, {} of {} slots busy", worker.state, worker.running, worker.slots),
        name: worker.name,
    });
    Ok(found.collect())
}
