//! Connections to the database that fall silent, and statements that meet errors which pass.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use longhaul_api::Enqueuer;
use longhaul_model::connect::pool_options;
use longhaul_model::store::enqueue::NewTask;
use longhaul_model::store::within;
use longhaul_model::{Registry, TaskTypeInfo};
use longhaul_tests::{Proxy, Stage, quick_worker, until};
use longhaul_worker::Settings;
use rustix::net::{getpeername, sockopt};
use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};
use serde_json::json;
use sqlx::Connection;
use sqlx::postgres::PgConnectOptions;
use tokio::io::AsyncWriteExt;
use uuid::Uuid;

use crate::visit::Visit;

/// The API's own deadline is 30 s (`patience.rs`).
const API_ANSWERS_WITHIN: Duration = Duration::from_secs(35);

async fn stage() -> Stage {
    Stage::with_registry(Registry::new().with::<Visit>()).await
}

async fn proxy(stage: &Stage) -> Proxy {
    let port: i32 = stage.value("SELECT inet_server_port()").await;
    Proxy::to(u16::try_from(port).expect("a port")).await
}

async fn is_in_state(stage: &Stage, id: Uuid, state: &str) -> Option<()> {
    let found: String = sqlx::query_scalar("SELECT state::text FROM longhaul.tasks WHERE id = $1")
        .bind(id)
        .fetch_one(&stage.pool)
        .await
        .expect("a state");
    (found == state).then_some(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_whose_connections_fall_silent_makes_new_ones() {
    let stage = stage().await;
    let proxy = proxy(&stage).await;
    let worker = stage.worker_through(&proxy, quick_worker()).await;
    let visit = TaskTypeInfo::of::<Visit>();
    let staying = stage.enqueue(visit, vec![json!({"stays": true})]).await[0];
    until("it to run", async || is_in_state(&stage, staying, "Running").await).await;
    // Heartbeats, flushes, polling claims, services: all of them lose their connections.
    proxy.silence_existing();
    let next = stage.enqueue(visit, vec![json!({"stays": false})]).await[0];
    until("the next to end", async || is_in_state(&stage, next, "Succeeded").await).await;
    longhaul_model::store::cancel::cancel(&stage.pool, staying).await.expect("a cancel");
    until("the first to be cancelled", async || is_in_state(&stage, staying, "Cancelled").await).await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_worker_behind_a_firewall_that_forgets_beats_again() {
    let stage = stage().await;
    let proxy = proxy(&stage).await;
    let settings = Settings { heartbeat: Duration::from_secs(1), ..quick_worker() };
    let workers = [
        stage.worker_through(&proxy, settings.clone()).await,
        stage.worker_through(&proxy, settings.clone()).await,
        stage.worker_through(&proxy, settings).await,
    ];
    until("all to be at work", async || {
        let sql = "SELECT count(*) FROM longhaul.worker WHERE heartbeat_at > started_at + interval '0.5 s'";
        (stage.value::<i64>(sql).await == 3).then_some(())
    })
    .await;
    proxy.silence_existing();
    let silent: chrono::DateTime<chrono::Utc> = stage.value("SELECT clock_timestamp()").await;
    until("all to have beaten since", async || {
        let sql = "SELECT count(*) FROM longhaul.worker WHERE heartbeat_at > $1 AND lost_at IS NULL";
        let beaten: i64 = sqlx::query_scalar(sql).bind(silent).fetch_one(&stage.pool).await.expect("a count");
        (beaten == 3).then_some(())
    })
    .await;
    for worker in workers {
        worker.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_far_from_its_database_beats_in_time_and_is_not_presumed_dead() {
    let stage = stage().await;
    let proxy = proxy(&stage).await;
    let settings = Settings { heartbeat: Duration::from_secs(1), ..quick_worker() };
    let far = stage.worker_through(&proxy, settings.clone()).await;
    let id: i32 = until("it to be there", async || {
        sqlx::query_scalar("SELECT id FROM longhaul.worker").fetch_optional(&stage.pool).await.expect("an answer")
    })
    .await;
    let near = stage.worker(settings).await;
    proxy.delay(Duration::from_millis(80));
    // Its leases are compared three times meanwhile.
    let mut beats = std::collections::BTreeSet::new();
    until("ten beats", async || {
        let sql = "SELECT heartbeat_at::text, lost_at IS NOT NULL FROM longhaul.worker WHERE id = $1";
        let (beat, lost): (String, bool) =
            sqlx::query_as(sql).bind(id).fetch_one(&stage.pool).await.expect("the worker");
        assert!(!lost, "after {} beats", beats.len());
        beats.insert(beat);
        (beats.len() > 10).then_some(())
    })
    .await;
    proxy.delay(Duration::ZERO);
    near.stop().await;
    far.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_go_on_after_the_connection_that_stores_them_fell_silent() {
    let stage = stage().await;
    let proxy = proxy(&stage).await;
    let through = proxy.through(&stage.logins().api);
    let server: PgConnectOptions = through.parse().expect("an address");
    let pool = pool_options(2, &server).connect_with(server).await.expect("a pool");
    // While another one rests, the writer of requests keeps its connection.
    drop(tokio::join!(pool.acquire(), pool.acquire()));
    until("both connections to rest", async || (pool.num_idle() == 2).then_some(())).await;
    let enqueuer = Enqueuer::start(&pool);
    let clock = stage.clock().await;
    let task = || NewTask::of(clock.new_id(), &Visit { stays: false }).expect("a task");
    enqueuer.enqueue(task()).await.expect("stored");
    proxy.silence_existing();
    until("a task to be stored", async || enqueuer.enqueue(task()).await.ok()).await;
}

/// As behind a firewall that forgets its connections, old and new, and is repaired later.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_api_whose_connections_swallow_everything_says_so_in_time_and_goes_on_without_a_restart() {
    let stage = Stage::builder(Registry::new().with::<Visit>()).api_behind_proxy().start().await;
    let proxy = stage.proxy.as_ref().expect("a proxy");
    let visit = TaskTypeInfo::of::<Visit>();
    let ids = stage.enqueue(visit, vec![json!({"stays": false}); 2]).await;
    let addresses = ids.iter().map(|id| format!("{}/api/backgroundtask/visit-{id}", stage.base_url));
    let [task, other] = addresses.collect::<Vec<_>>().try_into().expect("two");
    let page = format!("{}/tasks", stage.base_url);
    let client = longhaul_tests::http_client().build().expect("a client");
    let status = async |url: &str| {
        let began = Instant::now();
        let answer = client.get(url).send().await.expect("an answer");
        let (status, _body) = (answer.status().as_u16(), answer.bytes().await.expect("a body"));
        println!("{url}: {status} after {:?}", began.elapsed());
        assert!(began.elapsed() < API_ANSWERS_WITHIN, "{url}: {:?}", began.elapsed());
        status
    };
    let all = async || {
        let stream = format!("{task}/events");
        tokio::join!(status(&task), status(&page), async {
            let answer = client.get(&stream).send().await.expect("an answer");
            answer.status().as_u16()
        })
    };
    assert_eq!(all().await, (200, 200, 200));
    let mut watched = client.get(format!("{other}/events")).send().await.expect("a stream");
    assert!(watched.chunk().await.expect("a line").is_some_and(|line| !line.is_empty()));

    // Old connections swallow everything, new ones work: nobody need notice.
    proxy.silence_existing();
    until("all to be answered", async || (all().await == (200, 200, 200)).then_some(())).await;
    // All swallow everything.
    proxy.silence_all();
    let began = Instant::now();
    assert_eq!(all().await, (503, 503, 503));
    assert!(began.elapsed() < API_ANSWERS_WITHIN, "{:?}", began.elapsed());
    proxy.answer_again();
    until("all to be answered again", async || (all().await == (200, 200, 200)).then_some(())).await;

    // Whoever watched hears of the end, or is told by the end of the stream to ask again.
    let worker = stage.worker(quick_worker()).await;
    let mut heard = String::new();
    let rest = async {
        while let Ok(Some(chunk)) = watched.chunk().await {
            heard.push_str(&String::from_utf8_lossy(&chunk));
        }
    };
    tokio::time::timeout(longhaul_tests::DEADLINE, rest).await.expect("the stream ends");
    assert!(heard.contains("Succeeded"), "{heard}");
    worker.stop().await;
}

/// As a request whose client goes away just then, or a handler whose time is over: what others do
/// over the same connection must not become part of that transaction.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_that_was_given_up_as_it_began_is_nobodys() {
    let stage = stage().await;
    let proxy = proxy(&stage).await;
    sqlx::raw_sql("CREATE TABLE public.kept (number integer)").execute(&stage.pool).await.expect("a table");
    let server: PgConnectOptions = proxy.through(stage.database_url()).parse().expect("an address");
    let pool = pool_options(1, &server).connect_with(server).await.expect("a pool");
    for number in 1..=3 {
        let mut connection = pool.acquire().await.expect("a connection");
        proxy.delay(Duration::from_millis(100));
        tokio::time::timeout(Duration::from_millis(50), connection.begin()).await.expect_err("it was given up");
        if number == 2 {
            // An error aborts that transaction.
            sqlx::query("SELECT 1 / 0").execute(&mut *connection).await.expect_err("a division by zero");
        }
        drop(connection);
        proxy.delay(Duration::ZERO);
        sqlx::query("INSERT INTO public.kept VALUES ($1)").bind(number).execute(&pool).await.expect("stored");
        assert_eq!(stage.value::<Option<i32>>("SELECT max(number) FROM public.kept").await, Some(number));
    }
}

/// The API reads thousands of streamed tasks with one statement. PostgreSQL would compile it for much
/// longer than it takes to run.
#[tokio::test]
async fn sessions_of_the_api_compile_nothing() {
    let stage = stage().await;
    let pool = longhaul::connect(stage.database_url(), 1, "compiles nothing").await.expect("a pool");
    let jit: String = sqlx::query_scalar("SHOW jit").fetch_one(&pool).await.expect("a setting");
    assert_eq!(jit, "off");
}

/// A restart or an administrator ends all connections of a pool at once. The first statement finds
/// out; were the others not asked then, each would fail one more statement.
#[tokio::test]
async fn connections_that_were_cut_together_fail_one_statement() {
    const CONNECTIONS: u32 = 5;
    let stage = stage().await;
    let server: PgConnectOptions = stage.database_url().parse().expect("an address");
    let server = server.application_name("cut together");
    let pool = pool_options(CONNECTIONS, &server).connect_with(server).await.expect("a pool");
    let opened = join_all((0..CONNECTIONS).map(|_| pool.acquire())).await;
    assert!(opened.iter().all(Result::is_ok));
    drop(opened);
    until("all to rest in the pool", async || (pool.num_idle() == CONNECTIONS as usize).then_some(())).await;
    let cut: i64 = stage
        .value("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'cut together'")
        .await;
    assert_eq!(cut, i64::from(CONNECTIONS));
    until("the server to have ended them", async || {
        let left: i64 =
            stage.value("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'cut together'").await;
        (left == 0).then_some(())
    })
    .await;
    let mut failed = 0;
    for _ in 0..2 * CONNECTIONS {
        let statement = sqlx::query("SELECT 1").execute(&pool);
        failed += usize::from(within(Duration::from_secs(5), statement).await.is_err());
    }
    // None, if this took so long that each was asked anyway.
    assert!(failed <= 1, "{failed} statements failed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_post_that_meets_an_error_which_passes_is_told_to_come_again() {
    let stage = stage().await;
    let mut blocker = stage.pool.begin().await.expect("a transaction");
    sqlx::query("LOCK TABLE longhaul.ready IN SHARE MODE").execute(&mut *blocker).await.expect("a lock");
    let request = json!({"Type": "Visit", "Parameters": {"stays": false}});
    let post = async {
        let answer = stage.post(&request).await;
        (answer.status().as_u16(), answer.headers().contains_key("retry-after"))
    };
    // As a statement_timeout or an operator does it: SQLSTATE 57014.
    let cancel = until("the statement to be cancelled", async || {
        let cancelled: i64 = stage
            .value(
                "SELECT count(pg_cancel_backend(pid)) FROM pg_stat_activity
                  WHERE datname = current_database() AND wait_event_type = 'Lock'",
            )
            .await;
        (cancelled > 0).then_some(())
    });
    let (answer, ()) = tokio::join!(post, cancel);
    assert_eq!(answer, (503, true));
    blocker.rollback().await.expect("the lock goes");
    assert_eq!(stage.value::<i64>("SELECT count(*) FROM longhaul.task").await, 0);
}

/// The sockets of this process that are connected to this port.
fn sockets_to(port: u16) -> Vec<OwnedFd> {
    let own = pidfd_open(getpid(), PidfdFlags::empty()).expect("this process");
    let descriptors = std::fs::read_dir("/proc/self/fd").expect("descriptors");
    let numbers = descriptors.map(|entry| {
        let name = entry.expect("a descriptor").file_name();
        name.to_str().and_then(|name| name.parse().ok()).expect("a number")
    });
    let sockets = numbers.filter_map(|number| pidfd_getfd(&own, number, PidfdGetfdFlags::empty()).ok());
    let leads_there = |socket: &OwnedFd| {
        let peer = getpeername(socket).ok().flatten().and_then(|peer| std::net::SocketAddr::try_from(peer).ok());
        peer.is_some_and(|peer| peer.port() == port)
    };
    sockets.filter(leads_there).collect()
}

#[tokio::test]
async fn small_messages_are_sent_at_once_and_vanished_servers_are_noticed() {
    let stage = stage().await;
    let port: i32 = stage.value("SELECT inet_server_port()").await;
    let tuned = |socket: &OwnedFd| {
        sockopt::tcp_nodelay(socket).expect("an option")
            && sockopt::socket_keepalive(socket).expect("an option")
            && sockopt::tcp_user_timeout(socket).expect("an option") > 0
            && sockopt::tcp_keepidle(socket).expect("an option") == Duration::from_secs(10)
    };
    // The first connection of a pool is tuned before any that is made after it.
    let seen = sockets_to(u16::try_from(port).expect("a port")).iter().filter(|socket| tuned(socket)).count();
    assert!(seen >= 2, "the stage's and the API's connections: {seen}");
}

/// With the settings of database connections, a client that reads nothing for 20 s would lose
/// its stream.
#[tokio::test]
async fn connections_of_clients_keep_the_settings_of_the_system() {
    let stage = stage().await;
    let address: std::net::SocketAddr =
        stage.base_url.strip_prefix("http://").and_then(|rest| rest.parse().ok()).expect("an address");
    let mut client = tokio::net::TcpStream::connect(address).await.expect("a connection");
    client.write_all(b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n").await.expect("a request");
    client.readable().await.expect("an answer");
    // A connection to the database is made after both ends of it are there.
    let server: PgConnectOptions = stage.database_url().parse().expect("an address");
    drop(pool_options(1, &server).connect_with(server).await.expect("a connection"));
    let accepted = sockets_to(client.local_addr().expect("an address").port());
    assert_eq!(accepted.len(), 1, "the server's end");
    for socket in accepted.iter().chain(&sockets_to(address.port())) {
        assert_eq!(sockopt::tcp_user_timeout(socket), Ok(0));
        assert_eq!(sockopt::socket_keepalive(socket), Ok(false));
    }
    assert_eq!(sockopt::tcp_nodelay(&accepted[0]), Ok(true), "what streams tell is sent at once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_result_that_can_not_be_read_is_not_told_as_if_nothing_was_changed() {
    let stage = stage().await;
    let first = stage.start(&json!({"Type": "Visit", "Parameters": {"stays": true}})).await;
    let request = json!({"Type": "Visit", "Parameters": {"stays": false}, "After": [{"Task": first["Id"]}]});
    // Only what reads a task needs this table: the task is stored, and then its body waits.
    let mut operator = stage.pool.begin().await.expect("a transaction");
    sqlx::query("LOCK TABLE longhaul.worker").execute(&mut *operator).await.expect("a lock");
    let (posted, ()) = tokio::join!(stage.post(&request), async {
        until("the reader to be cancelled", async || {
            let sql = "SELECT bool_or(pg_cancel_backend(pid)) FROM pg_stat_activity
                        WHERE datname = current_database() AND wait_event_type = 'Lock' AND query ILIKE '%longhaul.tasks%'";
            let cancelled: Option<bool> = sqlx::query_scalar(sql).fetch_one(&stage.pool).await.expect("an answer");
            cancelled
        })
        .await;
    });
    assert_eq!(posted.status(), 503);
    let problem: serde_json::Value = posted.json().await.expect("a problem");
    let detail = problem["detail"].as_str().expect("a detail");
    assert!(detail.ends_with("The request was carried out, but its result could not be read."), "{detail}");
    operator.rollback().await.expect("the end");
    let stored: i64 = stage.value("SELECT count(*) FROM longhaul.task").await;
    assert_eq!(stored, 2);
}
