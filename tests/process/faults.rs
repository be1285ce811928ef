//! The faults that `doctor` knows, each planted for real and mended by what it says.

use longhaul_devdb::{Options, Server};
use longhaul_tests::{Stage, keys_only, shipped, until};
use serde_json::Value;
use sqlx::{AssertSqlSafe, Connection, PgConnection, PgPool};

use crate::doctor::{look, mend};
use crate::program::{Process, run_with};

/// A migrated server of the test's own, and an administrator's connection to it.
struct Patient {
    server: Server,
    url: String,
}

impl Patient {
    async fn new(options: Options) -> Self {
        let server = Server::start(options).await.expect("a server");
        let url = server.admin_url();
        let migrated = run_with(crate::PROGRAM, &["migrate"], &[("DATABASE_URL", &url)]).await;
        assert_eq!(migrated.0, Some(0), "{}", migrated.2);
        Self { server, url }
    }

    /// Runs statements one by one, as `psql` does.
    async fn execute(&self, sql: &str) {
        let mut connection = PgConnection::connect(&self.url).await.expect("the server answers");
        let (sql, _comment) = sql.split_once("--").unwrap_or((sql, ""));
        for statement in sql.split(';').map(str::trim).filter(|part| !part.is_empty()) {
            let done = sqlx::raw_sql(AssertSqlSafe(statement.to_owned())).execute(&mut connection).await;
            done.unwrap_or_else(|error| panic!("{statement}: {error}"));
        }
    }

    async fn faults(&self, check: &str) -> Vec<Value> {
        faults(&self.url, check, &[]).await
    }

    /// The fault of this check whose text has `word`, once it is there.
    async fn found(&self, check: &str, word: &str) -> Value {
        until(&format!("doctor to tell of {word}"), async || {
            self.faults(check).await.into_iter().find(|fault| says(fault).contains(word))
        })
        .await
    }

    /// Does what mends it, and looks whether it is gone.
    async fn mend(&self, check: &str, fault: &Value) {
        self.execute(&mend(fault)).await;
        until(&format!("{} to be mended", says(fault)), async || {
            let begin = says(fault).split(' ').next().unwrap_or_default();
            let still = self.faults(check).await;
            still.iter().all(|other| !says(other).starts_with(begin)).then_some(())
        })
        .await;
    }
}

fn says(finding: &Value) -> &str {
    finding["Says"].as_str().expect("text")
}

/// Findings of a check that need attention.
async fn faults(url: &str, check: &str, arguments: &[&str]) -> Vec<Value> {
    let (_, findings) = look(arguments, &[("DATABASE_URL", url)]).await;
    findings.into_iter().filter(|finding| finding["Check"] == check && finding["Level"] != "Ok").collect()
}

#[tokio::test]
async fn a_server_that_may_lose_what_it_accepted_is_found_and_mended() {
    let patient = Patient::new(Options::temporary()).await;
    for (setting, check, level) in [
        ("fsync", "durability", "Problem"),
        ("full_page_writes", "durability", "Problem"),
        ("synchronous_commit", "durability", "Warning"),
        ("autovacuum", "autovacuum", "Problem"),
    ] {
        patient.execute(&format!("ALTER SYSTEM SET {setting} = off; SELECT pg_reload_conf()")).await;
        let fault = patient.found(check, &format!("{setting} is off")).await;
        assert_eq!(fault["Level"], level, "{fault}");
        patient.mend(check, &fault).await;
    }
}

#[tokio::test]
async fn connections_that_run_out_and_prepared_transactions_are_found() {
    let options = Options::temporary().setting("max_connections", "40").setting("max_prepared_transactions", "2");
    let patient = Patient::new(options).await;
    assert!(patient.faults("connections").await.is_empty());
    let mut taken = Vec::new();
    for _ in 0..36 {
        taken.push(PgConnection::connect(&patient.url).await.expect("a connection"));
    }
    let fault = patient.found("connections", "of 40 connections are taken").await;
    assert_eq!(fault["Level"], "Warning");
    drop(taken);
    until("connections to be free", async || patient.faults("connections").await.is_empty().then_some(())).await;

    let mut connection = PgConnection::connect(&patient.url).await.expect("a connection");
    for statement in
        ["BEGIN", "SELECT longhaul.new_id()", "CREATE TABLE left_behind ()", "PREPARE TRANSACTION 'forgotten'"]
    {
        sqlx::raw_sql(statement).execute(&mut connection).await.expect(statement);
    }
    let long = ["--long-transaction", "0"];
    let prepared = async || {
        let found = faults(&patient.url, "transactions", &long).await;
        found.into_iter().find(|fault| says(fault).starts_with("the prepared transaction forgotten"))
    };
    let fault = prepared().await.expect("the transaction");
    patient.execute(&mend(&fault)).await;
    assert_eq!(prepared().await, None);
}

#[tokio::test]
async fn a_standby_is_told_from_a_primary() {
    let mut patient = Patient::new(Options::temporary()).await;
    patient.server.halt_immediate().await.expect("a halt");
    let signal = patient.server.directory().join("data/standby.signal");
    std::fs::write(&signal, "").expect("a file");
    std::process::Command::new("chown")
        .arg("--reference")
        .arg(patient.server.directory())
        .arg(&signal)
        .status()
        .expect("chown runs");
    patient.server.resume().await.expect("it starts as a standby");
    let fault = patient.found("server", "the database is a standby").await;
    assert_eq!((&fault["Level"], mend(&fault).as_str()), (&"Problem".into(), "Set DATABASE_URL to the primary."));
}

#[tokio::test]
async fn tables_that_grew_or_that_vacuum_is_behind_with_are_found_and_mended() {
    let patient = Patient::new(Options::temporary()).await;
    // Nobody cleans up meanwhile.
    patient.execute("ALTER TABLE longhaul.worker SET (autovacuum_enabled = off)").await;
    patient
        .execute(
            "INSERT INTO longhaul.worker (name, queues, slots, version, heartbeat_ms, stopped_at)
             SELECT repeat(md5(i::text), 40), '{}', 1, '0', 1000, now() FROM generate_series(1, 110000) AS i;
             DELETE FROM longhaul.worker",
        )
        .await;
    let fault = patient.found("autovacuum", "longhaul.worker has 110000 dead row versions and 0 rows").await;
    patient.mend("autovacuum", &fault).await;
    // Vacuum gives back the end of a table only.
    patient
        .execute(
            "INSERT INTO longhaul.worker (name, queues, slots, version, heartbeat_ms, stopped_at)
             SELECT repeat(md5(i::text), 40), '{}', 1, '0', 1000, now() FROM generate_series(1, 110000) AS i;
             DELETE FROM longhaul.worker WHERE id < (SELECT max(id) FROM longhaul.worker);
             VACUUM longhaul.worker",
        )
        .await;
    let fault = patient.found("bloat", "longhaul.worker has").await;
    patient.mend("bloat", &fault).await;
}

#[tokio::test]
async fn a_role_without_rights_is_told_which_it_lacks() {
    let patient = Patient::new(Options::temporary()).await;
    patient.execute("CREATE ROLE stranger LOGIN").await;
    let theirs = {
        let mut url: reqwest::Url = patient.url.parse().expect("an address");
        url.set_username("stranger").expect("a name");
        url.set_password(None).expect("no password");
        url.to_string()
    };
    // The server asks for no password here, or knows one for the administrator only.
    patient.execute("ALTER ROLE stranger PASSWORD 'unknown'").await;
    let theirs = theirs.replace("stranger@", "stranger:unknown@");
    let found = faults(&theirs, "rights", &[]).await;
    let mends: Vec<String> = found.iter().filter_map(|fault| fault["Mend"].as_str()).map(str::to_owned).collect();
    assert!(mends.iter().any(|mend| mend == "GRANT pg_read_all_stats TO \"stranger\""), "{found:#?}");
    for mend in mends.iter().filter(|mend| mend.starts_with("GRANT ")) {
        patient.execute(mend).await;
    }
    patient.execute("GRANT longhaul_worker TO stranger").await;
    assert_eq!(faults(&theirs, "rights", &[]).await, Vec::<Value>::new());
}

#[tokio::test]
async fn a_newer_database_other_versions_and_silent_workers_are_found() {
    let stage = Stage::new().await;
    let url = stage.database_url();
    let execute = async |sql: &'static str| {
        sqlx::query(sql).execute(&stage.pool).await.expect(sql);
    };
    execute(
        "INSERT INTO longhaul.migration (version, description, success, checksum, execution_time)
         VALUES (99990101000000, 'of a later release', true, '', 0)",
    )
    .await;
    let found = faults(url, "migrations", &[]).await;
    assert!(says(&found[0]).contains("up to 99990101000000: it is newer"), "{found:?}");

    execute(
        "INSERT INTO longhaul.worker (name, queues, slots, version, heartbeat_ms, heartbeat_at)
         VALUES ('old', '{default}', 1, '0.0.1', 60000, now()), ('quiet', '{default}', 1, '0.0.1', 1000, now() - interval '3 s')",
    )
    .await;
    let found = faults(url, "versions", &[]).await;
    assert!(says(&found[0]).starts_with("old has version 0.0.1"), "{found:?}");
    let found = faults(url, "workers", &[]).await;
    assert!(says(&found[0]).starts_with("quiet has been silent since"), "{found:?}");
    let (_, findings) = look(&[], &[("LONGHAUL_URL", stage.base_url.as_str())]).await;
    let silent = findings.iter().find(|other| other["Check"] == "workers" && other["Says"] == found[0]["Says"]);
    assert!(silent.is_some(), "by HTTP, too: {findings:#?}");
}

#[tokio::test]
async fn a_schedule_that_cant_fire_is_found() {
    let stage = Stage::new().await;
    let url = stage.database_url();
    let (_worker, _) = Process::start_until(&["work"], url, "worker started").await;
    sqlx::query(
        "INSERT INTO longhaul.schedule (name, cron, time_zone, type, missed, next_at)
         VALUES ('nowhere', '0 0 * * *', 'Nowhere/Land', 'Reindex', 'Once', now())",
    )
    .execute(&stage.pool)
    .await
    .expect("a schedule");
    let found = until("the schedule to break", async || faults(url, "schedules", &[]).await.pop()).await;
    assert!(says(&found).starts_with("nowhere can't fire: "), "{found}");
    assert_eq!(mend(&found), "longhaul schedule create nowhere … --replace");
}

#[tokio::test]
async fn an_api_that_lets_nobody_in_or_has_lost_its_database_is_told() {
    let closed = Stage::builder(shipped::registry()).authenticators(|pool: &PgPool| keys_only(pool)).start().await;
    let (code, findings) = look(&[], &[("LONGHAUL_URL", closed.base_url.as_str())]).await;
    let access = findings.iter().find(|finding| finding["Check"] == "access").expect("access");
    assert_eq!((code, &access["Level"]), (Some(6), &"Problem".into()), "{findings:#?}");
    assert!(mend(access).contains("LONGHAUL_KEY"), "{access}");

    let stage = Stage::new().await;
    stage.value::<String>("SELECT longhaul.enqueue('Reindex')").await;
    sqlx::query("SELECT longhaul.set_queue('default', paused => true)").execute(&stage.pool).await.expect("paused");
    let (_, findings) = look(&[], &[("LONGHAUL_URL", stage.base_url.as_str())]).await;
    let queues = findings.iter().find(|finding| finding["Check"] == "queues").expect("queues");
    assert_eq!(mend(queues), "longhaul queue resume default");

    let mut server = Server::start(Options::temporary()).await.expect("a server");
    server.ensure_database("away").await.expect("a database");
    let stage = Stage::builder(shipped::registry()).database(&server.url("away")).start().await;
    server.halt_immediate().await.expect("a halt");
    let (code, findings) = look(&[], &[("LONGHAUL_URL", stage.base_url.as_str())]).await;
    let ready = findings.iter().find(|finding| finding["Check"] == "ready").expect("ready");
    assert_eq!(
        (code, &ready["Level"], mend(ready).as_str()),
        (Some(6), &"Problem".into(), "longhaul migrate, or start PostgreSQL")
    );
}
