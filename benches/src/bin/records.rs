//! The throughput of GenerateTestProject, bulkaction and DeleteProject on a
//! private, durable PostgreSQL: `records [ENTITIES]` (200,000). One JSON object a
//! task on standard output.

use std::time::Instant;

use anyhow::ensure;
use longhaul_devdb::{Options, Server};
use longhaul_tests::{Stage, shipped};
use longhaul_worker::Settings;
use serde_json::{Value, json};
use uuid::Uuid;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let entities: i64 = std::env::args().nth(1).map_or(Ok(200_000), |text| text.parse())?;
    let server = Server::start(Options::temporary().setting("max_wal_size", "4GB")).await?;
    server.ensure_database("bench").await?;
    let stage = Stage::builder(shipped::registry()).database(&server.url("bench")).start().await;
    let worker = stage.worker(Settings::default()).await;
    for relationships in 0..=2 {
        let project = Uuid::now_v7();
        for (name, parameters) in [
            (
                "GenerateTestProject",
                json!({"ProjectId": project, "Entities": entities, "RelationshipsPerEntity": relationships}),
            ),
            ("bulkaction", json!({"Action": "SetField", "ProjectId": project, "Field": "Mark", "Value": 1})),
            ("DeleteProject", json!({"ProjectId": project})),
        ] {
            let began = Instant::now();
            let started = stage.start(&json!({"Type": name, "Parameters": parameters})).await;
            let ended: Value = stage.ended(&started).await;
            ensure!(ended["State"] == "Succeeded", "{ended}");
            let per_second = entities as f64 / began.elapsed().as_secs_f64();
            println!(
                "{}",
                json!({"task": name, "entities": entities, "relationships_per_entity": relationships,
                       "entities_per_second": per_second.round()})
            );
        }
    }
    worker.stop().await;
    drop(stage);
    server.stop().await?;
    Ok(())
}
