//! Logins with nothing but a database role.

use longhaul_model::store::roles;
use sqlx::{AssertSqlSafe, PgPool};
use uuid::Uuid;

/// Addresses of a database, each with the login of one database role.
pub struct Logins {
    /// `longhaul_api`.
    pub api: String,
    /// `longhaul_worker`.
    pub worker: String,
    /// `longhaul_owner`.
    pub owner: String,
    /// `longhaul_reader`.
    pub reader: String,
    /// `longhaul_tenant_reader`.
    pub tenant_reader: String,
}

const PASSWORD: &str = "only-for-tests";

/// Logins belong to the server, so all tests share them. What tests make in schema
/// `public`, for their own handlers, is open to all.
const LOGINS: &str = "
DO $$
DECLARE
    role text;
BEGIN
    FOREACH role IN ARRAY ARRAY['longhaul_owner', 'longhaul_api', 'longhaul_worker', 'longhaul_reader', 'longhaul_tenant_reader'] LOOP
        CONTINUE WHEN to_regrole('test_' || role) IS NOT NULL AND pg_has_role('test_' || role, role, 'MEMBER');
        BEGIN
            EXECUTE format('CREATE ROLE %I LOGIN PASSWORD %L IN ROLE %I', 'test_' || role, 'only-for-tests', role);
        EXCEPTION WHEN duplicate_object OR unique_violation THEN
            NULL;
        END;
    END LOOP;
END
$$;
GRANT CREATE ON SCHEMA public TO longhaul_worker, longhaul_api;
GRANT ALL ON ALL TABLES IN SCHEMA public TO longhaul_worker, longhaul_api;
GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO longhaul_worker, longhaul_api;
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT ALL ON TABLES TO longhaul_worker, longhaul_api;
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT ALL ON SEQUENCES TO longhaul_worker, longhaul_api;";

impl Logins {
    /// Makes them, on the server of the database at `url`.
    pub async fn make(pool: &PgPool, url: &str) -> Self {
        // Two stages may play on one database.
        let mut transaction = pool.begin().await.expect("the database answers");
        sqlx::query("SELECT pg_advisory_xact_lock(7)").execute(&mut *transaction).await.expect("a lock");
        sqlx::raw_sql(LOGINS).execute(&mut *transaction).await.expect("the logins can be made");
        transaction.commit().await.expect("a commit");
        let as_role = |role: &str| with_login(url, &format!("test_{role}"));
        Self {
            api: as_role("longhaul_api"),
            worker: as_role("longhaul_worker"),
            owner: as_role(roles::OWNER),
            reader: as_role("longhaul_reader"),
            tenant_reader: as_role("longhaul_tenant_reader"),
        }
    }

    /// A login of its own for one test, with `longhaul_tenant_reader` and nothing else;
    /// its address.
    pub async fn another_tenant_reader(pool: &PgPool, url: &str, name: &str) -> String {
        let sql = format!(
            "DO $$ BEGIN CREATE ROLE {name} LOGIN PASSWORD '{PASSWORD}' IN ROLE longhaul_tenant_reader;
             EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$"
        );
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(pool).await.expect("the login can be made");
        with_login(url, name)
    }
}

/// A login of an application, which may call the functions that store, cancel and retry
/// tasks and has no other right.
pub struct Application {
    /// The role's name.
    pub name: String,
    /// The database's address for it.
    pub url: String,
}

impl Application {
    /// A new one, on the server of the database at `url`.
    pub async fn make(pool: &PgPool, url: &str) -> Self {
        Self::named(pool, url, &format!("app_{}", Uuid::now_v7().simple())).await
    }

    /// The same of this name, which no other test may use.
    pub async fn named(pool: &PgPool, url: &str, name: &str) -> Self {
        let role = name.replace('"', "\"\"");
        let sql = format!(
            "CREATE ROLE \"{role}\" LOGIN PASSWORD '{PASSWORD}';
             GRANT USAGE ON SCHEMA longhaul TO \"{role}\";
             GRANT EXECUTE ON FUNCTION longhaul.enqueue, longhaul.enqueue_after, longhaul.enqueue_batch,
                 longhaul.cancel(uuid), longhaul.retry(uuid) TO \"{role}\""
        );
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(pool).await.expect("the login can be made");
        let encoded: String = name.bytes().map(|byte| format!("%{byte:02X}")).collect();
        Self { name: name.to_owned(), url: with_login(url, &encoded) }
    }

    /// Removes it.
    pub async fn remove(self, pool: &PgPool) {
        let role = self.name.replace('"', "\"\"");
        let sql = format!("DROP OWNED BY \"{role}\"; DROP ROLE \"{role}\"");
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(pool).await.expect("the login can be removed");
    }
}

/// The same address for another login.
fn with_login(url: &str, name: &str) -> String {
    let (scheme, rest) = url.split_once("://").expect("an address");
    let host = rest.split_once('@').map_or(rest, |(_, host)| host);
    format!("{scheme}://{name}:{PASSWORD}@{host}")
}
