//! `longhaul doctor`

use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use anyhow::Context;
use chrono::Utc;
use clap::Args;
use longhaul_model::store::{cron, diagnose, migrate, queue, worker};
use serde::Serialize;
use serde_json::{Value, json};
use sqlx::PgPool;
use sqlx::migrate::Migrator;

use super::task::{span, text};
use crate::Host;
use crate::config::{Configuration, show};
use crate::database::connect;
use crate::exit::{Exit, FINDINGS};
use crate::remote::{Client, ConnectArgs, Refused, Way};

pub(super) const EXAMPLES: &str = "Examples:
  longhaul doctor --database-url postgres://longhaul@db/longhaul
  longhaul doctor --url https://tasks.example.com
  longhaul doctor --json | jq '.Findings[] | select(.Level == \"Problem\")'

Exit codes: 0 nothing needs attention, 6 something does, 1 it could not look.";

/// Looks at configuration, database, workers and API for what is wrong or soon will be,
/// and says what mends it. Changes nothing.
#[derive(Debug, Args)]
pub(crate) struct Doctor {
    #[command(flatten)]
    connect: ConnectArgs,
    /// Let warnings be told by the exit code, too.
    #[arg(long)]
    strict: bool,
    /// A transaction that has been open for so many seconds is told.
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    long_transaction: u32,
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
enum Level {
    Ok,
    Warning,
    Problem,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Finding {
    /// What was looked at.
    check: &'static str,
    level: Level,
    /// What was found.
    says: String,
    /// The command or SQL that mends it.
    mend: Option<String>,
}

/// What has been found so far.
#[derive(Default)]
struct Report {
    findings: Vec<Finding>,
}

impl Report {
    fn ok(&mut self, check: &'static str, says: impl Into<String>) {
        self.findings.push(Finding { check, level: Level::Ok, says: says.into(), mend: None });
    }

    fn warn(&mut self, check: &'static str, says: impl Into<String>, mend: impl Into<String>) {
        self.findings.push(Finding { check, level: Level::Warning, says: says.into(), mend: Some(mend.into()) });
    }

    fn problem(&mut self, check: &'static str, says: impl Into<String>, mend: impl Into<String>) {
        self.findings.push(Finding { check, level: Level::Problem, says: says.into(), mend: Some(mend.into()) });
    }

    /// Says that all is well if nothing has been said of `check`.
    fn otherwise_ok(&mut self, check: &'static str, says: impl Into<String>) {
        if self.findings.iter().all(|finding| finding.check != check) {
            self.ok(check, says);
        }
    }

    fn count(&self, level: Level) -> usize {
        self.findings.iter().filter(|finding| finding.level == level).count()
    }
}

/// Of this library, which workers and APIs tell, too.
const VERSION: &str = env!("CARGO_PKG_VERSION");
/// Clocks may differ by so many seconds; nothing but people's reading of logs depends
/// on it.
const SKEW: f64 = 5.0;
/// A table of the queue that has more dead row versions than this, and more than rows,
/// is behind with vacuum.
const DEAD: i64 = 100_000;
/// Bytes that a table may have beyond what its rows explain.
const SLACK: i64 = 128 * 1024 * 1024;
/// What a row and its index entries take at most in the small tables.
const ROW: i64 = 1_024;
/// A notification takes milliseconds.
const HEARS_WITHIN: Duration = Duration::from_secs(3);
/// A transaction that has been open for so long is a problem, not a warning.
const VERY_LONG: f64 = 3_600.0;

impl Doctor {
    pub(crate) async fn run(self, host: Host, way: Way, configuration: &Configuration) -> anyhow::Result<()> {
        let mut report = Report::default();
        check_configuration(&mut report, &host, configuration);
        match self.connect.database(way) {
            Some(url) => match connect(url, 3, "longhaul-doctor").await {
                Ok(pool) => self
                    .check_database(&mut report, &host, &pool)
                    .await
                    .context("the database could not be examined")?,
                Err(error) => {
                    report.problem("connection", format!("{error:#}"), "Mend DATABASE_URL, or start PostgreSQL.")
                }
            },
            None => check_api(&mut report, &host, &self.connect.client(way, &host).await?).await,
        }
        let (problems, warnings) = (report.count(Level::Problem), report.count(Level::Warning));
        if self.connect.json {
            println!(
                "{}",
                json!({"Program": host.name, "Version": VERSION, "Problems": problems, "Warnings": warnings,
                       "Findings": report.findings})
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
                    finding.says.replace('\n', "\n                        ")
                );
                if let Some(mend) = &finding.mend {
                    println!("{:<24}mend: {mend}", "");
                }
            }
            println!("\n{problems} problems, {warnings} warnings");
        }
        if problems > 0 || (self.strict && warnings > 0) { Err(Exit(FINDINGS).into()) } else { Ok(()) }
    }

    async fn check_database(&self, report: &mut Report, host: &Host, pool: &PgPool) -> sqlx::Result<()> {
        if !check_server(report, pool).await? {
            return Ok(());
        }
        let looked = check_migrations(report, host, pool).await;
        if !report.may_look(looked)?.unwrap_or(true) {
            return Ok(());
        }
        for statement in diagnose::missing_rights(pool).await? {
            report.warn(
                "rights",
                "This role may not do with the queue's tables all that API and workers do",
                statement,
            );
        }
        let looked = check_vacuum(report, pool).await;
        report.may_look(looked)?;
        let older_than = Duration::from_secs(self.long_transaction.into());
        for pin in diagnose::pins(pool, older_than).await? {
            let long = pin.seconds.map_or_else(String::new, |seconds| format!(", open for {}", span(seconds)));
            let says =
                format!("{}{long}: meanwhile vacuum can't remove what is dead, and the queue slows down", pin.what);
            match pin.seconds {
                Some(seconds) if seconds < VERY_LONG => report.warn("transactions", says, pin.mend),
                _ => report.problem("transactions", says, pin.mend),
            }
        }
        report.otherwise_ok("transactions", format!("none has been open for {} s", self.long_transaction));
        if diagnose::hears_notifications(pool, HEARS_WITHIN).await? {
            report.ok("notifications", "LISTEN hears NOTIFY on this way to the database");
        } else {
            report.problem(
                "notifications",
                "LISTEN does not hear NOTIFY: a pooler between gives each transaction another session, so tasks begin late",
                "Let DATABASE_URL of `serve` and `work` name the database itself, or put the pooler in session mode (pool_mode = session).",
            );
        }
        let looked = check_queues(report, host, pool).await;
        report.may_look(looked)?;
        report.otherwise_ok("rights", "the role may do what it is for");
        Ok(())
    }
}

impl Report {
    /// What a role that may not see everything could not look at is no reason to end.
    fn may_look<T>(&mut self, looked: sqlx::Result<T>) -> sqlx::Result<Option<T>> {
        match looked {
            Ok(looked) => Ok(Some(looked)),
            // SQLSTATE insufficient_privilege.
            Err(sqlx::Error::Database(error)) if error.code().is_some_and(|code| code == "42501") => {
                let says = format!("not everything could be looked at: {}", error.message());
                self.warn("rights", says, "Look with a login that has the role longhaul_worker or longhaul_owner.");
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

fn check_configuration(report: &mut Report, host: &Host, configuration: &Configuration) {
    let shown = show(configuration, None);
    for setting in &shown {
        if let Some(problem) = &setting.problem {
            let at = setting.at.as_deref().unwrap_or(&setting.key);
            report.problem(
                "configuration",
                format!("{at} does not fit: {problem}"),
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
                format!("{path} has secrets, and others may read it"),
                format!("chmod 600 {path}"),
            );
        }
    }
    report.otherwise_ok(
        "configuration",
        match &configuration.file {
            Some(file) => format!("{} and the environment fit", file.path.display()),
            None => "the environment fits; there is no file".to_owned(),
        },
    );
}

/// Whether the rest can be looked at: nothing listens on a standby.
async fn check_server(report: &mut Report, pool: &PgPool) -> sqlx::Result<bool> {
    #[expect(clippy::disallowed_methods, reason = "the question is how far this machine's clock is off")]
    let asked_at = Utc::now();
    let asked = Instant::now();
    let server = diagnose::server(pool).await?;
    let halfway = asked_at + asked.elapsed() / 2;
    report.ok("connection", format!("PostgreSQL {}, as {}", server.version, server.role));
    if server.version_number < 140_000 {
        report.problem("server", format!("PostgreSQL {} is older than 14", server.version), "Upgrade PostgreSQL.");
    }
    if server.is_standby {
        report.problem("server", "it is a standby: nothing can be stored", "Let DATABASE_URL name the primary.");
    }
    let reload = "; SELECT pg_reload_conf()";
    if !server.fsync {
        report.problem(
            "durability",
            "fsync is off: a crash may lose every task",
            format!("ALTER SYSTEM SET fsync = on{reload}"),
        );
    }
    if !server.full_page_writes {
        let mend = format!("ALTER SYSTEM SET full_page_writes = on{reload}");
        report.problem("durability", "full_page_writes is off: a crash may corrupt tables", mend);
    }
    if server.synchronous_commit == "off" {
        let mend = format!("ALTER SYSTEM SET synchronous_commit = on{reload}");
        report.warn("durability", "synchronous_commit is off: a crash may lose what was accepted last", mend);
    }
    report.otherwise_ok("durability", "what was accepted survives a crash");
    if !server.autovacuum {
        let mend = format!("ALTER SYSTEM SET autovacuum = on; ALTER SYSTEM SET track_counts = on{reload}");
        report.problem("autovacuum", "autovacuum is off: the queue's tables grow, and it slows down", mend);
    }
    if server.xid_age > 1_500_000_000 {
        let says = format!("{} transactions are not frozen; the server stops at 2,147,483,648", server.xid_age);
        report.problem("autovacuum", says, "VACUUM (FREEZE)");
    }
    if server.connections * 10 > server.max_connections * 9 {
        let says = format!("{} of {} connections are taken", server.connections, server.max_connections);
        report.warn("connections", says, "ALTER SYSTEM SET max_connections = …, and a restart; or fewer processes");
    }
    report.otherwise_ok("connections", format!("{} of {}", server.connections, server.max_connections));
    let skew = (server.now - halfway).as_seconds_f64();
    if skew.abs() > SKEW {
        let says = format!("this machine's clock differs from the database's by {skew:.0} s; times in logs mislead");
        report.warn("clock", says, "timedatectl set-ntp true");
    }
    report.otherwise_ok("clock", format!("it differs from the database's by {:.0} ms", skew.abs() * 1e3));
    if !server.sees_others {
        let mend = format!("GRANT pg_read_all_stats TO \"{}\"", server.role);
        report.warn("rights", "this role can't see others' transactions, so long ones may be missed", mend);
    }
    Ok(!server.is_standby)
}

/// Whether the rest can be looked at.
async fn check_migrations(report: &mut Report, host: &Host, pool: &PgPool) -> sqlx::Result<bool> {
    let all: Vec<&Migrator> = std::iter::once(&migrate::QUEUE).chain(host.migrations.iter().copied()).collect();
    let (mut missing, mut unknown) = (Vec::new(), Vec::new());
    let mut whole = true;
    for migrator in all {
        let applied = diagnose::applied(pool, migrator).await?;
        whole &= migrator.table_name != migrate::QUEUE.table_name || applied.missing.is_empty();
        missing.extend(applied.missing);
        unknown.extend(applied.unknown);
    }
    if !missing.is_empty() {
        let says = format!("{} have not been applied, the first is {}", missing.len(), missing[0]);
        report.problem("migrations", says, format!("{} migrate", host.name));
    }
    if let Some(newest) = unknown.last() {
        let says = format!("the database has migrations that this program does not know, up to {newest}: it is newer");
        report.warn("migrations", says, format!("Upgrade {} here.", host.name));
    }
    report.otherwise_ok("migrations", "the schema is up to date");
    Ok(whole)
}

async fn check_vacuum(report: &mut Report, pool: &PgPool) -> sqlx::Result<()> {
    let tables = diagnose::tables(pool).await?;
    for table in &tables {
        let name = &table.name;
        if table.autovacuum_off {
            let mend = format!("ALTER TABLE {name} RESET (autovacuum_enabled)");
            report.problem("autovacuum", format!("it is off for {name}, which will grow"), mend);
        }
        if table.dead > DEAD && table.dead > table.live {
            let at = table.vacuumed_at.map_or_else(|| "never".to_owned(), |at| at.format("%F %T").to_string());
            match &table.vacuuming {
                Some(phase) => report.ok("autovacuum", format!("{name} is being vacuumed: {phase}")),
                None => report.warn(
                    "autovacuum",
                    format!("{name} has {} dead row versions beside {} rows; vacuumed {at}", table.dead, table.live),
                    format!("VACUUM (ANALYZE, VERBOSE) {name}"),
                ),
            }
        }
        // The tables of what waits are small; the task's own rows may be large.
        let is_small = !["longhaul.task", "longhaul.task_log", "longhaul.attempt_error"].contains(&name.as_str());
        if is_small && table.bytes > SLACK + table.live * ROW {
            let says = format!("{name} has {} MB for {} rows", table.bytes / 1_048_576, table.live);
            report.warn("bloat", says, format!("VACUUM FULL {name}; -- locks it for moments: queues stand still"));
        }
    }
    report.otherwise_ok("autovacuum", format!("it keeps up with all {} tables", tables.len()));
    report.otherwise_ok("bloat", "the tables are as large as their rows explain");
    Ok(())
}

async fn check_queues(report: &mut Report, host: &Host, pool: &PgPool) -> sqlx::Result<()> {
    let workers = worker::list(pool, Duration::ZERO, 1_000).await?;
    let alive: Vec<_> = workers.iter().filter(|worker| worker.state == "alive").collect();
    for worker in workers.iter().filter(|worker| worker.state == "silent") {
        let says = format!("{} has been silent since {}", worker.name, worker.heartbeat_at.format("%F %T"));
        report.warn("workers", says, "Look whether its process lives and reaches the database.");
    }
    if let Some(other) = alive.iter().find(|worker| worker.version != VERSION) {
        let says = format!("{} is version {}, this is {}", other.name, other.version, VERSION);
        report.warn("versions", says, "Bring all to one version once an upgrade is over.");
    }
    let unserved = diagnose::unserved(pool).await?;
    for queue in &unserved {
        let says = format!("{} tasks wait in {}, which no living worker serves", queue.ready, queue.queue);
        report.problem("workers", says, format!("{} work --queue {}", host.name, queue.queue));
    }
    if alive.is_empty() && unserved.is_empty() {
        report.warn("workers", "none is alive", format!("{} work", host.name));
    }
    report.otherwise_ok("workers", format!("{} alive", alive.len()));
    report.otherwise_ok("versions", format!("all are {}", VERSION));
    for stuck in diagnose::stuck_leases(pool).await? {
        let says = format!("{} tasks are with {}, silent for {}", stuck.tasks, stuck.worker, span(stuck.seconds));
        report.problem("leases", says, format!("{} work   (any worker puts them back)", host.name));
    }
    report.otherwise_ok("leases", "none is with a dead worker");
    for queue in queue::list(pool, None).await?.iter().filter(|queue| queue.paused_at.is_some() && queue.held > 0) {
        let says = format!("{} is paused, and {} tasks wait in it", queue.name, queue.held);
        report.warn("queues", says, format!("{} queue resume {}", host.name, queue.name));
    }
    report.otherwise_ok("queues", "no paused queue holds tasks");
    for name in diagnose::paused_types(pool).await? {
        let mend = format!("{} type resume {name}", host.name);
        report.warn("types", format!("{name} is paused, and tasks of it wait"), mend);
    }
    report.otherwise_ok("types", "no paused type holds tasks");
    for schedule in cron::schedules(pool, "", 10_000).await?.iter().filter(|schedule| schedule.state == "broken") {
        let says = format!("{} can't fire: {}", schedule.name, schedule.problem.as_deref().unwrap_or("unknown"));
        let mend = format!("{} schedule create {} … --replace", host.name, schedule.name);
        report.problem("schedules", says, mend);
    }
    report.otherwise_ok("schedules", "none is broken");
    Ok(())
}

async fn check_api(report: &mut Report, host: &Host, client: &Client) {
    if let Err(error) = client.get(&["health", "live"]).await {
        return report.problem(
            "connection",
            format!("{error:#}"),
            format!("{} serve, or mend LONGHAUL_URL", host.name),
        );
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
                let says = format!("the API is {version}, this is {}", VERSION);
                report.warn("versions", says, "Bring all to one version once an upgrade is over.");
            }
        }
        Err(error) => report.problem("versions", format!("{error:#}"), "Is this address that of the API?"),
    }
    let glance: anyhow::Result<Value> = client.get(&["api", "overview"]).await;
    match glance {
        Ok(overview) => {
            let alive = overview["WorkersAlive"].as_i64().unwrap_or(0);
            let ready = overview["Ready"].as_i64().unwrap_or(0);
            match (alive, ready) {
                (0, 0) => report.warn("workers", "none is alive", format!("{} work", host.name)),
                (0, _) => report.problem(
                    "workers",
                    format!("none is alive, and {ready} tasks wait"),
                    format!("{} work", host.name),
                ),
                _ => report.ok("workers", format!("{alive} alive")),
            }
            if overview["WorkersSilent"].as_i64().unwrap_or(0) > 0 {
                let says = format!("{} are silent", text(&overview, "WorkersSilent"));
                report.warn("workers", says, format!("{} worker list", host.name));
            }
            for queue in overview["Queues"].as_array().into_iter().flatten() {
                if queue["Paused"] == true && queue["Held"].as_i64().unwrap_or(0) > 0 {
                    let name = text(queue, "Name");
                    let says = format!("{name} is paused, and {} tasks wait in it", text(queue, "Held"));
                    report.warn("queues", says, format!("{} queue resume {name}", host.name));
                }
            }
            report.ok("access", "the API lets us in");
        }
        Err(error)
            if error.downcast_ref::<Refused>().is_some_and(|refused| matches!(refused.status.as_u16(), 401 | 403)) =>
        {
            report.problem(
                "access",
                format!("{error:#}"),
                "Set LONGHAUL_KEY to a key with the permission Administration/Queues/View.",
            );
        }
        Err(error) => report.problem("access", format!("{error:#}"), format!("{} doctor --database-url …", host.name)),
    }
    report.ok("database", format!("not looked at; {} doctor --database-url … does", host.name));
}
