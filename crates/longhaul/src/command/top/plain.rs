//! The scene as text and as JSON.

use serde_json::{Value, json};

use super::scene::Scene;
use longhaul_model::store::findings::span;

use crate::command::body::text as member;
use crate::table::table;

/// One object: `Overview`, `Queues`, `Workers` and `Running` as the API answers them, and
/// `Rates` per second.
pub(super) fn json(scene: &Scene) -> Value {
    let [stored, begun, failed] = scene.rate();
    json!({
        "Rates": {"Stored": stored, "Begun": begun, "FailedAttempts": failed},
        "Overview": scene.overview, "Queues": scene.queues, "Workers": scene.workers, "Running": scene.tasks,
    })
}

/// A few lines.
pub(super) fn head(scene: &Scene) -> String {
    let [stored, begun, failed] = scene.rate();
    let overview = &scene.overview;
    let oldest = overview["OldestWaitingSeconds"].as_f64().map_or_else(|| "-".to_owned(), span);
    format!(
        "stored {stored:.1}/s  begun {begun:.1}/s  failed attempts {failed:.1}/s  ready {}  held {}  scheduled {}  \
         running {}/{}  oldest waiting {oldest}  workers {}",
        member(overview, "Ready"),
        member(overview, "Held"),
        member(overview, "Scheduled"),
        member(overview, "Running"),
        member(overview, "Slots"),
        member(overview, "WorkersAlive"),
    )
}

/// The head and the running tasks.
pub(super) fn text(scene: &Scene) -> String {
    let rows: Vec<[String; 4]> = scene
        .tasks
        .iter()
        .map(|task| {
            let fraction = task["ProgressInPercent"].as_f64().unwrap_or(0.0) * 100.0;
            [member(task, "Id"), format!("{fraction:.0} %"), member(task, "Worker"), member(task, "Message")]
        })
        .collect();
    let tasks = if rows.is_empty() { String::new() } else { table(["RUNNING", "DONE", "WORKER", "MESSAGE"], &rows) };
    format!("{}\n{tasks}", head(scene))
}
