//! The files under `ops/` against the code: alert rules and the dashboard.

use std::collections::BTreeSet;
use std::path::Path;

use longhaul_telemetry::table::{METRICS, Metric};
use serde_json::Value;

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The metric that a series belongs to.
fn metric(series: &str) -> Option<&'static Metric> {
    METRICS.iter().find(|metric| metric.series().iter().any(|name| name == series))
}

/// Checks an expression: every series is in the table, and every label that is picked
/// by is one of its own. Returns the metrics it names.
fn check(expression: &str, place: &str) -> BTreeSet<&'static str> {
    let mut named = BTreeSet::new();
    let mut rest = expression;
    while let Some(at) = rest.find("longhaul_") {
        let end =
            rest[at..].find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).map_or(rest.len(), |end| at + end);
        let series = &rest[at..end];
        let metric = metric(series).unwrap_or_else(|| panic!("{place}: {series} is no metric: {expression}"));
        named.insert(metric.name);
        rest = &rest[end..];
        if let Some(selector) = rest.strip_prefix('{') {
            let (selector, after) = selector.split_once('}').expect("a selector ends");
            for label in selector.split(", ").filter(|part| !part.is_empty()) {
                let name = label.split(['=', '!']).next().expect("a label");
                assert!(metric.labels.contains(&name), "{place}: {series} has no label {name}: {expression}");
            }
            rest = after;
        }
    }
    let braces = expression.matches(['(', '{', '[']).count() == expression.matches([')', '}', ']']).count();
    assert!(braces, "{place}: a brace is missing: {expression}");
    named
}

#[test]
fn alert_rules_name_metrics_that_exist_and_each_has_its_runbook() {
    let rules: Value = serde_yaml_ng::from_str(&read("ops/prometheus/longhaul.rules.yml")).expect("YAML");
    let runbook = read("docs/runbook.md");
    let mut alerts = BTreeSet::new();
    for rule in
        rules["groups"].as_array().expect("groups").iter().flat_map(|group| group["rules"].as_array().expect("rules"))
    {
        let name = rule["alert"].as_str().expect("a name");
        assert!(alerts.insert(name), "{name} is there twice");
        assert!(!check(rule["expr"].as_str().expect("an expression"), name).is_empty(), "{name} looks at nothing");
        assert!(runbook.contains(&format!("## {name}\n")), "docs/runbook.md has no section {name}");
        let link = rule["annotations"]["runbook"].as_str().expect("a runbook");
        assert_eq!(link, format!("docs/runbook.md#{}", name.to_lowercase()));
        assert!(["warning", "critical"].contains(&rule["labels"]["severity"].as_str().expect("a severity")), "{name}");
    }
    let sections = runbook.lines().filter_map(|line| line.strip_prefix("## ")).collect();
    assert_eq!(alerts, sections, "the runbook has the alerts and no others");
    for metric in runbook.split('`').filter(|word| word.starts_with("longhaul_")) {
        let series = metric.split('{').next().expect("a name");
        let known = METRICS.iter().any(|known| known.name == series) || self::metric(series).is_some();
        assert!(known, "docs/runbook.md: {metric} is no metric");
    }
}

#[test]
fn the_dashboard_names_metrics_that_exist_and_leaves_none_out() {
    let dashboard: Value = serde_json::from_str(&read("ops/grafana/longhaul.json")).expect("JSON");
    let mut named = BTreeSet::new();
    let mut ids = BTreeSet::new();
    for panel in dashboard["panels"].as_array().expect("panels") {
        let title = panel["title"].as_str().expect("a title");
        assert!(ids.insert(panel["id"].as_i64().expect("an id")), "{title}: its id is another's");
        let targets = panel["targets"].as_array().map(Vec::as_slice).unwrap_or_default();
        assert!(panel["type"] == "row" || !targets.is_empty(), "{title} is empty");
        for target in targets {
            named.extend(check(target["expr"].as_str().expect("an expression"), title));
        }
    }
    for variable in dashboard["templating"]["list"].as_array().expect("variables") {
        if let Some(definition) = variable["definition"].as_str() {
            let inner = definition.strip_prefix("label_values(").expect("label_values");
            let (series, label) = inner.trim_end_matches(')').split_once(", ").expect("a series and a label");
            assert!(metric(series).is_some_and(|metric| metric.labels.contains(&label)), "{definition}");
        }
    }
    let missing: Vec<&str> = METRICS.iter().map(|metric| metric.name).filter(|name| !named.contains(name)).collect();
    assert_eq!(missing, ["longhaul_depth_read_seconds", "longhaul_build"], "metrics that no panel shows");
}
