//! Rebuilds when a file of the schema is added or changed, and lists today's functions and
//! views (`migrations/current`) for `store/current.rs`.

use std::fmt::Write;
use std::path::Path;

/// The files of a folder, in the order of their names.
fn names(folder: &Path) -> std::io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name.ends_with(".sql") {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=migrations/queue");
    println!("cargo:rerun-if-changed=migrations/current");
    let root = Path::new(&std::env::var("CARGO_MANIFEST_DIR")?).join("migrations/current");
    let mut code = String::new();
    for (list, folder) in [("FUNCTIONS", "functions"), ("VIEWS", "views")] {
        writeln!(code, "/// The files of `migrations/current/{folder}`.\nconst {list}: &[File] = &[")?;
        for name in names(&root.join(folder))? {
            let path = root.join(folder).join(&name);
            writeln!(code, "    File {{ name: {:?}, sql: include_str!({path:?}) }},", format!("{folder}/{name}"))?;
        }
        writeln!(code, "];")?;
    }
    std::fs::write(Path::new(&std::env::var("OUT_DIR")?).join("current.rs"), code)?;
    Ok(())
}
