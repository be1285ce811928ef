//! A database with a few rows in each table, and what shows that everything goes on.

use longhaul_model::serde_json::json;
use longhaul_model::store::findings::{Examination, Level};
use longhaul_model::{
    Keyring, Outcome, ProblemKind, Registry, Resources, RetryPolicy, RunContext, RunError, SecretKey, TaskType,
};
use longhaul_tests::{Scrape, Stage, quick_worker, shipped, until};
use longhaul_webhooks::{WebhookSettings, Webhooks};
use longhaul_worker::Settings;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Ends at once.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Echo {}

impl TaskType for Echo {
    const NAME: &'static str = "Echo";
    const ID_PREFIX: &'static str = "echo-";
    const QUEUE: &'static str = "echoes";

    async fn run(self, _: RunContext) -> Result<Outcome, RunError> {
        Outcome::with_result(json!({}))
    }
}

/// Fails at once.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Fails {}

const AS_TOLD: ProblemKind = ProblemKind { code: "as-told", title: "As told", status: 500 };

impl TaskType for Fails {
    const NAME: &'static str = "Fails";
    const ID_PREFIX: &'static str = "fails-";
    const QUEUE: &'static str = "failures";
    const RETRY: RetryPolicy = RetryPolicy { max_attempts: 1, ..RetryPolicy::DEFAULT };

    async fn run(self, _: RunContext) -> Result<Outcome, RunError> {
        Err(RunError::permanent(AS_TOLD, "It fails."))
    }
}

pub(super) async fn stage() -> Stage {
    let settings = WebhookSettings { allow_private: true, ..WebhookSettings::default() };
    let keyring = Keyring::new(SecretKey::parse(&"5a".repeat(32)).expect("a key"), Vec::new());
    let resources = Resources::new().with(keyring).with(Webhooks::new(settings).expect("a client"));
    let registry: Registry = shipped::registry().with::<Echo>().with::<Fails>();
    Stage::builder(registry).resources(resources).start().await
}

/// Gates, failures and whatever services leave; the receiver of the webhooks' messages refuses them.
const BEFORE: &str = "
    SELECT longhaul.set_queue('p' || n, max_running => 4, max_per_key => 2, rate_count => 100, rate_seconds => 1)
      FROM generate_series(1, 16) n;
    INSERT INTO records.webhook (id, url, types, states, secret)
    SELECT gen_random_uuid(), 'http://127.0.0.1:9/', ARRAY['Fails'], ARRAY['Failed'], 'sealed by another'
      FROM generate_series(1, 30);
    SELECT longhaul.enqueue('Fails') FROM generate_series(1, 2);
    SELECT longhaul.enqueue('Echo', queue => 'p' || n) FROM generate_series(1, 16) n";

/// What waits, and what people see.
const BESIDE: &str = "
    SELECT longhaul.cancel(right(longhaul.enqueue('Echo'), 36)::uuid) FROM generate_series(1, 12);
    SELECT longhaul.enqueue('Echo', queue => 'p' || n, key => 'k' || m, unique_key => n || '/' || m, tags => ARRAY['t' || m])
      FROM generate_series(1, 16) n, generate_series(1, 4) m;
    SELECT longhaul.enqueue('Echo', unique_key => 'for long ' || n, unique_for => '1 day') FROM generate_series(1, 8) n;
    SELECT longhaul.enqueue_batch('Echo', ARRAY['{}', '{}']::jsonb[]) FROM generate_series(1, 16);
    SELECT longhaul.enqueue_after(ARRAY[longhaul.enqueue('Echo')], 'Echo') FROM generate_series(1, 4);
    INSERT INTO longhaul.set_aside (service, id, error, next_at)
    SELECT 'nobody', gen_random_uuid(), 'as told', now() + interval '1 hour' FROM generate_series(1, 12);
    INSERT INTO longhaul.successes (tasks) SELECT 0 FROM generate_series(1, 8) n;
    INSERT INTO longhaul.worker (name, version, queues, slots, heartbeat_ms, counts_successes)
    SELECT 'ghost ' || n, '0', '{elsewhere}', 1, 600000, true FROM generate_series(1, 24) n;
    INSERT INTO longhaul.trouble (worker_id, part, failures, error)
    SELECT id, 'part', 3, 'as told' FROM longhaul.worker WHERE name LIKE 'ghost%' ORDER BY id LIMIT 12;
    INSERT INTO longhaul.api_key (prefix, name, hash, permissions, created_by)
    SELECT 'lh_' || lpad(n::text, 10, '0'), 'key' || n, sha256(n::text::bytea), '{}', 'someone' FROM generate_series(1, 20) n;
    INSERT INTO longhaul.session (id_hash, subject, name, expires_at)
    SELECT sha256(n::text::bytea), 'someone', 'Some One', now() + interval '1 hour' FROM generate_series(1, 12) n;
    INSERT INTO longhaul.schedule (name, cron, time_zone, type, missed, next_at)
    SELECT 's' || n, '0 0 1 1 *', 'UTC', 'Echo', 'Once', now() + interval '1 hour' FROM generate_series(1, 36) n;
    INSERT INTO longhaul.firing (schedule, due_at, task_id)
    SELECT 's' || n, now() - interval '1 day', gen_random_uuid() FROM generate_series(1, 12) n;
    INSERT INTO longhaul.watched (id, watcher, until)
    SELECT gen_random_uuid(), gen_random_uuid(), now() + interval '1 hour' FROM generate_series(1, 4);
    INSERT INTO longhaul.cancel_request (task_id) SELECT gen_random_uuid() FROM generate_series(1, 4);
    INSERT INTO longhaul.sample (at, queue, accepted, ready, held, scheduled, running, oldest_s)
    SELECT date_trunc('minute', now()) - n * interval '1 minute', q, 1, 1, 1, 1, 1, 1
      FROM generate_series(1, 9) n, unnest(ARRAY['p1', 'p2', 'p3']) q ON CONFLICT DO NOTHING;
    INSERT INTO longhaul.pulse (at, worker_id, succeeded)
    SELECT date_trunc('minute', now()) - n * interval '1 minute', w, 1 FROM generate_series(1, 7) n, generate_series(1, 3) w ON CONFLICT DO NOTHING";

/// What a service has set aside that is named otherwise than the rows of its tables are.
pub(super) const NO_GUIDS: &str = "
    INSERT INTO longhaul.set_aside (service, id, error, next_at)
    SELECT service, 'no guid', 'as told', now()
      FROM unnest(ARRAY['promoter', 'rescuer', 'follower/dependents', 'follower/ends', 'follower/parents', 'follower/progress',
                        'retention', 'retention/ends', 'repairer', 'repairer/unsuccessful', 'gatekeeper/tasks', 'gatekeeper',
                        'scheduler', 'pulse', 'canceller']) AS service";

pub(super) async fn prepare(stage: &Stage) {
    stage.execute(BEFORE).await;
    let worker = stage.worker(busy_worker()).await;
    until("rows of every service", async || {
        let done =
            "SELECT NOT EXISTS (SELECT FROM longhaul.task WHERE finished_at IS NULL AND type <> 'DeliverWebhook')
                       AND (SELECT count(*) FROM longhaul.gate) >= 16 AND (SELECT count(*) FROM longhaul.leader) >= 4
                       AND (SELECT count(*) FROM longhaul.observation) = 1";
        stage.value::<bool>(done).await.then_some(())
    })
    .await;
    worker.stop().await;
    stage.execute(BESIDE).await;
    stage
        .execute(
            "INSERT INTO records.webhook_attempt (delivery_id, status, latency_ms)
         SELECT id, 500, 1 FROM records.webhook_delivery ORDER BY id LIMIT 12",
        )
        .await;
}

/// Open tasks of which nothing says why they are open.
const UNEXPLAINED: &str = "
    SELECT t.id || ' in ' || left(t.queue, 20) || ' is ' || t.state
      FROM longhaul.task t
     WHERE t.finished_at IS NULL AND t.type <> 'DeliverWebhook'
       AND NOT EXISTS (SELECT FROM longhaul.set_aside a WHERE a.id IN (t.id::text, t.queue))
       AND NOT EXISTS (SELECT FROM longhaul.queue q WHERE q.name = t.queue AND q.paused_at IS NOT NULL)
       AND NOT EXISTS (SELECT FROM longhaul.task_type y WHERE y.name = t.type AND y.paused_at IS NOT NULL)
       AND NOT EXISTS (SELECT FROM longhaul.child c JOIN longhaul.task k ON k.id = c.id
                        WHERE c.parent_id = t.id AND k.finished_at IS NULL)";

/// Everything ends of which nothing says why it does not, no service fails, and every page opens.
pub(super) async fn all_goes_on(stage: &Stage) {
    let mut left = Vec::new();
    let ended = tokio::time::timeout(longhaul_tests::DEADLINE, async {
        loop {
            left = sqlx::query_scalar::<_, String>(UNEXPLAINED).fetch_all(&stage.pool).await.expect("tasks");
            if left.is_empty() {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    });
    if ended.await.is_err() {
        let aside: Vec<String> = sqlx::query_scalar(
            "SELECT service || ' ' || left(id, 50) || ': ' || left(error, 200) FROM longhaul.set_aside",
        )
        .fetch_all(&stage.pool)
        .await
        .expect("rows");
        panic!(
            "{} are left: {:#?}\nfailures: {:#?}\nset aside: {aside:#?}",
            left.len(),
            &left[..left.len().min(5)],
            failures(stage).await
        );
    }
    // As often as it takes to meet what is there.
    until("services to have run", async || {
        let scrape = Scrape::read(&stage.metrics.expose(None).await.body);
        let runs =
            |service: &str| scrape.sum("longhaul_maintenance_seconds_count", &[&format!("service=\"{service}\"")]);
        (runs("rescuer") >= 2.0
            && runs("retention") >= 2.0
            && runs("repairer") >= 2.0
            && runs("bookkeeper") >= 1.0
            && runs("promoter") >= 3.0)
            .then_some(())
    })
    .await;
    assert_eq!(failures(stage).await, [""; 0], "no run of a service fails");
    for page in [
        "/",
        "/tasks",
        "/queues",
        "/schedules",
        "/workers",
        "/api/tasks",
        "/api/queues",
        "/api/overview",
        "/api/workers",
        "/api/schedules",
        "/api/tasktypes",
        "/api/webhooks",
        "/api/webhookdeliveries",
        "/api/findings",
        "/api/audit",
        "/metrics",
    ] {
        let answer = longhaul_tests::get(format!("{}{page}", stage.base_url)).await.expect("an answer");
        let (status, text) = (answer.status().as_u16(), answer.text().await.expect("a text"));
        assert_eq!(status, 200, "{page}: {}", &text[..text.len().min(1_000)]);
    }
    for view in
        ["tasks", "progress", "queues", "workers", "schedules", "failures", "batches", "set_aside_tasks", "api_keys"]
    {
        stage.execute(format!("SELECT * FROM longhaul.{view}")).await;
    }
}

/// Services of which a run failed.
async fn failures(stage: &Stage) -> Vec<String> {
    let body = stage.metrics.expose(None).await.body;
    body.lines()
        .filter(|line| line.starts_with("longhaul_maintenance_failures_total{") && !line.ends_with(" 0"))
        .map(str::to_owned)
        .collect()
}

/// What doctor tells.
pub(super) async fn findings(stage: &Stage) -> Vec<(String, Level, String)> {
    let report = Examination::new("longhaul", Vec::new()).run(&stage.pool).await.expect("an examination");
    report.findings.into_iter().map(|finding| (finding.check, finding.level, finding.says)).collect()
}

/// Serves all queues there are, and runs everything that services do, often.
pub(super) fn busy_worker() -> Settings {
    let gated = (1..=16).map(|number| format!("p{number}"));
    let queues = ["default", "echoes", "failures", "webhook"].map(str::to_owned).into_iter().chain(gated).collect();
    Settings { queues, retention_every: std::time::Duration::from_millis(200), ..quick_worker() }
}
