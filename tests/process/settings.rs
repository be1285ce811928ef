//! Databases and servers that are set otherwise than most.

use longhaul_devdb::{Options, Server};
use longhaul_tests::until;
use serde_json::json;
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use crate::program::{Process, address_in, run};

async fn execute(url: &str, statements: &[&str]) {
    let mut connection = PgConnection::connect(url).await.expect("the server answers");
    for statement in statements {
        let done = sqlx::raw_sql(AssertSqlSafe((*statement).to_owned())).execute(&mut connection).await;
        done.unwrap_or_else(|error| panic!("{statement}: {error}"));
    }
}

async fn count(url: &str, sql: &'static str) -> i64 {
    let mut connection = PgConnection::connect(url).await.expect("the server answers");
    sqlx::query_scalar(sql).fetch_one(&mut connection).await.expect(sql)
}

#[tokio::test]
async fn migrate_pins_the_settings_that_it_depends_on() {
    let server = Server::start(Options::temporary()).await.expect("a server");
    for (number, setting) in [
        "quote_all_identifiers = on",
        "standard_conforming_strings = off",
        "default_transaction_isolation = serializable",
        "statement_timeout = '50ms'",
        "transform_null_equals = on",
        "bytea_output = escape",
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("set{number}");
        server.ensure_database(&name).await.expect("a database");
        execute(&server.admin_url(), &[&format!("ALTER DATABASE {name} SET {setting}")]).await;
        let url = server.url(&name);
        for _ in 0..2 {
            let (code, out, error) = run(&["migrate"], &url).await;
            assert_eq!(code, Some(0), "{setting}: {error}");
            assert!(out.contains("up to date"), "{out}");
        }
    }
}

#[tokio::test]
async fn what_migrate_can_not_use_it_refuses_in_words_and_leaves_as_it_is() {
    const RELATIONS: &str = "SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
         WHERE n.nspname IN ('longhaul', 'records', 'search')";
    let server = Server::start(Options::temporary()).await.expect("a server");
    let latin = "CREATE DATABASE latin ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0";
    execute(&server.admin_url(), &[latin]).await;
    let cases: [(&str, &[&str], &[&str]); 5] = [
        ("latin", &[], &["encoding is LATIN1", "ENCODING 'UTF8'"]),
        ("recs", &["CREATE SCHEMA records", "CREATE TABLE records.entity ()"], &["records.entity", "RENAME TO"]),
        ("srch", &["CREATE SCHEMA search", "CREATE TABLE search.index ()"], &["search.index", "another database"]),
        ("own", &["CREATE SCHEMA longhaul", "CREATE TABLE longhaul.task ()"], &["longhaul.task"]),
        (
            "old",
            &["ALTER DATABASE old SET default_transaction_read_only = on"],
            &["does not accept writes", "default_transaction_read_only"],
        ),
    ];
    for (name, statements, words) in cases {
        server.ensure_database(name).await.expect("a database");
        let url = server.url(name);
        execute(&url, statements).await;
        let before = count(&url, RELATIONS).await;
        let (code, _, error) = run(&["migrate"], &url).await;
        assert_eq!(code, Some(1), "{name}");
        for word in words {
            assert!(error.contains(word), "{name}: {error}");
        }
        assert_eq!(count(&url, RELATIONS).await, before, "{name}: nothing was made");
    }
    // An empty schema was made for us, e.g. to belong to someone.
    execute(&server.url("srch"), &["DROP TABLE search.index"]).await;
    assert_eq!(run(&["migrate"], &server.url("srch")).await.0, Some(0));
}

#[tokio::test]
async fn a_database_that_was_read_only_for_a_while_is_used_again_without_a_restart() {
    let server = Server::start(Options::temporary()).await.expect("a server");
    server.ensure_database("moved").await.expect("a database");
    let url = server.url("moved");
    assert_eq!(run(&["migrate"], &url).await.0, Some(0));
    let (_api, line) = Process::start_until(&["serve", "--listen", "127.0.0.1:0"], &url, "the API listens").await;
    let (_worker, _) = Process::start_until(&["work"], &url, "worker started").await;
    let api = address_in(&line);
    let client = longhaul_tests::http_client().no_proxy().build().expect("a client");
    let ready = async || {
        let answer = client.get(format!("{api}/health/ready")).send().await.expect("an answer");
        (answer.status().as_u16(), answer.text().await.expect("text"))
    };
    let post = async || {
        let request = json!({"Type": "GenerateTestProject", "Parameters": {"Entities": 10}});
        let answer = client.post(format!("{api}/api/backgroundtasks")).json(&request).send().await.expect("an answer");
        (answer.status().as_u16(), answer.text().await.expect("text"))
    };
    assert_eq!(ready().await.0, 200);

    // As after a failover that left the address with the old primary.
    let end_sessions = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                         WHERE datname = 'moved' AND pid <> pg_backend_pid()";
    let admin = server.admin_url();
    execute(&admin, &["ALTER DATABASE moved SET default_transaction_read_only = on", end_sessions]).await;
    let told = until("ready to tell", async || {
        let (status, text) = ready().await;
        (status == 503 && text.contains("does not accept writes")).then_some(text)
    })
    .await;
    assert!(told.contains("default_transaction_read_only"), "{told}");
    until("a POST to tell", async || {
        let (status, text) = post().await;
        assert_eq!(status, 503, "{text}");
        text.contains("does not accept writes").then_some(())
    })
    .await;

    execute(&admin, &["ALTER DATABASE moved RESET default_transaction_read_only"]).await;
    until("a 202", async || (post().await.0 == 202).then_some(())).await;
    assert_eq!(ready().await.0, 200);
    until("a task to be done by the same worker", async || {
        (count(&url, "SELECT count(*) FROM longhaul.task WHERE state = 'Succeeded'").await > 0).then_some(())
    })
    .await;
    assert_eq!(count(&url, "SELECT count(*) FROM longhaul.attempt_error").await, 0);
}

#[tokio::test]
async fn handlers_that_share_two_connections_wait_and_spend_no_attempt() {
    let server = Server::start(Options::temporary()).await.expect("a server");
    server.ensure_database("shared").await.expect("a database");
    let url = server.url("shared");
    assert_eq!(run(&["migrate"], &url).await.0, Some(0));
    // A role's timeout does not reach the engine.
    execute(&url, &["ALTER DATABASE shared SET lock_timeout = '5ms'"]).await;
    let work = ["work", "--slots", "32", "--handler-connections", "2"];
    let (_worker, _) = Process::start_until(&work, &url, "worker started").await;
    execute(
        &url,
        &["SELECT longhaul.enqueue('GenerateTestProject', '{\"Entities\": 50}') FROM generate_series(1, 120)"],
    )
    .await;
    until("all projects to be made", async || {
        (count(&url, "SELECT count(*) FROM longhaul.task WHERE state = 'Succeeded'").await == 120).then_some(())
    })
    .await;
    assert_eq!(count(&url, "SELECT sum(attempt) FROM longhaul.task").await, 120);
    assert_eq!(count(&url, "SELECT count(*) FROM longhaul.attempt_error").await, 0);
}

#[tokio::test]
async fn a_server_with_an_old_certificate_is_reached_as_psql_reaches_it() {
    let server = Server::start(Options::temporary()).await.expect("a server");
    let data = server.directory().join("data");
    let openssl = async |arguments: &[&str]| {
        let output = tokio::process::Command::new("openssl").args(arguments).current_dir(&data).output().await;
        let output = output.expect("openssl is there");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    openssl(&[
        "req", "-new", "-newkey", "rsa:2048", "-nodes", "-keyout", "v1.key", "-out", "v1.csr", "-subj", "/CN=db",
    ])
    .await;
    openssl(&["x509", "-req", "-in", "v1.csr", "-signkey", "v1.key", "-out", "v1.crt", "-days", "9"]).await;
    let text = openssl(&["x509", "-in", "v1.crt", "-noout", "-text"]).await;
    assert!(text.contains("Version: 1 "), "{text}");
    let owner = std::process::Command::new("chown")
        .arg("--reference")
        .arg(data.join("PG_VERSION"))
        .args([data.join("v1.key"), data.join("v1.crt")])
        .status();
    assert!(owner.expect("chown runs").success());
    execute(
        &server.admin_url(),
        &[
            "ALTER SYSTEM SET ssl_cert_file = 'v1.crt'",
            "ALTER SYSTEM SET ssl_key_file = 'v1.key'",
            "ALTER SYSTEM SET ssl = on",
            "SELECT pg_reload_conf()",
        ],
    )
    .await;
    let url = server.admin_url();
    until("TLS to be there", async || {
        let encrypted = PgConnection::connect(&format!("{url}?sslmode=require")).await;
        // It is, once it is no longer refused for want of TLS.
        (!encrypted.err()?.to_string().contains("does not support TLS")).then_some(())
    })
    .await;
    let (code, _, error) = run(&["migrate"], &url).await;
    assert_eq!(code, Some(0), "{error}");
    let (code, _, error) = run(&["migrate"], &format!("{url}?sslmode=require")).await;
    assert_eq!(code, Some(1));
    assert!(error.contains("sslmode"), "who insists on encryption is told: {error}");
}
