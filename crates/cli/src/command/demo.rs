//! `longhaul demo`

use std::io::Write;
use std::net::SocketAddr;
use std::time::Instant;

use anyhow::{Context, bail};
use clap::Args;
use longhaul::{AccessSettings, Host, Listening, Settings, connect, log_to_stderr, stop_signal};
use longhaul_devdb::{Options, Server};
use longhaul_test_management::import::import;
use serde_json::{Value, json};
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

use super::import::import_file;
use crate::client::Client;
use crate::corpus::{PROJECT, write_debian};

/// Shows the main job end to end: starts PostgreSQL, API and worker, imports a
/// real corpus, starts two Reindex tasks over HTTP, draws their progress, and
/// searches the result. Then it keeps serving.
#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// Stop at the end instead of serving on.
    #[arg(long)]
    once: bool,
    /// Use this database instead of one that is thrown away.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    database_url: Option<String>,
    /// The address to listen on; a free port by default.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
}

/// The name of the database on the private server.
const DATABASE: &str = "longhaul";
/// What the demo imports where the machine knows no Debian packages.
const SAMPLE: &[u8] = include_bytes!("../../samples/timezones.ndjson");

impl Demo {
    pub(crate) async fn run(self, host: Host) -> anyhow::Result<()> {
        // Its own lines are what people want to see.
        log_to_stderr("warn,sqlx=error");
        let began = Instant::now();
        let stop = stop_signal()?;
        let listening = Listening::bind(self.listen, None, AccessSettings::default())?;
        let base_url = listening.base_url().to_owned();
        let (server, url) = match self.database_url {
            Some(url) => (None, url),
            None => {
                println!("Starting a private PostgreSQL …");
                let server = Server::start(Options::temporary()).await?;
                server.ensure_database(DATABASE).await?;
                let url = server.url(DATABASE);
                (Some(server), url)
            }
        };
        let pool = connect(&url, 10, "longhaul-api").await?;
        host.migrate(&pool).await?;

        let parts_stop = CancellationToken::new();
        let worker = tokio::spawn({
            let (host, url, stop) = (host.clone(), url.clone(), parts_stop.clone());
            async move { host.work(&url, Settings::default(), stop).await }
        });
        let api = tokio::spawn({
            let (host, pool, stop) = (host.clone(), pool.clone(), parts_stop.clone());
            async move { host.serve(pool, listening, stop).await }
        });

        let shown = tokio::select! {
            shown = show(&pool, &base_url) => shown,
            () = stop.cancelled() => Ok(()),
        };
        if shown.is_ok() {
            println!("\nDone in {:.1} s.", began.elapsed().as_secs_f64());
        }
        if shown.is_ok() {
            print!("{}", last_words(host.name(), self.once, &base_url, &url));
            if !self.once {
                stop.cancelled().await;
            }
        }
        parts_stop.cancel();
        api.await.context("the API failed")??;
        worker.await.context("the worker failed")??;
        if let Some(server) = server {
            server.stop().await?;
        }
        shown
    }
}

/// What to do next. Where the demo ends, so do its server and its database, whose addresses are of
/// no use then.
fn last_words(program: &str, once: bool, base_url: &str, database: &str) -> String {
    if once {
        return format!("The demo stops now; `{program} demo` without --once keeps serving.\n");
    }
    format!(
        "Next steps:
  all tasks:            psql '{database}' -c 'SELECT * FROM longhaul.tasks'
  search:               curl '{base_url}/api/search?q=database&limit=3'
  start a task:         curl {base_url}/api/backgroundtasks -H 'Content-Type: application/json' -d '{{\"Type\":\"Reindex\"}}'
Serving on {base_url} until Ctrl-C.
"
    )
}

async fn show(pool: &PgPool, base_url: &str) -> anyhow::Result<()> {
    let project = import_corpus(pool).await?;
    let client = Client::new(base_url)?;
    client.wait_until_ready().await?;

    println!("\nThe seed's two requests:");
    run(&client, json!({"Type": "Reindex", "Parameters": {"Optimize": true, "ProjectId": project}})).await?;
    run(&client, json!({"Type": "Reindex", "Parameters": {"Optimize": false, "SkipRelationships": true}})).await?;

    let word = if project == PROJECT { "database" } else { "europe" };
    let found = client.get(&format!("{base_url}/api/search?q={word}&project={project}&limit=5")).await?;
    println!("\nSearch for '{word}': {} hits", found["Total"]);
    for item in found["Items"].as_array().into_iter().flatten() {
        println!("  {:<28} {}", item["Key"].as_str().unwrap_or_default(), item["Name"].as_str().unwrap_or_default());
    }
    if found["Total"].as_i64().unwrap_or(0) == 0 {
        bail!("the search found no entity");
    }
    Ok(())
}

async fn import_corpus(pool: &PgPool) -> anyhow::Result<uuid::Uuid> {
    let mut file = tempfile::NamedTempFile::new()?;
    let mut out = std::io::BufWriter::new(file.as_file_mut());
    let written = match write_debian(&mut out) {
        Ok(written) => {
            out.flush()?;
            written
        }
        Err(error) => {
            println!("No Debian packages here ({error}); importing the sample of time zones.");
            import(pool, SAMPLE, |_| {}).await?;
            return Ok(uuid::uuid!("0190c0de-0000-7000-8000-00000000a11e"));
        }
    };
    drop(out);
    println!("Corpus: {} packages, {} dependencies from {}.", written.packages, written.dependencies, written.source);
    import_file(pool, file.path()).await?;
    Ok(PROJECT)
}

async fn run(client: &Client, request: Value) -> anyhow::Result<()> {
    println!("POST {request}");
    let began = Instant::now();
    let accepted = client.start(&request).await?;
    println!("  202 {}", accepted["Id"].as_str().unwrap_or_default());
    let ended = client.watch(&accepted).await?;
    let seconds = began.elapsed().as_secs_f64();
    if ended["State"] != "Succeeded" {
        bail!("the task ended {}: {}", ended["State"], ended["Error"]["detail"]);
    }
    let documents = ended["Result"]["Documents"].as_f64().unwrap_or(0.0);
    println!(
        "  {} in {seconds:.1} s, {:.0} entities/s; {}",
        ended["State"].as_str().unwrap_or_default(),
        documents / seconds,
        ended["Result"]
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::last_words;

    #[test]
    fn what_has_stopped_is_not_named() {
        let (base_url, database) = ("http://127.0.0.1:7", "postgres://longhaul@127.0.0.1:8/longhaul");
        let serving = last_words("longhaul", false, base_url, database);
        assert!(serving.contains(base_url) && serving.contains(database), "{serving}");
        let over = last_words("longhaul", true, base_url, database);
        assert!(!over.contains("://") && over.contains("`longhaul demo` without --once"), "{over}");
    }
}
