//! `longhaul doctor`

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use longhaul_model::counted;
use longhaul_model::store::findings::{Examination, Finding, Level, Report};
use serde_json::{Value, json};

use super::body::text;
use crate::Host;
use crate::config::{Configuration, show};
use crate::database::connect;
use crate::exit::{Exit, FINDINGS};
use crate::remote::{Client, ConnectArgs, Refused, Way};
use crate::visible::visible;

pub(super) const EXAMPLES: &str = "Examples:
  longhaul doctor --database-url postgres://longhaul@db/longhaul
  longhaul doctor --url https://tasks.example.com
  longhaul doctor --json | jq '.Findings[] | select(.Level == \"Problem\")'

Exit codes: 0 no problem was found, 6 a problem needs attention, 1 the check could not be made.";

/// Checks configuration, database, workers and API for current and upcoming problems, and shows
/// how to fix them. Changes nothing.
#[derive(Debug, Args)]
pub(crate) struct Doctor {
    #[command(flatten)]
    connect: ConnectArgs,
    /// Let warnings affect the exit code, too.
    #[arg(long)]
    strict: bool,
    /// Report transactions that have been open for this many seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    long_transaction: u32,
    /// Also look for contradictions between the queue's tables, such as a task in no place. Reads all
    /// tasks.
    #[arg(long)]
    all_places: bool,
}

/// The version of this library, which APIs report, too.
const VERSION: &str = env!("CARGO_PKG_VERSION");

impl Doctor {
    pub(crate) async fn run(self, host: Host, way: Way, configuration: &Configuration) -> anyhow::Result<()> {
        let mut report = Report::default();
        check_configuration(&mut report, &host, configuration);
        match self.connect.database(way) {
            Some(url) => match connect(url, 3, "longhaul-doctor").await {
                Ok(pool) => {
                    let mut examination = Examination::new(host.name, host.migrators().collect());
                    examination.long_transaction = Duration::from_secs(self.long_transaction.into());
                    examination.all_places = self.all_places;
                    let found = examination.run(&pool).await.context("the database could not be examined")?;
                    report.findings.extend(found.findings);
                }
                Err(error) => {
                    report.problem("connection", format!("{error:#}"), "Fix DATABASE_URL, or start PostgreSQL.")
                }
            },
            None => check_api(&mut report, &host, &self.connect.client(way, &host).await?, self.all_places).await,
        }
        let (problems, warnings) = (report.count(Level::Problem), report.count(Level::Warning));
        if self.connect.json {
            println!(
                "{}",
                json!({"Program": host.name, "Version": VERSION, "Problems": problems, "Warnings": warnings,
                       "Findings": report.findings.iter().map(as_json).collect::<Vec<_>>()})
            );
        } else {
            for finding in &report.findings {
                let level = match finding.level {
                    Level::Ok => "ok",
                    Level::Warning => "warning",
                    Level::Problem => "PROBLEM",
                };
                println!(
                    "{level:<8} {:<14} {}",
                    finding.check,
                    visible(&finding.says).replace('\n', "\n                        ")
                );
                if let Some(mend) = &finding.mend {
                    println!("{:<24}fix: {}", "", visible(mend));
                }
            }
            println!("\n{}, {}", counted(problems, "problem"), counted(warnings, "warning"));
        }
        if problems > 0 || (self.strict && warnings > 0) { Err(Exit(FINDINGS).into()) } else { Ok(()) }
    }
}

fn as_json(finding: &Finding) -> Value {
    json!({"Check": finding.check, "Level": finding.level.name(), "Says": finding.says, "Mend": finding.mend})
}

fn check_configuration(report: &mut Report, host: &Host, configuration: &Configuration) {
    let shown = show(configuration, None);
    for setting in &shown {
        if let Some(problem) = &setting.problem {
            let at = setting.at.as_deref().unwrap_or(&setting.key);
            report.problem(
                "configuration",
                format!("{at} is invalid: {problem}"),
                format!("{} config show", host.name),
            );
        }
    }
    if let Some(file) = &configuration.file {
        let has_secrets = shown.iter().any(|setting| setting.secret && setting.source == "file");
        let mode = std::fs::metadata(&file.path).map_or(0, |metadata| metadata.permissions().mode());
        if has_secrets && mode & 0o077 != 0 {
            let path = file.path.display();
            report.warn(
                "configuration",
                format!("{path} contains secrets, and other users may read it"),
                format!("chmod 600 {path}"),
            );
        }
    }
    report.otherwise_ok(
        "configuration",
        match &configuration.file {
            Some(file) => format!("{} and the environment are valid", file.path.display()),
            None => "the environment is valid; there is no file".to_owned(),
        },
    );
}

async fn check_api(report: &mut Report, host: &Host, client: &Client, all_places: bool) {
    if let Err(error) = client.get(&["health", "live"]).await {
        return report.problem("connection", format!("{error:#}"), format!("{} serve, or fix LONGHAUL_URL", host.name));
    }
    report.ok("connection", "the API answers");
    match client.get(&["health", "ready"]).await {
        Ok(_) => report.ok("ready", "the database answers and its schema is up to date"),
        Err(error) => {
            report.problem("ready", format!("{error:#}"), format!("{} migrate, or start PostgreSQL", host.name))
        }
    }
    match client.get(&["api", "openapi.json"]).await {
        Ok(document) => {
            let version = text(&document["info"], "version");
            if version != VERSION {
                let says = format!("the API has version {version}, this program {}", VERSION);
                report.warn("versions", says, "Run the same version everywhere after an upgrade.");
            }
        }
        Err(error) => report.problem("versions", format!("{error:#}"), "Check that this is the address of the API."),
    }
    // Without it, the address is that of earlier releases, which know no query.
    let whole: &[_] = if all_places { &[("allPlaces", "true".to_owned())] } else { &[] };
    match client.get_url(client.at(&["api", "findings"], whole)).await {
        Ok(found) => {
            report.ok("access", "the API accepts the key");
            for finding in found["Findings"].as_array().into_iter().flatten() {
                let (check, says) = (text(finding, "Check"), text(finding, "Says"));
                let mend = finding["Mend"].as_str().unwrap_or_default();
                // The API does not know what this program is called.
                let mend = mend
                    .strip_prefix("longhaul ")
                    .map_or_else(|| mend.to_owned(), |rest| format!("{} {rest}", host.name));
                match finding["Level"].as_str() {
                    Some("Problem") => report.problem(&check, says, mend),
                    Some("Warning") => report.warn(&check, says, mend),
                    _ => report.ok(&check, says),
                }
            }
        }
        Err(error) => match error.downcast_ref::<Refused>().map(|refused| refused.status.as_u16()) {
            Some(401 | 403) => report.problem(
                "access",
                format!("{error:#}"),
                "Set LONGHAUL_KEY to a key with the permission Administration/Queues/View.",
            ),
            Some(404) => report.warn(
                "database",
                "the API is of an older release and does not report on its database",
                format!("{} doctor --database-url …", host.name),
            ),
            _ => report.problem("access", format!("{error:#}"), format!("{} doctor --database-url …", host.name)),
        },
    }
}
