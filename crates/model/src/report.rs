//! What a completed task shows in addition to its result.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::RunError;

/// The result of a task with more to show than `Result`: members at the top of
/// the finished task body, and links.
///
/// Stored in the task's `result` as `{"$report": {"Result": …, "Members": {…},
/// "Links": [{"Rel": "…", "Href": "/…"}]}}`, so that whoever renders a task body
/// needs to know nothing of its type. A plain result is stored as it is.
///
/// ```
/// use longhaul_model::{Outcome, Report};
/// let report = Report::new().with_member("IncidentId", "0190").with_link("Incident", "/api/incident/0190");
/// let Outcome::Done(Some(stored)) = Outcome::with_report(report.clone()) else { panic!() };
/// assert_eq!(Report::from_stored(stored), report);
/// ```
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Report {
    /// The body's `Result`, if any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result: Option<Value>,
    /// Members at the top of the body. The body's own members win over one of
    /// the same name.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub members: Map<String, Value>,
    /// Links, after the body's own.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub links: Vec<ReportLink>,
}

/// A link of a [`Report`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ReportLink {
    /// What it is, e.g. `Incident`.
    pub rel: String,
    /// An absolute URL, or a path that begins with `/`, under the public
    /// address of the API.
    pub href: String,
}

/// The one member of a stored report.
const MARK: &str = "$report";

impl Report {
    /// Nothing to show yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The same with this `Result`.
    ///
    /// # Errors
    /// If the value can't be written as JSON.
    pub fn with_result(mut self, result: impl Serialize) -> Result<Self, RunError> {
        self.result = Some(serde_json::to_value(result)?);
        Ok(self)
    }

    /// The same with another member at the top of the body.
    #[must_use]
    pub fn with_member(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.members.insert(name.into(), value.into());
        self
    }

    /// The same with another link; see [`ReportLink`].
    #[must_use]
    pub fn with_link(mut self, rel: impl Into<String>, href: impl Into<String>) -> Self {
        self.links.push(ReportLink { rel: rel.into(), href: href.into() });
        self
    }

    /// The form in which it is stored with the task.
    #[must_use]
    pub fn into_stored(self) -> Option<Value> {
        if self.members.is_empty() && self.links.is_empty() {
            return self.result;
        }
        let report = serde_json::to_value(self).unwrap_or_default();
        Some(Value::Object(Map::from_iter([(MARK.to_owned(), report)])))
    }

    /// Reads the stored result of a task. Anything that is not a report is a plain result.
    #[must_use]
    pub fn from_stored(stored: Value) -> Self {
        let report = match &stored {
            Value::Object(members) if members.len() == 1 => members.get(MARK),
            _ => None,
        };
        report
            .and_then(|report| Report::deserialize(report).ok())
            .unwrap_or_else(|| Report { result: Some(stored), ..Report::default() })
    }
}

#[cfg(test)]
mod tests {
    use super::Report;
    use serde_json::json;

    #[test]
    fn a_plain_result_is_stored_as_it_is() {
        let report = Report::new().with_result(json!({"Documents": 3})).expect("JSON");
        let stored = report.clone().into_stored().expect("a result");
        assert_eq!(stored, json!({"Documents": 3}));
        assert_eq!(Report::from_stored(stored), report);
        assert_eq!(Report::new().into_stored(), None);
    }

    #[test]
    fn what_only_looks_like_a_report_is_a_result() {
        for odd in [json!({"$report": 5}), json!({"$report": {}, "more": 1}), json!([1])] {
            let read = Report::from_stored(odd.clone());
            assert_eq!(read.result, Some(odd));
            assert!(read.members.is_empty() && read.links.is_empty());
        }
    }

    #[test]
    fn members_and_links_survive_the_way_through_the_database() {
        let report = Report::new().with_member("IncidentId", "x").with_link("Incident", "/api/incident/x");
        let stored = report.clone().into_stored().expect("a report");
        assert_eq!(Report::from_stored(stored), report);
    }
}
