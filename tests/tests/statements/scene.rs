//! One of everything that a queue does, with what must be true in the end.

use std::collections::BTreeMap;
use std::time::Duration;

use longhaul_model::Registry;
use longhaul_tests::{Proxy, RunningWorker, Stage, quick_worker, until, until_or_tell};
use longhaul_worker::Settings;
use serde_json::{Value, json};
use sqlx::AssertSqlSafe;

use super::act::{Act, Does};

/// A stage whose API reaches its database through the proxy.
pub(super) async fn stage() -> Stage {
    let stage = Stage::builder(Registry::new().with::<Act>()).api_behind_proxy().start().await;
    // Without a key: an effect that happened twice is to be seen.
    let sql = "CREATE TABLE public.effect (name text, step bigint); GRANT ALL ON public.effect TO PUBLIC;
               CREATE TABLE public.allowed (name text); GRANT ALL ON public.allowed TO PUBLIC";
    sqlx::raw_sql(sql).execute(&stage.pool).await.expect("tables");
    stage
}

/// A worker whose own look at its leases, which is the net under lost answers, comes soon.
fn settings(name: &str) -> Settings {
    Settings {
        name: name.to_owned(),
        queues: vec!["acts".to_owned(), "limited".to_owned()],
        heartbeat: Duration::from_secs(2),
        ..quick_worker()
    }
}

fn is_claim(text: &str) -> bool {
    text.starts_with("run WITH") && text.contains("INSERT INTO longhaul.lease")
}

/// A round of one of everything on a stage, whose tasks are named after it.
pub(super) struct Round<'a> {
    stage: &'a Stage,
    name: String,
}

impl<'a> Round<'a> {
    pub(super) fn new(stage: &'a Stage, name: &str) -> Self {
        Self { stage, name: name.to_owned() }
    }

    pub(super) fn proxy(&self) -> &'a Proxy {
        self.stage.proxy.as_ref().expect("a proxy")
    }

    /// Starts a worker behind the proxy, which has begun to claim.
    pub(super) async fn worker(&self, name: &str) -> RunningWorker {
        let statements = self.proxy().statements();
        statements.spare_all();
        let worker = self.stage.worker_through(self.proxy(), settings(&format!("{} {name}", self.name))).await;
        until("the worker to claim", async || statements.seen().keys().any(|text| is_claim(text)).then_some(())).await;
        worker
    }

    /// Asks for everything, and waits until it has ended. Answers that leave a request open are
    /// followed by another one.
    pub(super) async fn play(&self) {
        let limits = json!({"MaxRunning": 1});
        self.again("PATCH", "/api/queues/limited", &limits).await;
        self.schedule().await;
        for does in [Does::Reports, Does::Retries, Does::Snoozes, Does::Effects, Does::FansOut, Does::IsRefused] {
            self.post(&format!("{does:?}"), does, json!({})).await;
        }
        for number in 0..3 {
            self.post(&format!("Limited{number}"), Does::Reports, json!({"Queue": "limited"})).await;
        }
        self.post("Later", Does::Reports, json!({"DelaySeconds": 1})).await;
        self.post("Unique", Does::Reports, json!({"UniqueKey": self.name})).await;
        let cancelled = self.post("IsCancelled", Does::IsCancelled, json!({})).await;
        self.batch().await;
        self.chain().await;
        self.until_state(&cancelled, "Running").await;
        self.again("DELETE", &format!("/api/backgroundtask/{cancelled}"), &Value::Null).await;
        self.again("PATCH", "/api/queues/limited", &json!({"MaxRunning": null})).await;
        self.run_again().await;
        for path in ["/api/tasks?state=Succeeded", "/api/workers", "/api/overview", "/api/findings", "/api/queues"] {
            self.again("GET", path, &Value::Null).await;
        }
        self.all_end().await;
    }

    /// Asks for tasks that still run when the worker is told to stop.
    pub(super) async fn play_a_last_one(&self) {
        for number in 0..8 {
            self.post(&format!("Last{number}"), Does::Effects, json!({})).await;
        }
        self.post("LastFansOut", Does::FansOut, json!({})).await;
    }

    fn name_of(&self, name: &str) -> String {
        format!("{} {name}", self.name)
    }

    fn request(&self, name: &str, does: Does, options: &Value) -> Value {
        let mut request = json!({"Type": "Act", "Parameters": {"does": does, "name": self.name_of(name)}});
        request.as_object_mut().expect("an object").extend(options.as_object().expect("an object").clone());
        request
    }

    /// Returns the task's id.
    async fn post(&self, name: &str, does: Does, options: Value) -> String {
        let request = self.request(name, does, &options);
        let key = self.name_of(name).replace(' ', "-");
        until(&format!("{name} to be accepted"), async || {
            let url = format!("{}/api/backgroundtasks", self.stage.base_url);
            let sent = self.stage.http.post(url).header("Idempotency-Key", &key).json(&request).send().await;
            let response = sent.expect("the API answers");
            let status = response.status().as_u16();
            let body: Value = response.json().await.expect("a body");
            assert!(status == 202 || status == 503, "{name}: {status} {body}");
            body["Id"].as_str().map(str::to_owned)
        })
        .await
    }

    /// How many tasks of this round are named so.
    async fn stored(&self, name: &str) -> i64 {
        let sql = "SELECT count(*) FROM longhaul.task WHERE parameters ->> 'name' = $1";
        sqlx::query_scalar(sql).bind(self.name_of(name)).fetch_one(&self.stage.pool).await.expect("a count")
    }

    /// A batch has no idempotency key: what a 503 leaves open is looked up, and what it says is true.
    async fn many(&self, name: &str, request: &Value) {
        until(&format!("{name} to be accepted"), async || {
            let url = format!("{}/api/backgroundtasks/batch", self.stage.base_url);
            let response = self.stage.http.post(url).json(request).send().await.expect("the API answers");
            let status = response.status().as_u16();
            let body: Value = response.json().await.expect("a body");
            let detail = body["detail"].as_str().unwrap_or_default();
            let stored = self.stored(name).await;
            match status {
                202 => assert_eq!(stored, 1, "{body}"),
                503 if detail.contains("Nothing was") => assert_eq!(stored, 0, "{body}"),
                503 => assert!(stored <= 1, "{stored}: {body}"),
                _ => panic!("{name}: {status} {body}"),
            }
            (stored == 1).then_some(())
        })
        .await;
    }

    async fn batch(&self) {
        let none = json!({});
        let tasks: Vec<Value> =
            (1..=3).map(|number| self.request(&format!("Batch{number}"), Does::Reports, &none)).collect();
        let then = self.request("Then", Does::Reports, &none);
        self.many("Batch1", &json!({"Parent": {"IfFailed": "Continue", "Then": then}, "Tasks": tasks})).await;
    }

    async fn chain(&self) {
        let first = self.request("First", Does::Retries, &json!({"Name": "first"}));
        let second = self.request("Second", Does::Reports, &json!({"After": [{"Task": "first"}]}));
        self.many("First", &json!({"Tasks": [first, second]})).await;
    }

    /// Once.
    async fn schedule(&self) {
        sqlx::query(
            "INSERT INTO longhaul.schedule (name, cron, time_zone, type, parameters, missed, next_at)
             VALUES ($1, '0 0 1 1 *', 'UTC', 'Act', $2, 'Once', now())",
        )
        .bind(&self.name)
        .bind(json!({"does": "Reports", "name": self.name_of("Scheduled")}))
        .execute(&self.stage.pool)
        .await
        .expect("a schedule");
    }

    /// What failed for good runs again, once it may.
    async fn run_again(&self) {
        let name = self.name_of("IsRefused");
        let id = self.post("IsRefused", Does::IsRefused, json!({})).await;
        self.until_state(&id, "Failed").await;
        sqlx::query("INSERT INTO public.allowed VALUES ($1)")
            .bind(&name)
            .execute(&self.stage.pool)
            .await
            .expect("allowed");
        // Asked for again after an answer that was lost, it is no longer failed: 409.
        self.again("POST", &format!("/api/backgroundtask/{id}/retry"), &Value::Null).await;
    }

    /// Sends a request that may be sent again, until it is answered otherwise than by a 503.
    async fn again(&self, method: &str, path: &str, body: &Value) {
        until(&format!("{method} {path} to be answered"), async || {
            let method = method.parse().expect("a method");
            let mut request = self.stage.http.request(method, format!("{}{path}", self.stage.base_url));
            if !body.is_null() {
                request = request.json(body);
            }
            let response = request.send().await.expect("the API answers");
            let status = response.status().as_u16();
            let body = response.text().await.expect("a body");
            let told = || self.proxy().statements().struck();
            assert!(matches!(status, 200..=299 | 409 | 503), "{path}: {status} {body}\n{:#?}", told());
            (status != 503).then_some(())
        })
        .await;
    }

    async fn until_state(&self, id: &str, state: &str) {
        until(&format!("{id} to be {state}"), async || {
            let (status, body) = self.stage.get(&format!("/api/backgroundtask/{id}")).await;
            assert!(status == 200 || status == 503, "{status} {body}");
            (body["State"] == state).then_some(())
        })
        .await;
    }

    /// Waits until no task of the stage is open.
    pub(super) async fn all_end(&self) {
        let open = async || -> Vec<(String, String, i16)> {
            let sql = "SELECT coalesce(parameters ->> 'name', type), state::text, attempt FROM longhaul.task
                        WHERE state NOT IN ('Succeeded', 'Failed', 'Cancelled')";
            sqlx::query_as(AssertSqlSafe(sql)).fetch_all(&self.stage.pool).await.expect("tasks")
        };
        until_or_tell(
            "all tasks to end",
            async || open().await.is_empty().then_some(()),
            async || {
                let struck = self.proxy().statements().struck();
                let places: Vec<String> =
                    sqlx::query_scalar("SELECT id || ': ' || problem FROM longhaul.contradictions()")
                        .fetch_all(&self.stage.pool)
                        .await
                        .unwrap_or_default();
                format!("open: {:#?}\nstruck: {struck:#?}\n{places:#?}", open().await)
            },
        )
        .await;
    }

    /// Every task of the round has ended once and as it should, and its effects happened once.
    pub(super) async fn is_right(&self) {
        let mut wanted = BTreeMap::new();
        let mut expect = |name: &str, state: &str| wanted.insert(self.name_of(name), state.to_owned());
        for name in [
            "Reports",
            "Retries",
            "Snoozes",
            "Effects",
            "FansOut",
            "FansOut/1",
            "FansOut/2",
            "FansOut/3",
            "IsRefused",
            "Limited0",
            "Limited1",
            "Limited2",
            "Later",
            "Unique",
            "Batch1",
            "Batch2",
            "Batch3",
            "Then",
            "First",
            "Second",
            "Scheduled",
        ] {
            expect(name, "Succeeded");
        }
        expect("IsCancelled", "Cancelled");
        for number in 0..8 {
            expect(&format!("Last{number}"), "Succeeded");
        }
        for name in ["LastFansOut", "LastFansOut/1", "LastFansOut/2", "LastFansOut/3"] {
            expect(name, "Succeeded");
        }
        let sql = "SELECT parameters ->> 'name', state::text, error::text FROM longhaul.task
                    WHERE parameters ->> 'name' LIKE $1 || ' %'";
        let ended: Vec<(String, String, Option<String>)> =
            sqlx::query_as(AssertSqlSafe(sql)).bind(&self.name).fetch_all(&self.stage.pool).await.expect("tasks");
        let failures: Vec<_> = ended.iter().filter(|(_, state, _)| state == "Failed").collect();
        assert!(failures.is_empty(), "{failures:#?}");
        let count = ended.len();
        let ended: BTreeMap<String, String> = ended.into_iter().map(|(name, state, _)| (name, state)).collect();
        assert_eq!(ended, wanted);
        assert_eq!(count, wanted.len(), "no task is there twice");
        let doubled: Vec<(String, i64)> =
            sqlx::query_as("SELECT name, step FROM public.effect GROUP BY 1, 2 HAVING count(*) > 1")
                .fetch_all(&self.stage.pool)
                .await
                .expect("effects");
        assert!(doubled.is_empty(), "effects that happened twice: {doubled:?}");
        let aside: Vec<String> = sqlx::query_scalar("SELECT t::text FROM longhaul.set_aside t")
            .fetch_all(&self.stage.pool)
            .await
            .expect("what is set aside");
        assert!(aside.is_empty(), "{aside:#?}");
    }
}
