//! Tickets of external trackers: the seed's examples, what is refused, races,
//! documented shapes of Jira and GitLab, synchronizing, and the records.

mod change;
mod contract;
mod guard;
mod junit;
mod race;
mod records;
mod refusal;
mod scene;
mod shape;
mod sync;
