//! Current and upcoming problems of database and fleet, and how to fix them, for `doctor` and `GET
//! /api/findings`. Changes nothing.

use std::time::{Duration, Instant};

use chrono::Utc;
use sqlx::PgPool;
use sqlx::migrate::Migrator;

use super::{aside, audit, cron, current, diagnose, failure, held_locks, migrate, queue, repair, trouble, worker};

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// The check found nothing.
    Ok,
    /// It needs attention at some time.
    Warning,
    /// It needs attention now.
    Problem,
}

impl Level {
    /// Its name, as in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Level::Ok => "Ok",
            Level::Warning => "Warning",
            Level::Problem => "Problem",
        }
    }
}

/// The result of one check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The subject of the check.
    pub check: String,
    /// How bad it is.
    pub level: Level,
    /// What was found.
    pub says: String,
    /// The command or SQL that fixes it.
    pub mend: Option<String>,
}

/// The findings so far.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// In the order of the checks.
    pub findings: Vec<Finding>,
}

impl Report {
    fn add(&mut self, check: &str, level: Level, says: String, mend: Option<String>) {
        self.findings.push(Finding { check: check.to_owned(), level, says, mend });
    }

    /// All is well.
    pub fn ok(&mut self, check: &str, says: impl Into<String>) {
        self.add(check, Level::Ok, says.into(), None);
    }

    /// Something needs attention some time.
    pub fn warn(&mut self, check: &str, says: impl Into<String>, mend: impl Into<String>) {
        self.add(check, Level::Warning, says.into(), Some(mend.into()));
    }

    /// Something needs attention now.
    pub fn problem(&mut self, check: &str, says: impl Into<String>, mend: impl Into<String>) {
        self.add(check, Level::Problem, says.into(), Some(mend.into()));
    }

    /// Adds that all is well if there is no finding of `check`.
    pub fn otherwise_ok(&mut self, check: &str, says: impl Into<String>) {
        if self.findings.iter().all(|finding| finding.check != check) {
            self.ok(check, says);
        }
    }

    /// The number of findings of this level.
    #[must_use]
    pub fn count(&self, level: Level) -> usize {
        self.findings.iter().filter(|finding| finding.level == level).count()
    }

    /// What a role that may not see everything could not look at is no reason to end.
    fn may_look<T>(&mut self, looked: sqlx::Result<T>) -> sqlx::Result<Option<T>> {
        match looked {
            Ok(looked) => Ok(Some(looked)),
            Err(error) if failure::sqlstate(&error).is_some_and(|code| code == NO_RIGHT) => {
                let says = format!("not everything could be checked: {error}");
                self.warn("rights", says, "Use a login that has the role longhaul_worker or longhaul_owner.");
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

/// SQLSTATE insufficient_privilege.
const NO_RIGHT: &str = "42501";
/// The version of this library, which workers and APIs report, too.
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
/// Rows that are set aside, of which so many are listed.
const LISTED: i64 = 20;
/// How far back repaired tasks are reported.
const REPAIRED_WITHIN: Duration = Duration::from_secs(24 * 3600);
/// How many contradictions are reported.
const WRONG_PLACES: i64 = 20;
/// A worker promotes what is due within a second.
const OVERDUE: Duration = Duration::from_secs(10);

/// The settings of an examination.
#[derive(Debug, Clone)]
pub struct Examination<'a> {
    program: &'a str,
    migrators: Vec<&'a Migrator>,
    /// Report transactions that have been open for this long. Default 300 s.
    pub long_transaction: Duration,
    /// Whether to look for contradictions between the queue's tables, which reads all tasks. Default false.
    pub all_places: bool,
}

impl<'a> Examination<'a> {
    /// Of the database of a program with this name, which commands that mend begin with, and
    /// with these migrations.
    #[must_use]
    pub fn new(program: &'a str, migrators: Vec<&'a Migrator>) -> Self {
        Self { program, migrators, long_transaction: Duration::from_secs(300), all_places: false }
    }

    /// Looks.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn run(&self, pool: &PgPool) -> sqlx::Result<Report> {
        let mut report = Report::default();
        self.look(&mut report, pool).await?;
        Ok(report)
    }

    async fn look(&self, report: &mut Report, pool: &PgPool) -> sqlx::Result<()> {
        if !check_server(report, pool).await? {
            return Ok(());
        }
        for setting in diagnose::settings(pool).await? {
            let says = format!("{} is set {}: {}", setting.setting, setting.place, setting.matters);
            report.warn("settings", says, setting.mend);
        }
        report.otherwise_ok("settings", "no setting of the database or of our roles interferes");
        let looked = self.check_migrations(report, pool).await;
        if !report.may_look(looked)?.unwrap_or(true) {
            return Ok(());
        }
        for statement in diagnose::missing_rights(pool).await? {
            let says = "This role lacks rights on the queue's tables that API and workers need";
            report.warn("rights", says, statement);
        }
        let looked = check_vacuum(report, pool).await;
        report.may_look(looked)?;
        for pin in diagnose::pins(pool, self.long_transaction).await? {
            let long = pin.seconds.map_or_else(String::new, |seconds| format!(", open for {}", span(seconds)));
            let says = format!(
                "{}{long}: until it ends, vacuum can't remove dead row versions, and the queue slows down",
                pin.what
            );
            match pin.seconds {
                Some(seconds) if seconds < VERY_LONG => report.warn("transactions", says, pin.mend),
                _ => report.problem("transactions", says, pin.mend),
            }
        }
        let long = self.long_transaction.as_secs();
        report.otherwise_ok("transactions", format!("no transaction has been open for {long} s"));
        let looked = held_locks::holders(pool).await;
        for holder in report.may_look(looked)?.unwrap_or_default() {
            let says = format!(
                "{} do not go on: a session of {} holds their lock; `{} docs database-roles` says how to withdraw locks",
                holder.stopped, holder.login, self.program
            );
            report.problem("locks", says, format!("SELECT pg_terminate_backend({})", holder.pid));
        }
        report.otherwise_ok("locks", "nobody else holds a lock of the follower or the gatekeeper");
        if diagnose::hears_notifications(pool, HEARS_WITHIN).await? {
            report.ok("notifications", "LISTEN receives NOTIFY over this connection");
        } else {
            report.problem(
                "notifications",
                "LISTEN does not receive NOTIFY: a pooler gives each transaction another session, so tasks start late",
                "Set DATABASE_URL of `serve` and `work` to the database itself, or put the pooler in session mode \
                 (pool_mode = session).",
            );
        }
        let looked = audit::callers_on_loopback_alone(pool).await;
        if let Some(Some(callers)) = report.may_look(looked)? {
            report.warn(
                "clients",
                format!("all {callers} callers come from loopback: behind a proxy they count as one address"),
                "If there is a proxy, name it with --trusted-proxy (LONGHAUL_TRUSTED_PROXIES), e.g. 127.0.0.1.",
            );
        }
        let looked = self.check_workers(report, pool).await;
        report.may_look(looked)?;
        let looked = self.check_tasks(report, pool).await;
        report.may_look(looked)?;
        let looked = self.check_places(report, pool).await;
        report.may_look(looked)?;
        report.otherwise_ok("rights", "the role has its rights");
        Ok(())
    }

    /// Whether the rest can be checked.
    async fn check_migrations(&self, report: &mut Report, pool: &PgPool) -> sqlx::Result<bool> {
        let (mut missing, mut unknown) = (Vec::new(), Vec::new());
        let mut whole = true;
        for migrator in &self.migrators {
            let applied = diagnose::applied(pool, migrator).await?;
            whole &= migrator.table_name != migrate::QUEUE.table_name || applied.missing.is_empty();
            missing.extend(applied.missing);
            unknown.extend(applied.unknown);
        }
        // Several sets may keep account in one table.
        unknown.retain(|version| self.migrators.iter().all(|migrator| !migrator.version_exists(*version)));
        if !missing.is_empty() {
            let says = format!("migrations from {} on have not been applied ({} in total)", missing[0], missing.len());
            report.problem("migrations", says, format!("{} migrate", self.program));
        }
        if let Some(newest) = unknown.last() {
            let says =
                format!("the database has migrations that this program does not know, up to {newest}: it is newer");
            report.warn("migrations", says, format!("Upgrade {} here.", self.program));
        }
        if whole && self.migrators.iter().any(|migrator| migrator.table_name == migrate::QUEUE.table_name) {
            match current::state(&mut *pool.acquire().await?).await? {
                current::State::Same => {}
                current::State::Older(files) => {
                    let says =
                        format!("{files} files of functions and views have not been applied as this program has them");
                    report.problem("migrations", says, format!("{} migrate", self.program));
                    whole = false;
                }
                current::State::Newer => {
                    let says = "the database has functions and views of a later program: it is newer";
                    report.warn("migrations", says, format!("Upgrade {} here.", self.program));
                }
            }
        }
        report.otherwise_ok("migrations", "the schema is up to date");
        Ok(whole)
    }

    async fn check_workers(&self, report: &mut Report, pool: &PgPool) -> sqlx::Result<()> {
        let workers = worker::list(pool, Duration::ZERO, 1_000).await?;
        let alive: Vec<_> = workers.iter().filter(|worker| worker.state == "alive").collect();
        for worker in workers.iter().filter(|worker| worker.state == "silent") {
            let says = format!("{} has been silent since {}", worker.name, worker.heartbeat_at.format("%F %T"));
            report.warn("workers", says, "Check that its process is alive and reaches the database.");
        }
        if let Some(other) = alive.iter().find(|worker| worker.version != VERSION) {
            let says = format!("{} has version {}, this program {}", other.name, other.version, VERSION);
            report.warn("versions", says, "Run the same version everywhere after an upgrade.");
        }
        let unserved = diagnose::unserved(pool).await?;
        for queue in &unserved {
            let says =
                format!("{} in {}, which no live worker serves", tasks(queue.ready, "waits", "wait"), queue.queue);
            report.problem("workers", says, format!("{} work --queue {}", self.program, queue.queue));
        }
        let waiting: i64 = unserved.iter().map(|queue| queue.ready).sum();
        match (alive.len(), waiting) {
            (0, 0) => report.warn("workers", "no worker is alive", format!("{} work", self.program)),
            (0, _) => report.problem(
                "workers",
                format!("no worker is alive, and {}", tasks(waiting, "waits", "wait")),
                format!("{} work", self.program),
            ),
            _ => {}
        }
        report.otherwise_ok("workers", format!("{} alive", alive.len()));
        report.otherwise_ok("versions", format!("all have version {VERSION}"));
        for trouble in trouble::list(pool).await? {
            let says = format!(
                "{} of {} failed {} times in a row, for {}: {}",
                trouble.part,
                trouble.worker,
                trouble.failures,
                span(trouble.seconds),
                trouble.error
            );
            report.problem("services", says, "Fix the cause that the error names; the worker's log has the details.");
        }
        report.otherwise_ok("services", "no service of a live worker fails repeatedly");
        Ok(())
    }

    /// A repair or a contradiction is a fault of Longhaul.
    async fn check_places(&self, report: &mut Report, pool: &PgPool) -> sqlx::Result<()> {
        let repaired = repair::repaired(pool, REPAIRED_WITHIN).await?;
        if repaired > 0 {
            report.problem(
                "places",
                format!(
                    "{} stranded in the last day and returned to the queue; this is a defect of Longhaul",
                    tasks(repaired, "was", "were")
                ),
                "SELECT * FROM longhaul.repaired; please report what it says, with the workers' logs of that time.",
            );
        }
        if self.all_places {
            for wrong in repair::contradictions(pool, WRONG_PLACES).await? {
                report.problem(
                    "places",
                    if wrong.id.is_nil() { wrong.problem } else { format!("task {}: {}", wrong.id, wrong.problem) },
                    format!("{} work   (a worker queues stranded tasks again; please report it)", self.program),
                );
            }
            report.otherwise_ok("places", "every open task is in exactly one place, and nothing is left of the others");
        }
        report.otherwise_ok("places", "no task was stranded in the last day");
        Ok(())
    }

    async fn check_tasks(&self, report: &mut Report, pool: &PgPool) -> sqlx::Result<()> {
        for stuck in diagnose::stuck_leases(pool).await? {
            let leased = tasks(stuck.tasks, "is leased", "are leased");
            let says = format!("{leased} to {}, which has been silent for {}", stuck.worker, span(stuck.seconds));
            report.problem("leases", says, format!("{} work   (any worker returns them to the queue)", self.program));
        }
        report.otherwise_ok("leases", "no lease belongs to a dead worker");
        for row in aside::list(pool, LISTED).await? {
            let what = row.public_id.as_deref().unwrap_or(&row.id);
            let says = format!(
                "{} can't process {what}, tried {} times since {}: {}",
                row.service,
                row.tries,
                row.since.format("%F %T"),
                row.error
            );
            let mend = format!("Fix the row; it is tried again at {}.", row.next_at.format("%F %T"));
            report.problem("set aside", says, mend);
        }
        report.otherwise_ok("set aside", "the services process every row");
        if let Some(overdue) = diagnose::overdue(pool, OVERDUE).await? {
            let says = format!(
                "{} due but not ready, the first for {}",
                tasks(overdue.tasks, "is", "are"),
                span(overdue.seconds)
            );
            report.problem(
                "due",
                says,
                format!("{} work   (if a worker runs, see the check `services`)", self.program),
            );
        }
        report.otherwise_ok("due", "every due task is ready");
        for queue in queue::list(pool, None).await?.iter().filter(|queue| queue.paused_at.is_some() && queue.held > 0) {
            let says = format!("{} is paused, and {} in it", queue.name, tasks(queue.held, "waits", "wait"));
            report.warn("queues", says, format!("{} queue resume {}", self.program, queue.name));
        }
        report.otherwise_ok("queues", "no paused queue holds tasks");
        for name in diagnose::paused_types(pool).await? {
            let mend = format!("{} type resume {name}", self.program);
            report.warn("types", format!("{name} is paused, and tasks of it wait"), mend);
        }
        report.otherwise_ok("types", "no paused type holds tasks");
        for schedule in cron::schedules(pool, "", 10_000).await?.iter().filter(|schedule| schedule.state == "broken") {
            let says = format!("{} can't fire: {}", schedule.name, schedule.problem.as_deref().unwrap_or("unknown"));
            let mend = format!("{} schedule create {} … --replace", self.program, schedule.name);
            report.problem("schedules", says, mend);
        }
        report.otherwise_ok("schedules", "no schedule is broken");
        Ok(())
    }
}

/// Whether the rest can be looked at: nothing listens on a standby.
async fn check_server(report: &mut Report, pool: &PgPool) -> sqlx::Result<bool> {
    #[expect(clippy::disallowed_methods, reason = "this measures the difference of this machine's clock")]
    let asked_at = Utc::now();
    let asked = Instant::now();
    let server = diagnose::server(pool).await?;
    let halfway = asked_at + asked.elapsed() / 2;
    report.ok("connection", format!("PostgreSQL {}, as {}", server.version, server.role));
    if server.version_number < 140_000 {
        report.problem("server", format!("PostgreSQL {} is older than 14", server.version), "Upgrade PostgreSQL.");
    }
    if server.is_standby {
        report.problem(
            "server",
            "the database is a standby: nothing can be stored",
            "Set DATABASE_URL to the primary.",
        );
    } else if server.read_only {
        report.problem(
            "server",
            "default_transaction_read_only is on: nothing can be stored; is it an old primary?",
            "Set DATABASE_URL to the primary, or RESET default_transaction_read_only where it was set: of the \
             database, the role, or the server.",
        );
    }
    if server.encoding != "UTF8" {
        report.problem(
            "server",
            format!("the database's encoding is {}: not every text can be stored", server.encoding),
            "Dump it and restore it into a database created with ENCODING 'UTF8'.",
        );
    }
    report.otherwise_ok("server", "the database is writable, in UTF8");
    check_durability(report, &server);
    if server.connections * 10 > server.max_connections * 9 {
        let says = format!("{} of {} connections are taken", server.connections, server.max_connections);
        report.warn("connections", says, "ALTER SYSTEM SET max_connections = …, and a restart; or fewer processes");
    }
    report.otherwise_ok("connections", format!("{} of {}", server.connections, server.max_connections));
    let skew = (server.now - halfway).as_seconds_f64();
    if skew.abs() > SKEW {
        let says =
            format!("this machine's clock differs from the database's by {skew:.0} s; times in logs are misleading");
        report.warn("clock", says, "timedatectl set-ntp true");
    }
    report.otherwise_ok(
        "clock",
        format!("this machine's clock differs from the database's by {:.0} ms", skew.abs() * 1e3),
    );
    if !server.sees_others {
        let mend = format!("GRANT pg_read_all_stats TO \"{}\"", server.role);
        report.warn("rights", "this role can't see others' transactions, so long ones may be missed", mend);
    }
    Ok(!server.is_standby)
}

fn check_durability(report: &mut Report, server: &diagnose::Server) {
    let reload = "; SELECT pg_reload_conf()";
    if !server.fsync {
        let mend = format!("ALTER SYSTEM SET fsync = on{reload}");
        report.problem("durability", "fsync is off: a crash may lose every task", mend);
    }
    if !server.full_page_writes {
        let mend = format!("ALTER SYSTEM SET full_page_writes = on{reload}");
        report.problem("durability", "full_page_writes is off: a crash may corrupt tables", mend);
    }
    if server.synchronous_commit == "off" {
        let mend = format!("ALTER SYSTEM SET synchronous_commit = on{reload}");
        report.warn("durability", "synchronous_commit is off: a crash may lose the tasks accepted last", mend);
    }
    report.otherwise_ok("durability", "accepted tasks survive a crash");
    if !server.autovacuum {
        let mend = format!("ALTER SYSTEM SET autovacuum = on; ALTER SYSTEM SET track_counts = on{reload}");
        report.problem("autovacuum", "autovacuum is off: the queue's tables grow, and it slows down", mend);
    }
    if server.xid_age > 1_500_000_000 {
        let says = format!("{} transactions are not frozen; the server stops at 2,147,483,648", server.xid_age);
        report.problem("autovacuum", says, "VACUUM (FREEZE)");
    }
}

async fn check_vacuum(report: &mut Report, pool: &PgPool) -> sqlx::Result<()> {
    let tables = diagnose::tables(pool).await?;
    for table in &tables {
        let name = &table.name;
        if table.autovacuum_off {
            let mend = format!("ALTER TABLE {name} RESET (autovacuum_enabled)");
            report.problem("autovacuum", format!("autovacuum is off for {name}, which will grow"), mend);
        }
        if table.dead > DEAD && table.dead > table.live {
            let at = table.vacuumed_at.map_or_else(|| "never".to_owned(), |at| at.format("%F %T").to_string());
            match &table.vacuuming {
                Some(phase) => report.ok("autovacuum", format!("{name} is being vacuumed: {phase}")),
                None => report.warn(
                    "autovacuum",
                    format!("{name} has {} dead row versions and {} rows; vacuumed {at}", table.dead, table.live),
                    format!("VACUUM (ANALYZE, VERBOSE) {name}"),
                ),
            }
        }
        // The tables of what waits are small; the task's own rows may be large.
        let is_small = !["longhaul.task", "longhaul.task_log", "longhaul.attempt_error"].contains(&name.as_str());
        if is_small && table.bytes > SLACK + table.live * ROW {
            let says = format!("{name} has {} MB for {} rows", table.bytes / 1_048_576, table.live);
            report.warn("bloat", says, format!("VACUUM FULL {name}; -- locks the table briefly; queues stop"));
        }
    }
    report.otherwise_ok("autovacuum", format!("autovacuum keeps up with all {} tables", tables.len()));
    report.otherwise_ok("bloat", "the tables are not bloated");
    Ok(())
}

/// "1 task waits", "2 tasks wait".
fn tasks(count: i64, one: &str, many: &str) -> String {
    if count == 1 { format!("1 task {one}") } else { format!("{count} tasks {many}") }
}

/// A time for people, in its largest unit and the next smaller one.
#[must_use]
pub fn span(seconds: f64) -> String {
    let seconds = seconds.max(0.0).round() as u64;
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{} h {} min", seconds / 3_600, seconds % 3_600 / 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds % 86_400 / 3_600),
    }
}
