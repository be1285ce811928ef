//! A real Prometheus scrapes a live server. `tests/prometheus/run` installs it.

use std::path::Path;
use std::process::Stdio;

use longhaul_tests::{Stage, quick_worker, until};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

#[tokio::test]
async fn promtool_finds_nothing_wrong_with_what_is_shown() {
    let stage = Stage::new().await;
    let _worker = stage.worker(quick_worker()).await;
    stage.ended(&stage.start(&json!({"Type": "Reindex"})).await).await;
    let text = stage.http.get(format!("{}/metrics", stage.base_url)).send().await.expect("an answer");
    let text = text.text().await.expect("text");
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool is installed");
    promtool.stdin.take().expect("a pipe").write_all(text.as_bytes()).await.expect("it reads");
    let checked = promtool.wait_with_output().await.expect("it ends");
    let said = String::from_utf8_lossy(&checked.stderr).into_owned() + &String::from_utf8_lossy(&checked.stdout);
    assert!(checked.status.success() && said.trim().is_empty(), "{said}\n{text}");
}

#[tokio::test]
async fn prometheus_scrapes_a_live_server_and_takes_every_rule() {
    let stage = Stage::new().await;
    let _worker = stage.worker(quick_worker()).await;
    stage.ended(&stage.start(&json!({"Type": "Reindex"})).await).await;
    let directory = tempfile::tempdir().expect("a directory");
    let rules = Path::new(env!("CARGO_MANIFEST_DIR")).join("../ops/prometheus/longhaul.rules.yml");
    let rules = rules.canonicalize().expect("the rules");
    let target = stage.base_url.trim_start_matches("http://");
    let configuration = format!(
        "global: {{scrape_interval: 1s, evaluation_interval: 1s}}\nscrape_configs: [{{job_name: longhaul, static_configs: [{{targets: ['{target}']}}]}}]\nrule_files: ['{}']\n",
        rules.display()
    );
    let file = directory.path().join("prometheus.yml");
    std::fs::write(&file, configuration).expect("written");
    let port = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address").port();
    let _prometheus = Command::new("prometheus")
        .arg(format!("--config.file={}", file.display()))
        .arg(format!("--storage.tsdb.path={}", directory.path().join("data").display()))
        .arg(format!("--web.listen-address=127.0.0.1:{port}"))
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("prometheus is installed");
    let http = longhaul_tests::http_client().no_proxy().build().expect("a client");
    let ask = async |path: &str| -> Option<Value> {
        http.get(format!("http://127.0.0.1:{port}/api/v1/{path}")).send().await.ok()?.json().await.ok()
    };
    until("the end to be scraped", async || {
        let found =
            ask("query?query=longhaul_attempts_ended_total%7Bend%3D%22succeeded%22%2Ctype%3D%22Reindex%22%7D").await?;
        (found["data"]["result"][0]["value"][1] == "1").then_some(())
    })
    .await;
    until("every rule to be evaluated", async || {
        let found = ask("rules").await?;
        let rules = found["data"]["groups"][0]["rules"].as_array()?;
        assert!(rules.iter().all(|rule| rule["health"] != "err"), "{found}");
        (rules.len() >= 12 && rules.iter().all(|rule| rule["health"] == "ok")).then_some(())
    })
    .await;
}
