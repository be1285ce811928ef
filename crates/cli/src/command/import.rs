//! `longhaul import`

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use longhaul::connect;
use longhaul_model::counted;
use longhaul_test_management::import::{Imported, import};
use sqlx::PgPool;

/// Imports projects, entities and relationships: all of the file or nothing.
#[derive(Debug, Args)]
pub(crate) struct Import {
    /// The database, e.g. postgres://user:password@host/name.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    database_url: String,
    /// Newline-delimited JSON, plain or gzip; docs/import.md has the format.
    file: PathBuf,
}

impl Import {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let pool = connect(&self.database_url, 2, "longhaul-import").await?;
        let imported = import_file(&pool, &self.file).await?;
        println!(
            "Imported {}, {}, {}.",
            counted(imported.projects, "project"),
            counted(imported.entities, "entity"),
            counted(imported.relationships, "relationship")
        );
        Ok(())
    }
}

/// Imports a file under a progress bar that counts its bytes.
pub(crate) async fn import_file(pool: &PgPool, path: &Path) -> anyhow::Result<Imported> {
    let file = File::open(path).with_context(|| format!("could not open {}", path.display()))?;
    let bar = ProgressBar::new(file.metadata()?.len());
    let style = ProgressStyle::with_template("Importing {bar:40} {bytes}/{total_bytes} line {msg} ({eta} left)")?;
    bar.set_style(style);
    let result = import(pool, bar.wrap_read(file), |line| bar.set_message(line.to_string())).await;
    bar.finish_and_clear();
    result.with_context(|| format!("{}: nothing was imported", path.display()))
}
