//! The database roles, and what each may do (docs/database-roles.md).

use sqlx::{AssertSqlSafe, PgConnection, PgPool};

/// Owns everything and migrates.
pub const OWNER: &str = "longhaul_owner";

/// The roles: groups without login, which an administrator grants to the logins of
/// processes and people. They belong to the whole server, so their names are fixed and
/// several databases share them; which database a login may enter is CONNECT's matter.
pub const ROLES: [&str; 5] = [OWNER, "longhaul_api", "longhaul_worker", "longhaul_reader", "longhaul_tenant_reader"];

/// What each role may do with the queue's tables: statements for [`establish`].
pub const QUEUE_GRANTS: &str = include_str!("../../migrations/roles/queue.sql");

/// Makes the roles that there are not. Another database's migration may make them at
/// the same moment.
pub const CREATE_ROLES: &str = "
DO $$
DECLARE
    wanted text;
BEGIN
    FOREACH wanted IN ARRAY ARRAY['longhaul_owner', 'longhaul_api', 'longhaul_worker', 'longhaul_reader', 'longhaul_tenant_reader'] LOOP
        CONTINUE WHEN to_regrole(wanted) IS NOT NULL;
        BEGIN
            EXECUTE format('CREATE ROLE %I NOLOGIN', wanted);
        EXCEPTION WHEN duplicate_object OR unique_violation THEN
            NULL;
        END;
    END LOOP;
END
$$;";

/// Gives the database to `longhaul_owner`: what comes later may be migrated by whoever
/// has that role. For an administrator. In schema `search`, where workers of earlier
/// releases made tables, only what is known by its name is touched: a function of a
/// worker's making would get the owner's rights, and so would whatever hangs on a table.
pub const HAND_OVER: &str = "
DO $$
DECLARE
    ours CONSTANT oid[] := ARRAY(SELECT n.oid FROM pg_namespace n WHERE n.nspname IN ('longhaul', 'records', 'search'));
    searching CONSTANT oid := to_regnamespace('search');
    statement text;
BEGIN
    EXECUTE format('GRANT CREATE ON DATABASE %I TO longhaul_owner', current_database());
    -- Nothing is hung on a table between the look at it and its change of hands.
    FOR statement IN
        SELECT format('LOCK TABLE %s IN ACCESS EXCLUSIVE MODE', c.oid::regclass) FROM pg_class c
         WHERE c.relnamespace = searching AND c.relkind = 'r' AND c.relname ~ '^document_[0-9]+$' ORDER BY c.oid
    LOOP
        EXECUTE statement;
    END LOOP;
    FOR statement IN
        SELECT format('ALTER SCHEMA %I OWNER TO longhaul_owner', n.nspname) FROM pg_namespace n WHERE n.oid = ANY (ours)
        UNION ALL
        -- Indexes, and sequences of identity columns, go with their tables.
        SELECT format('ALTER %s %s OWNER TO longhaul_owner', CASE c.relkind WHEN 'v' THEN 'VIEW' ELSE 'TABLE' END, c.oid::regclass)
          FROM pg_class c
         WHERE c.relnamespace = ANY (ours) AND c.relkind IN ('r', 'v')
           AND (c.relnamespace IS DISTINCT FROM searching
                OR c.oid IN (to_regclass('search.analyzer'), to_regclass('search.build'), to_regclass('search.index')))
        UNION ALL
        SELECT format(document.statement, c.oid::regclass)
          FROM pg_class c
         CROSS JOIN (VALUES (1, 'ALTER TABLE %s OWNER TO longhaul_owner'), (2, 'GRANT SELECT ON TABLE %s TO longhaul_api'),
                            (3, 'GRANT SELECT, INSERT ON TABLE %s TO longhaul_worker')) AS document(step, statement)
         WHERE c.relnamespace = searching AND c.relkind = 'r' AND c.relname ~ '^document_[0-9]+$'
           AND NOT (c.relhasrules OR c.relhastriggers OR c.relrowsecurity OR c.relispartition)
           AND c.reloftype = 0
           -- Nothing but these columns, as they are.
           AND ARRAY(SELECT format('%s %s', a.attname, a.atttypid::oid) FROM pg_attribute a
                      WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum)
               = ARRAY[format('entity_id %s', 'pg_catalog.uuid'::regtype::oid), format('tsv %s', 'pg_catalog.tsvector'::regtype::oid)]
           -- Whoever reads a table reads its children, and plans with their constraints and indexes.
           AND NOT EXISTS (SELECT FROM pg_inherits h WHERE c.oid IN (h.inhrelid, h.inhparent))
           AND NOT EXISTS (SELECT FROM pg_statistic_ext x WHERE x.stxrelid = c.oid)
           AND NOT EXISTS (SELECT FROM pg_policy p WHERE p.polrelid = c.oid)
           AND NOT EXISTS (SELECT FROM pg_attrdef d WHERE d.adrelid = c.oid)
           AND NOT EXISTS (SELECT FROM pg_constraint k WHERE k.conrelid = c.oid AND k.contype = 'c')
           AND NOT EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND (i.indexprs IS NOT NULL OR i.indpred IS NOT NULL))
        UNION ALL
        SELECT format('ALTER TYPE %s OWNER TO longhaul_owner', t.oid::regtype)
          FROM pg_type t WHERE t.typnamespace = ANY (ours) AND t.typnamespace IS DISTINCT FROM searching AND t.typtype = 'e'
        UNION ALL
        SELECT format('ALTER FUNCTION %s OWNER TO longhaul_owner', p.oid::regprocedure)
          FROM pg_proc p
         WHERE p.pronamespace = ANY (ours)
           AND (p.pronamespace IS DISTINCT FROM searching
                OR p.oid IN (to_regprocedure('search.hand_over(regclass)'), to_regprocedure('search.make_document(bigint)'),
                             to_regprocedure('search.tend_document(bigint, boolean)'),
                             to_regprocedure('search.use_document(bigint)'), to_regprocedure('search.drop_document(bigint)')))
    LOOP
        EXECUTE statement;
    END LOOP;
END
$$;";

/// Everything that makes the roles and lets them do what they need, as one script for
/// an administrator: in a new database before its first migration, in an older one at
/// any time. `grants` are [`QUEUE_GRANTS`] and those of a program's own tables.
#[must_use]
pub fn script(grants: &[&str], migrated: bool) -> String {
    let granted = if migrated { grants.join("\n") } else { String::new() };
    format!("BEGIN;\n{CREATE_ROLES}\n{HAND_OVER}\n{granted}\nCOMMIT;\n")
}

/// What [`establish`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Established {
    /// Every role may do what it needs.
    Granted,
    /// These are not there, and this login may not make them.
    Missing(Vec<&'static str>),
}

/// Makes the roles, if this login may, and grants them what `grants` say, if that has
/// changed. Safe from several places at once.
///
/// # Errors
/// If the database does not answer, or this login does not own what it grants.
pub async fn establish(pool: &PgPool, grants: &[&str]) -> sqlx::Result<Established> {
    let mut transaction = pool.begin().await?;
    sqlx::query("SELECT pg_advisory_xact_lock(hashtextextended('longhaul.roles', 0))")
        .execute(&mut *transaction)
        .await?;
    if !missing(&mut transaction).await?.is_empty() {
        let may_create: bool = sqlx::query_scalar(
            "SELECT rolsuper OR rolcreaterole FROM pg_catalog.pg_roles WHERE rolname = current_user",
        )
        .fetch_one(&mut *transaction)
        .await?;
        if may_create {
            sqlx::raw_sql(CREATE_ROLES).execute(&mut *transaction).await?;
        }
        let missing = missing(&mut transaction).await?;
        if !missing.is_empty() {
            return Ok(Established::Missing(missing));
        }
    }
    let grants = grants.join("\n");
    // Roles that were made anew, or a table that was, have what they had no more.
    let digest: String = sqlx::query_scalar(
        "SELECT md5($1 || (SELECT string_agg(r.oid::text, ',' ORDER BY r.oid) FROM pg_catalog.pg_roles r WHERE r.rolname = ANY ($2))
                       || (SELECT string_agg(o.oid::text, ',' ORDER BY o.oid)
                             FROM (SELECT c.oid, c.relnamespace AS namespace FROM pg_catalog.pg_class c WHERE c.relkind IN ('r', 'v')
                                   UNION ALL
                                   SELECT p.oid, p.pronamespace FROM pg_catalog.pg_proc p) AS o
                             JOIN pg_catalog.pg_namespace n ON n.oid = o.namespace
                            WHERE n.nspname IN ('longhaul', 'records')))",
    )
    .bind(&grants)
    .bind(ROLES.as_slice())
    .fetch_one(&mut *transaction)
    .await?;
    let known: bool = sqlx::query_scalar("SELECT EXISTS (SELECT FROM longhaul.granted WHERE digest = $1)")
        .bind(&digest)
        .fetch_one(&mut *transaction)
        .await?;
    if !known {
        sqlx::raw_sql(AssertSqlSafe(grants)).execute(&mut *transaction).await?;
        sqlx::query("DELETE FROM longhaul.granted").execute(&mut *transaction).await?;
        sqlx::query("INSERT INTO longhaul.granted (digest) VALUES ($1)")
            .bind(&digest)
            .execute(&mut *transaction)
            .await?;
    }
    transaction.commit().await?;
    Ok(Established::Granted)
}

async fn missing(connection: &mut PgConnection) -> sqlx::Result<Vec<&'static str>> {
    let known: Vec<String> =
        sqlx::query_scalar("SELECT rolname::text FROM pg_catalog.pg_roles WHERE rolname = ANY ($1)")
            .bind(ROLES.as_slice())
            .fetch_all(connection)
            .await?;
    Ok(ROLES.into_iter().filter(|role| !known.iter().any(|name| name == role)).collect())
}

/// Lets the rest of a session own what it makes as `longhaul_owner` does, if that role
/// owns the queue's schema or may make it, and this login has the role.
pub(super) async fn become_owner(connection: &mut PgConnection) -> sqlx::Result<()> {
    sqlx::query(
        "SELECT set_config('role', r.rolname::text, false)
           FROM pg_catalog.pg_roles r
           LEFT JOIN pg_catalog.pg_namespace n ON n.nspname = 'longhaul'
          WHERE r.rolname = $1 AND pg_has_role(session_user, r.oid, 'MEMBER')
            AND CASE WHEN n.oid IS NULL THEN has_database_privilege(r.oid, current_database(), 'CREATE')
                     ELSE n.nspowner = r.oid END",
    )
    .bind(OWNER)
    .execute(connection)
    .await?;
    Ok(())
}
