//! The documentation (`docs/`), as part of every program of the library: so that what
//! `--help` and errors refer to can be read where no other network is, and tells of the
//! very version that runs.

mod find;
mod html;
mod section;

pub use find::{Found, find};

/// A page.
#[derive(Debug)]
pub struct Page {
    /// What it is called in addresses, e.g. `errors` or `adr/0001-tables`.
    pub name: &'static str,
    /// What the table of contents calls it.
    pub title: &'static str,
    /// The part of the book that it belongs to; empty for the first page.
    pub part: &'static str,
    /// How deep it stands in the table of contents; 0 at the top.
    pub depth: u8,
    /// Markdown.
    pub text: &'static str,
}

/// Every page, in the order of the table of contents.
pub static PAGES: &[Page] = include!(concat!(env!("OUT_DIR"), "/pages.rs"));

/// The drawings that pages refer to (SVG), by their addresses from the top of the book.
static DRAWINGS: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/drawings.rs"));

/// The page where a reader begins.
pub const FIRST: &str = "README";

/// The page of this name.
#[must_use]
pub fn page(name: &str) -> Option<&'static Page> {
    PAGES.iter().find(|page| page.name == name)
}

/// The pages before and after this one, in the order of the table of contents.
#[must_use]
pub fn neighbours(page: &Page) -> (Option<&'static Page>, Option<&'static Page>) {
    let Some(at) = PAGES.iter().position(|other| other.name == page.name) else { return (None, None) };
    (at.checked_sub(1).and_then(|before| PAGES.get(before)), PAGES.get(at + 1))
}

/// The path at which an API explains this error code, if the book does: codes of a
/// program's own task types are its own to explain.
#[must_use]
pub fn error_path(code: &str) -> Option<String> {
    row_path("errors", code)
}

/// The path at which an API explains why a task waits, by the reason's code.
#[must_use]
pub fn reason_path(code: &str) -> Option<String> {
    row_path("queues", code)
}

fn row_path(name: &str, row: &str) -> Option<String> {
    page(name).filter(|page| page.row(row).is_some()).map(|_| format!("/docs/{name}#{row}"))
}
