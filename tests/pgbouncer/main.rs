//! API and workers through PgBouncer in transaction mode, where a connection of theirs
//! is another session at every transaction. `tests/pgbouncer/run` installs PgBouncer and
//! names the directory that it is in by `LONGHAUL_PGBOUNCER_ROOT`.

#[path = "../process/program.rs"]
#[expect(dead_code, reason = "shared with the other tests of processes")]
mod program;

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use longhaul_tests::{Stage, until};
use serde_json::{Value, json};

use crate::program::{Process, address_in, run};

const PROGRAM: &str = env!("CARGO_BIN_EXE_longhaul");

/// Server connections for each user and database: fewer than any process has.
const POOL: i64 = 3;

/// A PgBouncer of the test's own, in front of the test's PostgreSQL.
struct Bouncer {
    process: tokio::process::Child,
    home: PathBuf,
    url: String,
}

impl Bouncer {
    /// Starts it before the server that this address leads to.
    async fn start(direct: &str) -> Self {
        let root = std::env::var("LONGHAUL_PGBOUNCER_ROOT").expect("use tests/pgbouncer/run");
        let server: reqwest::Url = direct.parse().expect("an address");
        let port = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a port").port();
        let inside = format!("/tmp/longhaul-{port}-{}", std::process::id());
        let home = Path::new(&root).join(inside.trim_start_matches('/'));
        std::fs::create_dir_all(&home).expect("a directory");
        std::fs::set_permissions(&home, std::fs::Permissions::from_mode(0o777)).expect("a directory for all");
        let (user, password) = (server.username(), server.password().unwrap_or_default());
        // As docs/operations.md has it.
        let settings = format!(
            "[databases]\n* = host=127.0.0.1 port={} user={user} password='{password}'\n\
             [pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = any\n\
             pool_mode = transaction\ndefault_pool_size = {POOL}\nmax_client_conn = 500\n\
             max_prepared_statements = 200\nignore_startup_parameters = extra_float_digits\n",
            server.port().unwrap_or(5432)
        );
        std::fs::write(home.join("pgbouncer.ini"), settings).expect("settings");
        let process = tokio::process::Command::new("chroot")
            .args([root.as_str(), "pgbouncer", "-u", "nobody", &format!("{inside}/pgbouncer.ini")])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("chroot, as root");
        until("PgBouncer to listen", async || tokio::net::TcpStream::connect(("127.0.0.1", port)).await.ok().map(drop))
            .await;
        let mut url = server;
        url.set_port(Some(port)).expect("a port");
        Self { process, home, url: url.into() }
    }

    async fn stop(mut self) {
        self.process.kill().await.expect("PgBouncer stops");
        std::fs::remove_dir_all(&self.home).expect("its directory goes");
    }
}

/// One of our processes, all of whose statements go through PgBouncer.
async fn start(bouncer: &Bouncer, direct: &str, arguments: &[&str], until: &str) -> (Process, String) {
    let arguments = [arguments, &["--direct-database-url", direct]].concat();
    Process::start_until(&arguments, &bouncer.url, until).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pooler_in_transaction_mode_may_stand_before_the_database() {
    let stage = Stage::new().await;
    let direct = stage.database_url();
    let bouncer = Bouncer::start(direct).await;
    let (code, _, error) = run(&["migrate", "--direct-database-url", direct], &bouncer.url).await;
    assert_eq!(code, Some(0), "{error}");
    let sample = concat!(env!("CARGO_MANIFEST_DIR"), "/../../samples/timezones.ndjson");
    assert_eq!(run(&["import", sample], direct).await.0, Some(0));

    let (api, line) = start(&bouncer, direct, &["serve", "--listen", "127.0.0.1:0"], "the API listens").await;
    let base_url = address_in(&line);
    let work = ["work", "--heartbeat", "0.5"];
    let (one, _) = start(&bouncer, direct, &work, "worker started").await;
    let (two, _) = start(&bouncer, direct, &work, "worker started").await;

    // What listens has sessions of its own; everything else shares three.
    until("all to listen", async || {
        let listening: i64 = stage
            .value(
                "SELECT count(*) FROM pg_stat_activity
                  WHERE datname = current_database() AND application_name = 'longhaul-worker-listen'",
            )
            .await;
        (listening == 2).then_some(())
    })
    .await;

    let post = async |parameters: Value| -> Value {
        let response = stage.http.post(format!("{base_url}/api/backgroundtasks")).json(&parameters).send().await;
        let response = response.expect("an answer");
        assert_eq!(response.status(), 202);
        response.json().await.expect("JSON")
    };
    let later = post(json!({"Type": "Reindex", "DelaySeconds": 3600})).await;
    let cancelled = stage.http.delete(later["Self"].as_str().expect("an address")).send().await.expect("an answer");
    assert_eq!(cancelled.status(), 200);

    // A stream sees the end.
    let streamed = post(json!({"Type": "Reindex"})).await;
    let stream = stage
        .http
        .get(format!("{}/events", streamed["Self"].as_str().expect("an address")))
        .header("Accept", "text/event-stream")
        .send()
        .await
        .expect("a stream")
        .text()
        .await
        .expect("its end");
    assert!(stream.contains("\"Succeeded\""), "{stream}");

    // Who looks through the pooler is told so, before a LISTEN stays behind in a session
    // that others share.
    let (code, told, error) = run(&["doctor"], &bouncer.url).await;
    assert_eq!(code, Some(6), "{error}");
    assert!(told.contains("PROBLEM  connection") && told.contains("unsupported startup parameter"), "{told}");

    // Many at once over a killed worker.
    for _ in 0..40 {
        post(json!({"Type": "Reindex", "DelaySeconds": 0})).await;
    }
    one.kill().await;
    until("all to end", async || {
        let open: i64 = stage.value("SELECT count(*) FROM longhaul.task WHERE finished_at IS NULL").await;
        (open == 0).then_some(())
    })
    .await;
    assert_eq!(
        stage.value::<i64>("SELECT count(*) FROM longhaul.tasks WHERE state = 'Succeeded'").await,
        41,
        "each of them"
    );
    let through: i64 = stage
        .value(
            "SELECT count(*) FROM pg_stat_activity
              WHERE datname = current_database() AND application_name IN ('longhaul-worker', 'longhaul-api', 'longhaul-handlers')",
        )
        .await;
    assert!((1..=POOL).contains(&through), "{through} server connections for three processes");

    assert_eq!(two.terminate().await, Some(0));
    assert_eq!(api.terminate().await, Some(0));
    bouncer.stop().await;
}
