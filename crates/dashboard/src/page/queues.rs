//! `/queues`: pausing and limits.

use actix_web::{HttpRequest, HttpResponse, web};
use longhaul_api::access::permission::EDIT_QUEUES;
use longhaul_api::percent_encoded;
use longhaul_api::{ApiError, App, Caller};
use longhaul_model::store::overview::{COUNTED, Glance, overview};
use longhaul_model::store::queue::{Queue, list};
use maud::{Markup, html};
use serde_json::{Map, Number, Value, json};

use crate::filter::{Fields, Form, field, sent};
use crate::format::{at_most, number, span};
use crate::notice::Notice;
use crate::problem::WRONG_FIELD;
use crate::respond::{go_saying, page_after_form};
use crate::shell::Shell;

pub(crate) async fn show(app: web::Data<App>, caller: Caller, request: HttpRequest) -> Result<HttpResponse, ApiError> {
    let (now, queues) = tokio::try_join!(overview(app.pool()), list(app.pool(), None))?;
    let may = caller.may(EDIT_QUEUES);
    let main = html! {
        div.title { h1 { "Queues" } p.soft { "Changes apply immediately on every worker" } }
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
    Ok(page_after_form(&request, Shell::new("Queues", "/queues", &caller), main))
}

fn head(queue: &Queue, glance: Option<&Glance>) -> Markup {
    let oldest = glance.and_then(|glance| glance.oldest_waiting).map_or("–".to_owned(), span);
    html! {
        div #{ "depth-" (queue.name) } data-live {
            header {
                h2 { a href={ "/tasks?queue=" (percent_encoded(&queue.name)) } { (queue.name) } }
                span.tags {
                    @if queue.workers == 0 { span.tag.bad title="No live worker serves this queue; its tasks wait." { "no worker" } " " }
                    @if queue.paused_at.is_some() { span.tag.warn { "paused" } } @else { span.tag.good { "open" } }
                }
            }
            dl.facts {
                div { dt { "Waiting" } dd { (at_most(queue.ready, COUNTED)) } }
                div { dt { "Held" } dd { (at_most(queue.held, COUNTED)) } }
                div { dt { "Scheduled" } dd { (at_most(queue.scheduled, COUNTED)) } }
                div { dt { "Running" } dd { (number(queue.running)) } }
                div { dt { "Oldest" } dd { (oldest) } }
                div { dt { "Workers" } dd { (number(queue.workers)) } }
            }
        }
    }
}

fn deeds(queue: &Queue) -> Markup {
    html! {
        form.inline method="post" action={ "/queues/" (percent_encoded(&queue.name)) } {
            @if queue.paused_at.is_some() {
                button.primary name="deed" value="resume" { "Resume" span.unseen { " " (queue.name) } }
            } @else {
                button name="deed" value="pause" { "Pause" span.unseen { " " (queue.name) } }
            }
        }
    }
}

/// A limit that is a number: its field, its member of the API, and what it is called.
struct Limit {
    field: &'static str,
    member: &'static str,
    label: &'static str,
    least: &'static str,
    step: &'static str,
}

const MAX_CONCURRENT: Limit =
    Limit { field: "max_running", member: "MaxRunning", label: "Max concurrent", least: "0", step: "1" };
const MAX_CONCURRENT_PER_KEY: Limit =
    Limit { field: "max_per_key", member: "MaxPerKey", label: "Max concurrent per key", least: "0", step: "1" };
const MAX_WAITING: Limit =
    Limit { field: "max_waiting", member: "MaxWaiting", label: "Max waiting", least: "0", step: "1" };
const RATE: &str = "Start at most N every S seconds";
const RATE_COUNT: Limit = Limit { field: "rate_count", member: "RateCount", label: "N tasks", least: "1", step: "1" };
const RATE_SECONDS: Limit =
    Limit { field: "rate_seconds", member: "RateSeconds", label: "S seconds", least: "0.001", step: "any" };
const FAIR: &str = "Share fairly between keys";

/// The form of a queue's limits. It brings along what it showed, so that only what a person
/// changed is set: somebody else may have changed the rest meanwhile.
fn limits(queue: &Queue) -> Markup {
    let number = |limit: &Limit, value: Option<String>| {
        let value = value.unwrap_or_default();
        html! {
            label { (limit.label) input type="number" name=(limit.field) min=(limit.least) step=(limit.step) value=(value) placeholder="none" inputmode="decimal"; }
            input type="hidden" name={ "was_" (limit.field) } value=(value);
        }
    };
    let limited = queue.max_running.is_some()
        || queue.max_per_key.is_some()
        || queue.fair
        || queue.rate_count.is_some()
        || queue.max_waiting.is_some();
    html! {
        details.limits open[limited] {
            summary { "Limits" }
            form method="post" action={ "/queues/" (percent_encoded(&queue.name)) } {
                div.fields {
                    (number(&MAX_CONCURRENT, queue.max_running.map(|limit| limit.to_string())))
                    (number(&MAX_CONCURRENT_PER_KEY, queue.max_per_key.map(|limit| limit.to_string())))
                    (number(&MAX_WAITING, queue.max_waiting.map(|limit| limit.to_string())))
                    fieldset {
                        legend { (RATE) }
                        (number(&RATE_COUNT, queue.rate_count.map(|limit| limit.to_string())))
                        (number(&RATE_SECONDS, queue.rate_seconds.map(|limit| limit.to_string())))
                    }
                    label.tickbox { input type="checkbox" name="fair" value="yes" checked[queue.fair]; (FAIR) }
                    input type="hidden" name="was_fair" value=(if queue.fair { "yes" } else { "" });
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
            (MAX_CONCURRENT.label) ": " (words(queue.max_running)) ". "
            (MAX_CONCURRENT_PER_KEY.label) ": " (words(queue.max_per_key)) ". "
            @if let (Some(count), Some(seconds)) = (queue.rate_count, queue.rate_seconds) { "Start at most " (count) " every " (seconds) " seconds. " }
            @if queue.fair { (FAIR) ". " }
            @if queue.max_waiting.is_some() { (MAX_WAITING.label) ": " (words(queue.max_waiting)) ". " }
            "You have read-only access."
        }
    }
}

/// Pauses, resumes, or sets the limits of one.
pub(crate) async fn change(
    app: web::Data<App>,
    caller: Caller,
    name: web::Path<String>,
    form: Form,
) -> Result<HttpResponse, ApiError> {
    let fields = sent(form)?;
    let settings = match field(&fields, "deed") {
        Some("pause") => json!({"Paused": true}),
        Some("resume") => json!({"Paused": false}),
        Some("limit") => changed(&fields),
        _ => return Err(ApiError::new(WRONG_FIELD, "'deed' is pause, resume or limit.")),
    };
    app.change_queue(&caller, &name, settings).await.map_err(by_label)?;
    Ok(go_saying("/queues", Notice::QueueChanged))
}

/// What a form changes of the limits that it showed, as the API takes it; of a form that does
/// not say what it showed, all that it sends.
fn changed(fields: &Fields) -> Value {
    let value = |name: &str| fields.iter().find(|(known, _)| known == name).map(|(_, value)| value.trim());
    let mut settings = Map::new();
    for limit in [&MAX_CONCURRENT, &MAX_CONCURRENT_PER_KEY, &RATE_COUNT, &RATE_SECONDS, &MAX_WAITING] {
        if let Some(now) = value(limit.field).filter(|now| value(&format!("was_{}", limit.field)) != Some(now)) {
            settings.insert(limit.member.to_owned(), entered(now));
        }
    }
    let fair = field(fields, "fair").is_some();
    if value("was_fair").map_or(fair, |was| was.is_empty() == fair) {
        settings.insert("Fair".to_owned(), json!(fair));
    }
    Value::Object(settings)
}

/// The number that someone entered, or null if nothing; else the text, for the refusal.
fn entered(text: &str) -> Value {
    if text.is_empty() {
        return Value::Null;
    }
    let whole = text.parse::<i64>().ok().map(Number::from);
    let number = whole.or_else(|| text.parse().ok().and_then(Number::from_f64));
    number.map_or_else(|| text.into(), Value::Number)
}

/// The refusal of settings, with the labels of the fields.
fn by_label(error: ApiError) -> ApiError {
    let label = |pointer: &str| match pointer.trim_start_matches('/') {
        "MaxRunning" => MAX_CONCURRENT.label,
        "MaxPerKey" => MAX_CONCURRENT_PER_KEY.label,
        "RateCount" | "RateSeconds" => RATE,
        "MaxWaiting" => MAX_WAITING.label,
        "Fair" => FAIR,
        _ => "Settings",
    };
    let wrong: Vec<String> =
        error.errors().iter().map(|wrong| format!("{}: {}", label(&wrong.pointer), wrong.message)).collect();
    if wrong.is_empty() { error } else { ApiError::new(WRONG_FIELD, wrong.join(" ")) }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::changed;

    fn sent(fields: &[(&str, &str)]) -> Value {
        changed(&fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
    }

    #[test]
    fn a_form_changes_only_what_its_person_changed() {
        let shown = [
            ("was_max_running", "3"),
            ("was_max_per_key", ""),
            ("was_rate_count", "5"),
            ("was_rate_seconds", "2.5"),
            ("was_fair", "yes"),
        ];
        let with = |fields: &[(&'static str, &'static str)]| sent(&[&shown[..], fields].concat());
        let same =
            [("max_running", "3"), ("max_per_key", ""), ("rate_count", "5"), ("rate_seconds", "2.5"), ("fair", "yes")];
        assert_eq!(with(&same), json!({}));
        assert_eq!(with(&same[..4]), json!({"Fair": false}));
        let other =
            [("max_running", ""), ("max_per_key", " 2 "), ("rate_count", "5"), ("rate_seconds", "60"), ("fair", "yes")];
        assert_eq!(with(&other), json!({"MaxRunning": null, "MaxPerKey": 2, "RateSeconds": 60}));
        assert_eq!(sent(&[("was_fair", ""), ("fair", "yes")]), json!({"Fair": true}));
    }

    #[test]
    fn what_is_no_number_is_sent_for_its_refusal() {
        let fields = [("max_running", "-1"), ("max_per_key", "many"), ("rate_count", "1.5"), ("rate_seconds", "inf")];
        let all = json!({"MaxRunning": -1, "MaxPerKey": "many", "RateCount": 1.5, "RateSeconds": "inf"});
        assert_eq!(sent(&fields), all);
        assert_eq!(sent(&[]), json!({}), "a form that says nothing of them leaves them alone");
    }
}
