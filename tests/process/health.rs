//! `longhaul health`, which containers ask.

use longhaul_tests::Stage;

use crate::program::{Process, address_in, run_with};

async fn health(environment: &[(&str, &str)]) -> (Option<i32>, String, String) {
    run_with(crate::PROGRAM, &["health"], environment).await
}

#[tokio::test]
async fn an_api_is_ready_until_its_schema_is_not_that_of_the_program() {
    let stage = Stage::new().await;
    let serve = ["serve", "--listen", "0.0.0.0:0", "--open-to-all"];
    let (api, line) = Process::start_until(&serve, &stage.logins().api, "the API listens").await;
    let address = address_in(&line).replace("http://", "");
    assert!(address.starts_with("0.0.0.0:"), "{address}");
    let environment = [("LONGHAUL_LISTEN", address.as_str()), ("http_proxy", "http://127.0.0.1:9")];
    assert_eq!(health(&environment).await, (Some(0), "ready\n".to_owned(), String::new()));

    let newest = "DELETE FROM longhaul.migration WHERE version = (SELECT max(version) FROM longhaul.migration)";
    sqlx::query(newest).execute(&stage.pool).await.expect("done");
    let (code, out, error) = health(&environment).await;
    assert_eq!((code, out.as_str()), (Some(1), ""));
    assert!(error.contains("is not ready: 503") && error.contains("longhaul migrate"), "{error}");

    assert_eq!(api.terminate().await, Some(0));
    let (code, _, error) = health(&environment).await;
    let address = address.replace("0.0.0.0", "127.0.0.1");
    assert_eq!((code, error), (Some(1), format!("longhaul: nothing listens on {address}\n")));
}

#[tokio::test]
async fn a_worker_is_asked_where_no_api_listens() {
    let stage = Stage::new().await;
    let arguments = ["work", "--metrics-listen", "127.0.0.1:0"];
    let (worker, line) = Process::start_until(&arguments, &stage.logins().worker, "metrics are served").await;
    let at = line.find("127.0.0.1:").expect("an address");
    let metrics: String = line[at..].chars().take_while(|c| c.is_ascii_digit() || ".:".contains(*c)).collect();
    // A port that was free a moment ago.
    let free =
        std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address").to_string();
    let environment = [("LONGHAUL_LISTEN", free.as_str()), ("LONGHAUL_METRICS_LISTEN", metrics.as_str())];
    longhaul_tests::until("the worker to be ready", async || {
        let (code, out, error) = health(&environment).await;
        assert!(code == Some(0) || error.contains("503") && error.contains("starting"), "{out}{error}");
        (code == Some(0)).then_some(())
    })
    .await;
    assert_eq!(worker.terminate().await, Some(0));
    let (code, _, error) = health(&environment).await;
    assert_eq!((code, error), (Some(1), format!("longhaul: nothing listens on {free} or {metrics}\n")));
}
