//! The documentation against the code.

use std::path::Path;

use longhaul_model::State;
use longhaul_tests::{Stage, shipped};
use serde_json::Value;

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The cells of every row of the Markdown tables in a text.
fn rows(text: &str) -> Vec<Vec<String>> {
    text.lines()
        .filter(|line| line.starts_with('|') && !line.starts_with("| ---"))
        .map(|line| line.trim_matches('|').split('|').map(|cell| cell.trim().trim_matches('`').to_owned()).collect())
        .collect()
}

#[test]
fn the_table_of_error_codes_is_the_codes() {
    let kinds = shipped::problem_kinds();
    let documented = rows(&read("docs/errors.md"));
    for kind in &kinds {
        let row = [kind.code.to_owned(), kind.status.to_string(), kind.title.to_owned()];
        assert!(
            documented.iter().any(|cells| cells.starts_with(&row)),
            "docs/errors.md lacks | `{}` | {} | {} |",
            row[0],
            row[1],
            row[2]
        );
    }
    for cells in documented.iter().skip(1) {
        assert!(kinds.iter().any(|kind| kind.code == cells[0]), "docs/errors.md has {}, the code has not", cells[0]);
    }
    let mut codes: Vec<_> = kinds.iter().map(|kind| kind.code).collect();
    codes.sort_unstable();
    codes.dedup();
    assert_eq!(codes.len(), kinds.len(), "every code has one meaning");
}

#[test]
fn the_table_of_permissions_is_what_the_code_asks_for() {
    let documented = rows(&read("docs/security.md"));
    for (path, purpose) in shipped::permissions() {
        let row = [*path, purpose.trim().trim_matches('`')].map(str::to_owned);
        assert!(documented.contains(&row.to_vec()), "docs/security.md lacks | `{path}` |{purpose} |");
    }
}

#[test]
fn the_table_of_states_is_the_state_machine() {
    let documented = rows(&read("docs/state-machine.md"));
    for state in State::ALL {
        let next = state.next().iter().map(|next| next.name()).collect::<Vec<_>>().join(", ");
        let next = if next.is_empty() { "—".to_owned() } else { next };
        let row = [state.name().to_owned(), if state.is_end() { "yes" } else { "no" }.to_owned(), next];
        assert!(documented.iter().any(|cells| cells.starts_with(&row)), "docs/state-machine.md lacks {row:?}");
    }
}

#[test]
fn the_table_of_task_types_is_the_registry() {
    let documented = rows(&read("docs/task-types.md"));
    let registry = longhaul::queue_task::register(shipped::registry());
    for entry in registry.iter() {
        let properties = entry.schema().get("properties").and_then(|properties| properties.as_object());
        let mut parameters: Vec<String> =
            properties.into_iter().flatten().map(|(name, _)| format!("`{name}`")).collect();
        parameters.sort_unstable();
        let (name, prefix) = (entry.info().name, entry.info().id_prefix);
        let parameters = parameters.join(", ");
        let row = [name, prefix, parameters.trim_matches('`')].map(str::to_owned);
        assert!(
            documented.iter().any(|cells| cells.starts_with(&row)),
            "docs/task-types.md lacks | `{name}` | `{prefix}` | {parameters} |"
        );
    }
    let types =
        documented.iter().skip(1).take_while(|cells| cells.len() > 3 && cells[0] != "relationships per entity").count();
    assert_eq!(types, registry.iter().count(), "docs/task-types.md has a type that the program has not");
}

/// The table of the routes with one of these tags, in the order of the document.
fn table_of_routes(document: &Value, tags: &[&str]) -> String {
    let mut table = "| route | what it does | answers |\n| --- | --- | --- |\n".to_owned();
    for (path, item) in document["paths"].as_object().expect("paths") {
        for (method, operation) in item.as_object().expect("operations") {
            if method == "head" || !tags.iter().any(|tag| operation["tags"][0] == *tag) {
                continue;
            }
            let parameters = operation["parameters"].as_array().map(Vec::as_slice).unwrap_or_default();
            let names = parameters.iter().filter(|parameter| parameter["in"] == "query");
            let query: Vec<String> =
                names.map(|name| format!("{}=…", name["name"].as_str().expect("a name"))).collect();
            let query = if query.is_empty() { String::new() } else { format!("?{}", query.join("&")) };
            let alias = operation["operationId"].as_str().is_some_and(|id| id.ends_with("Alias"));
            let text = &operation[if alias { "description" } else { "summary" }].as_str().expect("a text");
            let statuses: Vec<&str> =
                operation["responses"].as_object().expect("answers").keys().map(String::as_str).collect();
            let (method, text, answers) = (method.to_uppercase(), text.trim_end_matches('.'), statuses.join(", "));
            table.push_str(&format!("| `{method} {path}{query}` | {text} | {answers} |\n"));
        }
    }
    table
}

/// With `LONGHAUL_BLESS=1` the tables are written anew.
#[tokio::test]
async fn the_tables_of_routes_are_the_openapi_document() {
    let stage = Stage::new().await;
    let elsewhere = ["Records", "Tickets"];
    let all = stage.openapi["tags"].as_array().expect("tags").iter().filter_map(|tag| tag["name"].as_str());
    let core: Vec<&str> = all.filter(|tag| !elsewhere.contains(tag)).collect();
    for (document, tags) in [("docs/api.md", core.as_slice()), ("docs/records.md", &elsewhere)] {
        let text = read(document);
        let (before, rest) = text.split_once("<!-- routes -->\n").expect("a mark where the table begins");
        let (_, after) = rest.split_once("<!-- /routes -->").expect("a mark where the table ends");
        let table = table_of_routes(&stage.openapi, tags);
        let right = format!("{before}<!-- routes -->\n{table}<!-- /routes -->{after}");
        if std::env::var_os("LONGHAUL_BLESS").is_some() {
            std::fs::write(Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(document), right).expect("written");
        } else {
            assert!(text == right, "the table of {document} is not the document's; bless it with LONGHAUL_BLESS=1");
        }
    }
}

/// With `LONGHAUL_BLESS=1` the table is written anew.
#[test]
fn the_table_of_metrics_is_what_processes_show() {
    use longhaul_telemetry::table::{Kind, METRICS};
    let mut table = "| metric | labels | from | meaning |\n| --- | --- | --- | --- |\n".to_owned();
    for metric in METRICS {
        let name = if metric.kind == Kind::Counter { format!("{}_total", metric.name) } else { metric.name.to_owned() };
        let kind = format!("{:?}", metric.kind).to_lowercase();
        let labels: Vec<String> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
        let source = format!("{:?}", metric.source).to_lowercase();
        table.push_str(&format!("| `{name}` {kind} | {} | {source} | {} |\n", labels.join(", "), metric.help));
    }
    let text = read("docs/metrics.md");
    let (before, rest) = text.split_once("<!-- metrics -->\n").expect("a mark where the table begins");
    let (_, after) = rest.split_once("<!-- /metrics -->").expect("a mark where the table ends");
    let right = format!("{before}<!-- metrics -->\n{table}<!-- /metrics -->{after}");
    if std::env::var_os("LONGHAUL_BLESS").is_some() {
        std::fs::write(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/metrics.md"), right).expect("written");
    } else {
        assert!(text == right, "the table of docs/metrics.md is not the code's; bless it with LONGHAUL_BLESS=1");
    }
}

/// With `LONGHAUL_BLESS=1` the table is written anew.
#[test]
fn the_table_of_reasons_is_why_tasks_wait() {
    let mut table = "| code | meaning | details |\n| --- | --- | --- |\n".to_owned();
    for (code, meaning, details) in longhaul_model::store::why::CODES {
        let details: Vec<String> =
            details.split(", ").filter(|name| *name != "–").map(|name| format!("`{name}`")).collect();
        let details = if details.is_empty() { "–".to_owned() } else { details.join(", ") };
        table.push_str(&format!("| `{code}` | {meaning} | {details} |\n"));
    }
    let text = read("docs/queues.md");
    let (before, rest) = text.split_once("<!-- reasons -->\n").expect("a mark where the table begins");
    let (_, after) = rest.split_once("<!-- /reasons -->").expect("a mark where the table ends");
    let right = format!("{before}<!-- reasons -->\n{table}<!-- /reasons -->{after}");
    if std::env::var_os("LONGHAUL_BLESS").is_some() {
        std::fs::write(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/queues.md"), right).expect("written");
    } else {
        assert!(text == right, "the table of docs/queues.md is not the code's; bless it with LONGHAUL_BLESS=1");
    }
}

#[test]
fn links_between_documents_lead_somewhere() {
    for document in ["README.md", "CONTRIBUTING.md", "docs/README.md"] {
        let text = read(document);
        let base = Path::new(document).parent().unwrap_or(Path::new(""));
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let target = target.split('#').next().unwrap_or_default();
            if target.is_empty() || target.contains("://") {
                continue;
            }
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(base).join(target);
            assert!(path.exists(), "{document} points at {target}, which is not there");
        }
    }
}

#[test]
fn each_question_where_something_is_decided_is_answered_by_one_file() {
    let text = read("CONTRIBUTING.md");
    let (_, section) = text.split_once("\n## Where is X decided?\n").expect("the map of decisions");
    let section = section.split("\n## ").next().unwrap_or_default();
    let questions = &rows(section)[1..];
    assert!(questions.len() >= 10, "the map has questions");
    for row in questions {
        let [question, answer] = row.as_slice() else { panic!("{row:?} is not a question and its answer") };
        assert!(question.ends_with('?'), "{question}");
        let file = answer.strip_suffix(')').and_then(|link| link.split_once("](")).map(|(_, file)| file);
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(file.expect("one link"));
        assert!(file.is_file(), "{question} is answered by a file that is not there: {}", file.display());
    }
}

#[test]
fn each_step_of_a_post_is_a_file_that_is_there() {
    let text = read("docs/architecture.md");
    let (_, section) = text.split_once("\n### The same by files\n").expect("the files of one POST");
    let section = section.split("\n## ").next().unwrap_or_default();
    let steps: Vec<&str> = section.lines().filter(|line| line.contains(". [")).collect();
    for (number, step) in (1..).zip(&steps) {
        let link = step.strip_prefix(&format!("{number}. [")).and_then(|rest| rest.split_once("](../"));
        let file = link.and_then(|(_, rest)| rest.split_once(')')).map(|(file, _)| file);
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(file.expect("a numbered link"));
        assert!(file.is_file(), "{step}: {} is not there", file.display());
    }
    let table = read("docs/adr/0013-one-home.md");
    let count = format!("| 29 | {} |", steps.len());
    assert!(table.contains(&count), "docs/adr/0013-one-home.md says how many files there are: {count}");
}

/// Code in documents comes from files that are compiled.
#[test]
fn code_in_documents_is_what_its_file_says() {
    let mut compared = 0;
    for document in ["docs/cookbook.md", "docs/embedding.md", "docs/retries.md"] {
        let text = read(document);
        for part in text.split("<!-- from ").skip(1) {
            let (source, rest) = part.split_once(" -->\n```rust\n").expect("a block of Rust after its source");
            let (code, _) = rest.split_once("```").expect("the block's end");
            // A doctest stands in comments.
            let compiled: String = (read(source).lines())
                .map(|line| {
                    let line = line.trim_start();
                    let prefixes = ["//! ", "/// ", "//!", "///"];
                    prefixes.iter().find_map(|prefix| line.strip_prefix(prefix)).unwrap_or(line)
                })
                .flat_map(|line| [line, "\n"])
                .collect();
            assert!(
                compiled.contains(code) || read(source).contains(code),
                "{document}: this is not in {source}:\n{code}"
            );
            compared += 1;
        }
    }
    assert!(compared >= 13, "documents have code from files");
}

/// The tables of a text that compare features, each with its head first.
fn comparisons(text: &str) -> Vec<Vec<Vec<String>>> {
    let tables: Vec<_> = text.split("\n\n").filter(|block| block.starts_with("| feature |")).map(rows).collect();
    assert!(tables.len() >= 5, "features are compared by theme");
    tables
}

#[test]
fn every_test_that_the_tables_of_features_name_is_there() {
    let text = read("docs/features.md");
    let mut named = 0;
    for link in text.split("[`").skip(1) {
        let (name, rest) = link.split_once("`](../").expect("a test and its file");
        let (file, _) = rest.split_once(')').expect("the end of a link");
        let source = read(file);
        let begins = [format!("fn {name}()"), format!("fn {name}(input")];
        assert!(begins.iter().any(|begin| source.contains(begin)), "{file} has no test {name}");
        named += 1;
    }
    assert!(named >= 30, "every feature has its test");
    for row in comparisons(&text).iter().flat_map(|table| &table[1..]).filter(|row| row[1].starts_with("yes")) {
        assert!(text.contains(&format!("\n* {}:\n  [`", row[0])), "no test of {:?} is named", row[0]);
    }
}

#[test]
fn what_the_tables_of_features_say_of_others_is_linked_or_was_not_found() {
    let text = read("docs/features.md");
    for table in comparisons(&text) {
        for row in &table[1..] {
            assert_eq!(row.len(), table[0].len(), "{row:?}");
            assert!(!row[1].is_empty() && row[1] != "—", "{row:?}");
            for cell in &row[2..] {
                assert!(cell == "not found" || cell.starts_with('['), "{cell:?} of {:?} has no link", row[0]);
            }
        }
    }
    for document in ["docs/features.md", "docs/coming-from.md"] {
        let text = read(document);
        for name in text.split("][").skip(1).filter_map(|rest| rest.split(']').next()) {
            assert!(text.contains(&format!("\n[{name}]: https://")), "{document} does not say where [{name}] leads");
        }
    }
}

/// The programs of docs/clients.md run in `tests/clients/run`; here only what it looks for.
#[test]
fn every_client_is_a_block_of_code_after_its_mark() {
    let text = read("docs/clients.md");
    for (name, language) in
        [("client.py", "python"), ("client.mts", "ts"), ("client.go", "go"), ("Client.cs", "csharp"), ("expected", "")]
    {
        let begins = format!("<!-- client: {name} -->\n```{language}\n");
        let (_, code) = text.split_once(&begins).unwrap_or_else(|| panic!("docs/clients.md has no {name}"));
        let code = code.split("\n```").next().unwrap_or_default();
        assert!(name == "expected" || code.contains("/api/backgroundtasks"), "{name}");
    }
}
