//! Makes a table of the pages that `docs/SUMMARY.md` lists, and one of the drawings.

use std::fmt::Write;
use std::path::Path;
use std::{env, fs};

fn main() {
    let docs = Path::new(&env::var("CARGO_MANIFEST_DIR").unwrap_or_default()).join("docs");
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
        let depth = (line.len() - line.trim_start().len()) / 2;
        let entry = format!(
            "Page {{ name: {name:?}, title: {title:?}, part: {part:?}, depth: {depth}, text: include_str!({file:?}) }}"
        );
        if writeln!(table, "    {entry},").is_err() {
            unreachable!("a string can be written to");
        }
    }
    table.push_str("]\n");
    write("pages.rs", &table);

    let drawings = fs::read_dir(docs.join("img")).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut drawings: Vec<_> = drawings.filter(|file| file.extension().is_some_and(|kind| kind == "svg")).collect();
    drawings.sort();
    let entry = |file: &std::path::PathBuf| {
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        format!("    ({:?}, include_str!({file:?})),\n", format!("img/{name}"))
    };
    write("drawings.rs", &format!("&[\n{}]\n", drawings.iter().map(entry).collect::<String>()));
}

fn write(name: &str, table: &str) {
    let to = Path::new(&env::var("OUT_DIR").unwrap_or_default()).join(name);
    if let Err(error) = fs::write(&to, table) {
        panic!("{}: {error}", to.display());
    }
}
