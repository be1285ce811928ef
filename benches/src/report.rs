//! What is printed.

use std::fmt::Write;

use serde_json::{Map, Value, json};

use crate::ground::Ground;
use crate::process::machine;

/// The figures of one run, in the order of the table. A name ends in its unit.
#[derive(Debug, Default, Clone)]
pub(crate) struct Run(Vec<(String, f64)>);

impl Run {
    pub(crate) fn set(&mut self, name: impl Into<String>, value: f64) {
        self.0.push((name.into(), value));
    }

    /// Median, 99th percentile and worst of some durations, in ms.
    pub(crate) fn set_latencies(&mut self, name: &str, seconds: &mut [f64]) {
        seconds.sort_unstable_by(f64::total_cmp);
        for (suffix, share) in [("p50", 0.5), ("p99", 0.99), ("max", 1.0)] {
            if let Some(value) = percentile(seconds, share) {
                self.set(format!("{name}_{suffix}_ms"), value * 1e3);
            }
        }
    }

    fn get(&self, name: &str) -> Option<f64> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| *value)
    }
}

/// Of sorted values.
pub(crate) fn percentile(sorted: &[f64], share: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    sorted.get((last as f64 * share).round() as usize).copied()
}

/// All runs of one workload, and where they ran.
pub(crate) struct Report {
    workload: &'static str,
    parameters: Value,
    postgres: Value,
    runs: Vec<Run>,
}

impl Report {
    pub(crate) async fn new(
        workload: &'static str,
        parameters: Value,
        ground: &Ground,
        runs: Vec<Run>,
    ) -> anyhow::Result<Self> {
        let mut postgres = Map::new();
        for name in [
            "server_version",
            "fsync",
            "synchronous_commit",
            "full_page_writes",
            "shared_buffers",
            "max_wal_size",
            "checkpoint_timeout",
        ] {
            let value: String =
                sqlx::query_scalar("SELECT current_setting($1)").bind(name).fetch_one(&ground.pool).await?;
            postgres.insert(name.to_owned(), Value::String(value));
        }
        Ok(Self { workload, parameters, postgres: postgres.into(), runs })
    }

    /// Name, median, least and most of every figure.
    fn summary(&self) -> Vec<(&str, [f64; 3])> {
        let names = self.runs.first().into_iter().flat_map(|run| run.0.iter().map(|(name, _)| name.as_str()));
        names
            .filter_map(|name| {
                let mut values: Vec<f64> = self.runs.iter().filter_map(|run| run.get(name)).collect();
                values.sort_unstable_by(f64::total_cmp);
                let (least, most) = (*values.first()?, *values.last()?);
                let middle = values.len() / 2;
                let median = if values.len() % 2 == 1 {
                    values[middle]
                } else {
                    f64::midpoint(values[middle - 1], values[middle])
                };
                Some((name, [median, least, most]))
            })
            .collect()
    }

    pub(crate) fn json(&self) -> Value {
        let summary: Map<String, Value> = self
            .summary()
            .into_iter()
            .map(|(name, [median, min, max])| (name.to_owned(), json!({"median": median, "min": min, "max": max})))
            .collect();
        let runs: Vec<Map<String, Value>> = self
            .runs
            .iter()
            .map(|run| run.0.iter().map(|(name, value)| (name.clone(), json!(value))).collect())
            .collect();
        json!({
            "workload": self.workload, "version": env!("CARGO_PKG_VERSION"), "machine": machine(),
            "postgres": self.postgres, "parameters": self.parameters, "runs": runs, "summary": summary,
        })
    }

    pub(crate) fn table(&self) -> String {
        let mut text = String::new();
        let parameters: Vec<String> = self
            .parameters
            .as_object()
            .into_iter()
            .flatten()
            .map(|(name, value)| format!("{} {}", name.replace('_', " "), value.to_string().trim_matches('"')))
            .collect();
        let mut say = |line: String| {
            // Writing to a String can't fail.
            let _never = writeln!(text, "{line}");
        };
        say(format!("{}: {}; {} runs", self.workload, parameters.join(", "), self.runs.len()));
        say(format!("on {}, PostgreSQL {}", machine(), self.postgres["server_version"].as_str().unwrap_or_default()));
        say(String::new());
        let summary = self.summary();
        let width = summary.iter().map(|(name, _)| name.len()).max().unwrap_or(0).max(6);
        say(format!("| {:<width$} | {:>12} | {:>12} | {:>12} |", "figure", "median", "least", "most"));
        say(format!("| {:-<width$} | {:->12} | {:->12} | {:->12} |", "", ":", ":", ":"));
        for (name, [median, least, most]) in summary {
            let (median, least, most) = (number(median), number(least), number(most));
            say(format!("| {:<width$} | {median:>12} | {least:>12} | {most:>12} |", name.replace('_', " ")));
        }
        text
    }
}

/// Three significant digits at least, thousands apart.
fn number(value: f64) -> String {
    let digits = match value.abs() {
        100.0.. => 0,
        10.0..100.0 => 1,
        1.0..10.0 => 2,
        _ => 4,
    };
    let text = format!("{value:.digits$}");
    let (whole, rest) = text.split_once('.').map_or((text.as_str(), String::new()), |(w, r)| (w, format!(".{r}")));
    let (sign, whole) = whole.strip_prefix('-').map_or(("", whole), |whole| ("-", whole));
    let mut grouped = String::new();
    for (place, digit) in whole.chars().enumerate() {
        if place > 0 && (whole.len() - place) % 3 == 0 {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    format!("{sign}{grouped}{rest}")
}

#[cfg(test)]
mod tests {
    use super::{number, percentile};

    #[test]
    fn numbers_are_readable() {
        let shown: Vec<String> = [0.98765, 1.5, 42.26, 1234567.8, -1000.0].into_iter().map(number).collect();
        assert_eq!(shown, ["0.9877", "1.50", "42.3", "1,234,568", "-1,000"]);
    }

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let values = [1.0, 2.0, 3.0, 4.0, 100.0];
        assert_eq!(percentile(&values, 0.5), Some(3.0));
        assert_eq!(percentile(&values, 0.99), Some(100.0));
        assert_eq!(percentile(&[], 0.5), None);
    }
}
