//! Tasks that wait for others, and tasks that are the parts of one.

mod batch;
mod dag;
mod http;
mod scene;
mod sql;
