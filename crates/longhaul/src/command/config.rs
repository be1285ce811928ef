//! `longhaul config`

use anyhow::{anyhow, bail};
use clap::{Args, Subcommand};
use serde_json::json;

use crate::config::{Configuration, Shown, example, show};

/// Shows settings and their sources.
#[derive(Debug, Args)]
pub(crate) struct Config {
    #[command(subcommand)]
    question: Question,
}

#[derive(Debug, Subcommand)]
enum Question {
    /// Show every setting's value and source.
    #[command(after_help = "Examples:\n  \
        longhaul --config longhaul.toml config show\n  \
        longhaul config show --json\n  \
        longhaul config show -- work --slots 64     # as this command would see it")]
    Show(Show),
    /// Print a configuration file with every setting explained and commented out.
    #[command(after_help = "Example:\n  longhaul config example > longhaul.toml")]
    Example,
}

#[derive(Debug, Args)]
struct Show {
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// A command with its flags. Without one, the settings of all commands.
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<String>,
}

impl Config {
    pub(crate) fn run(&self, command_line: clap::Command, configuration: &Configuration) -> anyhow::Result<()> {
        let program = command_line.get_name().to_owned();
        match &self.question {
            Question::Example => print!("{}", example(&program, &configuration.catalogue)),
            Question::Show(asked) => {
                let settings = asked.settings(command_line, configuration)?;
                if asked.json {
                    let file = configuration.file.as_ref().map(|file| file.path.display().to_string());
                    println!("{:#}", json!({"File": file, "Settings": settings}));
                } else {
                    print!("{}", table(configuration, &settings));
                }
                let wrong: Vec<_> =
                    settings.iter().filter_map(|shown| Some((shown, shown.problem.as_ref()?))).collect();
                if let Some((shown, problem)) = wrong.first() {
                    bail!("{} is invalid: {problem}", shown.at.as_deref().unwrap_or(&shown.key));
                }
            }
        }
        Ok(())
    }
}

impl Show {
    fn settings(&self, command_line: clap::Command, configuration: &Configuration) -> anyhow::Result<Vec<Shown>> {
        if self.command.is_empty() {
            return Ok(show(configuration, None));
        }
        let arguments = std::iter::once(command_line.get_name().to_owned()).chain(self.command.clone());
        let matches = command_line.try_get_matches_from(arguments.collect::<Vec<_>>());
        let matches = matches.map_err(|error| anyhow!("{}", error.to_string().trim_end()))?;
        let mut path = Vec::new();
        let mut inner = &matches;
        while let Some((name, below)) = inner.subcommand() {
            path.push(name.to_owned());
            inner = below;
        }
        Ok(show(configuration, Some((&path, &matches))))
    }
}

fn table(configuration: &Configuration, settings: &[Shown]) -> String {
    let rows: Vec<[String; 4]> = settings
        .iter()
        .map(|shown| {
            let value = match &shown.value {
                serde_json::Value::Null => "-".to_owned(),
                serde_json::Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            let source =
                shown.at.clone().map_or_else(|| shown.source.to_owned(), |at| format!("{} {at}", shown.source));
            [shown.key.clone(), value, source, shown.commands.join(", ")]
        })
        .collect();
    let file = configuration.file.as_ref().map_or_else(|| "none".to_owned(), |file| file.path.display().to_string());
    format!("Configuration file: {file}\n\n{}", crate::table::table(["SETTING", "VALUE", "SOURCE", "COMMANDS"], &rows))
}
