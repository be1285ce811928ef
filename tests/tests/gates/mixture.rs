//! Everything at once, and an upgrade.

use std::borrow::Cow;

use longhaul_devdb::testing::TestDatabase;
use longhaul_model::store::cancel::{cancel_through, lock_free};
use longhaul_model::store::migrate::{QUEUE, apply};
use longhaul_model::store::queue::{QueueSettings, pause_type, set};
use longhaul_model::{Registry, TaskTypeInfo};
use longhaul_tests::{Stage, quick_worker, until};
use serde_json::json;
use sqlx::migrate::Migrator;
use sqlx::{AssertSqlSafe, PgPool};
use uuid::Uuid;

use super::scene::{Free, Limited, Sibling, all_ended, deadlocks, limit, limited, paused, sibling, stage};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_task_is_stranded_by_pauses_and_limits_that_change_while_tasks_run() {
    let stage = stage().await;
    let workers = [stage.worker(quick_worker()).await, stage.worker(quick_worker()).await];
    let storing = async {
        for round in 0..60 {
            limited(&stage, 5).await;
            sibling(&stage, 5).await;
            if round % 3 == 0 {
                stage.enqueue(TaskTypeInfo::of::<Free>(), vec![json!({}); 5]).await;
            }
        }
    };
    let changing = async {
        for round in 0..30 {
            pause_type(&stage.pool, "Limited", round % 2 == 0).await.expect("paused or resumed");
            let settings = match round % 5 {
                0 => limit(2),
                1 => paused(),
                2 => QueueSettings { fair: true, ..QueueSettings::default() },
                3 => QueueSettings { rate: Some((200, 0.1)), max_per_key: Some(3), ..QueueSettings::default() },
                _ => QueueSettings::default(),
            };
            set(&stage.pool, "limited", &settings).await.expect("set");
        }
    };
    tokio::join!(storing, changing);
    pause_type(&stage.pool, "Limited", false).await.expect("resumed");
    set(&stage.pool, "limited", &limit(4)).await.expect("set");
    all_ended(&stage).await;
    assert_eq!(stage.value::<i64>("SELECT count(*) FROM longhaul.task WHERE state = 'Succeeded'").await, 700);
    until("all places to be free", async || {
        (stage.value::<i64>("SELECT count(*) FROM longhaul.admitted").await == 0).then_some(())
    })
    .await;
    assert_eq!(deadlocks(&stage).await, 0);
    for worker in workers {
        worker.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_of_queues_ends_batches_and_cancellations_never_lock_each_other_out() {
    let stage = stage().await;
    let worker = stage.worker(quick_worker()).await;
    set(&stage.pool, "limited", &limit(3)).await.expect("set");
    let changing = async {
        for round in 0..80 {
            set(&stage.pool, "limited", &limit(2 + round % 5)).await.expect("set");
            set(&stage.pool, "free", &if round % 2 == 0 { limit(5) } else { QueueSettings::default() })
                .await
                .expect("set");
        }
    };
    let storing = async {
        for _ in 0..100 {
            limited(&stage, 1).await;
        }
    };
    let batches = async {
        for _ in 0..20 {
            limited(&stage, 40).await;
            stage.enqueue(TaskTypeInfo::of::<Free>(), vec![json!({}); 40]).await;
        }
    };
    let cancelling = async {
        for _ in 0..20 {
            let mut transaction = stage.pool.begin().await.expect("a transaction");
            let open: Vec<Uuid> =
                sqlx::query_scalar("SELECT id FROM longhaul.task WHERE finished_at IS NULL ORDER BY id DESC LIMIT 20")
                    .fetch_all(&mut *transaction)
                    .await
                    .expect("ids");
            let free = lock_free(&mut transaction, &open).await.expect("locked");
            cancel_through(&mut transaction, Uuid::nil(), &free).await.expect("no deadlock");
            transaction.commit().await.expect("a commit");
        }
    };
    tokio::join!(changing, storing, batches, cancelling);
    set(&stage.pool, "free", &QueueSettings::default()).await.expect("set");
    all_ended(&stage).await;
    assert_eq!(deadlocks(&stage).await, 0);
    worker.stop().await;
}

#[tokio::test]
async fn what_an_earlier_release_held_and_admitted_is_not_lost_in_an_upgrade() {
    let before = |migration: &&sqlx::migrate::Migration| migration.version < 20_261_129_120_000;
    let database = TestDatabase::new("gates-upgrade", async |url: String| {
        let pool = PgPool::connect(&url).await?;
        let earlier = Migrator {
            migrations: Cow::Owned(QUEUE.iter().filter(before).cloned().collect()),
            table_name: QUEUE.table_name.clone(),
            create_schemas: QUEUE.create_schemas.clone(),
            ..Migrator::DEFAULT
        };
        apply(&earlier, &pool).await?;
        sqlx::raw_sql(
            "INSERT INTO longhaul.task_type (name, id_prefix, queue, max_attempts)
             VALUES ('Limited', 'limited-', 'limited', 3), ('Sibling', 'sibling-', 'limited', 3), ('Free', 'free-', 'free', 3);
             SELECT longhaul.set_queue('limited', max_running => 3);
             SELECT longhaul.pause_type('Sibling');
             SELECT count(longhaul.enqueue('Limited', key => 'k' || n)) FROM generate_series(1, 10) n;
             SELECT count(longhaul.enqueue('Sibling')) FROM generate_series(1, 5);
             SELECT count(longhaul.enqueue('Free')) FROM generate_series(1, 5)",
        )
        .execute(&pool)
        .await?;
        pool.close().await;
        Ok::<_, anyhow::Error>(())
    })
    .await
    .expect("a database of the last release");
    let pool = PgPool::connect(database.url()).await.expect("the database answers");
    let value = async |sql: &'static str| -> i64 { sqlx::query_scalar(sql).fetch_one(&pool).await.expect(sql) };
    assert_eq!(value("SELECT count(*) FROM longhaul.held").await, 12, "seven wait for a place, five are paused");
    apply(&QUEUE, &pool).await.expect("the later migrations fit");

    let registry = Registry::new().with::<Limited>().with::<Sibling>().with::<Free>();
    let stage = Stage::builder(registry).database(database.url()).start().await;
    assert_eq!(value("SELECT count(*) FROM longhaul.tasks WHERE state = 'Queued'").await, 20);
    let worker = stage.worker(quick_worker()).await;
    until("those that may run to end", async || {
        (value("SELECT count(*) FROM longhaul.task WHERE state = 'Succeeded'").await == 15).then_some(())
    })
    .await;
    pause_type(&pool, "Sibling", false).await.expect("resumed");
    all_ended(&stage).await;
    worker.stop().await;
    let left = "SELECT (SELECT count(*) FROM longhaul.ready) + (SELECT count(*) FROM longhaul.held)";
    assert_eq!(sqlx::query_scalar::<_, i64>(AssertSqlSafe(left)).fetch_one(&pool).await.expect("a count"), 0);
}
