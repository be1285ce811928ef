//! Makes a table of the pages that `docs/SUMMARY.md` lists.

use std::fmt::Write;
use std::path::Path;
use std::{env, fs};

fn main() {
    let docs = Path::new(&env::var("CARGO_MANIFEST_DIR").unwrap_or_default()).join("../../docs");
    let summary = docs.join("SUMMARY.md");
    println!("cargo:rerun-if-changed={}", docs.display());
    let Ok(text) = fs::read_to_string(&summary) else { panic!("there is no {}", summary.display()) };
    let (mut table, mut part) = ("&[\n".to_owned(), "");
    for line in text.lines() {
        if let Some(heading) = line.strip_prefix("# ").filter(|heading| *heading != "Summary") {
            part = heading;
        }
        let Some((title, path)) = line.split_once('[').and_then(|(_, rest)| rest.split_once("](")) else { continue };
        let Some(path) = path.strip_suffix(')').filter(|path| !path.is_empty()) else { continue };
        let name = path.trim_end_matches(".md");
        let file = docs.join(path);
        let entry =
            format!("Page {{ name: {name:?}, title: {title:?}, part: {part:?}, text: include_str!({file:?}) }}");
        if writeln!(table, "    {entry},").is_err() {
            unreachable!("a string can be written to");
        }
    }
    table.push_str("]\n");
    let to = Path::new(&env::var("OUT_DIR").unwrap_or_default()).join("pages.rs");
    if let Err(error) = fs::write(&to, table) {
        panic!("{}: {error}", to.display());
    }
}
