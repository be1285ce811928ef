//! Reading what `/metrics` shows.

use std::collections::{BTreeMap, BTreeSet};

/// Series by name and labels, as they stand in the text.
#[derive(Debug, Clone)]
pub struct Scrape {
    series: BTreeMap<String, f64>,
}

impl Scrape {
    /// Reads either text form.
    pub fn read(text: &str) -> Self {
        let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        let series = lines.map(|line| {
            let (name, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no value: {line}"));
            (name.to_owned(), value.parse().unwrap_or_else(|_| panic!("no number: {line}")))
        });
        Self { series: series.collect() }
    }

    /// The sum of the series with this name and all of these labels, e.g.
    /// `type="Sleep"`.
    pub fn sum(&self, name: &str, labels: &[&str]) -> f64 {
        self.series
            .iter()
            .filter(|(series, _)| series.split('{').next() == Some(name) && labels.iter().all(|l| series.contains(l)))
            .map(|(_, value)| value)
            .sum()
    }

    /// The values of this label in the series with this name.
    pub fn values_of(&self, name: &str, label: &str) -> BTreeSet<&str> {
        let of_series = self.series.keys().filter(|series| series.split('{').next() == Some(name));
        let start = format!("{label}=\"");
        of_series.filter_map(|series| series.split_once(&start)?.1.split('"').next()).collect()
    }

    /// The names of its series, each with the names of its labels.
    pub fn names(&self) -> impl Iterator<Item = (&str, Vec<&str>)> {
        self.series.keys().map(|series| {
            let (name, labels) = series.split_once('{').unwrap_or((series, ""));
            let labels = labels.trim_end_matches('}').split("\",");
            (name, labels.filter_map(|label| label.split_once('=').map(|(name, _)| name)).collect())
        })
    }
}
