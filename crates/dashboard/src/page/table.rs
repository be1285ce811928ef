//! A table of tasks, on several pages.

use chrono::{DateTime, Utc};
use longhaul_api::Caller;
use longhaul_api::percent_encoded;
use longhaul_model::State;
use longhaul_model::store::list::Listed;
use maud::{Markup, html};

use crate::format::{moment, number, percent, seconds, span, state};

/// Draws it; tasks that `choosing` manages can be ticked.
pub(crate) fn tasks(listed: &[Listed], now: DateTime<Utc>, choosing: Option<&Caller>, caption: &str) -> Markup {
    html! {
        div.scroll {
            table.tasks {
                caption.unseen { (caption) }
                thead {
                    tr {
                        @if choosing.is_some() { th.tick scope="col" { span.unseen { "Choose" } } }
                        th scope="col" { "State" }
                        th scope="col" { "Task" }
                        th scope="col" { "Progress" }
                        th scope="col" { "Queue" }
                        th.right scope="col" { "Accepted" }
                        th.right scope="col" { "Took" }
                    }
                }
                tbody { @for one in listed { (row(one, now, choosing)) } }
            }
        }
    }
}

fn row(Listed { task, more }: &Listed, now: DateTime<Utc>, choosing: Option<&Caller>) -> Markup {
    let id = more.public_id.as_str();
    // Of an open task that failed before, why; of others, what they say.
    let says = match task.state {
        State::Failed | State::Retrying => more.last_error.as_deref().or(task.progress.message.as_deref()),
        // What it was doing, it does not do any more.
        State::Cancelled => None,
        _ => task.progress.message.as_deref(),
    };
    html! {
        tr #{ "t-" (id) } {
            @if let Some(caller) = choosing {
                td.tick {
                    @if caller.manages(more.created_by.as_deref()) {
                        label { input type="checkbox" name="id" value=(id); span.unseen { "Choose " (id) } }
                    }
                }
            }
            td.state-cell { (state(task.state)) }
            td.what {
                a href={ "/tasks/" (percent_encoded(id)) } { b { (task.type_name) } " " span.id { (short(id)) } }
                @if let Some(says) = says { div.says title=(says) { (says) } }
            }
            td.bar { (bar(task.state, task.progress.fraction, &format!("Progress of {id}"))) @if task.attempt > 1 { span.tries title="Attempt" { "attempt " (task.attempt) "/" (more.max_attempts) } } }
            td.soft data-name="Queue" { (more.queue) }
            td.right.soft data-name="Accepted" { (moment(task.accepted_at, now)) }
            td.right.soft data-name="Took" { (took(more.started_at, task.finished_at)) }
        }
    }
}

/// The end of an id, which tells tasks apart.
fn short(id: &str) -> String {
    let digits: Vec<char> = id.chars().collect();
    if digits.len() <= 12 {
        id.to_owned()
    } else {
        format!("…{}", digits[digits.len() - 8..].iter().collect::<String>())
    }
}

/// A bar and its per cent; of what has not begun, a dash.
pub(crate) fn bar(state: State, fraction: f64, label: &str) -> Markup {
    let fraction = shown(state, fraction);
    let waits = matches!(state, State::Queued | State::Scheduled) && fraction == 0.0;
    html! {
        @if waits {
            span.soft { "–" }
        } @else {
            progress class={ "bar bar-" (state.name().to_lowercase()) } max="1" value=(format!("{fraction:.3}")) aria-label=(label) {}
            span.percent { (percent(fraction)) }
        }
    }
}

/// The whole is shown of what succeeded only.
pub(crate) fn shown(state: State, fraction: f64) -> f64 {
    if state == State::Succeeded { fraction } else { fraction.min(0.99) }
}

/// How long it took.
pub(crate) fn took(began: Option<DateTime<Utc>>, ended: Option<DateTime<Utc>>) -> String {
    began.zip(ended).map_or_else(|| "–".to_owned(), |(began, ended)| span(seconds(began, ended)))
}

/// A place where nothing is, with what to do about it.
pub(crate) fn empty(heading: &str, hint: Markup) -> Markup {
    html! { div.empty { p.heading { (heading) } p.soft { (hint) } } }
}

/// A number above what it counts.
pub(crate) fn figure(name: &str, value: Markup, note: Markup, tone: &str) -> Markup {
    html! { div class={ "figure " (tone) } { dt { (name) } dd { span.value { (value) } span.note { (note) } } } }
}

/// `elements of total`, if they are counted.
pub(crate) fn elements(processed: i64, total: i64) -> Option<String> {
    (total > 0).then(|| format!("{} of {}", number(processed), number(total)))
}
