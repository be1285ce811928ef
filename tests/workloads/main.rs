//! Every workload of the benchmarks, with sizes that take a second or two.

use longhaul_tests::Stage;
use serde_json::Value;

#[path = "../process/program.rs"]
#[expect(dead_code, reason = "shared with the tests of the shipped program")]
mod program;

use program::run;

const PROGRAM: &str = env!("CARGO_BIN_EXE_longhaul-benches");

/// Runs a workload on a database of its own; returns its JSON.
async fn bench(arguments: &[&str], figures: &[&str]) -> Value {
    let stage = Stage::new().await;
    let mut all = arguments.to_vec();
    all.extend(["--json", "--runs", "2", "--database-url", stage.database_url()]);
    // The address that must not be looked at.
    let (code, out, error) = run(&all, "postgres://nobody@127.0.0.1:1/none").await;
    assert_eq!(code, Some(0), "{error}");
    let report: Value = serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}"));
    assert_eq!(report["workload"], arguments[0]);
    assert_eq!(report["runs"].as_array().map(Vec::len), Some(2));
    for figure in figures {
        let [least, median, most] =
            ["min", "median", "max"].map(|which| report["summary"][figure][which].as_f64().unwrap_or(-1.0));
        // A run as short as here may find the machine busy for all of its time.
        let is_measured = 0.0 <= least && least <= median && median <= most && most > 0.0;
        assert!(is_measured, "{figure}: {least} {median} {most} in {report}");
        assert!(most.is_finite(), "{figure}: {most}");
    }
    report
}

#[tokio::test]
async fn drain_shows_rate_costs_and_the_limit() {
    let figures = [
        "tasks_per_second",
        "wal_bytes_per_task",
        "commits_per_task",
        "buffers_per_task",
        "hot_update_share",
        "postgres_cpu_us_per_task",
        "own_rss_peak_mib",
        "limit_tasks_per_second",
        "share_of_limit",
    ];
    let report = bench(&["drain", "--tasks", "2000"], &figures).await;
    assert_eq!(report["parameters"]["tasks"], 2000);
    assert!(report["postgres"]["server_version"].is_string());
}

#[tokio::test]
async fn the_ways_to_enqueue_are_measured() {
    let figures = [
        "tasks_per_second",
        "wal_bytes_per_task",
        "latency_p99_ms",
        "direct_tasks_per_second",
        "sql_tasks_per_second",
        "sql_five_tasks_per_second",
    ];
    bench(&["enqueue-single", "--tasks", "800"], &figures).await;
    let figures = ["tasks_per_second", "statement_tasks_per_second", "commits_per_task"];
    bench(&["enqueue-bulk", "--tasks", "4000", "--copy", "500"], &figures).await;
    let figures = ["tasks_per_second", "latency_p50_ms", "half_load_latency_p99_ms", "api_rss_peak_mib"];
    bench(&["enqueue-http", "--tasks", "400", "--connections", "8"], &figures).await;
}

#[tokio::test]
async fn latency_is_measured_from_enqueue_and_from_post() {
    let figures =
        ["enqueue_to_start_p50_ms", "enqueuer_enqueue_to_start_p50_ms", "post_to_start_p99_ms", "idle_worker_rss_mib"];
    bench(&["latency", "--tasks", "5", "--rest", "5"], &figures).await;
}

#[tokio::test]
async fn steady_loads_are_measured() {
    let figures = ["tasks_per_second", "enqueue_to_start_p99_ms", "wal_bytes_per_task"];
    bench(&["sustained", "--rate", "500", "--seconds", "0.5"], &figures).await;
    let figures = ["tasks_per_second", "last_to_first", "part_02_tasks_per_second"];
    bench(&["pinned", "--rate", "500", "--minutes", "0.01", "--parts", "2"], &figures).await;
    let figures = ["silent_tasks_per_second", "reporting_tasks_per_second", "throughput_kept", "table_bytes_after"];
    let sizes = ["progress", "--tasks", "1000", "--running", "20", "--reports", "50", "--seconds", "0.3"];
    bench(&sizes, &figures).await;
}

#[tokio::test]
async fn deep_and_wide_queues_are_measured() {
    let figures = ["tasks_per_second", "few_tasks_per_second", "whole_tasks_per_second", "deep_to_few"];
    bench(&["backlog", "--tasks", "3000", "--few", "500", "--timed", "1000"], &figures).await;
    bench(&["queues", "--tasks", "1000", "--queues", "5"], &["tasks_per_second", "many_to_one"]).await;
    let sizes = ["mix", "--short", "500", "--long", "20", "--milliseconds", "50", "--slots", "10"];
    bench(&sizes, &["tasks_per_second", "slots_in_use"]).await;
    let figures = ["alone_gated_to_ungated", "beside_gated_to_ungated", "gated_begin_p50_ms"];
    bench(&["gates", "--tasks", "320", "--waits", "5"], &figures).await;
    bench(&["growth", "--tasks", "1000", "--history", "5000"], &["tasks_per_second", "full_to_empty"]).await;
}

#[tokio::test]
async fn streams_and_the_limit_are_measured() {
    let figures = ["events_per_second", "final_state_after_end_p99_ms", "api_rss_peak_mib"];
    bench(&["streams", "--subscribers", "20", "--seconds", "0.3"], &figures).await;
    bench(&["limit", "--tasks", "2000"], &["tasks_per_second", "inserts_per_second"]).await;
}

#[tokio::test]
async fn a_wrong_address_is_told() {
    let (code, out, error) = run(&["limit", "--database-url", "postgres://nobody@127.0.0.1:1/none"], "").await;
    assert_eq!((code, out.as_str()), (Some(1), ""));
    assert!(error.contains("could not connect to the server"), "{error}");
    let (code, _, error) = run(&["drain", "--runs", "0"], "").await;
    assert_eq!(code, Some(2), "{error}");
}
