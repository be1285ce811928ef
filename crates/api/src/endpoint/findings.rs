//! `GET /api/findings`: current and upcoming problems, and how to fix them.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use longhaul_model::ParameterError;
use longhaul_model::store::findings::{Examination, Finding, Level};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::access::permission::VIEW_QUEUES;
use crate::negotiation::must_accept_json;
use crate::openapi::boolean;
use crate::{Access, ApiError, App, Operation, json_response};

/// The query.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
struct Query {
    all_places: bool,
}

/// The checks of database and fleet with their results.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "PascalCase")]
#[schemars(rename = "Findings")]
struct FindingsBody {
    /// Number of problems.
    problems: usize,
    /// Number of warnings.
    warnings: usize,
    findings: Vec<FindingBody>,
}

/// How one thing is.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "PascalCase")]
#[schemars(rename = "Finding")]
struct FindingBody {
    /// The subject of the check.
    check: String,
    #[schemars(extend("enum" = ["Ok", "Warning", "Problem"]))]
    level: &'static str,
    /// The findings.
    says: String,
    /// The command or SQL that fixes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    mend: Option<String>,
}

pub(super) fn operation() -> Operation {
    Operation::new(
        "Workers",
        "getFindings",
        "Lists current and upcoming problems of database and fleet, and how to fix them.",
    )
    .needs(Access::Permission(VIEW_QUEUES))
    .query(
        "allPlaces",
        "Whether to look for contradictions between the queue's tables, too, which reads all tasks.",
        boolean(),
    )
    .negotiated()
    .answers::<FindingsBody>(200, "The findings.")
}

/// `200` with what `longhaul doctor` finds in the database.
pub(super) async fn handle(app: web::Data<App>, request: HttpRequest) -> Result<HttpResponse, ApiError> {
    must_accept_json(&request)?;
    let query = web::Query::<Query>::from_query(request.query_string()).map_err(|_| {
        let message = "true or false is expected.".to_owned();
        ApiError::invalid_request(vec![ParameterError { pointer: "allPlaces".to_owned(), message }])
    })?;
    let mut examination = Examination::new("longhaul", app.inner.migrators.clone());
    examination.all_places = query.all_places;
    let report = examination.run(app.pool()).await?;
    let body = FindingsBody {
        problems: report.count(Level::Problem),
        warnings: report.count(Level::Warning),
        findings: report.findings.into_iter().map(FindingBody::from).collect(),
    };
    Ok(json_response(StatusCode::OK, &body))
}

impl From<Finding> for FindingBody {
    fn from(finding: Finding) -> Self {
        Self { check: finding.check, level: finding.level.name(), says: finding.says, mend: finding.mend }
    }
}
