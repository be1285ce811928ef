//! The documentation as a book: nothing is left out, every link leads somewhere.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use longhaul_tests::{Stage, shipped};
use serde_json::json;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Every Markdown file below a directory, from the root of the repository.
fn pages(directory: &str) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    let mut directories = vec![PathBuf::from(directory)];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(root().join(&directory)).expect("a directory") {
            let path = directory.join(entry.expect("an entry").file_name());
            if root().join(&path).is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                found.insert(path);
            }
        }
    }
    found
}

/// A page without its blocks of code.
fn prose(text: &str) -> String {
    let mut code = false;
    text.lines()
        .filter(|line| {
            let fence = line.trim_start().starts_with("```");
            code ^= fence;
            !code && !fence
        })
        .flat_map(|line| [line, "\n"])
        .collect()
}

/// The targets of the links in a page.
fn links(text: &str) -> Vec<String> {
    prose(text).split("](").skip(1).filter_map(|rest| rest.split(')').next()).map(str::to_owned).collect()
}

/// The anchors of a page: its headings as GitHub and mdBook name them.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = prose(text);
    let headings = headings.lines().filter(|line| line.starts_with('#'));
    headings
        .map(|line| {
            let title = line.trim_start_matches('#').trim().to_lowercase();
            title
                .chars()
                .filter(|c| c.is_alphanumeric() || "-_ ".contains(*c))
                .map(|c| if c == ' ' { '-' } else { c })
                .collect()
        })
        .collect()
}

/// Without `.` and `..`.
fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => {
                normal.pop();
            }
            Component::CurDir => {}
            part => normal.push(part),
        }
    }
    normal
}

#[test]
fn every_page_is_in_the_book_and_the_book_has_no_other() {
    let summary = read(Path::new("docs/SUMMARY.md"));
    let listed: Vec<PathBuf> =
        links(&summary).into_iter().filter(|link| !link.is_empty()).map(|link| Path::new("docs").join(link)).collect();
    let unique: BTreeSet<PathBuf> = listed.iter().cloned().collect();
    assert_eq!(unique.len(), listed.len(), "a page is listed twice");
    let mut pages = pages("docs");
    pages.remove(Path::new("docs/SUMMARY.md"));
    let missing: Vec<_> = pages.difference(&unique).collect();
    assert!(missing.is_empty(), "docs/SUMMARY.md lacks {missing:?}");
    let surplus: Vec<_> = unique.difference(&pages).collect();
    assert!(surplus.is_empty(), "docs/SUMMARY.md lists {surplus:?}, which are not there");
}

#[test]
fn every_link_of_every_page_leads_somewhere() {
    let mut all = pages("docs");
    all.extend(["README.md", "CONTRIBUTING.md"].map(PathBuf::from));
    let mut wrong = Vec::new();
    for page in all {
        let text = read(&page);
        for link in links(&text) {
            if link.contains("://") || link.is_empty() || link.starts_with("mailto:") {
                continue;
            }
            let (target, anchor) = link.split_once('#').unwrap_or((&link, ""));
            let target = if target.is_empty() {
                page.clone()
            } else {
                normal(&page.parent().unwrap_or(Path::new("")).join(target))
            };
            if !root().join(&target).exists() {
                wrong.push(format!("{}: {link}: no such file", page.display()));
            } else if !anchor.is_empty()
                && target.extension().is_some_and(|extension| extension == "md")
                && !anchors(&read(&target)).contains(anchor)
            {
                wrong.push(format!("{}: {link}: no such heading", page.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What stands in this attribute, over and over.
fn attributes(html: &str, name: &str) -> BTreeSet<String> {
    html.split(&format!(" {name}=\"")).skip(1).filter_map(|rest| rest.split('"').next()).map(str::to_owned).collect()
}

async fn page_of(stage: &Stage, address: &str) -> String {
    let response = stage.http.get(address).send().await.expect("an answer");
    assert_eq!(response.status(), 200, "{address}");
    assert_eq!(response.headers()["content-type"], "text/html; charset=utf-8", "{address}");
    response.text().await.expect("a page")
}

#[tokio::test]
async fn an_api_serves_the_book_and_every_link_of_it_leads_somewhere() {
    let stage = Stage::new().await;
    let (mut seen, mut waiting) = (BTreeSet::new(), vec!["/docs".to_owned()]);
    while let Some(path) = waiting.pop() {
        if !seen.insert(path.clone()) {
            continue;
        }
        let html = page_of(&stage, &format!("{}{path}", stage.base_url)).await;
        for link in
            attributes(&html, "href").into_iter().filter(|link| link.starts_with('/') && !link.ends_with(".css"))
        {
            if link == "/" {
                continue;
            }
            assert!(link == "/docs" || link.starts_with("/docs/"), "{path}: {link}");
            waiting.push(link.split('#').next().unwrap_or_default().to_owned());
        }
    }
    for page in longhaul_book::PAGES {
        assert!(seen.contains(&format!("/docs/{}", page.name)), "nothing leads to {}", page.name);
    }
    assert_eq!(pages("docs").len(), longhaul_book::PAGES.len() + 1, "SUMMARY.md is no page");
    let (status, problem) = stage.get("/docs/nothing").await;
    assert_eq!((status, &problem["code"]), (404, &json!("unknown-route")));
}

#[tokio::test]
async fn every_page_leads_to_the_next_to_a_search_and_back_to_the_dashboard() {
    let stage = Stage::new().await;
    let of = |page: &longhaul_book::Page| format!("/docs/{}", page.name);
    for (at, page) in longhaul_book::PAGES.iter().enumerate() {
        let html = page_of(&stage, &format!("{}{}", stage.base_url, of(page))).await;
        let turn = |rel: &str, other: Option<&longhaul_book::Page>| {
            let link = other.map(|other| format!("<a rel=\"{rel}\" href=\"{}\">", of(other)));
            let there = html.split(&format!("<a rel=\"{rel}\"")).count() - 1;
            assert_eq!(there, usize::from(link.is_some()), "{}: {rel}", page.name);
            assert!(link.is_none_or(|link| html.contains(&link)), "{}: {rel}", page.name);
        };
        turn("prev", at.checked_sub(1).map(|before| &longhaul_book::PAGES[before]));
        turn("next", longhaul_book::PAGES.get(at + 1));
        assert!(html.contains("<a class=\"back\" href=\"/\">Dashboard</a>"), "{}", page.name);
        assert!(html.contains("<form role=\"search\" action=\"/docs\">"), "{}", page.name);
        assert_eq!(html.matches(" aria-current=\"page\"").count(), 1, "{}", page.name);
        assert!(!html.contains("<script") && !html.contains(" style=") && !html.contains("src="), "{}", page.name);
    }
}

/// Without a script: the answer is a page.
#[tokio::test]
async fn a_search_leads_to_the_sections_with_all_words() {
    let stage = Stage::new().await;
    let search = async |query: &str| page_of(&stage, &format!("{}/docs?q={query}", stage.base_url)).await;
    let html = search("cron+expressions").await;
    let first = html.split("<ol class=\"found\">").nth(1).and_then(|list| list.split('"').nth(1));
    assert_eq!(first, Some("/docs/scheduling#cron-expressions"), "{html}");
    // What was searched stands in the field, and nothing of it is markup.
    let html = search("%3Cscript%3E%22lease").await;
    assert!(html.contains("value=\"&lt;script&gt;&quot;lease\"") && !html.contains("<script"), "{html}");
    assert!(html.contains("No section contains all of"), "{html}");
    for words in ["", "+++"] {
        assert!(search(words).await.contains("Enter words that a section must contain."));
    }
    for wrong in [format!("q={}", "a".repeat(201)), "words=lease".to_owned()] {
        let (status, problem) = stage.get(&format!("/docs?{wrong}")).await;
        assert_eq!((status, &problem["code"]), (400, &json!("invalid-request")), "{wrong}");
    }
}

#[tokio::test]
async fn wide_tables_keep_their_head_and_first_column_in_sight() {
    let stage = Stage::new().await;
    let html = page_of(&stage, &format!("{}/docs/features", stage.base_url)).await;
    let tables = html.matches("<table>").count();
    assert!(tables >= 8, "{tables} tables");
    assert_eq!(html.matches("<div class=\"wide").count(), tables, "each has a box that scrolls");
    assert!(html.matches("<div class=\"wide many\"").count() >= 7, "the comparisons are wide");
    let style = stage.http.get(format!("{}/docs/style.css", stage.base_url)).send().await.expect("an answer");
    let style = style.text().await.expect("a style sheet");
    for rule in ["thead th { position: sticky; top: 0;", ".many tr > :first-child { position: sticky; left: 0;"] {
        assert!(style.contains(rule), "{rule}");
    }
}

#[tokio::test]
async fn every_error_leads_to_what_the_book_says_of_it() {
    let stage = Stage::new().await;
    let (_, problem) = stage.get("/nothing").await;
    let help = problem["help"].as_str().expect("an address");
    let anchors = attributes(&page_of(&stage, help).await, "id");
    let kinds = shipped::problem_kinds();
    for kind in kinds {
        assert_eq!(longhaul_book::error_path(kind.code), Some(format!("/docs/errors#{}", kind.code)));
        assert!(anchors.contains(kind.code), "/docs/errors#{}", kind.code);
    }
    assert_eq!(longhaul_book::error_path("of-someone-else"), None);
}
