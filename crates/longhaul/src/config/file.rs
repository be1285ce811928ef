//! The file.

use std::path::{Path, PathBuf};

use anyhow::anyhow;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::catalogue::{Catalogue, Kind, Setting};

/// The table whose tables are for one command each.
pub(crate) const COMMANDS: &str = "commands";
/// A key this alike to an unknown one is suggested (Jaro-Winkler, 0 to 1).
const ALIKE: f64 = 0.8;

/// What a file says, checked.
#[derive(Debug)]
pub(crate) struct File {
    pub(crate) path: PathBuf,
    given: Vec<Given>,
}

/// What a file says of one setting.
#[derive(Debug)]
pub(crate) struct Given {
    /// The command it is for; empty for all that have the setting.
    command: Vec<String>,
    key: String,
    pub(crate) values: Vec<String>,
    /// Counted from 1.
    pub(crate) line: usize,
}

/// Reads one file; collects what is wrong with it.
struct Reader<'a> {
    path: &'a Path,
    text: &'a str,
    catalogue: &'a Catalogue,
    given: Vec<Given>,
    wrong: Vec<(usize, String)>,
}

impl File {
    /// Reads a file's text.
    ///
    /// # Errors
    /// If it is not TOML, or has unknown keys or invalid values; all of them at once, with their
    /// lines.
    pub(crate) fn parse(path: &Path, text: &str, catalogue: &Catalogue) -> anyhow::Result<Self> {
        let mut reader = Reader { path, text, catalogue, given: Vec::new(), wrong: Vec::new() };
        match DeTable::parse(text) {
            Ok(table) => reader.table(&[], table.get_ref()),
            Err(error) => {
                let at = error.span().map_or(0, |span| span.start);
                reader.refuse(at, format!("this is not TOML: {}", error.message()));
            }
        }
        reader.end()
    }

    /// What it says of a setting: the most special table counts.
    pub(crate) fn of(&self, setting: &Setting) -> Option<&Given> {
        self.given
            .iter()
            .filter(|given| given.key == setting.key && setting.command.starts_with(&given.command))
            .max_by_key(|given| given.command.len())
    }

    /// Where it says something, e.g. `longhaul.toml:3`.
    pub(crate) fn place(&self, given: &Given) -> String {
        format!("{}:{}", self.path.display(), given.line)
    }
}

impl Reader<'_> {
    fn refuse(&mut self, at: usize, reason: String) {
        let line = self.line(at);
        self.wrong.push((line, reason));
    }

    fn line(&self, at: usize) -> usize {
        self.text.as_bytes()[..at.min(self.text.len())].iter().filter(|byte| **byte == b'\n').count() + 1
    }

    fn table(&mut self, command: &[String], table: &DeTable<'_>) {
        for (key, value) in table {
            let (at, key) = (key.span().start, key.get_ref().as_ref());
            match value.get_ref() {
                DeValue::Table(commands) if command.is_empty() && key == COMMANDS => self.commands(&[], commands),
                DeValue::Table(below) if !command.is_empty() => {
                    self.command(command, key, at, below);
                }
                _ => self.setting(command, key, at, value),
            }
        }
    }

    fn commands(&mut self, above: &[String], table: &DeTable<'_>) {
        for (key, value) in table {
            let (at, name) = (key.span().start, key.get_ref().as_ref());
            match value.get_ref() {
                DeValue::Table(below) => self.command(above, name, at, below),
                _ => self.refuse(at, format!("[{COMMANDS}.{name}] must be a table with the settings of one command")),
            }
        }
    }

    fn command(&mut self, above: &[String], name: &str, at: usize, table: &DeTable<'_>) {
        let command = [above, &[name.to_owned()]].concat();
        if self.catalogue.below(&command).next().is_some() {
            return self.table(&command, table);
        }
        let known = self.catalogue.below(above).filter_map(|setting| setting.command.get(above.len()).cloned());
        let meant = closest(name, known);
        self.refuse(at, format!("there is no command '{}' with settings{meant}", command.join(" ")));
    }

    fn setting(&mut self, command: &[String], key: &str, at: usize, value: &Spanned<DeValue<'_>>) {
        let named: Vec<&Setting> = self.catalogue.below(command).filter(|setting| setting.key == key).collect();
        let Some(setting) = named.first() else {
            let known = self.catalogue.below(command).map(|setting| setting.key.clone());
            let mut meant = closest(key, known);
            if command.is_empty() && self.catalogue.iter().any(|setting| setting.command_name() == key) {
                meant = format!("; did you mean [{COMMANDS}.{key}]?");
            }
            let of = if command.is_empty() { String::new() } else { format!(" of `{}`", command.join(" ")) };
            return self.refuse(at, format!("there is no setting '{key}'{of}{meant}"));
        };
        if let Some(other) = named.iter().find(|other| other.variable != setting.variable) {
            let (one, two) = (setting.command_name(), other.command_name());
            let reason = format!(
                "'{key}' has different meanings for `{one}` and `{two}`; set it in [{COMMANDS}.{}]",
                one.replace(' ', ".")
            );
            return self.refuse(at, reason);
        }
        match values(setting, value.get_ref()) {
            Ok(values) => match named.iter().find_map(|setting| setting.refusal(&values)) {
                Some(reason) => self.refuse(value.span().start, format!("'{key}' is invalid: {reason}")),
                None => {
                    let line = self.line(at);
                    self.given.push(Given { command: command.to_vec(), key: key.to_owned(), values, line });
                }
            },
            Err(reason) => self.refuse(value.span().start, format!("'{key}' is invalid: {reason}")),
        }
    }

    fn end(mut self) -> anyhow::Result<File> {
        if self.wrong.is_empty() {
            return Ok(File { path: self.path.to_owned(), given: self.given });
        }
        self.wrong.sort();
        let lines: Vec<String> =
            self.wrong.iter().map(|(line, reason)| format!("{}:{line}: {reason}", self.path.display())).collect();
        Err(anyhow!("{}", lines.join("\n")))
    }
}

/// What the parser of the command line is given for a value.
fn values(setting: &Setting, value: &DeValue<'_>) -> Result<Vec<String>, String> {
    match value {
        DeValue::Array(elements) if setting.many => {
            elements.iter().map(|element| scalar(setting, element.get_ref())).collect()
        }
        _ => scalar(setting, value).map(|value| vec![value]),
    }
}

fn scalar(setting: &Setting, value: &DeValue<'_>) -> Result<String, String> {
    let found = match (setting.kind, value) {
        (Kind::Text, DeValue::String(text)) => return Ok(text.as_ref().to_owned()),
        (Kind::Switch, DeValue::Boolean(switch)) => return Ok(switch.to_string()),
        (Kind::Whole | Kind::Number, DeValue::Integer(number)) => {
            let number = i128::from_str_radix(number.as_str(), number.radix());
            return number.map(|number| number.to_string()).map_err(|_| "the number is too large".to_owned());
        }
        (Kind::Number, DeValue::Float(number)) => return Ok(number.as_str().to_owned()),
        (_, DeValue::String(_)) => "a string",
        (_, DeValue::Boolean(_)) => "true or false",
        (_, DeValue::Integer(_)) => "a whole number",
        (_, DeValue::Float(_)) => "a number with a fraction",
        (_, DeValue::Datetime(_)) => "a date or time",
        (_, DeValue::Array(_)) => "a list",
        (_, DeValue::Table(_)) => "a table",
    };
    let list = if setting.many { " or a list of them" } else { "" };
    Err(format!("{}{list} is expected, not {found}", setting.kind.name()))
}

/// Advice for a name that nothing has.
fn closest(name: &str, known: impl Iterator<Item = String>) -> String {
    known
        .map(|known| (strsim::jaro_winkler(name, &known), known))
        .filter(|(alike, _)| *alike >= ALIKE)
        .max_by(|(one, _), (other, _)| one.total_cmp(other))
        .map_or_else(String::new, |(_, known)| format!("; did you mean '{known}'?"))
}
