//! The schema, written down: a change to it must be seen in a diff.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use longhaul_model::store::current::{self, State};
use longhaul_model::store::findings::{Examination, Level};
use longhaul_model::store::migrate::{QUEUE, is_current, run};
use longhaul_tests::Stage;
use sqlx::{AssertSqlSafe, PgConnection};

/// Everything that a migration can make, one line each, the same on every
/// PostgreSQL version.
const DUMP: &str = "
    SELECT line FROM (
        SELECT 1 AS part, n.nspname, t.typname AS name, 0 AS place,
               format('enum %s.%s: %s', n.nspname, t.typname, string_agg(e.enumlabel, ', ' ORDER BY e.enumsortorder)) AS line
          FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace JOIN pg_enum e ON e.enumtypid = t.oid
         GROUP BY n.nspname, t.typname
        UNION ALL
        SELECT 2, n.nspname, c.relname, a.attnum,
               format('%s %s.%s %s %s%s%s%s', CASE c.relkind WHEN 'v' THEN 'view' ELSE 'table' END, n.nspname, c.relname,
                      a.attname, format_type(a.atttypid, a.atttypmod), CASE WHEN a.attnotnull THEN ' not null' ELSE '' END,
                      CASE a.attidentity WHEN 'a' THEN ' identity' ELSE '' END,
                      coalesce(' default ' || pg_get_expr(d.adbin, d.adrelid), ''))
          FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
          JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
          LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
         WHERE c.relkind IN ('r', 'p', 'v') AND c.relname <> 'migration'
        UNION ALL
        SELECT 3, n.nspname, c.relname, 0, format('storage %s.%s %s', n.nspname, c.relname, array_to_string(c.reloptions, ' '))
          FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
         WHERE c.relkind = 'r' AND c.reloptions IS NOT NULL
        UNION ALL
        SELECT 4, n.nspname, k.conname, 0, format('constraint %s.%s %s: %s', n.nspname, c.relname, k.conname, pg_get_constraintdef(k.oid))
          FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace
         WHERE c.relname <> 'migration' AND k.contype <> 'n'
        UNION ALL
        SELECT 5, n.nspname, i.relname, 0, format('index %s', pg_get_indexdef(i.oid))
          FROM pg_class i JOIN pg_namespace n ON n.oid = i.relnamespace JOIN pg_index x ON x.indexrelid = i.oid
          JOIN pg_class c ON c.oid = x.indrelid
         WHERE c.relkind = 'r' AND c.relname <> 'migration'
        UNION ALL
        SELECT 6, n.nspname, p.proname, 0, format('function %s.%s(%s) returns %s', n.nspname, p.proname, pg_get_function_arguments(p.oid), pg_get_function_result(p.oid))
          FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
        UNION ALL
        SELECT 7, n.nspname, g.tgname, 0, format('trigger %s', pg_get_triggerdef(g.oid))
          FROM pg_trigger g JOIN pg_class c ON c.oid = g.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace
         WHERE NOT g.tgisinternal
    ) AS everything
    WHERE nspname IN ('longhaul', 'records', 'search')
    ORDER BY nspname COLLATE \"C\", part, name COLLATE \"C\", place, line COLLATE \"C\"";

#[tokio::test]
async fn the_schema_is_the_one_that_is_written_down() {
    let stage = Stage::new().await;
    let lines: Vec<String> = sqlx::query_scalar(DUMP).fetch_all(&stage.pool).await.expect("a dump");
    let now = lines.join("\n") + "\n";
    let path = migrations().join("schema.txt");
    if std::env::var_os("LONGHAUL_BLESS").is_some() {
        std::fs::write(&path, &now).expect("a writable file");
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == now,
        "migrations/schema.txt is out of date: run LONGHAUL_BLESS=1 cargo test -p longhaul-tests --test suite schema::"
    );
}

fn migrations() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../migrations")
}

#[test]
fn a_change_of_functions_or_views_has_an_edition_of_its_own() {
    let digest = current::digest();
    if digest != current::edition_digest() && std::env::var_os("LONGHAUL_BLESS").is_some() {
        let next = format!("{} {digest}\n", current::edition() + 1);
        std::fs::write(migrations().join("current/edition"), next).expect("a writable file");
        return;
    }
    assert_eq!(
        digest,
        current::edition_digest(),
        "migrations/current/edition is out of date: run LONGHAUL_BLESS=1 cargo test -p longhaul-tests --test suite schema::"
    );
}

/// Migrations up to here made functions and views themselves, and never change.
const LAST_WITH_FUNCTIONS: i64 = 20_261_128_235_959;

#[test]
fn later_migrations_make_no_functions_and_views() {
    let mut looked_at = 0;
    for migration in QUEUE.iter().filter(|migration| migration.version > LAST_WITH_FUNCTIONS) {
        looked_at += 1;
        let code: Vec<&str> =
            migration.sql.as_str().lines().map(|line| line.split("--").next().unwrap_or_default()).collect();
        let words: Vec<String> = code.join(" ").split_whitespace().map(str::to_uppercase).collect();
        for (place, word) in words.iter().enumerate().filter(|(_, word)| *word == "FUNCTION" || *word == "VIEW") {
            let before = &words[place.saturating_sub(4)..place];
            assert!(
                !before.iter().any(|word| word == "CREATE" || word == "REPLACE"),
                "{}: a {word} belongs into migrations/current",
                migration.version
            );
        }
    }
    assert!(looked_at > 0, "there are later migrations");
}

/// What there is: by its name what it is made of, and whether everyone may call it.
async fn functions_and_views(connection: &mut PgConnection) -> BTreeMap<String, String> {
    let rows: Vec<(String, String)> = sqlx::query_as(
        "SELECT 'functions/' || p.proname || ' ' || p.oid::regprocedure,
                pg_get_functiondef(p.oid) || coalesce(obj_description(p.oid, 'pg_proc'), '')
                    || EXISTS (SELECT FROM aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a WHERE a.grantee = 0)
           FROM pg_proc p WHERE p.pronamespace = 'longhaul'::regnamespace
         UNION ALL
         SELECT 'views/' || c.relname || ' ' || c.relname,
                pg_get_viewdef(c.oid) || coalesce(c.reloptions::text, '') || coalesce(obj_description(c.oid, 'pg_class'), '')
           FROM pg_class c WHERE c.relnamespace = 'longhaul'::regnamespace AND c.relkind = 'v'",
    )
    .fetch_all(connection)
    .await
    .expect("functions and views");
    rows.into_iter().collect()
}

#[tokio::test]
async fn the_files_of_functions_and_views_make_all_of_them_each_under_its_name() {
    let stage = Stage::new().await;
    let mut transaction = stage.pool.begin().await.expect("a transaction");
    let before = functions_and_views(&mut transaction).await;
    let mut files: Vec<String> = Vec::new();
    for (name, _) in current::all() {
        let name = name.trim_end_matches(".sql");
        // Views have a number, for their order.
        files.push(match name.split_once("views/") {
            Some((_, view)) => format!("views/{}", view.split_once('_').expect("a number").1),
            None => name.to_owned(),
        });
    }
    for name in before.keys() {
        let file = name.split(' ').next().expect("a name");
        assert!(files.iter().any(|one| one == file), "{name} has no file of its name");
    }
    sqlx::raw_sql(
        "DO $$
         DECLARE one record;
         BEGIN
             FOR one IN SELECT c.oid::regclass AS name FROM pg_class c WHERE c.relnamespace = 'longhaul'::regnamespace AND c.relkind = 'v' LOOP
                 IF EXISTS (SELECT FROM pg_class c WHERE c.oid = one.name) THEN
                     EXECUTE format('DROP VIEW %s CASCADE', one.name);
                 END IF;
             END LOOP;
             FOR one IN SELECT p.oid::regprocedure AS name FROM pg_proc p WHERE p.pronamespace = 'longhaul'::regnamespace LOOP
                 IF EXISTS (SELECT FROM pg_proc p WHERE p.oid = one.name) THEN
                     EXECUTE format('DROP FUNCTION %s CASCADE', one.name);
                 END IF;
             END LOOP;
         END
         $$",
    )
    .execute(&mut *transaction)
    .await
    .expect("none is left");
    assert!(functions_and_views(&mut transaction).await.is_empty());
    // The second time with bodies looked at, as all that they call is there.
    for look_at_bodies in ["off", "on"] {
        let set = format!("SET LOCAL check_function_bodies = {look_at_bodies}");
        sqlx::raw_sql(AssertSqlSafe(set)).execute(&mut *transaction).await.expect("set");
        for (name, sql) in current::all() {
            sqlx::raw_sql(sql).execute(&mut *transaction).await.unwrap_or_else(|error| panic!("{name}: {error}"));
        }
    }
    let after = functions_and_views(&mut transaction).await;
    assert_eq!(before.keys().collect::<Vec<_>>(), after.keys().collect::<Vec<_>>());
    for (name, definition) in &before {
        assert_eq!(Some(definition), after.get(name), "{name}");
    }
    assert_eq!(
        files.len() - 1,
        before.keys().map(|name| name.split(' ').next()).collect::<std::collections::BTreeSet<_>>().len(),
        "a file is of nothing that there is"
    );
    transaction.rollback().await.expect("the end");
}

#[tokio::test]
async fn a_changed_function_is_applied_again_and_that_of_a_later_program_is_left_alone() {
    let stage = Stage::new().await;
    let replace = "CREATE OR REPLACE FUNCTION longhaul.is_by(created_by text, maker text) RETURNS boolean
                   LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$ SELECT true $$";
    let is_replaced = async || -> bool {
        sqlx::query_scalar("SELECT longhaul.is_by('a', 'b')").fetch_one(&stage.pool).await.expect("an answer")
    };
    let apply = async |sql: &'static str| {
        sqlx::raw_sql(replace).execute(&stage.pool).await.expect("replaced");
        sqlx::raw_sql(sql).execute(&stage.pool).await.expect("written down");
    };
    let findings = async || {
        let report = Examination::new("longhaul", vec![&QUEUE]).run(&stage.pool).await.expect("a report");
        let finding =
            report.findings.into_iter().find(|finding| finding.check == "migrations").expect("it was looked at");
        (finding.level, finding.says)
    };
    assert!(is_current(&stage.pool, &QUEUE).await.expect("an answer"));
    assert_eq!(findings().await.0, Level::Ok);

    apply("UPDATE longhaul.current SET digest = 'another' WHERE file = 'functions/is_by.sql'").await;
    assert!(is_replaced().await);
    assert!(!is_current(&stage.pool, &QUEUE).await.expect("an answer"));
    let (level, says) = findings().await;
    assert_eq!(level, Level::Problem);
    assert!(says.starts_with("1 files"), "{says}");
    run(&stage.pool).await.expect("it is applied");
    assert!(!is_replaced().await);
    assert!(is_current(&stage.pool, &QUEUE).await.expect("an answer"));

    apply("UPDATE longhaul.current SET digest = 'later', edition = 1000000 WHERE file = 'functions/is_by.sql'").await;
    assert!(is_current(&stage.pool, &QUEUE).await.expect("an answer"));
    assert_eq!(findings().await.0, Level::Warning);
    let refused = run(&stage.pool).await.expect_err("an earlier program leaves them alone");
    assert!(refused.to_string().contains("later program"), "{refused}");
    assert!(is_replaced().await);
    assert_eq!(
        current::state(&mut stage.pool.acquire().await.expect("a connection")).await.expect("an answer"),
        State::Newer
    );
}
