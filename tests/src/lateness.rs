//! By how much the machine is late: bounds that are promised to users are measured with it,
//! instead of with a bound that is generous for all machines.

use std::time::{Duration, Instant};

use reqwest::Response;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::{DEADLINE, Stage};

/// Measures, beside a test, how long little things take longer than they should.
pub struct Lateness {
    stop: CancellationToken,
    measuring: JoinHandle<Duration>,
}

const EVERY: Duration = Duration::from_millis(50);

impl Lateness {
    /// Begins: a timer, a statement of the stage's database and a request to its API, again and
    /// again.
    pub fn measured(stage: &Stage) -> Self {
        let stop = CancellationToken::new();
        let (pool, stopped) = (stage.pool.clone(), stop.clone());
        let (client, url) =
            (longhaul_outbound::http_client().build().expect("a client"), format!("{}/health/live", stage.base_url));
        let measuring = tokio::spawn(async move {
            let mut most = Duration::ZERO;
            while !stopped.is_cancelled() {
                let began = Instant::now();
                tokio::time::sleep(EVERY).await;
                sqlx::query("SELECT 1").execute(&pool).await.expect("the database answers");
                client.get(&url).send().await.expect("the API answers");
                most = most.max(began.elapsed().saturating_sub(EVERY));
            }
            most
        });
        Self { stop, measuring }
    }

    /// Ends; the longest delay that there was.
    pub async fn most(self) -> Duration {
        self.stop.cancel();
        self.measuring.await.expect("it was measured")
    }
}

/// Reads a stream until it ends; how long that took.
///
/// # Panics
/// If it does not end within [`DEADLINE`].
pub async fn end_of(mut stream: Response) -> Duration {
    let began = Instant::now();
    let all = async { while stream.chunk().await.ok().flatten().is_some() {} };
    tokio::time::timeout(DEADLINE, all).await.expect("the stream ends");
    began.elapsed()
}
