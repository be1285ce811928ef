//! `longhaul key`

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use longhaul_api::access::secret::{Hasher, Secret};
use longhaul_model::chrono::{DateTime, Duration, Utc};
use longhaul_model::serde_json::{Value, json};
use longhaul_model::store::api_key::{self, ApiKey, NewApiKey};
use longhaul_model::store::audit::{AuditEntry, record};
use longhaul_model::uuid::Uuid;
use longhaul_model::{DatabaseClock, Permission, counted};
use sqlx::{PgConnection, PgPool};

use crate::access::ServerSecret;
use crate::database::connect;
use crate::database_args::DatabaseArgs;
use crate::visible::{json_line, visible};

/// Create, list and revoke API keys, directly in the database.
#[derive(Debug, Args)]
pub(crate) struct Key {
    #[command(subcommand)]
    command: KeyCommand,
}

#[derive(Debug, Subcommand)]
enum KeyCommand {
    /// Create a key. It is shown only once.
    #[command(
        after_help = "Examples:\n  longhaul key create --name ci --permission 'Administration/Tasks/*' --expires 90d\n  longhaul key create --name ops --permission '*'"
    )]
    Create(Create),
    /// List keys.
    #[command(after_help = "Example:\n  longhaul key list")]
    List(List),
    /// Revoke a key. It takes effect everywhere within seconds.
    #[command(after_help = "Example:\n  longhaul key revoke ci")]
    Revoke(Revoke),
}

#[derive(Debug, Args)]
struct Create {
    #[command(flatten)]
    database: DatabaseArgs,
    #[command(flatten)]
    secret: ServerSecret,
    /// The caller's name. Tasks that are started with the key belong to it. Letters, digits, '.',
    /// '_', '@' and '-'.
    #[arg(long)]
    name: String,
    /// A permission, e.g. Administration/Tasks/View, Administration/Queues/* or *. May be
    /// repeated.
    #[arg(long = "permission", required = true)]
    permissions: Vec<Permission>,
    /// Limit the permissions to this project. May be repeated.
    #[arg(long = "project")]
    projects: Vec<Uuid>,
    /// When it expires: after days (90d) or hours (12h), or at a time (2027-01-31T00:00:00Z).
    /// Never by default.
    #[arg(long, value_parser = expiry)]
    expires: Option<Expiry>,
    /// Create another key for an existing or former caller, e.g. to replace a key.
    #[arg(long)]
    again: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct List {
    #[command(flatten)]
    database: DatabaseArgs,
    /// Include expired and revoked keys.
    #[arg(long)]
    all: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct Revoke {
    #[command(flatten)]
    database: DatabaseArgs,
    /// The key's prefix (lh_ and ten characters), or a caller's name for all of its keys.
    key: String,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy)]
enum Expiry {
    After(Duration),
    At(DateTime<Utc>),
}

fn expiry(text: &str) -> Result<Expiry, String> {
    let after = |days: bool, number: &str| {
        let number = number.parse().ok().filter(|number| (1..=366_000).contains(number))?;
        Some(Expiry::After(if days { Duration::days(number) } else { Duration::hours(number) }))
    };
    let expiry = match (text.strip_suffix('d'), text.strip_suffix('h')) {
        (Some(days), _) => after(true, days),
        (_, Some(hours)) => after(false, hours),
        _ => DateTime::parse_from_rfc3339(text).ok().map(|at| Expiry::At(at.to_utc())),
    };
    expiry.ok_or_else(|| "days (90d), hours (12h) or a time (2027-01-31T00:00:00Z) are expected".to_owned())
}

impl Key {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        match self.command {
            KeyCommand::Create(create) => create.run().await,
            KeyCommand::List(list) => list.run().await,
            KeyCommand::Revoke(revoke) => revoke.run().await,
        }
    }
}

async fn open(database: &DatabaseArgs) -> anyhow::Result<PgPool> {
    connect(database.for_a_session(), 1, "longhaul-key").await
}

impl Create {
    async fn run(self) -> anyhow::Result<()> {
        let hasher = Hasher::new(self.secret.get()?);
        let pool = open(&self.database).await?;
        let now = DateTime::from_timestamp_millis(DatabaseClock::learn(&pool).await?.now_ms()).unwrap_or_default();
        let expires_at = match self.expires {
            Some(Expiry::At(at)) if at <= now => bail!("{at} is in the past"),
            Some(Expiry::At(at)) => Some(at),
            Some(Expiry::After(period)) => {
                Some(now.checked_add_signed(period).context("the expiry time is too far in the future")?)
            }
            None => None,
        };
        let secret = Secret::generate().context("the operating system provides no randomness")?;
        let permissions: Vec<String> = self.permissions.iter().map(Permission::to_string).collect();
        let key = NewApiKey {
            prefix: secret.prefix(),
            name: &self.name,
            hash: &hasher.hash(&secret),
            hashed_with: hasher.id(),
            permissions: &permissions,
            projects: (!self.projects.is_empty()).then_some(&self.projects),
            expires_at,
            created_by: None,
            again: self.again,
        };
        let mut transaction = pool.begin().await?;
        let created =
            api_key::create(&mut *transaction, &key).await.map_err(|error| match error.as_database_error() {
                Some(found) if found.is_check_violation() => anyhow::anyhow!(
                    "'{}' is not a valid name: up to 100 letters, digits, '.', '_', '@' and '-' are expected",
                    self.name
                ),
                _ => anyhow::Error::new(error).context("the key could not be stored; has the database been migrated?"),
            })?;
        if !created {
            bail!(
                "there is or was a key '{}'; choose another name, or pass --again to create another key for the \
                 same caller, which keeps its tasks",
                self.name
            );
        }
        let details = json!({"Name": self.name, "Permissions": permissions, "Projects": key.projects});
        note(&mut transaction, "createKey", secret.prefix(), details).await?;
        transaction.commit().await?;
        if self.json {
            let shown = json!({
                "Key": secret.expose(), "Prefix": secret.prefix(), "Name": self.name, "Permissions": permissions,
                "Projects": key.projects, "ExpiresAt": expires_at,
            });
            println!("{shown}");
        } else {
            println!("{}", secret.expose());
            eprintln!(
                "This is the key of '{}'; it is not shown again. Send it as Authorization: Bearer, or as the password \
                 of Basic. It {}.",
                self.name,
                expires_at.map_or("does not expire".to_owned(), |at| format!("expires at {}", time(at)))
            );
        }
        Ok(())
    }
}

impl List {
    async fn run(self) -> anyhow::Result<()> {
        let keys = api_key::list(&open(&self.database).await?, self.all).await?;
        if self.json {
            println!("{}", json_line(&Value::Array(keys.iter().map(body).collect())));
            return Ok(());
        }
        println!("{:13}  {:24} {:8} {:17} {:17} PERMISSIONS", "PREFIX", "NAME", "STATE", "LAST USED", "EXPIRES");
        for key in keys {
            let at = |time: Option<DateTime<Utc>>| {
                time.map_or_else(|| "never".to_owned(), |time| time.format("%Y-%m-%d %H:%MZ").to_string())
            };
            println!(
                "{:13}  {:24} {:8} {:17} {:17} {}{}",
                key.prefix,
                visible(&key.name),
                key.state,
                at(key.last_used_at),
                at(key.expires_at),
                visible(&key.permissions.join(" ")),
                key.projects.map_or_else(String::new, |projects| format!(" in {}", counted(projects.len(), "project")))
            );
        }
        Ok(())
    }
}

impl Revoke {
    async fn run(self) -> anyhow::Result<()> {
        let pool = open(&self.database).await?;
        let mut transaction = pool.begin().await?;
        let revoked = api_key::revoke(&mut *transaction, &self.key, None).await?;
        for prefix in &revoked {
            note(&mut transaction, "revokeKey", prefix, json!({})).await?;
        }
        transaction.commit().await?;
        if revoked.is_empty() && !api_key::is_known(&pool, &self.key).await? {
            bail!("there is no key '{}'; `key list --all` shows all keys", self.key);
        }
        if self.json {
            println!("{}", json!({"Revoked": revoked}));
        } else if revoked.is_empty() {
            println!("The key was already revoked.");
        } else {
            println!("Revoked {}. Every API refuses it within a few seconds.", revoked.join(", "));
        }
        Ok(())
    }
}

/// Writes down what the database's user does.
async fn note(transaction: &mut PgConnection, deed: &str, prefix: &str, details: Value) -> anyhow::Result<()> {
    let user: String = sqlx::query_scalar("SELECT session_user::text").fetch_one(&mut *transaction).await?;
    let deed = AuditEntry {
        who: format!("database:{user}"),
        address: None,
        deed: deed.to_owned(),
        target: Some(prefix.to_owned()),
        details: Some(details),
    };
    Ok(record(transaction, &[deed]).await?)
}

fn time(at: DateTime<Utc>) -> String {
    at.format("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn body(key: &ApiKey) -> Value {
    json!({
        "Prefix": key.prefix, "Name": key.name, "State": key.state, "Permissions": key.permissions,
        "Projects": key.projects, "CreatedAt": time(key.created_at), "CreatedBy": key.created_by,
        "ExpiresAt": key.expires_at.map(time), "LastUsedAt": key.last_used_at.map(time),
        "RevokedAt": key.revoked_at.map(time), "RevokedBy": key.revoked_by,
    })
}
