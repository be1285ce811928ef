//! Metrics as text.

use prometheus_client::encoding::{prometheus_text, text};
use prometheus_client::registry::Registry;

/// Metrics as text, and the type of that text.
#[derive(Debug, Clone)]
pub struct Exposition {
    /// `Content-Type`.
    pub content_type: &'static str,
    /// The text.
    pub body: String,
}

/// OpenMetrics 1.0, "Overall Structure".
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

impl Exposition {
    /// OpenMetrics if `Accept` names it no later than plain text, as Prometheus does
    /// by default; else Prometheus's own text format.
    pub(crate) fn of(registry: &Registry, accept: Option<&str>) -> Self {
        let mut body = String::new();
        let (content_type, encoded) = if prefers_open_metrics(accept.unwrap_or_default()) {
            (OPEN_METRICS, text::encode(&mut body, registry))
        } else {
            (prometheus_text::CONTENT_TYPE, prometheus_text::encode(&mut body, registry))
        };
        if encoded.is_err() {
            tracing::error!("the metrics could not be written as text");
        }
        Self { content_type, body }
    }
}

/// RFC 9110, 12.5.1: the media type with the greater weight; of equals the first.
fn prefers_open_metrics(accept: &str) -> bool {
    let mut best: Option<(f64, bool)> = None;
    for part in accept.split(',') {
        let mut parts = part.split(';').map(str::trim);
        let media_type = parts.next().unwrap_or_default().to_ascii_lowercase();
        let weight = parts
            .find_map(|parameter| parameter.strip_prefix("q=").or(parameter.strip_prefix("Q=")))
            .map_or(Some(1.0), |weight| weight.parse::<f64>().ok())
            .unwrap_or(0.0);
        let open = match media_type.as_str() {
            "application/openmetrics-text" => true,
            "text/plain" | "text/*" | "*/*" => false,
            _ => continue,
        };
        if weight > 0.0 && best.is_none_or(|(most, _)| weight > most) {
            best = Some((weight, open));
        }
    }
    best.is_some_and(|(_, open)| open)
}

#[cfg(test)]
mod tests {
    use super::prefers_open_metrics;

    #[test]
    fn the_text_is_in_the_form_that_the_scraper_likes_best() {
        let prometheus = "application/openmetrics-text;version=1.0.0;q=0.8,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        assert!(prefers_open_metrics(prometheus));
        assert!(prefers_open_metrics("application/openmetrics-text; version=1.0.0,text/plain;version=0.0.4;q=0.5"));
        for plain in ["", "*/*", "text/plain", "text/html,*/*;q=0.1", "application/openmetrics-text;q=0, */*"] {
            assert!(!prefers_open_metrics(plain), "{plain}");
        }
        assert!(!prefers_open_metrics("text/plain, application/openmetrics-text;q=0.9"));
    }
}
