//! What a stolen login of each database role can do: a table in docs/database-roles.md,
//! which is what the database says.

use std::collections::BTreeMap;
use std::path::Path;

use longhaul_tests::{Application, Stage, quick_worker};
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};

const ROLES: [&str; 4] = ["longhaul_api", "longhaul_worker", "longhaul_reader", "longhaul_tenant_reader"];

/// A row for every table, view, sequence, type and function, with a cell for each role.
const TABLE: &str = "
    SELECT format('| `%s` | %s |', o.name, string_agg(coalesce(nullif(o.may, ''), '–'), ' | ' ORDER BY o.place))
      FROM (
        SELECT 1 AS part, regexp_replace(c.oid::regclass::text, '^search.document_[0-9]+$', 'search.document_N') AS name, r.place,
               concat_ws(', ',
                   CASE WHEN has_table_privilege(r.role, c.oid, 'SELECT') THEN 'read' END,
                   CASE WHEN has_table_privilege(r.role, c.oid, 'INSERT') THEN 'add'
                        WHEN has_any_column_privilege(r.role, c.oid, 'INSERT') THEN 'add with ' || columns.added END,
                   CASE WHEN has_table_privilege(r.role, c.oid, 'UPDATE') THEN 'change'
                        WHEN has_any_column_privilege(r.role, c.oid, 'UPDATE') THEN 'change ' || columns.changed END,
                   CASE WHEN has_table_privilege(r.role, c.oid, 'DELETE') THEN 'remove' END,
                   CASE WHEN has_table_privilege(r.role, c.oid, 'TRUNCATE, REFERENCES, TRIGGER') THEN 'EMPTY OR ALTER' END) AS may
          FROM pg_class c
         CROSS JOIN unnest($1::text[]) WITH ORDINALITY AS r(role, place)
         CROSS JOIN LATERAL (
             SELECT string_agg(format('`%s`', a.attname), ' ' ORDER BY a.attnum) FILTER (WHERE has_column_privilege(r.role, c.oid, a.attnum, 'INSERT')) AS added,
                    string_agg(format('`%s`', a.attname), ' ' ORDER BY a.attnum) FILTER (WHERE has_column_privilege(r.role, c.oid, a.attnum, 'UPDATE')) AS changed
               FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped) AS columns
         WHERE c.relnamespace IN ('longhaul'::regnamespace, 'records'::regnamespace, 'search'::regnamespace)
           AND c.relkind IN ('r', 'v', 'p', 'm')
        UNION ALL
        SELECT 2, c.oid::regclass::text, r.place,
               concat_ws(', ', CASE WHEN has_sequence_privilege(r.role, c.oid, 'SELECT') THEN 'read' END,
                               CASE WHEN has_sequence_privilege(r.role, c.oid, 'USAGE') THEN 'take a number' END,
                               CASE WHEN has_sequence_privilege(r.role, c.oid, 'UPDATE') THEN 'SET' END)
          FROM pg_class c
         CROSS JOIN unnest($1::text[]) WITH ORDINALITY AS r(role, place)
         WHERE c.relnamespace IN ('longhaul'::regnamespace, 'records'::regnamespace, 'search'::regnamespace) AND c.relkind = 'S'
        UNION ALL
        -- Not those of tables, nor of lists.
        SELECT 3, 'type ' || t.oid::regtype::text, r.place, CASE WHEN has_type_privilege(r.role, t.oid, 'USAGE') THEN 'use' END
          FROM pg_type t LEFT JOIN pg_class c ON c.oid = t.typrelid
         CROSS JOIN unnest($1::text[]) WITH ORDINALITY AS r(role, place)
         WHERE t.typnamespace IN ('longhaul'::regnamespace, 'records'::regnamespace, 'search'::regnamespace)
           AND t.typelem = 0 AND coalesce(c.relkind, 'c') = 'c'
        UNION ALL
        SELECT 4, format('%s.%s()', p.pronamespace::regnamespace, p.proname), r.place,
               string_agg(DISTINCT CASE WHEN has_function_privilege(r.role, p.oid, 'EXECUTE') AND has_schema_privilege(r.role, p.pronamespace, 'USAGE') THEN 'call' || CASE WHEN p.prosecdef THEN '' ELSE ', with its own rights' END END, '; ')
          FROM pg_proc p
         CROSS JOIN unnest($1::text[]) WITH ORDINALITY AS r(role, place)
         WHERE p.pronamespace IN ('longhaul'::regnamespace, 'records'::regnamespace, 'search'::regnamespace)
           AND p.prorettype <> 'trigger'::regtype
         GROUP BY p.pronamespace, p.proname, r.role, r.place
      ) AS o
     GROUP BY o.part, o.name HAVING bool_or(o.may <> '')
     ORDER BY o.part, o.name COLLATE \"C\"";

/// A table of a search index, as a worker has it made.
async fn make_document(stage: &Stage) {
    let mut worker = PgConnection::connect(&stage.logins().worker).await.expect("the login works");
    sqlx::query(
        "WITH build AS (INSERT INTO search.build (project_id, task_id) VALUES (gen_random_uuid(), gen_random_uuid()) RETURNING index_id)
         SELECT count(*) FROM build",
    )
    .execute(&mut worker)
    .await
    .expect("a build");
    sqlx::query("SELECT search.make_document(index_id) FROM search.build").execute(&mut worker).await.expect("a table");
}

/// With `LONGHAUL_BLESS=1` the table is written anew: read what changes.
#[tokio::test]
async fn the_table_of_what_roles_may_do_is_what_they_may_do() {
    let stage = Stage::new().await;
    make_document(&stage).await;
    let rows: Vec<String> = sqlx::query_scalar(TABLE).bind(ROLES).fetch_all(&stage.pool).await.expect("rights");
    let heading =
        format!("| what | {} |\n| --- | --- | --- | --- | --- |\n", ROLES.map(|role| format!("`{role}`")).join(" | "));
    let table = format!("{heading}{}\n", rows.join("\n"));
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/database-roles.md");
    let text = std::fs::read_to_string(&path).expect("docs/database-roles.md");
    let (before, rest) = text.split_once("<!-- rights -->\n").expect("a mark where the table begins");
    let (_, after) = rest.split_once("<!-- /rights -->").expect("a mark where the table ends");
    let right = format!("{before}<!-- rights -->\n{table}<!-- /rights -->{after}");
    if std::env::var_os("LONGHAUL_BLESS").is_some() {
        std::fs::write(&path, &right).expect("written");
    }
    let written = std::fs::read_to_string(&path).expect("docs/database-roles.md");
    assert!(written == right, "the table of docs/database-roles.md is not the roles'; bless it with LONGHAUL_BLESS=1");
}

/// What the table of docs/database-roles.md permits, by what and role.
fn permitted() -> BTreeMap<String, Vec<String>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/database-roles.md");
    let text = std::fs::read_to_string(path).expect("docs/database-roles.md");
    let table = text.split("<!-- rights -->").nth(1).and_then(|rest| rest.split("<!-- /rights -->").next());
    let cells =
        |line: &str| -> Vec<String> { line.trim_matches('|').split(" | ").map(|c| c.trim().to_owned()).collect() };
    let rows = table.expect("the table").lines().filter(|line| line.starts_with("| `")).map(cells);
    rows.map(|mut row| (row.remove(0).trim_matches('`').to_owned(), row)).collect()
}

/// Whether a cell permits this verb, with this column.
fn permits(cell: &str, verb: &str, column: &str) -> bool {
    cell.split(", ").any(|right| match right.strip_prefix(verb) {
        Some("") => true,
        Some(columns) => columns.split_whitespace().any(|listed| listed.trim_matches('`') == column),
        None => false,
    })
}

/// Tries statements and undoes each; raises what was denied that may be, and the reverse. What can't be
/// done to a view is denied, too.
const TRY: &str = "
    DO $$
    DECLARE
        tried record;
        denied boolean;
        wrong text[] := '{}';
    BEGIN
        FOR tried IN SELECT * FROM jsonb_to_recordset(current_setting('test.statements')::jsonb) AS s(sql text, name text, may boolean) LOOP
            BEGIN
                EXECUTE tried.sql;
                RAISE EXCEPTION 'undone' USING ERRCODE = 'LH000';
            EXCEPTION WHEN OTHERS THEN
                denied := SQLSTATE IN ('55000', '0A000') OR SQLERRM ~ '^permission denied for schema '
                          OR (SQLERRM ~ '^permission denied for (table|view|sequence|function) ' AND SQLERRM ~ (' ' || tried.name || '$'));
            END;
            IF denied = tried.may THEN
                wrong := wrong || tried.sql;
            END IF;
        END LOOP;
        IF wrong <> '{}' THEN
            RAISE EXCEPTION 'not as the table says: %', wrong;
        END IF;
    END
    $$";

/// Tried, not asked: every statement on every table, view and sequence, with each column.
#[tokio::test]
async fn each_role_reads_and_writes_what_the_table_says_and_nothing_else() {
    let stage = Stage::new().await;
    make_document(&stage).await;
    let relations: Vec<(String, String, String, Vec<String>)> = sqlx::query_as(
        "SELECT format('%I.%I', c.relnamespace::regnamespace, c.relname), c.relname::text, c.relkind::text,
                ARRAY(SELECT a.attname::text FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped)
           FROM pg_class c
          WHERE c.relnamespace IN ('longhaul'::regnamespace, 'records'::regnamespace, 'search'::regnamespace)
            AND c.relkind IN ('r', 'v', 'S')",
    )
    .fetch_all(&stage.pool)
    .await
    .expect("tables");
    let table = permitted();
    let logins = stage.logins();
    let application = Application::make(&stage.pool, stage.database_url()).await;
    let urls = [&logins.api, &logins.worker, &logins.reader, &logins.tenant_reader, &application.url];
    for (place, url) in urls.into_iter().enumerate() {
        let mut statements = Vec::new();
        for (path, name, kind, columns) in &relations {
            let row = if name.starts_with("document_") { "search.document_N" } else { path.as_str() };
            let cell = table.get(row).and_then(|cells| cells.get(place)).map_or("–", String::as_str);
            let mut attempt = |sql: String, verb: &str, column: &str| {
                statements.push(json!({"sql": sql, "name": name, "may": permits(cell, verb, column)}));
            };
            if kind == "S" {
                attempt(format!("SELECT last_value FROM {path}"), "read", "");
                attempt(format!("SELECT nextval('{path}')"), "take a number", "");
                attempt(format!("SELECT setval('{path}', 7)"), "SET", "");
                continue;
            }
            attempt(format!("SELECT * FROM {path} LIMIT 0"), "read", "");
            attempt(format!("DELETE FROM {path} WHERE false"), "remove", "");
            for column in columns {
                attempt(format!("INSERT INTO {path} (\"{column}\") VALUES (DEFAULT)"), "add", column);
                attempt(format!("UPDATE {path} SET \"{column}\" = DEFAULT WHERE false"), "change", column);
            }
        }
        assert!(statements.len() > 1_000, "{}", statements.len());
        try_all(url, statements).await;
    }
    application.remove(&stage.pool).await;
}

/// Tried, not asked: every function is called.
#[tokio::test]
async fn each_role_calls_what_the_table_says_and_nothing_else() {
    let stage = Stage::new().await;
    let functions: Vec<(String, String, String)> = sqlx::query_as(
        "SELECT format('%s.%s()', p.pronamespace::regnamespace, p.proname), p.proname::text,
                format('SELECT %I.%I(%s)', p.pronamespace::regnamespace, p.proname,
                       (SELECT string_agg(CASE WHEN p.provariadic <> 0 AND place = p.pronargs THEN 'VARIADIC ' ELSE '' END
                                          || 'NULL::' || t::regtype, ', ' ORDER BY place)
                          FROM unnest(p.proargtypes::oid[]) WITH ORDINALITY AS a(t, place)))
           FROM pg_proc p
          WHERE p.pronamespace IN ('longhaul'::regnamespace, 'records'::regnamespace, 'search'::regnamespace)
            AND p.prorettype <> 'trigger'::regtype",
    )
    .fetch_all(&stage.pool)
    .await
    .expect("functions");
    let table = permitted();
    let logins = stage.logins();
    for (place, url) in [&logins.api, &logins.worker, &logins.reader, &logins.tenant_reader].into_iter().enumerate() {
        let call = |(row, name, sql): &(String, String, String)| {
            let cell = table.get(row).and_then(|cells| cells.get(place)).map_or("–", String::as_str);
            json!({"sql": sql, "name": name, "may": cell.starts_with("call")})
        };
        let statements: Vec<Value> = functions.iter().map(call).collect();
        assert!(statements.len() > 50, "{}", statements.len());
        try_all(url, statements).await;
    }
}

/// Tries each as [`TRY`] does, over this login.
async fn try_all(url: &str, statements: Vec<Value>) {
    let mut connection = PgConnection::connect(url).await.expect("the login works");
    sqlx::query("SELECT set_config('test.statements', $1, false)")
        .bind(Value::Array(statements).to_string())
        .execute(&mut connection)
        .await
        .expect("set");
    let tried = sqlx::raw_sql(TRY).execute(&mut connection).await;
    assert!(tried.is_ok(), "{url}: {}", tried.expect_err("refused"));
}

/// Tried, not asked: nothing can be made in any schema that is ours, nor altered.
#[tokio::test]
async fn no_role_makes_or_alters_anything() {
    let stage = Stage::new().await;
    let objects: Vec<(String, bool)> = sqlx::query_as(
        "SELECT c.oid::regclass::text, c.relkind = 'v' FROM pg_class c
          WHERE c.relnamespace IN ('longhaul'::regnamespace, 'records'::regnamespace, 'search'::regnamespace)
            AND c.relkind IN ('r', 'v')",
    )
    .fetch_all(&stage.pool)
    .await
    .expect("tables");
    let functions: Vec<String> = sqlx::query_scalar(
        "SELECT p.oid::regprocedure::text FROM pg_proc p
          WHERE p.pronamespace IN ('longhaul'::regnamespace, 'records'::regnamespace, 'search'::regnamespace)",
    )
    .fetch_all(&stage.pool)
    .await
    .expect("functions");
    let mut statements = Vec::new();
    for schema in ["longhaul", "records", "search"] {
        statements.push(format!("CREATE TABLE {schema}.stolen ()"));
        statements.push(format!("CREATE VIEW {schema}.stolen AS SELECT 1"));
        statements.push(format!("CREATE SEQUENCE {schema}.stolen"));
        statements.push(format!("CREATE TYPE {schema}.stolen AS ENUM ()"));
        statements.push(format!("CREATE FUNCTION {schema}.stolen() RETURNS int LANGUAGE sql AS 'SELECT 1'"));
        statements.push(format!("ALTER SCHEMA {schema} RENAME TO stolen"));
        statements.push(format!("DROP SCHEMA {schema} CASCADE"));
    }
    statements.push("CREATE SCHEMA stolen".to_owned());
    for (name, is_view) in &objects {
        let kind = if *is_view { "VIEW" } else { "TABLE" };
        statements.push(format!("ALTER {kind} {name} RENAME TO stolen"));
        statements.push(format!("DROP {kind} {name} CASCADE"));
        if !is_view {
            statements.push(format!("TRUNCATE {name} CASCADE"));
            statements.push(format!("ALTER TABLE {name} DISABLE TRIGGER ALL"));
        }
    }
    for name in &functions {
        statements.push(format!("ALTER FUNCTION {name} SECURITY INVOKER"));
        statements.push(format!("DROP FUNCTION {name} CASCADE"));
    }
    let logins = stage.logins();
    let application = Application::make(&stage.pool, stage.database_url()).await;
    for login in [&logins.api, &logins.worker, &logins.reader, &logins.tenant_reader, &application.url] {
        let mut connection = PgConnection::connect(login).await.expect("the login works");
        for sql in &statements {
            let mut transaction = connection.begin().await.expect("a transaction");
            let done = sqlx::raw_sql(sqlx::AssertSqlSafe(sql.clone())).execute(&mut *transaction).await;
            let code = done.err().and_then(|error| error.as_database_error()?.code().map(std::borrow::Cow::into_owned));
            assert_eq!(code.as_deref(), Some("42501"), "{login}: {sql}");
            transaction.rollback().await.expect("a rollback");
        }
    }
    application.remove(&stage.pool).await;
}

/// An application's login has the functions that were granted to it and those that run with
/// its own rights, of which it has none on any table.
#[tokio::test]
async fn an_application_reads_and_writes_no_table_and_calls_what_was_granted() {
    let stage = Stage::new().await;
    let application = Application::make(&stage.pool, stage.database_url()).await;
    let tables: Vec<String> = sqlx::query_scalar(
        "SELECT c.oid::regclass::text FROM pg_class c
          WHERE c.relnamespace IN ('longhaul'::regnamespace, 'records'::regnamespace, 'search'::regnamespace)
            AND c.relkind IN ('r', 'v')
            AND (has_any_column_privilege($1, c.oid, 'SELECT, INSERT, UPDATE, REFERENCES') IS TRUE
                 OR has_table_privilege($1, c.oid, 'DELETE, TRUNCATE, TRIGGER'))",
    )
    .bind(&application.name)
    .fetch_all(&stage.pool)
    .await
    .expect("rights");
    assert_eq!(tables, [""; 0]);
    let functions: Vec<String> = sqlx::query_scalar(
        "SELECT p.oid::regproc::text FROM pg_proc p
          WHERE p.pronamespace IN ('longhaul'::regnamespace, 'records'::regnamespace, 'search'::regnamespace)
            AND p.prosecdef AND p.prorettype <> 'trigger'::regtype AND has_function_privilege($1, p.oid, 'EXECUTE')
          ORDER BY 1",
    )
    .bind(&application.name)
    .fetch_all(&stage.pool)
    .await
    .expect("rights");
    let granted = ["cancel", "enqueue", "enqueue_after", "enqueue_batch", "retry"];
    assert_eq!(functions, granted.map(|name| format!("longhaul.{name}")));
    application.remove(&stage.pool).await;
}

/// As a worker's login could while workers of an earlier release created indexes themselves.
#[tokio::test]
async fn a_search_index_that_a_worker_planted_is_not_read() {
    let stage = Stage::new().await;
    let project = uuid::Uuid::from_u128(7);
    for sql in [
        "INSERT INTO records.project (id, name) VALUES ('00000000-0000-0000-0000-000000000007', 'a project')",
        "INSERT INTO records.entity (id, project_id, kind, key, name, fields)
         VALUES (gen_random_uuid(), '00000000-0000-0000-0000-000000000007', 'Script', 'A-1', 'needle', '{}')",
        "GRANT CREATE ON SCHEMA search TO longhaul_worker",
    ] {
        sqlx::raw_sql(sql).execute(&stage.pool).await.expect(sql);
    }
    let mut worker = PgConnection::connect(&stage.logins().worker).await.expect("the login works");
    for sql in [
        "CREATE FUNCTION search.steal() RETURNS boolean LANGUAGE plpgsql AS $$
         BEGIN INSERT INTO longhaul.audit (who, deed) VALUES ('key:admin', 'stolen'); RETURN true; END $$",
        "CREATE TABLE search.document_1000000 (entity_id uuid NOT NULL, tsv tsvector NOT NULL)",
        "INSERT INTO search.document_1000000 SELECT id, 'needle'::tsvector FROM records.entity",
        "CREATE POLICY all_rows ON search.document_1000000 USING (search.steal())",
        "ALTER TABLE search.document_1000000 ENABLE ROW LEVEL SECURITY",
        "GRANT SELECT ON search.document_1000000 TO longhaul_api",
        "INSERT INTO search.index (project_id, index_id, documents)
         VALUES ('00000000-0000-0000-0000-000000000007', 1000000, 1)",
    ] {
        sqlx::raw_sql(sql).execute(&mut worker).await.expect(sql);
    }
    sqlx::raw_sql("REVOKE CREATE ON SCHEMA search FROM longhaul_worker").execute(&stage.pool).await.expect("revoked");

    for path in ["/api/search?q=needle".to_owned(), format!("/api/search?q=needle&project={project}")] {
        let (status, body) = stage.get(&path).await;
        assert_eq!((status, &body["Total"]), (200, &json!(0)), "{path}: {body}");
    }
    // Checking a query reads indexes, too, and so does counting what it finds.
    let by_query = json!({"Type": "bulkaction", "Parameters": {"Query": "needle", "Action": "Delete"}});
    let problem: Value = stage.post(&by_query).await.json().await.expect("a problem");
    assert_eq!(problem["code"], "not-indexed", "{problem}");
    let stolen: i64 = stage.value("SELECT count(*) FROM longhaul.audit WHERE deed = 'stolen'").await;
    assert_eq!(stolen, 0, "the planted table's policy ran with the API's rights");

    let _worker = stage.worker(quick_worker()).await;
    let reindex = stage.start(&json!({"Type": "Reindex"})).await;
    assert_eq!(stage.ended(&reindex).await["State"], "Succeeded");
    assert_eq!(stage.get("/api/search?q=needle").await.1["Total"], 1);
}
