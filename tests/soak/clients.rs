//! Clients over HTTP and SQL: what they ask, and what they are answered.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use longhaul::serde_json::{Value, json};
use longhaul::sqlx;
use longhaul::uuid::Uuid;
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;

use crate::fleet::Fleet;
use crate::history::{Answer, Request, Seen};

/// Tasks whose token begins so may be cancelled and run again by anyone at any time.
pub(crate) const LOOSE: &str = "loose-";

/// What all clients write down.
pub(crate) struct Record {
    began: Instant,
    next: AtomicU64,
    requests: Mutex<Vec<Request>>,
    seen: Mutex<Vec<Seen>>,
}

impl Record {
    pub(crate) fn new() -> Self {
        Self { began: Instant::now(), next: AtomicU64::new(0), requests: Mutex::default(), seen: Mutex::default() }
    }

    pub(crate) fn now(&self) -> f64 {
        self.began.elapsed().as_secs_f64()
    }

    pub(crate) fn take(&self) -> (Vec<Request>, Vec<Seen>) {
        let take = |list: &Mutex<Vec<Request>>| std::mem::take(&mut *list.lock().expect("a lock"));
        (take(&self.requests), std::mem::take(&mut *self.seen.lock().expect("a lock")))
    }

    fn token(&self, prefix: &str) -> String {
        format!("{prefix}{}", self.next.fetch_add(1, Ordering::Relaxed))
    }

    fn add(&self, request: Request) {
        self.requests.lock().expect("a lock").push(request);
    }
}

/// One client, with a random number generator of its own.
pub(crate) struct Client<'a> {
    fleet: &'a Fleet,
    record: &'a Record,
    random: Pcg64Mcg,
}

/// Between two requests of one client, in milliseconds.
const REST_MS: std::ops::Range<u64> = 40..240;
/// An answer that is unknown is asked for again so often, if there is an idempotency key.
const TRIES: usize = 4;

impl<'a> Client<'a> {
    pub(crate) fn new(fleet: &'a Fleet, record: &'a Record, seed: u64) -> Self {
        Self { fleet, record, random: Pcg64Mcg::seed_from_u64(seed) }
    }

    /// Asks and asks, until `stop`.
    pub(crate) async fn run(mut self, stop: &std::sync::atomic::AtomicBool) {
        while !stop.load(Ordering::Relaxed) {
            match self.random.random_range(0..100_u32) {
                0..35 => self.post("Piece", "", json!({})).await,
                35..45 => {
                    let extra = json!({"snoozes": self.random.random_range(0..3_u32), "failures": self.random.random_range(0..3_u32)});
                    self.post("Piece", LOOSE, extra).await;
                }
                45..48 => self.post("Piece", LOOSE, json!({"fails": true})).await,
                48..56 => self.post("Limited", "", json!({})).await,
                56..62 => {
                    let key = format!("key-{}", self.random.random_range(0..4_u32));
                    self.post("Turn", "", json!({"key": key})).await;
                }
                62..66 => self.post("Rated", "", json!({})).await,
                66..70 => self.sole().await,
                70..72 => {
                    let children = self.random.random_range(1..6_u32);
                    self.post("Piece", "", json!({"children": children})).await;
                }
                72..77 => self.batch().await,
                77..81 => self.chain().await,
                81..90 => self.sql().await,
                90..95 => self.change().await,
                _ => self.look().await,
            }
            tokio::time::sleep(Duration::from_millis(self.random.random_range(REST_MS))).await;
        }
    }

    fn parameters(&mut self, token: &str, extra: &Value) -> Value {
        let mut parameters = json!({
            "token": token,
            "steps": self.random.random_range(1..6_u32),
            "step_ms": if self.random.random_bool(0.05) { 400 } else { self.random.random_range(0..40_u64) },
        });
        if let (Some(all), Some(extra)) = (parameters.as_object_mut(), extra.as_object()) {
            all.extend(extra.clone());
        }
        parameters
    }

    fn url(&mut self, path: &str) -> String {
        let apis = self.fleet.apis();
        let api = &apis[self.random.random_range(0..apis.len())];
        format!("{}{path}", api.base_url.as_deref().unwrap_or_default())
    }

    async fn send(&mut self, path: &str, body: &Value, key: Option<&str>) -> (Option<u16>, Value) {
        let mut request = self.fleet.http.post(self.url(path)).json(body);
        if let Some(key) = key {
            request = request.header("Idempotency-Key", key);
        }
        match request.send().await {
            Ok(response) => {
                let status = response.status().as_u16();
                match response.json().await {
                    Ok(body) => (Some(status), body),
                    Err(_) => (None, Value::Null),
                }
            }
            Err(_) => (None, Value::Null),
        }
    }

    async fn post(&mut self, type_name: &str, prefix: &str, extra: Value) {
        let token = self.record.token(prefix);
        let body = json!({"Type": type_name, "Parameters": self.parameters(&token, &extra)});
        let key = self.random.random_bool(0.5).then(|| format!("idempotent-{token}"));
        let at = self.record.now();
        let mut answers = Vec::new();
        for _ in 0..TRIES {
            let (status, answer) = self.send("/api/backgroundtasks", &body, key.as_deref()).await;
            let answer = judge(status, &answer, |body| vec![id_of(body)]);
            let unknown = answer == Answer::Unknown;
            answers.push(answer);
            if key.is_none() || !unknown {
                break;
            }
        }
        self.record.add(Request { at, tokens: vec![token], answers, unique_key: None });
    }

    async fn sole(&mut self) {
        let key = format!("sole-{}", self.random.random_range(0..3_u32));
        let token = self.record.token("");
        let body = json!({"Type": "Sole", "Parameters": self.parameters(&token, &json!({"key": key}))});
        let at = self.record.now();
        let (status, answer) = self.send("/api/backgroundtasks", &body, None).await;
        let answers = vec![judge(status, &answer, |body| vec![id_of(body)])];
        self.record.add(Request { at, tokens: vec![token], answers, unique_key: Some(key) });
    }

    async fn batch(&mut self) {
        let count = self.random.random_range(2..9_usize);
        let tokens: Vec<String> = (0..=count).map(|_| self.record.token("")).collect();
        let if_failed = ["Continue", "Cancel", "Ignore"][self.random.random_range(0..3_usize)];
        let mut tasks: Vec<Value> = Vec::new();
        for token in &tokens {
            let fails = self.random.random_bool(0.1);
            tasks.push(json!({"Type": "Piece", "Parameters": self.parameters(token, &json!({"fails": fails}))}));
        }
        let then = tasks.pop();
        let body = json!({"Parent": {"IfFailed": if_failed, "Then": then}, "Tasks": tasks});
        self.many(tokens, &body).await;
    }

    async fn chain(&mut self) {
        let count = self.random.random_range(2..6_usize);
        let tokens: Vec<String> = (0..count).map(|_| self.record.token("")).collect();
        let mut tasks: Vec<Value> = Vec::new();
        for (number, token) in tokens.iter().enumerate() {
            let fails = self.random.random_bool(0.1);
            let mut task = json!({"Type": "Piece", "Parameters": self.parameters(token, &json!({"fails": fails})),
                                  "Name": format!("n{number}")});
            if number > 0 {
                let on = self.random.random_range(0..number);
                let if_failed = ["Cancel", "Fail", "Run"][self.random.random_range(0..3_usize)];
                task["After"] = json!([{"Task": format!("n{on}"), "IfFailed": if_failed}]);
            }
            tasks.push(task);
        }
        self.many(tokens, &json!({"Tasks": tasks})).await;
    }

    async fn many(&mut self, tokens: Vec<String>, body: &Value) {
        let at = self.record.now();
        let (status, answer) = self.send("/api/backgroundtasks/batch", body, None).await;
        let answer = judge(status, &answer, |body| {
            // In the order of the tokens: the last one's is `Then`. The parent has none.
            let tasks = body["Tasks"].as_array().into_iter().flatten();
            let others = [&body["Then"], &body["Parent"]].into_iter().filter(|other| other.is_object());
            tasks.chain(others).map(id_of).collect()
        });
        self.record.add(Request { at, tokens, answers: vec![answer], unique_key: None });
    }

    /// In a transaction, past all proxies; some are rolled back, some are for later.
    async fn sql(&mut self) {
        let token = self.record.token("");
        let later_ms = if self.random.random_bool(0.4) { self.random.random_range(200..3_000_i64) } else { 0 };
        let parameters = self.parameters(&token, &json!({"later_ms": later_ms}));
        let commits = self.random.random_bool(0.8);
        let at = self.record.now();
        let stored: sqlx::Result<Option<String>> = async {
            let mut transaction = self.fleet.admin.begin().await?;
            let id: String = sqlx::query_scalar(
                "SELECT longhaul.enqueue('Piece', $1, run_at => now() + nullif($2, 0) * interval '1 millisecond')",
            )
            .bind(parameters)
            .bind(later_ms)
            .fetch_one(&mut *transaction)
            .await?;
            if commits {
                transaction.commit().await?;
                Ok(Some(id))
            } else {
                transaction.rollback().await?;
                Ok(None)
            }
        }
        .await;
        let answer = match stored {
            Ok(Some(id)) => Answer::Accepted(vec![id_in(&id)]),
            Ok(None) => Answer::Refused,
            Err(_) if commits => Answer::Unknown,
            Err(_) => Answer::Refused,
        };
        self.record.add(Request { at, tokens: vec![token], answers: vec![answer], unique_key: None });
    }

    /// Cancels or runs again a task that is free for it.
    async fn change(&mut self) {
        let (function, states) = if self.random.random_bool(0.6) {
            ("cancel", "'Queued', 'Running', 'Scheduled', 'Retrying'")
        } else {
            ("retry", "'Failed', 'Cancelled'")
        };
        let sql = format!(
            "SELECT longhaul.{function}(id) FROM longhaul.task
              WHERE state IN ({states}) AND parameters ->> 'token' LIKE '{LOOSE}%' ORDER BY id DESC LIMIT 3"
        );
        // Whether it was done or not, it was asked for: the plan of such tasks allows it.
        drop(self.fleet.execute(&sql).await);
    }

    /// Looks how far the tasks are that run.
    async fn look(&mut self) {
        for _ in 0..6 {
            let running: sqlx::Result<Vec<Look>> = sqlx::query_as(
                "SELECT id, attempt, coalesce(interruptions, 0::smallint), processed_elements, (extract(epoch FROM pg_postmaster_start_time()) * 1e6)::bigint
                   FROM longhaul.task t WHERE state = 'Running'
                    AND NOT EXISTS (SELECT FROM longhaul.family f WHERE f.parent_id = t.id)",
            )
            .fetch_all(&self.fleet.admin)
            .await;
            let seen =
                running.unwrap_or_default().into_iter().map(|(task, attempt, interruptions, processed, server)| {
                    let attempt = u32::from(attempt.unsigned_abs());
                    Seen { task, attempt, interruptions, server, processed }
                });
            self.record.seen.lock().expect("a lock").extend(seen);
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
    }
}

/// Task, attempt, interruptions, progress, start of the server.
type Look = (Uuid, i16, i16, i64, i64);

/// What an answer says about what was asked for.
fn judge(status: Option<u16>, body: &Value, ids: impl Fn(&Value) -> Vec<Uuid>) -> Answer {
    let nothing_done = body["detail"].as_str().is_some_and(|detail| detail.contains("Nothing was"));
    match status {
        Some(202) => Answer::Accepted(ids(body)),
        None => Answer::Unknown,
        Some(503) if !nothing_done => Answer::Unknown,
        Some(_) => Answer::Refused,
    }
}

fn id_of(body: &Value) -> Uuid {
    id_in(body["Id"].as_str().unwrap_or_default())
}

/// An id that can't be read is a task that is not there.
fn id_in(public: &str) -> Uuid {
    longhaul::split_public_id(public).map_or(Uuid::nil(), |(_, id)| id)
}
