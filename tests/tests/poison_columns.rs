//! The poison suite over all tables: an extreme value in each column that a person, a handler or
//! SQL can fill, and for each column that is left out, why. Nothing stops: every other task ends,
//! no service fails again and again, every page opens, and doctor tells of what was set aside.
//! Tasks' own rows are in poison.rs.

mod scene;

use std::collections::BTreeSet;

use longhaul_model::store::findings::Level;
use longhaul_tests::Stage;
use sqlx::AssertSqlSafe;

use self::scene::{NO_GUIDS, all_goes_on, busy_worker, findings, prepare};
use crate::poison::ROWS;

/// A text that no index entry holds.
const LONG: &str = "(SELECT string_agg(md5(n::text), '') FROM generate_series(1, 400) n)";
const DEEP: &str = "('{\"a\":' || repeat('[', 130) || repeat(']', 130) || '}')::jsonb";
const EVER: &str = "'infinity'";
const NEVER: &str = "'-infinity'";
const MOST: &str = "2147483647";
const LEAST: &str = "-2147483648";
const MOST_BIG: &str = "9223372036854775807";
const LEAST_BIG: &str = "-9223372036854775808";

/// A table, a column of it, and what one of its rows holds there.
type Plant = (&'static str, &'static str, &'static str);

macro_rules! plants {
    ($($table:literal { $($column:literal: $($value:expr),+;)+ })+) => {
        &[$($(($table, $column, &[$($value),+]),)+)+]
    };
}

const PLANTS: &[(&str, &str, &[&str])] = plants! {
    "longhaul.queue" {
        "paused_at": EVER, NEVER;
        "max_running": MOST;
        "max_per_key": MOST;
        "max_waiting": MOST, "-1";
        "rate_count": MOST;
        "rate_seconds": "'NaN'", "'infinity'", "1e-300", "1e300";
        "tokens": "'NaN'", "'infinity'", "'-infinity'";
        "refilled_at": EVER, NEVER;
        "last_key": LONG;
        "revision": LEAST_BIG;
        "gating": LEAST_BIG;
    }
    "longhaul.gate" {
        "tokens": "'NaN'", "'infinity'", "1e308";
        "refilled_at": EVER, NEVER;
        "closed_at": EVER, NEVER;
        "counted_at": EVER, NEVER;
        "claims_before": "ARRAY[repeat('x', 100000)]";
        "last_key": LONG;
        "revision": MOST_BIG, LEAST_BIG;
        "gating": MOST_BIG, LEAST_BIG;
    }
    "longhaul.task_tag" { "tag": LONG, "''"; "task_id": "gen_random_uuid()"; }
    "longhaul.task_key" {
        "key": LONG, "''";
        "task_id": "gen_random_uuid()";
        "fingerprint": "decode(repeat('00', 100000), 'hex')", "''";
        "expires_at": EVER, NEVER;
    }
    "longhaul.unsuccessful" {
        "type": LONG, "''";
        "queue": LONG;
        "created_by": LONG;
        "code": LONG, "''";
        "accepted_at": EVER, NEVER;
        "ended_at": EVER, NEVER;
    }
    "longhaul.successes" { "tasks": MOST_BIG, LEAST_BIG; "counted_at": EVER, NEVER; }
    "longhaul.child" { "number": MOST, LEAST; }
    "longhaul.family" {
        "elements": MOST_BIG, LEAST_BIG;
        "unprocessed": MOST_BIG, LEAST_BIG;
        "undone": "'NaN'", "'infinity'", "'-infinity'", "1e300", "-1e300";
        "stopped_to": MOST, LEAST;
    }
    "longhaul.set_aside" {
        "service": LONG, "''";
        "id": LONG, "''";
        "error": "repeat('ä', 1000000)";
        "since": EVER, NEVER;
        "tries": MOST, LEAST;
        "next_at": EVER, NEVER;
    }
    "longhaul.trouble" {
        "part": LONG, "''";
        "failures": MOST, LEAST;
        "since": EVER, NEVER;
        "noted_at": EVER, NEVER;
        "error": "repeat('ä', 1000000)";
    }
    "longhaul.session" {
        "subject": LONG;
        "name": LONG;
        "permissions": "ARRAY[repeat('p', 100000), '', NULL]";
        "created_at": EVER, NEVER;
        "used_at": EVER, NEVER;
        "expires_at": EVER, NEVER;
    }
    "longhaul.api_key" {
        "hashed_with": LONG;
        "permissions": "ARRAY[repeat('p', 100000), '', NULL]";
        "projects": "ARRAY[NULL::uuid]";
        "created_at": EVER, NEVER;
        "created_by": LONG;
        "expires_at": EVER, NEVER;
        "last_used_at": EVER, NEVER;
        "revoked_at": EVER, NEVER;
        "revoked_by": LONG;
    }
    "longhaul.schedule" {
        "priority": "0";
        "max_attempts": "32767", "-32768";
        "unique_seconds": "'NaN'", "'infinity'", "-1", "1e300";
        "timeout_seconds": "'NaN'", "'infinity'", "-1", "1e-300";
        "tags": "ARRAY[repeat('t', 100000)]", "ARRAY[NULL, '']", "ARRAY(SELECT 'a' FROM generate_series(1, 1000))";
        "created_at": EVER, NEVER;
        "changed_at": EVER, NEVER;
        "next_at": EVER, NEVER;
        "last_fired_at": EVER, NEVER;
        "last_skipped_at": EVER, NEVER;
        "problem": "repeat('ä', 1000000)";
        "fired": LEAST_BIG;
    }
    "longhaul.firing" { "due_at": EVER, NEVER; "fired_at": EVER, NEVER; "fired_by": MOST; "task_id": "gen_random_uuid()"; }
    "longhaul.worker" {
        "name": "repeat('n', 1000000)", "''";
        "version": "repeat('v', 1000000)";
        "queues": "ARRAY[repeat('q', 100000), '', NULL]", "'{}'";
        "slots": MOST;
        "heartbeat_ms": MOST;
        "started_at": EVER, NEVER;
        "heartbeat_at": EVER, NEVER;
        "stopped_at": EVER, NEVER;
        "lost_at": EVER, NEVER;
    }
    "longhaul.task_type" {
        "id_prefix": LONG, "''";
        "queue": LONG;
        "unique_seconds": "'NaN'", "'infinity'";
        "registered_at": EVER, NEVER;
        "paused_at": EVER, NEVER;
    }
    "longhaul.sample" {
        "at": EVER, NEVER;
        "accepted": MOST_BIG, LEAST_BIG;
        "ready": MOST_BIG, LEAST_BIG;
        "held": MOST_BIG, LEAST_BIG;
        "scheduled": MOST_BIG, LEAST_BIG;
        "running": MOST_BIG, LEAST_BIG;
        "oldest_s": "'NaN'", "'infinity'", "-1e300";
    }
    "longhaul.pulse" {
        "at": EVER, NEVER;
        "succeeded": MOST_BIG, LEAST_BIG;
        "failed": MOST_BIG, LEAST_BIG;
        "cancelled": MOST_BIG, LEAST_BIG;
        "retried": MOST_BIG, LEAST_BIG;
    }
    "longhaul.leader" { "until": NEVER; "memo": DEEP, "'[]'"; "worker_id": LEAST; }
    "longhaul.observation" { "looked_at": EVER, NEVER; "gaps": "'{[-infinity,infinity]}'"; }
    "longhaul.watched" { "until": EVER, NEVER; }
    "longhaul.cancel_request" { "requested_at": EVER, NEVER; }
    "records.webhook" {
        "url": "'http://' || repeat('x', 100000)", "''", "'http://[::'";
        "description": "repeat('ä', 1000000)";
        "types": "ARRAY[NULL, '', repeat('t', 100000)]", "'{}'";
        "queues": "ARRAY[NULL, '', repeat('q', 100000)]", "'{}'";
        "states": "ARRAY[NULL, '', 'No state']", "'{}'";
        "secret": "''", "repeat('s', 100000)";
        "created_at": EVER, NEVER;
        "failing_since": EVER, NEVER;
        "disabled_because": "repeat('ä', 1000000)";
        "old_secret": "''", "repeat('s', 100000)";
        "old_secret_until": EVER, NEVER;
    }
    "records.webhook_delivery" {
        "event": "repeat('ä', 1000000)";
        "body": DEEP, "'[]'";
        "state": "repeat('ä', 1000000)";
        "created_at": EVER, NEVER;
        "delivered_at": EVER, NEVER;
        "task_id": "gen_random_uuid()";
    }
    "records.webhook_attempt" {
        "at": EVER, NEVER;
        "status": MOST, LEAST;
        "latency_ms": MOST_BIG, LEAST_BIG;
        "error": "repeat('ä', 1000000)";
    }
};

/// Columns that hold no extreme value here, and why.
const EXEMPT: &[(&str, &[&str], &str)] = &[
    (
        "longhaul.task",
        &["id", "parent_id", "followed"],
        "another value is another task, or another fact: longhaul.contradictions",
    ),
    ("longhaul.task", &["queue"], "the same text is in `ready`, which holds no longer one than an index does"),
    ("longhaul.task", &["state"], "an enumeration; one that does not fit is what longhaul.contradictions finds"),
    (
        "longhaul.task",
        &["finished_at"],
        "poison_tables.rs: an_end_outside_of_time_costs_no_page_and_stops_no_retention",
    ),
    ("longhaul.task", &["ends_at", "ends_from", "ends_until"], "poison.rs: an_end_at_infinity_costs_no_page"),
    (
        "longhaul.queue",
        &["name", "fair", "gated"],
        "a primary key that no longer text fits into; a boolean; computed from the others",
    ),
    ("longhaul.gate", &["queue"], "a primary key: another value is another queue's gate"),
    (
        "longhaul.family",
        &["parent_id", "waiting", "if_failed", "stopping", "resume"],
        "longhaul.contradictions; a check constraint; booleans",
    ),
    (
        "longhaul.family",
        &["children", "succeeded", "failed", "cancelled"],
        "poison_tables.rs: counters_at_their_end_stop_neither_follower_nor_rescuer; longhaul.contradictions",
    ),
    ("longhaul.child", &["parent_id", "id"], "another value is another family: longhaul.contradictions"),
    (
        "longhaul.dependency",
        &["task_id", "on_id", "if_failed", "outcome"],
        "check constraints; longhaul.contradictions",
    ),
    ("longhaul.blocked", &["id", "open"], "longhaul.contradictions"),
    ("longhaul.ready", &["queue", "priority", "id", "task_id"], "places: longhaul.misplaced"),
    ("longhaul.scheduled", &["run_at", "id"], "places: longhaul.misplaced"),
    ("longhaul.held", &["queue", "key", "priority", "id", "type"], "places: longhaul.misplaced"),
    ("longhaul.admitted", &["id", "queue", "key", "place"], "places: longhaul.misplaced"),
    ("longhaul.ended", &["id", "edges_only"], "longhaul.contradictions"),
    (
        "longhaul.lease",
        &["worker_id", "number", "task_ids", "shortened", "claimed_at"],
        "places: longhaul.misplaced; only claims, ends and rescues write it",
    ),
    ("longhaul.cancel_request", &["task_id"], "longhaul.contradictions"),
    ("longhaul.unsuccessful", &["state", "task_id"], "longhaul.unsuccessful_amiss"),
    ("longhaul.leader", &["name", "until"], "a primary key; a term without end is a leader that an operator has named"),
    ("longhaul.observation", &["single"], "always true"),
    ("longhaul.watched", &["id", "watcher"], "any two identifiers will do"),
    ("longhaul.worker", &["id", "counts_successes"], "an identity; a boolean"),
    ("longhaul.trouble", &["worker_id"], "of a worker that is not there, it is not told, and pruned"),
    ("longhaul.session", &["id_hash", "key_prefix"], "a check constraint; a foreign key"),
    ("longhaul.api_key", &["prefix", "name", "hash"], "check constraints"),
    ("longhaul.schedule", &["name", "missed", "type", "paused"], "check constraints; a foreign key; a boolean"),
    (
        "longhaul.schedule",
        &["cron", "time_zone", "parameters", "queue", "key", "unique_key"],
        "poison_tables.rs: schedules_with_extreme_values_cost_no_others_firing_and_no_page",
    ),
    ("longhaul.firing", &["schedule"], "a foreign key"),
    (
        "longhaul.task_type",
        &["name", "max_attempts", "priority", "secret"],
        "a primary key; check constraints; a boolean",
    ),
    ("longhaul.sample", &["queue"], "a primary key"),
    ("longhaul.pulse", &["worker_id"], "any number will do"),
    (
        "longhaul.attempt_error",
        &["task_id", "attempt", "worker_id", "failed_at", "duration_ms", "error"],
        "poison_tables.rs: what_pages_list_may_hold_anything",
    ),
    (
        "longhaul.task_log",
        &["task_id", "number", "logged_at", "attempt", "level", "line"],
        "poison_tables.rs: what_pages_list_may_hold_anything",
    ),
    (
        "longhaul.audit",
        &["number", "at", "who", "address", "deed", "target", "details"],
        "poison_tables.rs: what_pages_list_may_hold_anything; nobody can change an entry",
    ),
    (
        "longhaul.repaired",
        &["id", "task_id", "repaired_at", "problem"],
        "only the repairer writes it, and nothing reads it but people",
    ),
    ("longhaul.current", &["file", "digest", "edition", "applied_at"], "longhaul migrate alone"),
    ("longhaul.granted", &["digest", "granted_at"], "longhaul migrate alone"),
    ("longhaul.reader_tenant", &["reader", "tenant"], "only the owner writes it; texts that are compared"),
    ("longhaul.role_type", &["role", "type"], "only the owner writes it; texts that are compared"),
    ("records.webhook", &["id", "enabled"], "an identifier; a boolean"),
    ("records.webhook_delivery", &["id", "webhook_id"], "an identifier; a foreign key"),
    ("records.webhook_attempt", &["delivery_id", "number"], "a foreign key; an identity"),
];

#[tokio::test]
async fn every_column_has_an_extreme_value_in_some_test_or_a_reason_why_not() {
    let stage = Stage::new().await;
    let columns: Vec<String> = sqlx::query_scalar(
        "SELECT format('%s.%s.%s', c.table_schema, c.table_name, c.column_name)
           FROM information_schema.columns c JOIN information_schema.tables t USING (table_schema, table_name)
          WHERE t.table_type = 'BASE TABLE' AND t.table_name NOT LIKE '%migration%'
            AND (c.table_schema = 'longhaul' OR c.table_schema = 'records' AND c.table_name LIKE 'webhook%')",
    )
    .fetch_all(&stage.pool)
    .await
    .expect("columns");
    let columns: BTreeSet<String> = columns.into_iter().collect();
    let named: BTreeSet<String> = PLANTS
        .iter()
        .map(|(table, column, _)| format!("{table}.{column}"))
        .chain(ROWS.iter().map(|(column, ..)| format!("longhaul.task.{column}")))
        .chain(EXEMPT.iter().flat_map(|(table, names, _)| names.iter().map(move |name| format!("{table}.{name}"))))
        .collect();
    let forgotten: Vec<_> = columns.difference(&named).collect();
    assert!(forgotten.is_empty(), "add a row to poison.rs or here, or say here why not: {forgotten:#?}");
    let unknown: Vec<_> = named.difference(&columns).collect();
    assert!(unknown.is_empty(), "there is no such column any more: {unknown:#?}");
}

/// Plants all extreme values of these tables, one a row, and looks whether everything goes on.
async fn goes_on_beside(tables: &[&'static str]) {
    let stage = scene::stage().await;
    stage.strands_tasks();
    prepare(&stage).await;
    for table in tables {
        let plants = PLANTS.iter().filter(|(of, ..)| of == table);
        let plants: Vec<Plant> =
            plants.flat_map(|(_, column, values)| values.iter().map(move |value| (*table, *column, *value))).collect();
        assert!(!plants.is_empty(), "{table}");
        for (number, (table, column, value)) in plants.iter().enumerate() {
            let sql = format!(
                "WITH planted AS (
                     UPDATE {table} SET {column} = {value}
                      WHERE ctid = (SELECT ctid FROM {table} ORDER BY ctid OFFSET {number} % (SELECT count(*) FROM {table}) LIMIT 1)
                     RETURNING 1)
                 SELECT count(*) FROM planted"
            );
            match sqlx::query_scalar::<_, i64>(AssertSqlSafe(sql)).fetch_one(&stage.pool).await {
                Ok(rows) => assert_eq!(rows, 1, "{table} has no row to plant {column} = {value} in"),
                // The table itself refuses it: nobody meets it.
                Err(error) => {
                    println!("{table}.{column} = {}: {error}", &value[..value.len().min(40)]);
                    let code =
                        error.as_database_error().and_then(|error| error.code()).unwrap_or_default().into_owned();
                    assert!(
                        ["22", "23", "54"].iter().any(|class| code.starts_with(class)),
                        "{table}.{column} = {value}: {error}"
                    );
                }
            }
        }
    }
    if tables.contains(&"longhaul.set_aside") {
        stage.execute(NO_GUIDS).await;
    }
    stage.execute("UPDATE longhaul.schedule SET next_at = now() WHERE isfinite(next_at)").await;
    let worker = stage.worker(busy_worker()).await;
    all_goes_on(&stage).await;
    // Doctor tells of each row that was set aside, and looks at everything.
    let told = findings(&stage).await;
    let aside: Vec<String> = sqlx::query_scalar("SELECT DISTINCT id FROM longhaul.set_aside ORDER BY id LIMIT 5")
        .fetch_all(&stage.pool)
        .await
        .expect("ids");
    if !tables.contains(&"longhaul.set_aside") {
        for id in aside {
            assert!(
                told.iter()
                    .any(|(check, level, says)| check == "set aside" && *level == Level::Problem && says.contains(&id)),
                "{id}: {told:#?}"
            );
        }
    }
    worker.stop().await;
}

macro_rules! beside {
    ($($test:ident: $($table:literal),+;)+) => {
        $(#[tokio::test]
        async fn $test() {
            goes_on_beside(&[$($table),+]).await;
        })+

        #[test]
        fn every_table_with_an_extreme_value_is_in_a_test() {
            let tested: BTreeSet<&str> = [$($($table),+),+].into();
            assert_eq!(tested, PLANTS.iter().map(|(table, ..)| *table).collect());
        }
    };
}

beside! {
    extreme_settings_of_queues_stop_nothing: "longhaul.queue";
    extreme_gates_stop_nothing: "longhaul.gate";
    extreme_tags_and_keys_stop_nothing: "longhaul.task_tag", "longhaul.task_key", "longhaul.cancel_request";
    extreme_records_of_failures_stop_nothing: "longhaul.unsuccessful";
    extreme_numbers_of_successes_stop_nothing: "longhaul.successes";
    extreme_families_stop_nothing: "longhaul.child", "longhaul.family";
    extreme_notes_of_services_stop_nothing: "longhaul.set_aside", "longhaul.leader";
    extreme_troubles_stop_nothing: "longhaul.trouble", "longhaul.observation";
    extreme_sessions_and_api_keys_stop_nothing: "longhaul.session", "longhaul.api_key";
    extreme_schedules_stop_nothing: "longhaul.schedule", "longhaul.firing";
    extreme_workers_stop_nothing: "longhaul.worker", "longhaul.watched";
    extreme_task_types_stop_nothing: "longhaul.task_type";
    extreme_statistics_stop_nothing: "longhaul.sample", "longhaul.pulse";
    extreme_webhooks_stop_nothing: "records.webhook", "records.webhook_delivery", "records.webhook_attempt";
}
