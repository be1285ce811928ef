//! `longhaul docs`

use std::fmt::Write as _;

use anyhow::bail;
use clap::Args;
use longhaul_book::PAGES;

pub(super) const EXAMPLES: &str = "Examples:
  longhaul docs
  longhaul docs retries
  longhaul docs cli#doctor
  longhaul docs errors#task-ended";

/// Prints a page of this version's documentation.
///
/// An API of the program shows the same pages at /docs.
#[derive(Debug, Args)]
pub(crate) struct Docs {
    /// A page or section, as errors and --help name them. Lists all pages if omitted.
    #[arg(value_name = "PAGE[#PART]")]
    page: Option<String>,
}

impl Docs {
    pub(crate) fn run(&self, program: &str) -> anyhow::Result<()> {
        let text = match &self.page {
            Some(page) => found(page, program)?,
            None => contents(),
        };
        print!("{text}");
        Ok(())
    }
}

fn contents() -> String {
    let mut list = String::new();
    let mut part = "";
    for page in PAGES {
        if page.part != part {
            part = page.part;
            writeln!(list, "\n{part}").unwrap_or_default();
        }
        writeln!(list, "  {:<26} {}", page.name, page.title).unwrap_or_default();
    }
    list
}

/// The text that was asked for, by its name or by the whole address in an error.
fn found(asked: &str, program: &str) -> anyhow::Result<String> {
    let (address, part) = asked.split_once('#').unwrap_or((asked, ""));
    let name = address.rsplit_once("/docs/").map_or(address, |(_, name)| name);
    let name = name.trim_start_matches("docs/").trim_end_matches(".md").trim_end_matches(".html");
    let Some(page) = longhaul_book::page(name) else {
        bail!("there is no page '{name}'{}; `{program} docs` lists all pages", nearest(name));
    };
    if part.is_empty() {
        return Ok(page.text.to_owned());
    }
    match page.section(part) {
        Some(section) => Ok(section),
        None => bail!("the page '{name}' has no section '{part}'; `{program} docs {name}` shows the whole page"),
    }
}

fn nearest(name: &str) -> String {
    crate::nearest::nearest(name, PAGES.iter().map(|page| page.name))
}

/// The page that explains a command, from the outside in; none for commands that a
/// program adds.
fn page_of(command: &[&str]) -> Option<&'static str> {
    Some(match command {
        [] => "cli",
        ["dev", ..] => "embedding#3-run-it",
        ["serve" | "migrate", ..] => "operations",
        ["work", ..] => "tour-fleet",
        ["key", ..] => "security",
        ["task", "run" | "wait", ..] => "cli#following-a-task",
        ["task", "logs", ..] => "progress#the-log",
        ["task", "retry" | "cancel", ..] => "state-machine",
        ["task", ..] => "cli#how-the-commands-reach-the-tasks",
        ["queue" | "type", ..] => "queues",
        ["schedule", ..] => "scheduling",
        ["worker", ..] => "tour-fleet",
        ["top"] => "cli#top",
        ["doctor"] => "cli#doctor",
        ["config", ..] => "configuration",
        ["completions"] => "cli#completions",
        ["health"] => "cli#health",
        ["man"] => "releasing",
        ["roles"] => "database-roles",
        ["docs"] => "README",
        _ => return None,
    })
}

/// Ends the help of each command with its page, and calls the program by its name in the
/// examples.
pub(crate) fn with_pages(command: clap::Command, program: &'static str) -> clap::Command {
    below(command, &[], program)
}

fn below(mut command: clap::Command, path: &[&str], program: &'static str) -> clap::Command {
    let names: Vec<String> = command.get_subcommands().map(|below| below.get_name().to_owned()).collect();
    for name in names {
        let inner = [path, &[name.as_str()]].concat();
        command = command.mut_subcommand(&name, |command| below(command, &inner, program));
    }
    let Some(page) = page_of(path) else { return command };
    let examples = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    let examples = examples.replace("longhaul ", &format!("{program} "));
    let gap = if examples.is_empty() { "" } else { "\n\n" };
    command.after_help(format!(
        "{examples}{gap}Documentation: {program} docs {page}\n               or /docs/{page} of a running API"
    ))
}

#[cfg(test)]
mod tests {
    use super::found;

    #[test]
    fn pages_are_found_by_name_and_by_address() {
        for asked in ["errors", "errors.md", "docs/errors.md", "/docs/errors", "https://tasks.example.com/docs/errors"]
        {
            assert!(found(asked, "p").expect(asked).starts_with("# Error codes"), "{asked}");
        }
        let part = found("http://127.0.0.1:8080/docs/errors#forbidden", "p").expect("a part");
        assert!(part.contains("A permission is missing"), "{part}");
    }

    #[test]
    fn what_is_not_there_is_told_with_what_is() {
        let wrong = found("eror", "p").expect_err("no page").to_string();
        assert_eq!(wrong, "there is no page 'eror' (did you mean 'errors'?); `p docs` lists all pages");
        let wrong = found("errors#nothing", "p").expect_err("no part").to_string();
        assert_eq!(wrong, "the page 'errors' has no section 'nothing'; `p docs errors` shows the whole page");
    }
}
