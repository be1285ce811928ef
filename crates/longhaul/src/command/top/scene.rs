//! What there is to see.

use std::collections::VecDeque;
use std::time::Instant;

use ratatui::widgets::TableState;
use reqwest::Method;
use serde_json::{Value, json};

use super::keys::Key;
use crate::command::body::text;
use crate::remote::Client;

/// Running tasks that are shown at most.
const TASKS: u32 = 100;
/// So many rates are kept for the curve.
const KEPT: usize = 120;

/// How things stand, and how they came to be.
#[derive(Default)]
pub(super) struct Scene {
    pub(super) overview: Value,
    pub(super) queues: Vec<Value>,
    pub(super) workers: Vec<Value>,
    pub(super) tasks: Vec<Value>,
    counted: Option<(Instant, [i64; 3])>,
    /// Tasks stored, tasks begun, attempts failed, each per second; the newest last.
    pub(super) rates: VecDeque<[f64; 3]>,
    /// The list that keys are for.
    pub(super) focus: Focus,
    pub(super) chosen_queue: TableState,
    pub(super) chosen_task: TableState,
    /// A task that is to be cancelled if the answer is yes.
    pub(super) asked: Option<String>,
    /// What was said last.
    pub(super) notice: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Focus {
    #[default]
    Queues,
    Tasks,
}

impl Scene {
    /// Reads everything.
    pub(super) async fn look(&mut self, client: &Client) -> anyhow::Result<()> {
        let running = client.at(&["api", "tasks"], &[("state", "Running".to_owned()), ("limit", TASKS.to_string())]);
        let (overview, mut queues, mut workers, mut tasks) = tokio::try_join!(
            client.get(&["api", "overview"]),
            client.get(&["api", "queues"]),
            client.get(&["api", "workers"]),
            client.get_url(running),
        )?;
        let items = |page: &mut Value| match page["Items"].take() {
            Value::Array(items) => items,
            _ => Vec::new(),
        };
        self.queues = items(&mut queues);
        self.workers = items(&mut workers);
        self.tasks = items(&mut tasks);
        self.count(&overview["Counts"]);
        self.overview = overview;
        Ok(())
    }

    /// The same; what can't be read is a notice.
    pub(super) async fn look_again(&mut self, client: &Client) {
        match self.look(client).await {
            Ok(()) => {}
            Err(error) => self.notice = Some(format!("{error:#}")),
        }
    }

    fn count(&mut self, counts: &Value) {
        let now = Instant::now();
        let count = ["Stored", "Begun", "FailedAttempts"].map(|name| counts[name].as_i64().unwrap_or(0));
        if let Some((at, before)) = self.counted {
            let seconds = now.duration_since(at).as_secs_f64().max(0.001);
            // Statistics may be reset between.
            let rate = std::array::from_fn(|index| (count[index] - before[index]).max(0) as f64 / seconds);
            self.rates.push_back(rate);
            if self.rates.len() > KEPT {
                self.rates.pop_front();
            }
        }
        self.counted = Some((now, count));
    }

    /// The rates as of now; none before the second look.
    pub(super) fn rate(&self) -> [f64; 3] {
        // Statistics come in bursts of a second: the mean of the last few looks.
        let last: Vec<&[f64; 3]> = self.rates.iter().rev().take(3).collect();
        std::array::from_fn(|index| match last.len() {
            0 => 0.0,
            looks => last.iter().map(|rate| rate[index]).sum::<f64>() / looks as f64,
        })
    }

    /// Does what a key asks for.
    pub(super) async fn press(&mut self, key: Key, client: &Client) {
        if let Some(id) = self.asked.take() {
            self.notice = None;
            if key == Key::Yes {
                let cancelled = client.send(Method::DELETE, &["api", "backgroundtask", &id], None).await;
                self.notice = Some(match cancelled {
                    Ok(body) => {
                        format!("{id}: {}", if body["Complete"] == true { "cancelled" } else { "asked to stop" })
                    }
                    Err(error) => format!("{error:#}"),
                });
                self.look_again(client).await;
            }
            return;
        }
        let (state, length) = match self.focus {
            Focus::Queues => (&mut self.chosen_queue, self.queues.len()),
            Focus::Tasks => (&mut self.chosen_task, self.tasks.len()),
        };
        let last = length.saturating_sub(1);
        match key {
            Key::NextList => {
                self.focus = if self.focus == Focus::Queues { Focus::Tasks } else { Focus::Queues };
            }
            Key::Up => state.select(Some(state.selected().map_or(0, |at| at.saturating_sub(1)).min(last))),
            Key::Down => state.select(Some(state.selected().map_or(0, |at| at + 1).min(last))),
            Key::Pause => self.pause(client).await,
            Key::Cancel => {
                let chosen = self.chosen_task.selected().and_then(|at| self.tasks.get(at));
                self.notice = Some(match chosen {
                    Some(task) => {
                        let id = text(task, "Id");
                        let question = format!("Cancel {id}? y");
                        self.asked = Some(id);
                        question
                    }
                    None => "Select a task first: Tab and arrows".to_owned(),
                });
            }
            Key::Yes | Key::Other | Key::Quit => {}
        }
    }

    async fn pause(&mut self, client: &Client) {
        let Some(queue) = self.chosen_queue.selected().and_then(|at| self.queues.get(at)) else {
            self.notice = Some("Select a queue first: arrows".to_owned());
            return;
        };
        let (name, paused) = (queue["Name"].as_str().unwrap_or_default().to_owned(), queue["Paused"] != true);
        let changed = client.send(Method::PATCH, &["api", "queues", &name], Some(&json!({"Paused": paused}))).await;
        self.notice = Some(match changed {
            Ok(_) => format!("{name} is {}", if paused { "paused" } else { "open" }),
            Err(error) => format!("{error:#}"),
        });
        self.look_again(client).await;
    }
}
