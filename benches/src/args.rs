//! What every workload takes.

use clap::Args;

/// What every workload takes.
#[derive(Debug, Clone, Args)]
pub(crate) struct BenchArgs {
    /// A server to measure on. The benchmark creates a database of its own there, and drops it at
    /// the end. By default it starts a private server. (It ignores DATABASE_URL: a benchmark must
    /// not load a database by accident.)
    #[arg(long)]
    pub(crate) database_url: Option<String>,
    /// Number of runs; the median is what counts.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=100))]
    pub(crate) runs: u16,
    /// Print one JSON object instead of a table.
    #[arg(long)]
    pub(crate) json: bool,
}
