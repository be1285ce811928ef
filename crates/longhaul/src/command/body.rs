//! What a task's body says, for people.

use longhaul_model::store::findings::span;
use serde_json::Value;

use crate::visible::visible;

/// A member of a body as text that a terminal can be shown; empty if it is not there.
pub(crate) fn text(body: &Value, member: &str) -> String {
    match &body[member] {
        Value::Null => String::new(),
        Value::String(text) => visible(text).into_owned(),
        other => visible(&other.to_string()).into_owned(),
    }
}

/// What a task's body says in one line.
pub(crate) fn one_line(body: &Value) -> String {
    let fraction = body["ProgressInPercent"].as_f64().unwrap_or(0.0) * 100.0;
    let mut line = format!("{} {}", text(body, "Id"), text(body, "State"));
    if body["Complete"] != true {
        line.push_str(&format!(" {fraction:.0} %"));
    }
    if body["TotalElements"].as_u64().unwrap_or(0) > 0 {
        line.push_str(&format!(" {}/{}", text(body, "ProcessedElements"), text(body, "TotalElements")));
    }
    if let Some(error) = body["Error"]["detail"].as_str().or(body["Error"]["title"].as_str()) {
        line.push_str(&format!(": {}", visible(error)));
        if !body["Error"]["code"].is_null() {
            line.push_str(&format!(" ({})", text(&body["Error"], "code")));
        }
    } else if body["Message"].is_string() {
        line.push_str(&format!(" {}", text(body, "Message")));
    }
    line
}

/// What a task that is over left, in one line.
pub(crate) fn last_line(body: &Value) -> String {
    match &body["Result"] {
        Value::Null => one_line(body),
        result => format!("{}\n{}", one_line(body), visible(&result.to_string())),
    }
}

/// How long it will still take, for people.
pub(crate) fn left(body: &Value) -> Option<String> {
    let seconds = body["TimeLeft"]["Seconds"].as_f64()?;
    Some(format!("about {} left", span(seconds)))
}
