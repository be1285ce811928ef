//! No two modules of one crate import each other in a circle: whoever reads one can read what
//! it is made of first.
//!
//! A module imports another one if a `use` of it names the other, or a path in its code that
//! begins with `crate`, `super` or `self` does. That a module declares others (`mod`), re-exports
//! from them and calls them by their names makes it their owner, not an importer; nor does what
//! stands in `lib.rs` or `main.rs`, the face of a crate. Tests within a file may import anything.

mod tokens;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use self::tokens::{Token, after_group, after_item, tokens};

/// A path through modules, from the crate's root.
type Module = Vec<String>;

fn name(token: Option<&Token>) -> Option<&str> {
    match token {
        Some(Token::Name(name)) => Some(name),
        _ => None,
    }
}

/// Reads what one module imports.
struct Reader<'a> {
    tokens: &'a [Token],
    index: usize,
    /// The module that this code is in, which may be nested in the file.
    module: Module,
    children: BTreeSet<String>,
    /// Paths from the root.
    imports: BTreeSet<Module>,
}

impl<'a> Reader<'a> {
    fn new(tokens: &'a [Token], index: usize, module: Module) -> Self {
        Self { tokens, index, module, children: BTreeSet::new(), imports: BTreeSet::new() }
    }

    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.index)
    }

    /// Reads to the end of a block, or of the file.
    fn read(&mut self) {
        let mut depth = 0_usize;
        while let Some(token) = self.peek().cloned() {
            match &token {
                Token::Mark('#') if self.is_test() => {
                    self.index = after_group(self.tokens, self.index + 1, '[', ']');
                    self.index = after_item(self.tokens, self.index);
                }
                Token::Mark('{') => (depth, self.index) = (depth + 1, self.index + 1),
                Token::Mark('}') if depth == 0 => return self.index += 1,
                Token::Mark('}') => (depth, self.index) = (depth - 1, self.index + 1),
                Token::Name(word) if word == "mod" => self.read_module(),
                Token::Name(word) if word == "use" => self.read_use(),
                Token::Name(word)
                    if matches!(word.as_str(), "crate" | "super" | "self")
                        && self.tokens.get(self.index + 1) == Some(&Token::Below)
                        && self.index.checked_sub(1).is_none_or(|before| self.tokens[before] != Token::Below) =>
                {
                    let mut path = vec![word.clone()];
                    self.index += 1;
                    while self.peek() == Some(&Token::Below) {
                        let Some(next) = name(self.tokens.get(self.index + 1)) else { break };
                        path.push(next.to_owned());
                        self.index += 2;
                    }
                    self.import(&path);
                }
                _ => self.index += 1,
            }
        }
    }

    /// Whether `#[cfg(test)]` begins here.
    fn is_test(&self) -> bool {
        let expected = [Token::Mark('['), Token::Name("cfg".into()), Token::Mark('('), Token::Name("test".into())];
        self.tokens[self.index + 1..].starts_with(&expected)
    }

    /// Declares a module, or is one.
    fn read_module(&mut self) {
        let named = name(self.tokens.get(self.index + 1)).map(str::to_owned);
        self.index += 2;
        let (Some(named), Some(next)) = (named, self.peek()) else { return };
        if *next == Token::Mark(';') {
            self.children.insert(named);
        } else if *next == Token::Mark('{') {
            let module = [self.module.as_slice(), &[named]].concat();
            let mut nested = Reader::new(self.tokens, self.index + 1, module);
            nested.read();
            self.index = nested.index;
            self.imports.append(&mut nested.imports);
        }
    }

    fn read_use(&mut self) {
        let before = self.index.checked_sub(1).map(|before| &self.tokens[before]);
        let is_public = matches!(before, Some(Token::Mark(')'))) || name(before) == Some("pub");
        self.index += 1;
        let mut paths = Vec::new();
        self.read_tree(&[], &mut paths);
        for path in paths {
            match path.first().map(String::as_str) {
                Some("crate" | "super" | "self") => self.import(&path),
                Some(child) if !is_public && self.children.contains(child) => {
                    self.import(&[&["self".to_owned()], path.as_slice()].concat());
                }
                _ => {}
            }
        }
    }

    /// One path, or a group of them.
    fn read_tree(&mut self, above: &[String], paths: &mut Vec<Module>) {
        let mut path = above.to_vec();
        while let Some(token) = self.peek().cloned() {
            match token {
                Token::Name(word) if word == "as" => self.index += 2,
                Token::Name(word) => {
                    path.push(word);
                    self.index += 1;
                }
                Token::Mark('{') => {
                    self.index += 1;
                    while self.peek().is_some_and(|next| *next != Token::Mark('}')) {
                        self.read_tree(&path, paths);
                        if self.peek() == Some(&Token::Mark(',')) {
                            self.index += 1;
                        }
                    }
                    self.index += 1;
                    return;
                }
                Token::Mark(',' | '}' | ';') => break,
                Token::Below | Token::Mark(_) => self.index += 1,
            }
        }
        paths.push(path);
    }

    fn import(&mut self, path: &[String]) {
        let mut module = if path[0] == "crate" { Module::new() } else { self.module.clone() };
        for part in path {
            match part.as_str() {
                "crate" | "self" => {}
                "super" => drop(module.pop()),
                part => module.push(part.to_owned()),
            }
        }
        self.imports.insert(module);
    }
}

fn files_below(directory: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            files_below(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// Which modules, each of a file of its own, each module of a crate imports.
fn imports(sources: &BTreeMap<Module, String>) -> BTreeMap<&Module, BTreeSet<&Module>> {
    let owner = |path: &[String]| {
        let known = (1..=path.len()).rev().find_map(|length| sources.get_key_value(&path[..length]));
        known.map(|(module, _)| module)
    };
    let of = |module: &Module, source: &str| {
        let tokens = tokens(source);
        let mut reader = Reader::new(&tokens, 0, module.clone());
        reader.read();
        reader.imports.iter().filter_map(|path| owner(path)).filter(|other| *other != module).collect()
    };
    sources.iter().map(|(module, source)| (module, of(module, source))).collect()
}

/// The imports that are part of a circle, as `a -> b`.
fn circular(sources: &BTreeMap<Module, String>) -> Vec<String> {
    let imports = imports(sources);
    let reaches = |from: &Module, to: &Module| {
        let (mut seen, mut next) = (BTreeSet::new(), vec![from]);
        while let Some(module) = next.pop() {
            if module == to {
                return true;
            }
            if seen.insert(module) {
                next.extend(&imports[module]);
            }
        }
        false
    };
    let all = imports.iter().flat_map(|(module, others)| others.iter().map(move |other| (*module, *other)));
    all.filter(|(module, other)| reaches(other, module))
        .map(|(module, other)| format!("{} -> {}", module.join("/"), other.join("/")))
        .collect()
}

/// The modules of a crate but its root.
fn sources(directory: &Path) -> BTreeMap<Module, String> {
    let mut files = Vec::new();
    files_below(directory, &mut files);
    let mut sources = BTreeMap::new();
    for file in files {
        let inside = file.strip_prefix(directory).expect("a file below").with_extension("");
        let mut module: Module = inside.iter().map(|part| part.to_string_lossy().into_owned()).collect();
        if module.last().is_some_and(|last| last == "mod") {
            module.pop();
        }
        if !matches!(module.join("/").as_str(), "lib" | "main") {
            sources.insert(module, std::fs::read_to_string(&file).expect("a source"));
        }
    }
    sources
}

#[test]
fn no_modules_of_a_crate_import_each_other_in_a_circle() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let (mut circles, mut modules) = (Vec::new(), 0);
    let crates = std::fs::read_dir(root.join("crates")).expect("crates");
    let crates = crates.map(|entry| entry.expect("a crate").path());
    for directory in crates.chain([root.join("benches"), root.join("tests")]) {
        let sources = sources(&directory.join("src"));
        modules += sources.len();
        let name = directory.file_name().unwrap_or_default().to_string_lossy().into_owned();
        circles.extend(circular(&sources).into_iter().map(|import| format!("{name}: {import}")));
    }
    assert!(modules > 300, "the modules were found: {modules}");
    assert!(circles.is_empty(), "give what both need a home below both:\n{}", circles.join("\n"));
}

#[test]
fn circles_are_found_however_they_are_written() {
    let circles = |files: &[(&str, &str)]| {
        let module = |path: &str| path.split('/').map(str::to_owned).collect::<Module>();
        circular(&files.iter().map(|(path, source)| (module(path), (*source).to_owned())).collect())
    };
    let both = ["a -> b", "b -> a"];
    assert_eq!(circles(&[("a", "use crate::b::B;"), ("b", "use crate::{a::{A as C}, c};")]), both);
    assert_eq!(circles(&[("a", "fn a() { crate::b::b() }"), ("b", "use super::a::*;")]), both, "a path counts");
    assert_eq!(circles(&[("a", "mod x { mod y { use super::super::super::b; } }"), ("b", "pub use crate::a;")]), both);
    let nested = ["a -> a/b", "a/b -> a"];
    assert_eq!(circles(&[("a", "mod b; use self::b::B;"), ("a/b", "use super::A;")]), nested);
    assert_eq!(circles(&[("a", "mod b; use b::B;"), ("a/b", "fn b() { super::a() }")]), nested);
    let three = circles(&[("a", "use crate::b::B;"), ("b", "use crate::c::C;"), ("c", "use crate::a::A;")]);
    assert_eq!(three, ["a -> b", "b -> c", "c -> a"]);
    for harmless in [
        "// use crate::a::A;",
        "/* /* */ use crate::a::A; */",
        "const A: &str = \"use crate::a::A;\"; const B: char = '\"';",
        "const A: &str = r#\"\" crate::a::A\"#;",
        "#[cfg(test)]\nmod tests { use crate::a::A; }",
        "#[cfg(test)]\nuse crate::a::A;",
        "use crate::c::a::A;",
        "fn a<'a>(a: &'a str) -> crate::c::A { a }",
    ] {
        assert_eq!(circles(&[("a", "use crate::b::B;"), ("b", harmless), ("c", "")]), [""; 0], "{harmless}");
    }
    assert_eq!(circles(&[("a", "mod b;\npub use b::B;"), ("a/b", "use super::A;")]), [""; 0], "a face is no import");
}
