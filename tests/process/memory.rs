//! What a request may become in the memory of the process that reads it: the kernel's word,
//! and no clock.

use std::io::Write;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use longhaul_tests::{DEADLINE, Stage, fill_project, until};
use reqwest::{Client, Response};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use uuid::{Uuid, uuid};

use crate::program::{Process, address_in};

const MIB: u64 = 1024 * 1024;

/// A figure of `/proc/…/status`, in bytes; `None` once the process is over.
fn figure(process: u32, name: &str) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim_start_matches(':').split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib * 1024)
}

/// From now on the peak is that of what comes.
fn forget_peak(process: u32) -> u64 {
    std::fs::write(format!("/proc/{process}/clear_refs"), "5").expect("the peak is ours to forget");
    figure(process, "VmRSS").expect("it runs")
}

fn padded(items: usize, item: &str) -> String {
    vec![item; items].join(",")
}

/// What it is, path, headers, body, the status of its answer, and MiB that it may become.
type Case<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)], Vec<u8>, u16, u64);

#[tokio::test]
async fn no_request_of_a_few_bytes_becomes_many_in_memory() {
    let stage = Stage::new().await;
    let (serve, line) =
        Process::start_until(&["serve", "--listen", "127.0.0.1:0"], stage.database_url(), "the API listens").await;
    let address = address_in(&line);
    let client = longhaul_tests::http_client().no_proxy().build().expect("a client");
    let post = async |path: &str, headers: &[(&str, &str)], body: Vec<u8>| {
        let request = client.post(format!("{address}{path}")).body(body);
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        let response = request.send().await.expect("an answer");
        (response.status().as_u16(), response.bytes().await.expect("a body").len() as u64)
    };
    let json_body: &[(&str, &str)] = &[("content-type", "application/json")];
    let zipped: &[(&str, &str)] = &[("content-type", "application/json"), ("content-encoding", "gzip")];

    let values: Vec<u32> = (0..10_000).collect();
    let map = json!({"Map": {"Type": "GenerateTestProject", "Over": "Seed", "Values": values,
                             "Parameters": {"Entities": 1, "Name": "x".repeat(19_000)}}});
    let unknown: Vec<String> = (0..80_000).map(|number| format!("\"{number:07}\":0")).collect();
    let after: Vec<String> = (0..10_000).map(|number| format!("t{number}")).collect();
    let mut bomb = GzEncoder::new(Vec::new(), Compression::best());
    for _ in 0..128 {
        bomb.write_all(&vec![b' '; MIB as usize]).expect("zipped");
    }
    let long = "x".repeat(1_000_000);
    let cases: Vec<Case<'_>> = vec![
        (
            "a Map of 10,000 with long parameters",
            "/api/backgroundtasks/batch",
            json_body,
            map.to_string().into(),
            413,
            64,
        ),
        ("a zipped body", "/api/backgroundtasks/batch", zipped, bomb.finish().expect("zipped"), 415, 64),
        (
            "unknown members",
            "/api/backgroundtasks",
            json_body,
            format!("{{\"Type\":\"Reindex\",\"Parameters\":{{{}}}}}", unknown.join(",")).into(),
            400,
            64,
        ),
        (
            "a long member of a wrong type",
            "/api/backgroundtasks",
            json_body,
            json!({"Type": "Reindex", "Parameters": {"ProjectId": long}}).to_string().into(),
            400,
            64,
        ),
        (
            "a list where a word is expected",
            "/api/backgroundtasks",
            json_body,
            format!("{{\"Type\":\"Reindex\",\"Parameters\":{{\"ProjectId\":[{}]}}}}", padded(90_000, "        0"))
                .into(),
            400,
            64,
        ),
        (
            "unknown members of a schedule",
            "/api/schedules",
            json_body,
            format!("{{{}}}", unknown.join(",")).into(),
            400,
            64,
        ),
        (
            "prerequisites that are not there",
            "/api/backgroundtasks",
            json_body,
            json!({"Type": "Reindex", "Parameters": {}, "After": after}).to_string().into(),
            400,
            64,
        ),
        (
            "10,000 wrong tasks",
            "/api/backgroundtasks/batch",
            json_body,
            format!("{{\"Tasks\":[{}]}}", padded(10_000, "{\"Type\":\"Nothing\",\"Parameters\":7}")).into(),
            400,
            64,
        ),
    ];
    // What is made once is made.
    assert_eq!(post("/api/backgroundtasks", json_body, b"{}".to_vec()).await.0, 400);
    for (what, path, headers, body, expected, most) in cases {
        let (sent, before) = (body.len() as u64, forget_peak(serve.id()));
        let (status, answered) = post(path, headers, body).await;
        let grown = figure(serve.id(), "VmHWM").expect("it runs").saturating_sub(before);
        println!("{what}: {sent} bytes became {grown} in memory, and {answered} in the answer");
        assert_eq!(status, expected, "{what}");
        assert!(grown < most * MIB, "{what}: {sent} bytes became {grown} in memory");
        assert!(answered < 2 * MIB, "{what}: {sent} bytes were answered by {answered}");
    }
    assert_eq!(serve.terminate().await, Some(0));
}

/// Sends this many requests at once, each as long as `patience` allows; returns their answers.
async fn post_at_once(
    client: &Client,
    address: &str,
    body: &str,
    requests: usize,
    patience: Duration,
) -> Vec<Option<Response>> {
    let mut posts = JoinSet::new();
    for _ in 0..requests {
        let request = client.post(format!("{address}/api/backgroundtasks")).timeout(patience);
        let request = request.header("content-type", "application/json").body(body.to_owned());
        posts.spawn(async move { request.send().await.ok() });
    }
    posts.join_all().await
}

#[tokio::test]
async fn an_api_whose_database_stands_still_holds_few_large_bodies_and_goes_on_afterwards() {
    const PROJECT: Uuid = uuid!("0d4ee97b-92a9-45a5-b2a9-4b3cbd1b9b42");
    let stage = Stage::new().await;
    fill_project(&stage.pool, PROJECT, 1).await;
    let arguments = ["serve", "--listen", "127.0.0.1:0", "--body-memory", "32"];
    let (serve, line) = Process::start_until(&arguments, stage.database_url(), "the API listens").await;
    let address = address_in(&line);
    let client = longhaul_tests::http_client().no_proxy().build().expect("a client");
    let report = format!("<testsuite name=\"{}\"/>", "x".repeat(1_000_000));
    let task = json!({"Type": "AutomatedTestImport", "Parameters": {"ProjectId": PROJECT, "Content": report}});
    let task = task.to_string();
    let one = async || post_at_once(&client, &address, &task, 1, DEADLINE).await.pop().flatten().expect("an answer");
    assert_eq!(one().await.status(), 202);

    let mut lock = stage.pool.begin().await.expect("a transaction");
    sqlx::raw_sql("LOCK TABLE longhaul.ready IN ACCESS EXCLUSIVE MODE").execute(&mut *lock).await.expect("a lock");
    let before = forget_peak(serve.id());
    // Those who do not wait for an answer leave what they sent behind.
    for _ in 0..10 {
        post_at_once(&client, &address, &task, 64, Duration::from_secs(1)).await;
    }
    for answer in post_at_once(&client, &address, &task, 64, DEADLINE).await {
        let answer = answer.expect("an answer");
        assert_eq!(answer.status(), 503);
        assert!(answer.headers().contains_key("retry-after"));
    }
    let grown = figure(serve.id(), "VmHWM").expect("it runs").saturating_sub(before);
    println!("704 requests of a megabyte took {} MiB", grown / MIB);
    assert!(grown < 256 * MIB, "{grown} bytes");

    lock.rollback().await.expect("an end");
    until("the API to store tasks again", async || (one().await.status() == 202).then_some(())).await;
    assert_eq!(serve.terminate().await, Some(0));
}

#[tokio::test]
async fn a_worker_holds_few_of_many_ready_tasks() {
    const SLOTS: i64 = 32;
    /// Two lanes, each of which claims so many ahead of its slots at most.
    const AHEAD: i64 = 2 * 2_000;
    let stage = Stage::new().await;
    let arguments = ["work", "--slots", "32", "--metrics-listen", "127.0.0.1:0"];
    let (worker, _) = Process::start_until(&arguments, stage.database_url(), "worker started").await;
    let before = forget_peak(worker.id());
    // Their project is not there, so that each ends at once.
    sqlx::raw_sql(
        "WITH made AS (
             SELECT longhaul.new_id() AS id FROM generate_series(1, 200000)
         ), stored AS (
             INSERT INTO longhaul.task (id, type, queue, priority, max_attempts, state, parameters)
             SELECT id, 'Reindex', 'default', 5, 1, 'Queued', jsonb_build_object('ProjectId', id) FROM made
         )
         INSERT INTO longhaul.ready (queue, priority, id) SELECT 'default', 5, id FROM made",
    )
    .execute(&stage.pool)
    .await
    .expect("the tasks are stored");
    let mut most = 0;
    until("many tasks to end", async || {
        let claimed = "SELECT coalesce(sum(cardinality(task_ids)), 0) FROM longhaul.lease";
        most = most.max(stage.value::<i64>(claimed).await);
        let ended =
            "SELECT count(*) FROM (SELECT FROM longhaul.task WHERE finished_at IS NOT NULL LIMIT 2000) AS counted";
        (stage.value::<i64>(ended).await == 2_000).then_some(())
    })
    .await;
    let grown = figure(worker.id(), "VmHWM").expect("it runs").saturating_sub(before);
    println!("200,000 ready tasks took {} MiB; {most} were claimed at once", grown / MIB);
    assert!((1..=SLOTS + AHEAD).contains(&most), "{most}");
    assert!(grown < 64 * MIB, "{grown} bytes");
    assert_eq!(worker.terminate().await, Some(0));
}

#[tokio::test]
async fn an_import_takes_no_more_memory_for_more_and_longer_lines() {
    let stage = Stage::new().await;
    let file = tempfile::NamedTempFile::new().expect("a file");
    let mut out = GzEncoder::new(file.as_file(), Compression::best());
    let project = json!({"Record": "Project", "Id": "11111111-1111-4111-8111-111111111111", "Name": "P"});
    writeln!(out, "{project}").expect("written");
    let text = "word ".repeat(200_000);
    for number in 0..100 {
        let entity: Value = json!({"Record": "Entity", "Id": format!("22222222-2222-4222-8222-{number:012}"),
            "ProjectId": "11111111-1111-4111-8111-111111111111", "Kind": "Script", "Key": format!("K-{number}"),
            "Name": "n", "Fields": {"Text": text}});
        writeln!(out, "{entity}").expect("written");
    }
    out.finish().expect("written");
    let path = file.path().to_str().expect("a path").to_owned();
    let bytes = std::fs::metadata(&path).expect("a file").len();
    let import = Process::start(&["import", &path], stage.database_url());
    let id = import.id();
    let (mut peak, ended) = (0, import.ended());
    tokio::pin!(ended);
    let code = loop {
        tokio::select! {
            code = &mut ended => break code,
            () = tokio::time::sleep(Duration::from_millis(20)) => peak = figure(id, "VmHWM").unwrap_or(peak),
        }
    };
    println!("{bytes} bytes of 100 MB took {peak} bytes of memory");
    assert_eq!(code, Some(0));
    assert_eq!(stage.value::<i64>("SELECT count(*) FROM records.entity").await, 100);
    assert!(peak > 0 && peak < 128 * MIB, "{bytes} bytes took {peak} of memory");
}
