//! A file with every setting, as comments.

use std::fmt::Write;

use super::catalogue::{Catalogue, Kind, Setting};
use super::file::COMMANDS;
use super::flag::CONFIG_VARIABLE;

/// The text of a file that explains every setting and sets none.
pub(crate) fn example(program: &str, catalogue: &Catalogue) -> String {
    let mut text = format!(
        "# Settings of {program}: name this file with --config or {}.\n\
         # A flag overrides the environment, the environment overrides this file, and this file overrides the default.\n\
         # Each line below shows a default or, in angle brackets, the expected value.\n",
        CONFIG_VARIABLE
    );
    let groups = catalogue.groups();
    let mut headings: Vec<Option<&str>> = Vec::new();
    for group in &groups {
        let heading = group[0].heading.as_deref();
        if !headings.contains(&heading) {
            headings.push(heading);
        }
    }
    for heading in headings {
        if let Some(heading) = heading {
            push(&mut text, format_args!("\n## {heading}\n"));
        }
        for group in groups.iter().filter(|group| group[0].heading.as_deref() == heading) {
            one(&mut text, group);
        }
    }
    push(
        &mut text,
        format_args!(
            "\n## One command only: its table overrides the values above\n\n# [{COMMANDS}.work]\n# slots = 64\n"
        ),
    );
    text
}

fn push(text: &mut String, line: std::fmt::Arguments<'_>) {
    let _infallible = text.write_fmt(line);
}

fn one(text: &mut String, group: &[&Setting]) {
    let setting = group[0];
    let commands: Vec<String> = group.iter().map(|setting| setting.command_name()).collect();
    push(
        text,
        format_args!(
            "\n# {}\n# {}, --{} of {}\n# {} = {}\n",
            setting.help,
            setting.variable,
            setting.key,
            commands.join(", "),
            setting.key,
            sample(setting)
        ),
    );
}

fn sample(setting: &Setting) -> String {
    let one = |value: &String| match setting.kind {
        Kind::Text => format!("{value:?}"),
        Kind::Whole | Kind::Number | Kind::Switch => value.clone(),
    };
    let expected = format!("<{}>", setting.kind.name());
    match (setting.many, setting.defaults.as_slice()) {
        (true, []) => format!("[{expected}, …]"),
        (true, defaults) => format!("[{}]", defaults.iter().map(one).collect::<Vec<_>>().join(", ")),
        (false, []) => expected,
        (false, defaults) => one(&defaults[0]),
    }
}
