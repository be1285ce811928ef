//! `GET /api/findings`: current and upcoming problems, and how to fix them.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use longhaul_model::store::findings::{Examination, Finding, Level};
use schemars::JsonSchema;
use serde::Serialize;

use crate::access::permission::VIEW_QUEUES;
use crate::negotiation::must_accept_json;
use crate::{Access, ApiError, App, Operation, json_response};

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
    .negotiated()
    .answers::<FindingsBody>(200, "The findings.")
}

/// `200` with what `longhaul doctor` finds in the database.
pub(super) async fn handle(app: web::Data<App>, request: HttpRequest) -> Result<HttpResponse, ApiError> {
    must_accept_json(&request)?;
    let report = Examination::new("longhaul", app.inner.migrators.clone()).run(app.pool()).await?;
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
