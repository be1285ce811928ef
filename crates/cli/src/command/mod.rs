//! One file a command.

pub(crate) mod corpus;
pub(crate) mod demo;
pub(crate) mod dev;
pub(crate) mod import;
pub(crate) mod migrate;
pub(crate) mod serve;
pub(crate) mod work;
