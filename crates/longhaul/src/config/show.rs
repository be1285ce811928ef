//! What is set, and by what.

use clap::ArgMatches;
use clap::parser::ValueSource;
use serde::Serialize;
use serde_json::{Value, json};

use super::catalogue::{Kind, Setting};
use super::configuration::Configuration;
use super::flag::deepest;

/// Stands for a value that is not shown.
const SECRET: &str = "(secret)";

/// One setting as it counts for some commands.
#[derive(Debug, Serialize, PartialEq)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Shown {
    /// Its name in the file; the flag is `--` and this.
    pub(crate) key: String,
    /// Its environment variable.
    pub(crate) environment: String,
    /// What it is for.
    pub(crate) help: String,
    /// Its value is not shown.
    pub(crate) secret: bool,
    /// What counts: a string, number, boolean, or a list; null if nothing is set.
    pub(crate) value: Value,
    /// `flag`, `environment`, `file`, `default`, or `unset`.
    pub(crate) source: &'static str,
    /// Where that is: the flag, the variable, or the file with the line.
    pub(crate) at: Option<String>,
    /// The default.
    pub(crate) default: Value,
    /// The commands it counts for.
    pub(crate) commands: Vec<String>,
    /// Why the value can't be used.
    pub(crate) problem: Option<String>,
}

/// What counts for a command of which these arguments were given; without them, for
/// every command as long as it is given none.
pub(crate) fn show(configuration: &Configuration, given: Option<(&[String], &ArgMatches)>) -> Vec<Shown> {
    let mut all: Vec<Shown> = Vec::new();
    for setting in configuration.catalogue.groups().into_iter().flatten() {
        let mut shown = without_flags(configuration, setting);
        if let Some((command, matches)) = given {
            if !command.starts_with(&setting.command) {
                continue;
            }
            let matches = deepest(matches);
            let is_known = matches.try_contains_id(setting.id.as_str()).is_ok();
            if is_known && matches.value_source(setting.id.as_str()) == Some(ValueSource::CommandLine) {
                let raw = matches.get_raw(setting.id.as_str()).into_iter().flatten();
                let mut values: Vec<String> = raw.map(|value| value.to_string_lossy().into_owned()).collect();
                if values.is_empty() {
                    values.push((setting.defaults.first().map(String::as_str) != Some("true")).to_string());
                }
                shown = one(setting, &values, "flag", Some(format!("--{}", setting.key)));
            }
        }
        let same = all.iter_mut().find(|other| {
            (&other.key, &other.environment, &other.value, &other.source, &other.at, &other.default)
                == (&shown.key, &shown.environment, &shown.value, &shown.source, &shown.at, &shown.default)
        });
        match same {
            Some(same) => same.commands.append(&mut shown.commands),
            None => all.push(shown),
        }
    }
    all
}

fn without_flags(configuration: &Configuration, setting: &Setting) -> Shown {
    if let Some(text) = std::env::var_os(&setting.variable) {
        let values = setting.split(&text.to_string_lossy());
        let mut shown = one(setting, &values, "environment", Some(setting.variable.clone()));
        shown.problem = setting.refusal(&values);
        return shown;
    }
    if let Some(file) = &configuration.file
        && let Some(given) = file.of(setting)
    {
        return one(setting, &given.values, "file", Some(file.place(given)));
    }
    let source = if setting.defaults.is_empty() { "unset" } else { "default" };
    one(setting, &setting.defaults, source, None)
}

fn one(setting: &Setting, values: &[String], source: &'static str, at: Option<String>) -> Shown {
    let value = typed(setting, values);
    let value = if setting.secret && !value.is_null() { json!(SECRET) } else { value };
    Shown {
        key: setting.key.clone(),
        environment: setting.variable.clone(),
        help: setting.help.clone(),
        secret: setting.secret,
        value,
        source,
        at,
        default: typed(setting, &setting.defaults),
        commands: vec![setting.command_name()],
        problem: None,
    }
}

fn typed(setting: &Setting, values: &[String]) -> Value {
    let one = |value: &String| match setting.kind {
        Kind::Text => json!(value),
        // As it was written, if it is none.
        Kind::Whole => value.parse::<i64>().map_or_else(|_| json!(value), |number| json!(number)),
        Kind::Number => value.parse::<f64>().map_or_else(|_| json!(value), |number| json!(number)),
        Kind::Switch => value.parse::<bool>().map_or_else(|_| json!(value), |switch| json!(switch)),
    };
    match (setting.many, values) {
        (false, [value, ..]) => one(value),
        (_, []) => Value::Null,
        (true, values) => values.iter().map(one).collect(),
    }
}
