//! Searching as people do: what `docs/search.md` says is found is found.

use longhaul_test_management::search::{SearchRequest, search};
use longhaul_tests::{Stage, fill_project, index_as_formerly, quick_worker, until};
use rand::prelude::*;
use serde_json::{Value, json};
use sqlx::PgPool;
use uuid::{Uuid, uuid};

const ONE: Uuid = uuid!("11111111-1111-4111-8111-111111111111");
const TWO: Uuid = uuid!("22222222-2222-4222-8222-222222222222");

async fn add_project(pool: &PgPool, project: Uuid, entities: &[(&str, &str, &str)]) {
    sqlx::query("INSERT INTO records.project (id, name) VALUES ($1, 'a project')")
        .bind(project)
        .execute(pool)
        .await
        .expect("a project");
    for (key, name, text) in entities {
        sqlx::query(
            "INSERT INTO records.entity (id, project_id, kind, key, name, fields)
             VALUES (gen_random_uuid(), $1, 'Script', $2, $3, jsonb_build_object('Text', $4::text))",
        )
        .bind(project)
        .bind(key)
        .bind(name)
        .bind(text)
        .execute(pool)
        .await
        .expect("an entity");
    }
}

async fn reindex(stage: &Stage, parameters: Value) -> Value {
    let started = stage.start(&json!({"Type": "Reindex", "Parameters": parameters})).await;
    let ended = stage.ended(&started).await;
    assert_eq!(ended["State"], "Succeeded", "{ended}");
    ended
}

/// Keys of what is found in a project, or in all of them.
async fn found(pool: &PgPool, query: &str, project_id: Option<Uuid>) -> Vec<String> {
    let hits = search(pool, SearchRequest { query, project_id, limit: 100, offset: 0 }).await.expect("an answer");
    let mut keys: Vec<String> = hits.page.into_iter().map(|hit| hit.key).collect();
    keys.sort();
    keys
}

/// The lines of a task's log; none if it has no log.
async fn log_lines(stage: &Stage, ended: &Value) -> Vec<String> {
    let log = ended["Links"].as_array().and_then(|links| links.iter().find(|link| link["Rel"] == "Log"));
    let Some(log) = log else { return Vec::new() };
    let (_, log) = stage.get(log["Href"].as_str().expect("an address")).await;
    log["Items"]
        .as_array()
        .expect("items")
        .iter()
        .map(|line| line["Line"].as_str().expect("a text").to_owned())
        .collect()
}

/// The rows of the table under a heading of `docs/search.md`.
fn table(heading: &str) -> Vec<Vec<String>> {
    let page = include_str!("../../docs/search.md");
    let (_, section) = page.split_once(&format!("\n## {heading}\n")).expect("the heading");
    let section = section.split("\n## ").next().unwrap_or_default();
    let cell = |cell: &str| cell.trim().trim_matches('`').trim().replace("(U+0301)", "\u{301}");
    section
        .lines()
        .filter(|line| line.starts_with("| "))
        .skip(2)
        .map(|line| line.trim_matches('|').split(" | ").map(cell).collect())
        .collect()
}

#[tokio::test]
async fn what_people_type_finds_what_the_documentation_says() {
    let stage = Stage::new().await;
    let worker = stage.worker(quick_worker()).await;
    let records = table("The records");
    let entities: Vec<(&str, &str, &str)> =
        records.iter().map(|row| (row[0].as_str(), row[1].as_str(), row[2].as_str())).collect();
    add_project(&stage.pool, ONE, &entities).await;
    let queries = table("Forty queries");
    assert_eq!(queries.len(), 40);
    let mut before = Vec::new();
    index_as_formerly(&stage.pool, ONE).await;
    for row in &queries {
        before.push(found(&stage.pool, &row[0], None).await);
    }
    reindex(&stage, json!({})).await;
    let mut wrong = Vec::new();
    for (row, before) in queries.iter().zip(before) {
        let now = found(&stage.pool, &row[0], None).await;
        let shown = |keys: &[String]| if keys.is_empty() { "–".to_owned() } else { keys.join(", ") };
        let is = [shown(&before), shown(&now)];
        if is != row[2..4] {
            wrong.push(format!("{} | {} | {}", row[0], is[0], is[1]));
        }
    }
    assert!(wrong.is_empty(), "not as docs/search.md says (query | before | now):\n{}", wrong.join("\n"));
    worker.stop().await;
}

#[tokio::test]
async fn indexes_of_earlier_releases_are_searched_as_they_were_made() {
    let stage = Stage::new().await;
    let worker = stage.worker(quick_worker()).await;
    let text = [("OLD-1", "Café", "")];
    add_project(&stage.pool, ONE, &text).await;
    add_project(&stage.pool, TWO, &[("NEW-1", "Café", "")]).await;
    index_as_formerly(&stage.pool, ONE).await;
    reindex(&stage, json!({"ProjectId": TWO})).await;
    for (query, keys) in [("Café", vec!["NEW-1", "OLD-1"]), ("cafe", vec!["NEW-1"]), ("-tea", vec!["NEW-1", "OLD-1"])]
    {
        assert_eq!(found(&stage.pool, query, None).await, keys, "{query}");
        if query.starts_with('-') {
            // Fits nearly everything, so nothing is changed by it.
            continue;
        }
        let action = json!({"Action": "SetField", "Query": query, "Field": "Seen", "Value": query});
        let started = stage.start(&json!({"Type": "bulkaction", "Parameters": action})).await;
        assert_eq!(stage.ended(&started).await["Result"]["Found"], keys.len(), "{query}");
    }
    // A worker of the earlier release builds the other one anew, and says nothing of it.
    index_as_formerly(&stage.pool, TWO).await;
    assert_eq!(found(&stage.pool, "Café", None).await, ["NEW-1", "OLD-1"]);
    reindex(&stage, json!({})).await;
    assert_eq!(found(&stage.pool, "cafe", None).await, ["NEW-1", "OLD-1"]);
    let left: i64 = stage.value("SELECT count(*) FROM search.analyzer").await;
    assert_eq!(left, 2, "what was replaced is forgotten");
    worker.stop().await;
}

#[tokio::test]
async fn no_text_is_too_long_for_a_reindex() {
    let stage = Stage::new().await;
    let worker = stage.worker(quick_worker()).await;
    fill_project(&stage.pool, ONE, 600).await;
    let words: String = (0..110_000).map(|number| format!("w{number} ")).collect();
    let han: String = (0..2_000_000_u32).filter_map(|n| char::from_u32(0x4e00 + n * 7 % 20_000)).collect();
    for (key, what, text) in [
        ("TST-1", "name = $2", &words),
        ("TST-2", "name = $2", &han),
        ("TST-3", "key = $2 || ' TST-3'", &words),
        ("TST-4", "fields = jsonb_build_object('Text', $2::text)", &han),
        ("TST-5", "fields = jsonb_build_object('Text', $2 || $2)", &words),
        (
            "TST-6",
            "fields = jsonb_build_object('Text', (SELECT jsonb_agg(n || 'x') FROM generate_series(1, 200000) n))",
            &words,
        ),
        ("TST-7", "name = repeat('ﷺ', length($2) / 8)", &words),
        (
            "TST-8",
            "name = repeat('x', 3000) || ' after', fields = jsonb_build_object('Text', repeat('a.', 500000))",
            &words,
        ),
    ] {
        let sql = format!("UPDATE records.entity SET {what} WHERE key = $1 AND length($2) > 0");
        let done = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(key).bind(text).execute(&stage.pool).await;
        assert_eq!(done.expect("a change").rows_affected(), 1, "{key}");
    }
    // A hub that 300 entities with long names are related to.
    sqlx::raw_sql(
        "UPDATE records.entity SET name = name || ' ' || (SELECT string_agg(md5(n::text), ' ') FROM generate_series(1, 3000) n)
          WHERE substring(key FROM '[0-9]+')::int BETWEEN 300 AND 599;
         INSERT INTO records.relationship (source_id, target_id, kind)
         SELECT e.id, hub.id, 'Covers' FROM records.entity e, records.entity hub
          WHERE hub.key = 'TST-9' AND substring(e.key FROM '^TST-([0-9]+)')::int BETWEEN 300 AND 599",
    )
    .execute(&stage.pool)
    .await
    .expect("a hub");
    let ended = reindex(&stage, json!({})).await;
    assert_eq!(ended["Result"], json!({"Projects": 1, "Documents": 600}));
    let lines = log_lines(&stage, &ended).await;
    for key in ["TST-1", "TST-2", "w0 w1 w2", "TST-4", "TST-5", "TST-6"] {
        assert!(
            lines.iter().any(|line| line.starts_with(key) && line.contains(" has more text than")),
            "{key}: {lines:?}"
        );
    }
    assert!(lines.iter().all(|line| line.len() < 300), "{lines:?}");
    for (query, key) in [("w1", "TST-1"), ("after", "TST-8"), ("7x", "TST-6"), ("own600", "TST-600")] {
        assert!(found(&stage.pool, query, None).await.iter().any(|found| found == key), "{query}");
    }
    let mut related = 0;
    for number in 300..600 {
        related += i32::from(found(&stage.pool, &format!("own{number}"), None).await.iter().any(|key| key == "TST-9"));
    }
    assert!((195..=200).contains(&related), "long names leave room for the next ones: {related} of 200");
    worker.stop().await;
}

#[tokio::test]
async fn a_record_that_the_database_refuses_is_named_and_passed_over() {
    let stage = Stage::new().await;
    let worker = stage.worker(quick_worker()).await;
    fill_project(&stage.pool, ONE, 3_000).await;
    refuse(&stage, "key IN ('TST-7', 'TST-2500')").await;
    let ended = reindex(&stage, json!({"SkipRelationships": true})).await;
    assert_eq!(ended["Result"], json!({"Projects": 1, "Documents": 2_998, "Skipped": 2}));
    assert_eq!((&ended["TotalElements"], &ended["ProgressInPercent"]), (&json!(3_001), &json!(1.0)));
    let lines = log_lines(&stage, &ended).await;
    for key in ["TST-7 (", "TST-2500 ("] {
        let told = |line: &String| line.starts_with(key) && line.contains("out of range");
        assert_eq!(lines.iter().filter(|line| told(line)).count(), 1, "{lines:?}");
    }
    assert_eq!(found(&stage.pool, "own7 or own2500 or own8", None).await, ["TST-8"]);
    let documents: i64 = stage.value("SELECT documents FROM search.index").await;
    assert_eq!(documents, 2_998);
    // More than a few are no accident of their texts: the index in use stays.
    refuse(&stage, "substring(key FROM '[0-9]+')::int > 1000").await;
    stage.start(&json!({"Type": "Reindex", "Parameters": {"SkipRelationships": true}})).await;
    until("the attempt to fail", async || {
        (stage.value::<i64>("SELECT count(*) FROM longhaul.attempt_error").await > 0).then_some(())
    })
    .await;
    assert_eq!(found(&stage.pool, "own2999", None).await, ["TST-2999"]);
    worker.stop().await;
}

/// Tables that are made from now on refuse these entities, one with a data exception, the
/// others with an internal error.
async fn refuse(stage: &Stage, which: &str) {
    let made = format!(
        "CREATE OR REPLACE FUNCTION records.refuse() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
         DECLARE refused text := (SELECT key FROM records.entity WHERE id = NEW.entity_id AND ({which}));
         BEGIN
             IF refused = 'TST-7' THEN RAISE EXCEPTION 'out of range' USING ERRCODE = 'data_exception'; END IF;
             IF refused IS NOT NULL THEN RAISE EXCEPTION 'out of range' USING ERRCODE = 'internal_error'; END IF;
             RETURN NEW;
         END $$;
         CREATE OR REPLACE FUNCTION records.add_trigger() RETURNS event_trigger LANGUAGE plpgsql AS $$
         DECLARE made text;
         BEGIN
             FOR made IN SELECT object_identity FROM pg_event_trigger_ddl_commands()
                          WHERE object_type = 'table' AND object_identity LIKE 'search.document%' LOOP
                 EXECUTE format('CREATE TRIGGER refuse BEFORE INSERT ON %s FOR EACH ROW EXECUTE FUNCTION records.refuse()', made);
             END LOOP;
         END $$;
         DROP EVENT TRIGGER IF EXISTS stricter;
         CREATE EVENT TRIGGER stricter ON ddl_command_end WHEN TAG IN ('CREATE TABLE') EXECUTE FUNCTION records.add_trigger()"
    );
    sqlx::raw_sql(sqlx::AssertSqlSafe(made)).execute(&stage.pool).await.expect("a stricter table");
}

#[tokio::test]
async fn names_of_any_kind_find_themselves() {
    let stage = Stage::new().await;
    let worker = stage.worker(quick_worker()).await;
    const ALPHABETS: [&str; 8] = [
        "abcXYZ019 .-_/@:#",
        "aäßéñøłŒ\u{301}\u{308} .İı",
        "日本語のテスト猫・、。ｶﾞ ab1-",
        "한국어를테스트 .",
        "การทดสอบ กข",
        "हिन्दी में खोज .",
        "بحثعربيّ אבגדָ -",
        "\\'`$%^&*()[]{}<>|;,~=+!?\u{200b}\u{1}™…–é漢a ",
    ];
    let mut random = rand_pcg::Pcg64::seed_from_u64(7);
    let mut names: Vec<String> = (0..2_000)
        .map(|_| {
            let letters: Vec<char> = ALPHABETS.choose(&mut random).expect("one").chars().collect();
            (0..random.random_range(1..40)).filter_map(|_| letters.choose(&mut random)).collect()
        })
        .collect();
    names.extend(
        ["𠮷野家", "ŉ ǆ ﷺ", "100 % of 1,234.5", "Ω≈ç√", "x".repeat(900).as_str(), "a.".repeat(450).as_str()]
            .map(str::to_owned),
    );
    let entities: Vec<(String, &String)> = names.iter().enumerate().map(|(n, name)| (format!("K{n}"), name)).collect();
    let entities: Vec<(&str, &str, &str)> =
        entities.iter().map(|(key, name)| (key.as_str(), name.as_str(), "")).collect();
    add_project(&stage.pool, ONE, &entities).await;
    reindex(&stage, json!({})).await;
    let mut looked_for = 0;
    for (key, name, _) in entities {
        // A dash in front of a word says `not`.
        let terms: Vec<&str> = name.split_whitespace().map(|term| term.trim_start_matches('-')).collect();
        let query = terms.join(" ");
        let request = SearchRequest { query: &format!("{query} {key}"), project_id: None, limit: 5, offset: 0 };
        let hits = search(&stage.pool, request).await.expect("an answer");
        assert!(hits.page.iter().any(|hit| hit.key == key), "{name:?} is not found");
        looked_for += 1;
    }
    assert!(looked_for > 2_000);
    worker.stop().await;
}

#[tokio::test]
async fn addresses_and_phrases_are_found_at_the_end_of_long_texts() {
    let stage = Stage::new().await;
    let worker = stage.worker(quick_worker()).await;
    let text = format!(
        "{} {} the last sentence here, me@late.example.com",
        "example com here ".repeat(600),
        (0..60_000).map(|n| format!("w{} ", n % 9_000)).collect::<String>()
    );
    add_project(&stage.pool, ONE, &[("LONG-1", "a text", &text)]).await;
    let ended = reindex(&stage, json!({})).await;
    assert_eq!(log_lines(&stage, &ended).await, [""; 0]);
    for query in ["\"the last sentence\"", "me@late.example.com", "late", "\"w8999 w0\""] {
        assert_eq!(found(&stage.pool, query, None).await, ["LONG-1"], "{query}");
    }
    assert_eq!(found(&stage.pool, "\"sentence last\"", None).await, [""; 0]);
    worker.stop().await;
}

#[tokio::test]
async fn plain_words_rank_as_in_earlier_releases() {
    let stage = Stage::new().await;
    let worker = stage.worker(quick_worker()).await;
    fill_project(&stage.pool, ONE, 2_000).await;
    let queries = ["word31", "own77", "entity", "word62 or own5", "word31 -entity", "\"entity number\"", "number own7"];
    let mut before = Vec::new();
    index_as_formerly(&stage.pool, ONE).await;
    for query in queries {
        before.push(ranked(&stage.pool, query).await);
    }
    reindex(&stage, json!({})).await;
    for (query, before) in queries.into_iter().zip(before) {
        assert_eq!(ranked(&stage.pool, query).await, before, "{query}");
    }
    worker.stop().await;
}

/// How many are found, and the first of them with their ranks in thousandths.
async fn ranked(pool: &PgPool, query: &str) -> (i64, Vec<(Uuid, i32)>) {
    let hits = search(pool, SearchRequest { query, project_id: None, limit: 50, offset: 0 }).await.expect("an answer");
    let thousandths = |rank: f32| (rank * 1_000.0).round() as i32;
    (hits.total, hits.page.iter().map(|hit| (hit.id, thousandths(hit.rank))).collect())
}
