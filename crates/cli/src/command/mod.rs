//! The commands that only this program has, one file each.

pub(crate) mod corpus;
pub(crate) mod demo;
pub(crate) mod import;
