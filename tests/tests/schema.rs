//! The schema, written down: a change to it must be seen in a diff.

use std::path::Path;

use longhaul_tests::Stage;

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
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../migrations/schema.txt");
    if std::env::var_os("LONGHAUL_BLESS").is_some() {
        std::fs::write(&path, &now).expect("a writable file");
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == now,
        "migrations/schema.txt is out of date: run LONGHAUL_BLESS=1 cargo test -p longhaul-tests --test schema"
    );
}
