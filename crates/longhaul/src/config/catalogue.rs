//! What can be set.

use std::any::TypeId;
use std::error::Error;

use clap::builder::ValueParser;
use clap::error::{ContextKind, ContextValue};
use clap::{Arg, ArgAction, Command, Id};

use super::flag::CONFIG_VARIABLE;

/// What a value looks like in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Text,
    Whole,
    Number,
    Switch,
}

impl Kind {
    /// In a sentence.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Kind::Text => "a string",
            Kind::Whole => "a whole number",
            Kind::Number => "a number",
            Kind::Switch => "true or false",
        }
    }

    fn of(argument: &Arg) -> Self {
        const WHOLE: [TypeId; 10] = [
            TypeId::of::<u8>(),
            TypeId::of::<u16>(),
            TypeId::of::<u32>(),
            TypeId::of::<u64>(),
            TypeId::of::<usize>(),
            TypeId::of::<i8>(),
            TypeId::of::<i16>(),
            TypeId::of::<i32>(),
            TypeId::of::<i64>(),
            TypeId::of::<isize>(),
        ];
        let value = argument.get_value_parser().type_id();
        match argument.get_action() {
            ArgAction::SetTrue | ArgAction::SetFalse => Kind::Switch,
            ArgAction::Count => Kind::Whole,
            _ if value == TypeId::of::<bool>() => Kind::Switch,
            _ if WHOLE.iter().any(|whole| value == *whole) => Kind::Whole,
            _ if value == TypeId::of::<f32>() || value == TypeId::of::<f64>() => Kind::Number,
            _ => Kind::Text,
        }
    }
}

/// One argument of one command that can be set.
#[derive(Debug, Clone)]
pub(crate) struct Setting {
    /// Its name in the file: the flag's.
    pub(crate) key: String,
    /// The argument, as the parser names it.
    pub(crate) id: Id,
    /// Its environment variable.
    pub(crate) variable: String,
    /// The command, from the outside in; empty for what every command has.
    pub(crate) command: Vec<String>,
    pub(crate) kind: Kind,
    /// Takes a list.
    pub(crate) many: bool,
    /// Its value is never shown.
    pub(crate) secret: bool,
    /// What it is for: the first line of its help.
    pub(crate) help: String,
    /// The heading above it in the help.
    pub(crate) heading: Option<String>,
    /// The default.
    pub(crate) defaults: Vec<String>,
    argument: Arg,
}

impl Setting {
    fn of(argument: &Arg, command: &[String]) -> Option<Self> {
        if argument.is_hide_set() {
            return None;
        }
        let key = argument.get_long()?;
        let variable = argument.get_env()?.to_str()?;
        let kind = Kind::of(argument);
        let action = argument.get_action();
        let mut defaults: Vec<String> =
            argument.get_default_values().iter().map(|value| value.to_string_lossy().into_owned()).collect();
        if defaults.is_empty() && matches!(action, ArgAction::SetTrue | ArgAction::SetFalse) {
            defaults.push(matches!(action, ArgAction::SetFalse).to_string());
        }
        Some(Self {
            key: key.to_owned(),
            id: argument.get_id().clone(),
            variable: variable.to_owned(),
            command: command.to_vec(),
            kind,
            many: matches!(action, ArgAction::Append) || argument.get_value_delimiter().is_some(),
            secret: argument.is_hide_env_values_set(),
            help: argument.get_help().map(|help| help.to_string().replace('\n', " ")).unwrap_or_default(),
            heading: argument.get_help_heading().map(str::to_owned),
            defaults,
            argument: argument.clone(),
        })
    }

    /// Its command as it is typed, e.g. `task run`.
    pub(crate) fn command_name(&self) -> String {
        self.command.join(" ")
    }

    /// Splits what an environment variable says as the parser does.
    pub(crate) fn split(&self, text: &str) -> Vec<String> {
        match self.argument.get_value_delimiter() {
            Some(delimiter) => text.split(delimiter).map(str::to_owned).collect(),
            None => vec![text.to_owned()],
        }
    }

    /// Why the parser of the command line would not take these values. A secret's value
    /// is not repeated.
    pub(crate) fn refusal(&self, values: &[String]) -> Option<String> {
        let mut argument = Arg::new("value")
            .long("value")
            .value_parser(self.argument.get_value_parser().clone())
            .action(if self.many { ArgAction::Append } else { ArgAction::Set });
        if self.kind == Kind::Switch && self.argument.get_value_parser().type_id() != TypeId::of::<bool>() {
            argument = argument.value_parser(ValueParser::bool());
        }
        let alone = Command::new("check").disable_help_flag(true).no_binary_name(true).arg(argument);
        let error = alone.try_get_matches_from(values.iter().map(|value| format!("--value={value}"))).err()?;
        if self.secret {
            return Some("its value is invalid (and not shown here)".to_owned());
        }
        if let Some(ContextValue::Strings(valid)) = error.get(ContextKind::ValidValue)
            && !valid.is_empty()
        {
            return Some(format!("one of {} is expected", valid.join(", ")));
        }
        Some(error.source().map_or_else(|| error.kind().to_string(), ToString::to_string))
    }
}

/// Everything that can be set of a program.
pub(crate) struct Catalogue(Vec<Setting>);

impl Catalogue {
    /// What the commands of a program have. Hidden commands and arguments have no
    /// settings.
    pub(crate) fn of(command: &Command) -> Self {
        let mut settings = Vec::new();
        collect(command, &mut Vec::new(), &mut settings);
        settings.retain(|setting| setting.variable != CONFIG_VARIABLE);
        Self(settings)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Setting> {
        self.0.iter()
    }

    /// The settings of a command and of those below it; of all if the path is empty.
    pub(crate) fn below<'a>(&'a self, command: &'a [String]) -> impl Iterator<Item = &'a Setting> {
        self.iter().filter(move |setting| setting.command.starts_with(command))
    }

    /// The same setting of different commands, in the order of the help.
    pub(crate) fn groups(&self) -> Vec<Vec<&Setting>> {
        let mut groups: Vec<Vec<&Setting>> = Vec::new();
        for setting in self.iter() {
            let same = |group: &&mut Vec<&Setting>| {
                group.iter().any(|other| (&other.key, &other.variable) == (&setting.key, &setting.variable))
            };
            match groups.iter_mut().find(same) {
                Some(group) => group.push(setting),
                None => groups.push(vec![setting]),
            }
        }
        groups
    }
}

fn collect(command: &Command, path: &mut Vec<String>, settings: &mut Vec<Setting>) {
    settings.extend(command.get_arguments().filter_map(|argument| Setting::of(argument, path)));
    for below in command.get_subcommands().filter(|below| !below.is_hide_set()) {
        path.push(below.get_name().to_owned());
        collect(below, path, settings);
        path.pop();
    }
}
