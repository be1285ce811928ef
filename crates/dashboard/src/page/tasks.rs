//! `/tasks`: tasks by filter, newest first.

use std::time::Duration;

use actix_web::{HttpRequest, HttpResponse, web};
use longhaul_api::access::permission::{MANAGE_TASKS, VIEW_QUEUES};
use longhaul_api::{ApiError, App, Caller};
use longhaul_model::State;
use longhaul_model::store::count::Count;
use longhaul_model::store::list::Listing;
use longhaul_model::store::queue::names;
use longhaul_model::store::task_type::{KnownType, known};
use maud::{Markup, html};

use super::table;
use crate::filter::{AGES, Chosen, fields};
use crate::format::number;
use crate::respond::page_after_form;
use crate::shell::Shell;

/// Tasks on a page.
const SHOWN: usize = 50;
/// A page is looked for so long at most.
const PATIENCE: Duration = Duration::from_millis(40);

pub(crate) async fn show(app: web::Data<App>, caller: Caller, request: HttpRequest) -> Result<HttpResponse, ApiError> {
    let fields = fields(&request)?;
    let chosen = Chosen::read(&fields)?;
    let types = known(app.pool()).await?;
    let mut queues = if caller.may(VIEW_QUEUES) {
        names(app.pool()).await?
    } else {
        types.iter().map(|known| known.queue.clone()).collect()
    };
    queues.extend(chosen.queue.clone());
    queues.sort_unstable();
    queues.dedup();
    let (listing, count) = match chosen.seen_by(&caller, app.now()) {
        Some(filter) => {
            tokio::try_join!(filter.page(app.pool(), chosen.after, SHOWN, PATIENCE), filter.count(app.pool()),)?
        }
        None => (Listing::default(), Some(Count { tasks: 0, exact: true })),
    };
    let may = listing.tasks.iter().any(|one| caller.manages(one.more.created_by.as_deref()));
    let main = html! {
        div.title { h1 { "Tasks" } p.soft #count data-live { (counted(&chosen, &listing, count)) } }
        (form(&chosen, &types, &queues))
        form.list method="post" action="/tasks/cancel" {
            @for (name, value) in chosen.fields() { input type="hidden" name=(name) value=(value); }
            @if may { (deeds(&chosen, &caller)) }
            section.card #list data-live {
                @if listing.tasks.is_empty() && listing.next.is_none() {
                    (nothing(&chosen))
                } @else if listing.tasks.is_empty() {
                    (table::empty("No matches yet", html! { "None of the tasks searched so far matches." }))
                } @else {
                    (table::tasks(&listing.tasks, app.now(), may.then_some(&caller), "Tasks, newest first"))
                }
                (pages(&chosen, &listing))
            }
        }
    };
    let shell = Shell::new("Tasks", "/tasks", &caller).with_search(chosen.text.as_deref().unwrap_or_default());
    Ok(page_after_form(&request, shell, main))
}

fn counted(chosen: &Chosen, listing: &Listing, count: Option<Count>) -> Markup {
    let whole = listing.next.is_none() && chosen.after.is_none();
    html! {
        @if whole {
            (number(listing.tasks.len() as i64)) @if listing.tasks.len() == 1 { " task" } @else { " tasks" }
        } @else if let Some(count) = count {
            @if count.exact { (number(count.tasks)) } @else { "about " (number(count.tasks.max(listing.tasks.len() as i64))) } " tasks"
        }
    }
}

fn form(chosen: &Chosen, types: &[KnownType], queues: &[String]) -> Markup {
    html! {
        form.filter.card role="search" aria-label="Filter tasks" action="/tasks" data-filter {
            fieldset {
                legend { "State" }
                @for state in State::ALL {
                    label.chip {
                        input type="checkbox" name="state" value=(state.name()) checked[chosen.states.contains(&state)];
                        (crate::format::state(state))
                    }
                }
            }
            div.fields {
                label { "Type"
                    select name="type" {
                        option value="" { "any" }
                        @for known in types { option value=(known.name) selected[chosen.type_name.as_deref() == Some(&known.name)] { (known.name) } }
                    }
                }
                label { "Queue"
                    select name="queue" {
                        option value="" { "any" }
                        @for queue in queues { option value=(queue) selected[chosen.queue.as_ref() == Some(queue)] { (queue) } }
                    }
                }
                label { "Accepted"
                    select name="age" {
                        option value="" { "any time" }
                        @for (name, words, ..) in AGES { option value=(name) selected[chosen.age == Some(name)] { (words) } }
                    }
                }
                label { "Error code" input type="search" name="code" maxlength="200" value=(chosen.code.as_deref().unwrap_or_default()) placeholder="any"; }
                label { "Tag" input type="search" name="tag" maxlength="100" value=(chosen.tag.as_deref().unwrap_or_default()) placeholder="any"; }
                label.wide { "Text or id" input type="search" name="text" maxlength="200" value=(chosen.text.as_deref().unwrap_or_default()) placeholder="in parameters, message, error …"; }
                @if let Some(by) = &chosen.created_by { input type="hidden" name="by" value=(by); }
                div.buttons {
                    button.primary type="submit" { "Show" }
                    @if !chosen.is_everything() { a.button href="/tasks" { "Clear" } }
                }
            }
        }
    }
}

/// All that fit can be run again by who manages tasks only: others must be allowed to
/// start each of theirs.
fn deeds(chosen: &Chosen, caller: &Caller) -> Markup {
    let manages = caller.may(MANAGE_TASKS);
    let open = chosen.states.is_empty() || chosen.states.iter().any(|state| !state.is_end());
    let over =
        chosen.states.is_empty() || chosen.states.iter().any(|state| matches!(state, State::Failed | State::Cancelled));
    html! {
        div.deeds role="group" aria-label="Change the selected tasks" {
            label.chip { input type="checkbox" data-all hidden; span data-chosen { "Selected tasks" } }
            @if open { button type="submit" formaction="/tasks/cancel" { "Cancel" } }
            @if over { button type="submit" formaction="/tasks/retry" { "Retry" } }
            @if chosen.text.is_none() && !chosen.is_everything() {
                span.soft.push { "All matching tasks:" }
                @if open { a href=(with_deed(chosen, "cancel")) { "cancel …" } }
                @if over && manages { a href=(with_deed(chosen, "retry")) { "retry …" } }
            }
        }
    }
}

fn with_deed(chosen: &Chosen, deed: &str) -> String {
    format!("{}&deed={deed}", chosen.address("/tasks/all", None))
}

fn nothing(chosen: &Chosen) -> Markup {
    if chosen.is_everything() {
        table::empty(
            "No tasks yet",
            html! {
                "Start one with " code { "POST /api/backgroundtasks" } "; " a href="/api/docs" { "the API's page" } " shows how."
            },
        )
    } else {
        table::empty("No matching tasks", html! { a href="/tasks" { "Show all tasks" } " or use fewer filters." })
    }
}

fn pages(chosen: &Chosen, listing: &Listing) -> Markup {
    html! {
        nav.pages aria-label="Pages" data-pages {
            @if chosen.after.is_some() { a href=(chosen.address("/tasks", None)) { "Newest" } }
            @if let Some(next) = listing.next {
                @if let Some(back_to) = listing.looked_back_to {
                    span.soft { "Searched back to " time datetime=(back_to.format("%Y-%m-%dT%H:%M:%SZ")) { (back_to.format("%Y-%m-%d %H:%M UTC")) } "." }
                    a.push href=(chosen.address("/tasks", Some(next))) data-further { "Search further back" }
                } @else {
                    a.push href=(chosen.address("/tasks", Some(next))) rel="next" { "Older" }
                }
            }
        }
    }
}
