//! The documentation against the code.

use std::path::Path;

use longhaul_model::State;
use longhaul_tests::Stage;
use reqwest::Method;

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
    let kinds = [longhaul_api::KINDS, longhaul_tasks::KINDS, longhaul_model::problem::KINDS].concat();
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
    let registry = longhaul::queue_task::register(longhaul_tasks::registry());
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

#[tokio::test]
async fn every_documented_route_is_there() {
    let stage = Stage::new().await;
    let mut routes = 0;
    for cells in rows(&read("docs/api.md")) {
        let Some((method, path)) = cells[0].split_once(' ') else { continue };
        let Ok(method) = method.parse::<Method>() else { continue };
        let path = path.split('?').next().unwrap_or_default();
        if !path.starts_with('/') {
            continue;
        }
        let path = path.replace("{id}", "reindex-7bdba522-590a-4df4-b409-a2939851241b");
        let response = stage.http.request(method, format!("{}{path}", stage.base_url)).send().await.expect("an answer");
        let status = response.status();
        let text = response.text().await.unwrap_or_default();
        assert!(status != 405 && !text.contains("unknown-route"), "{path}: {status} {text}");
        routes += 1;
    }
    assert!(routes >= 5, "docs/api.md has a table of routes");
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

/// Code in documents comes from files that are compiled.
#[test]
fn code_in_documents_is_what_its_file_says() {
    let mut compared = 0;
    for document in ["docs/embedding.md"] {
        let text = read(document);
        for part in text.split("<!-- from ").skip(1) {
            let (source, rest) = part.split_once(" -->\n```rust\n").expect("a block of Rust after its source");
            let (code, _) = rest.split_once("```").expect("the block's end");
            // A doctest stands in comments.
            let compiled: String = (read(source).lines())
                .map(|line| line.strip_prefix("//! ").or(line.strip_prefix("/// ")).unwrap_or(line))
                .flat_map(|line| [line, "\n"])
                .collect();
            assert!(
                compiled.contains(code) || read(source).contains(code),
                "{document}: this is not in {source}:\n{code}"
            );
            compared += 1;
        }
    }
    assert!(compared >= 4, "documents have code from files");
}
