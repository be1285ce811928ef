//! The search index: building one beside the other, swapping, searching.
//!
//! What is indexed and what is asked for are read by the same code, in this process: `fold`
//! makes spellings the same, `words` finds the words. So a search depends on neither the
//! server's locale nor its extensions.

mod batch;
mod build;
mod document;
mod find;
mod fold;
mod json_text;
mod question;
mod words;

pub(crate) use batch::{add_batch, next_entity};
pub(crate) use build::{
    Build, Compacted, Swapped, begin, compact, discard, drop_unused, exists, forget, settle, swap, tune,
};
pub use find::{Hit, Hits, SearchRequest, search};
pub(crate) use find::{entities_query, narrows, question};

/// How texts become words, as `search.analyzer` keeps it of every index: a question must be
/// read as the index was made. To be raised when `fold` or `words` change.
pub(crate) const ANALYZER: i16 = 2;

/// The text search of PostgreSQL with the configuration `simple`, which earlier releases used.
const FORMER_ANALYZER: i16 = 1;
