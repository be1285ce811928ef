//! `/queues`: pausing and limits.

use actix_web::{HttpRequest, HttpResponse, web};
use longhaul_api::access::permission::EDIT_QUEUES;
use longhaul_api::{ApiError, App, Caller};
use longhaul_model::store::overview::{COUNTED, Glance, overview};
use longhaul_model::store::queue::{Queue, QueueSettings, list, set};
use maud::{Markup, html};

use crate::filter::{Fields, Form, field, fields, sent};
use crate::format::{at_most, escaped, number, span};
use crate::respond::{NO_PAGE, WRONG_FIELD, go, page};
use crate::shell::Shell;

pub(crate) async fn show(app: web::Data<App>, caller: Caller, request: HttpRequest) -> Result<HttpResponse, ApiError> {
    let fields = fields(&request)?;
    let (now, queues) = tokio::try_join!(overview(app.pool()), list(app.pool(), None))?;
    let may = caller.may(EDIT_QUEUES);
    let main = html! {
        div.title { h1 { "Queues" } p.soft { "Changes are in force at once, on every worker" } }
        div.queues {
            @for queue in &queues {
                @let glance = now.queues.iter().find(|glance| glance.name == queue.name);
                section.card.queue #{ "q-" (queue.name) } aria-label={ "Queue " (queue.name) } {
                    (head(queue, glance))
                    @if may { (deeds(queue)) (limits(queue)) } @else { (limits_in_words(queue)) }
                }
            }
        }
    };
    Ok(page(Shell::new("Queues", "/queues", &caller).with_notice(field(&fields, "notice")).page(main)))
}

fn head(queue: &Queue, glance: Option<&Glance>) -> Markup {
    let oldest = glance.and_then(|glance| glance.oldest_waiting).map_or("–".to_owned(), span);
    html! {
        div #{ "depth-" (queue.name) } data-live {
            header {
                h2 { a href={ "/tasks?queue=" (escaped(&queue.name)) } { (queue.name) } }
                @if queue.paused_at.is_some() { span.tag.warn { "paused" } } @else { span.tag.good { "open" } }
            }
            dl.facts {
                div { dt { "Waiting" } dd { (at_most(queue.ready, COUNTED)) } }
                div { dt { "Held" } dd { (at_most(queue.held, COUNTED)) } }
                div { dt { "Scheduled" } dd { (at_most(queue.scheduled, COUNTED)) } }
                div { dt { "Running" } dd { (number(queue.running)) } }
                div { dt { "Oldest" } dd { (oldest) } }
            }
        }
    }
}

fn deeds(queue: &Queue) -> Markup {
    html! {
        form.inline method="post" action={ "/queues/" (escaped(&queue.name)) } {
            @if queue.paused_at.is_some() {
                button.primary name="deed" value="resume" { "Resume" span.unseen { " " (queue.name) } }
            } @else {
                button name="deed" value="pause" { "Pause" span.unseen { " " (queue.name) } }
            }
        }
    }
}

fn limits(queue: &Queue) -> Markup {
    let number = |name: &str, words: &str, value: Option<String>, least: &str, step: &str| {
        html! { label { (words) input type="number" name=(name) min=(least) step=(step) value=(value.unwrap_or_default()) placeholder="none" inputmode="decimal"; } }
    };
    let limited =
        queue.max_running.is_some() || queue.max_per_key.is_some() || queue.fair || queue.rate_count.is_some();
    html! {
        details.limits open[limited] {
            summary { "Limits" }
            form method="post" action={ "/queues/" (escaped(&queue.name)) } {
                div.fields {
                    (number("max_running", "At once", queue.max_running.map(|limit| limit.to_string()), "0", "1"))
                    (number("max_per_key", "At once for a key", queue.max_per_key.map(|limit| limit.to_string()), "0", "1"))
                    (number("rate_count", "May begin", queue.rate_count.map(|limit| limit.to_string()), "1", "1"))
                    (number("rate_seconds", "in seconds", queue.rate_seconds.map(|limit| limit.to_string()), "0.001", "any"))
                    label.tickbox { input type="checkbox" name="fair" value="yes" checked[queue.fair]; "Keys take turns" }
                    div.buttons { button name="deed" value="limit" { "Set limits" span.unseen { " of " (queue.name) } } }
                }
            }
        }
    }
}

fn limits_in_words(queue: &Queue) -> Markup {
    let words = |limit: Option<i32>| limit.map_or("no limit".to_owned(), |limit| number(limit.into()));
    html! {
        p.soft {
            "At once: " (words(queue.max_running)) "; for a key: " (words(queue.max_per_key))
            @if let (Some(count), Some(seconds)) = (queue.rate_count, queue.rate_seconds) { "; " (count) " may begin in " (seconds) " s" }
            @if queue.fair { "; keys take turns" }
            ". You may look, not change."
        }
    }
}

/// Pauses, resumes, or sets the limits of one.
pub(crate) async fn change(
    app: web::Data<App>,
    name: web::Path<String>,
    request: HttpRequest,
    form: Form,
) -> Result<HttpResponse, ApiError> {
    let fields = sent(&request, form)?;
    let unknown = || ApiError::new(NO_PAGE, "There is no such queue.");
    if name.contains('\0') {
        return Err(unknown());
    }
    let queue = list(app.pool(), Some(&name)).await?.pop().ok_or_else(unknown)?;
    let settings = match field(&fields, "deed") {
        Some("pause") => QueueSettings { paused: true, ..queue.settings() },
        Some("resume") => QueueSettings { paused: false, ..queue.settings() },
        Some("limit") => limited(queue.settings(), &fields)?,
        _ => return Err(ApiError::new(WRONG_FIELD, "'deed' is pause, resume or limit.")),
    };
    set(app.pool(), &name, &settings).await?;
    Ok(go("/queues?notice=queue-changed"))
}

fn limited(settings: QueueSettings, fields: &Fields) -> Result<QueueSettings, ApiError> {
    let whole = |name: &str, words: &str, least: i32| -> Result<Option<i32>, ApiError> {
        let Some(text) = field(fields, name) else { return Ok(None) };
        match text.trim().parse::<i32>() {
            Ok(number) if number >= least => Ok(Some(number)),
            _ => Err(ApiError::new(
                WRONG_FIELD,
                format!("{words}: a whole number from {least} on, or nothing, is expected."),
            )),
        }
    };
    let seconds = match field(fields, "rate_seconds").map(|text| text.trim().parse::<f64>()) {
        None => None,
        Some(Ok(seconds)) if (0.001..=86_400.0 * 366.0).contains(&seconds) => Some(seconds),
        Some(_) => return Err(ApiError::new(WRONG_FIELD, "In seconds: a number above 0, or nothing, is expected.")),
    };
    let rate = match (whole("rate_count", "May begin", 1)?, seconds) {
        (Some(count), Some(seconds)) => Some((count, seconds)),
        (None, None) => None,
        _ => return Err(ApiError::new(WRONG_FIELD, "How many may begin and in how many seconds go together.")),
    };
    Ok(QueueSettings {
        max_running: whole("max_running", "At once", 0)?,
        max_per_key: whole("max_per_key", "At once for a key", 0)?,
        fair: field(fields, "fair").is_some(),
        rate,
        ..settings
    })
}
