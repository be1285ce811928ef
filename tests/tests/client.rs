//! `longhaul::Client`: one step from a value to a stored task.

use longhaul::{Client, Outcome, RunContext, RunError, TaskType};
use longhaul_model::TaskOptions;
use longhaul_model::store::enqueue::NewTask;
use longhaul_tests::{Proxy, Stage, quick_worker, until};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sqlx::PgPool;

/// Greets someone; once at a time if it says so.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Greet {
    name: String,
    once: bool,
}

impl TaskType for Greet {
    const NAME: &'static str = "Greet";
    const ID_PREFIX: &'static str = "greet-";

    fn unique_key(&self) -> Option<String> {
        self.once.then(|| self.name.clone())
    }

    async fn run(self, _: RunContext) -> Result<Outcome, RunError> {
        Outcome::with_result(format!("Hello, {}!", self.name))
    }
}

fn greet(name: &str) -> Greet {
    Greet { name: name.to_owned(), once: false }
}

fn once(name: &str) -> Greet {
    Greet { once: true, ..greet(name) }
}

async fn stage() -> (Stage, Client) {
    let stage = Stage::with_registry(longhaul_model::Registry::new().with::<Greet>()).await;
    let client = Client::new(stage.pool.clone()).await.expect("a client");
    (stage, client)
}

async fn tasks(stage: &Stage) -> i64 {
    stage.value("SELECT count(*) FROM longhaul.task").await
}

#[tokio::test]
async fn a_task_is_stored_run_read_cancelled_and_retried_in_one_step_each() {
    let (stage, client) = stage().await;
    let stored = client.enqueue(&greet("Ada")).await.expect("stored");
    assert!(stored.is_new && stored.id.to_string() == format!("greet-{}", stored.uuid));
    assert_eq!(client.queues().await.expect("queues").iter().map(|queue| queue.ready).sum::<i64>(), 1);
    client.cancel(stored.uuid).await.expect("an answer").expect("it is there");
    assert!(client.cancel(uuid::Uuid::now_v7()).await.expect("an answer").is_none());
    client.retry(stored.uuid).await.expect("an answer").expect("it is there");
    let worker = stage.worker(quick_worker()).await;
    let result =
        until("it to end", async || client.task(stored.uuid).await.expect("an answer").expect("it is there").result)
            .await;
    assert_eq!(result, "Hello, Ada!");
    worker.stop().await;
}

#[tokio::test]
async fn tasks_share_the_fate_of_the_callers_transaction() {
    let (stage, client) = stage().await;
    let mut transaction = stage.pool.begin().await.expect("a transaction");
    client.enqueue_in(&mut transaction, &greet("Ada")).await.expect("stored");
    transaction.rollback().await.expect("rolled back");
    assert_eq!(tasks(&stage).await, 0);
    let mut transaction = stage.pool.begin().await.expect("a transaction");
    let options = TaskOptions { priority: Some(1), tags: vec!["red".to_owned()], ..TaskOptions::default() };
    let task = NewTask { options, ..client.new_task(&greet("Ada")).expect("a task") };
    let stored = client.store_in(&mut transaction, task).await.expect("stored");
    transaction.commit().await.expect("a commit");
    assert_eq!(stage.value::<i16>("SELECT priority FROM longhaul.task WHERE tags = '{red}'").await, 1);
    assert!(client.task(stored.uuid).await.expect("an answer").is_some());
}

#[tokio::test]
async fn unique_keys_keep_one_task() {
    let (stage, client) = stage().await;
    let first = client.enqueue(&once("Ada")).await.expect("stored");
    let second = client.enqueue(&once("Ada")).await.expect("an answer");
    assert!(first.is_new && !second.is_new && first.id == second.id);
    let all = client.enqueue_all(&[greet("Ada"), once("Ada"), once("Grace")]).await.expect("stored");
    assert_eq!(all.iter().map(|one| one.is_new).collect::<Vec<_>>(), [true, false, true]);
    assert_eq!((all[1].uuid, tasks(&stage).await), (first.uuid, 3));
}

#[tokio::test]
async fn few_and_many_are_stored_all_or_none() {
    let (stage, client) = stage().await;
    assert!(client.enqueue_all::<Greet>(&[]).await.expect("nothing").is_empty());
    for count in [3, 600] {
        let mut many: Vec<Greet> = (0..count).map(|number| greet(&number.to_string())).collect();
        let before = tasks(&stage).await;
        let stored = client.enqueue_all(&many).await.expect("stored");
        assert_eq!((stored.len(), tasks(&stage).await), (count, before + count as i64));
        let last = client.task(stored[count - 1].uuid).await.expect("an answer").expect("it is there");
        assert_eq!(last.type_name, "Greet");
        many.push(greet("a name with \0"));
        client.enqueue_all(&many).await.expect_err("PostgreSQL has no such character");
        assert_eq!(tasks(&stage).await, before + count as i64);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_answer_neither_loses_nor_doubles_a_task() {
    let (stage, _) = stage().await;
    let port: i32 = stage.value("SELECT inet_server_port()").await;
    let proxy = Proxy::to(u16::try_from(port).expect("a port")).await;
    let pool = PgPool::connect(&proxy.through(stage.database_url())).await.expect("a pool");
    let client = Client::new(pool).await.expect("a client");
    for task in [greet("Ada"), once("Grace")] {
        let before = tasks(&stage).await;
        let mut lock = stage.pool.begin().await.expect("a transaction");
        sqlx::query("LOCK TABLE longhaul.ready IN SHARE MODE").execute(&mut *lock).await.expect("locked");
        let storing = tokio::spawn({
            let client = client.clone();
            async move { client.enqueue(&task).await }
        });
        until("it to wait for the lock", async || {
            let waits =
                "SELECT EXISTS (SELECT FROM pg_locks WHERE relation = 'longhaul.ready'::regclass AND NOT granted)";
            stage.value::<bool>(waits).await.then_some(())
        })
        .await;
        proxy.cut_existing();
        lock.commit().await.expect("a commit");
        let stored = storing.await.expect("it does not panic").expect("stored");
        assert!(stored.is_new && client.task(stored.uuid).await.expect("an answer").is_some());
        assert_eq!(tasks(&stage).await, before + 1);
    }
}
