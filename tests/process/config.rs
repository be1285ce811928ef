//! Settings from flags, the environment and a file.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::program::run_with;

/// A file that lasts as long as the directory.
struct ConfigFile {
    directory: tempfile::TempDir,
}

impl ConfigFile {
    fn new(text: &str) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        std::fs::write(directory.path().join("longhaul.toml"), text).expect("a file");
        Self { directory }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("longhaul.toml")
    }

    /// Runs the program with this file.
    async fn run(&self, arguments: &[&str], environment: &[(&str, &str)]) -> (Option<i32>, String, String) {
        let path = self.path();
        let environment = [&[("LONGHAUL_CONFIG", path.to_str().expect("a path"))], environment].concat();
        run_with(crate::PROGRAM, arguments, &environment).await
    }
}

async fn settings(file: &ConfigFile, arguments: &[&str], environment: &[(&str, &str)]) -> Value {
    let (code, out, error) = file.run(arguments, environment).await;
    assert_eq!(code, Some(0), "{error}");
    serde_json::from_str(&out).expect("JSON")
}

/// Value and source of a setting for a command.
fn of(shown: &Value, key: &str, command: &str) -> (Value, String) {
    let settings = shown["Settings"].as_array().expect("settings");
    let found = settings.iter().find(|setting| {
        setting["Key"] == key && setting["Commands"].as_array().expect("commands").contains(&command.into())
    });
    let found = found.unwrap_or_else(|| panic!("no {key} of {command} in {shown}"));
    (found["Value"].clone(), found["Source"].as_str().expect("a source").to_owned())
}

#[tokio::test]
async fn a_flag_wins_over_the_environment_that_over_the_file_that_over_the_default() {
    let file = ConfigFile::new("slots = 3\ndrain = 4\nheartbeat = 7\nqueue = [\"a\", \"b\"]\nopen-to-all = true\n");
    let environment = [("LONGHAUL_SLOTS", "5"), ("LONGHAUL_DRAIN", "6")];
    let shown = settings(&file, &["config", "show", "--json", "--", "dev", "--slots", "8"], &environment).await;
    let tell = |key: &str| of(&shown, key, "dev");
    assert_eq!(tell("slots"), (8.into(), "flag".to_owned()));
    assert_eq!(tell("drain"), (6.into(), "environment".to_owned()));
    assert_eq!(tell("heartbeat"), (7.0.into(), "file".to_owned()));
    assert_eq!(tell("queue"), (serde_json::json!(["a", "b"]), "file".to_owned()));
    assert_eq!(tell("open-to-all"), (true.into(), "file".to_owned()));
    assert_eq!(tell("log-lines"), (1000.into(), "default".to_owned()));
    assert_eq!(tell("name"), (Value::Null, "unset".to_owned()));
    assert_eq!(shown["File"], file.path().display().to_string());
}

#[tokio::test]
async fn the_table_of_a_command_wins_over_what_all_commands_have() {
    let file = ConfigFile::new("slots = 3\n\n[commands.work]\nslots = 9\n");
    let shown = settings(&file, &["config", "show", "--json"], &[]).await;
    assert_eq!(of(&shown, "slots", "work"), (9.into(), "file".to_owned()));
    assert_eq!(of(&shown, "slots", "dev"), (3.into(), "file".to_owned()));
    let at = |line: usize| format!("{}:{line}", file.path().display());
    let text = file.run(&["config", "show"], &[]).await.1;
    assert!(text.contains(&at(1)) && text.contains(&at(4)), "{text}");
}

#[tokio::test]
async fn a_setting_of_the_file_reaches_the_command() {
    let file = ConfigFile::new("database-url = \"postgres://nobody@127.0.0.1:1/nothing\"\nlisten = \"0.0.0.0:0\"\n");
    let (code, _, error) = file.run(&["migrate"], &[]).await;
    assert_eq!(code, Some(1));
    assert!(error.contains("could not connect to the database"), "{error}");
    let (code, _, error) = file.run(&["serve"], &[]).await;
    assert_eq!(code, Some(1));
    assert!(error.contains("other hosts can reach 0.0.0.0:0"), "{error}");
}

#[tokio::test]
async fn every_mistake_in_the_file_is_told_with_its_line() {
    let file = ConfigFile::new(
        "slotz = 3\nslots = \"many\"\nlog-lines = 100001\nqueue = [1]\n\
         secret-key = 12\nlisten = \"somewhere\"\nheartbeat = 2020-01-01\n\
         [commands.wrok]\nslots = 1\n[commands.migrate]\nslots = 1\n[work]\nslots = 1\n",
    );
    // The file is checked whatever the command.
    let (code, _, error) = file.run(&["corpus"], &[]).await;
    assert_eq!(code, Some(1));
    for (line, said) in [
        (1, "there is no setting 'slotz'; did you mean 'slots'?"),
        (2, "'slots' is invalid: a whole number is expected, not a string"),
        (3, "'log-lines' is invalid: 100001 is not in 0..=100000"),
        (4, "'queue' is invalid: a string or a list of them is expected, not a whole number"),
        (5, "'secret-key' is invalid: a string is expected, not a whole number"),
        (6, "'listen' is invalid: invalid socket address syntax"),
        (7, "'heartbeat' is invalid: a number is expected, not a date or time"),
        (8, "there is no command 'wrok' with settings; did you mean 'work'?"),
        (11, "there is no setting 'slots' of `migrate`"),
        (12, "there is no setting 'work'; did you mean [commands.work]?"),
    ] {
        let line = format!("{}:{line}: {said}", file.path().display());
        assert!(error.contains(&line), "{line} is missing in\n{error}");
    }
    let (code, _, error) = ConfigFile::new("slots =\n").run(&["corpus"], &[]).await;
    assert_eq!(code, Some(1));
    assert!(error.contains("longhaul.toml:1: this is not TOML"), "{error}");
    let (code, _, error) = file.run(&["--config", "/does/not/exist", "corpus"], &[]).await;
    assert_eq!(code, Some(1));
    assert!(error.contains("the configuration file /does/not/exist could not be read"), "{error}");
}

#[tokio::test]
async fn secrets_are_not_shown_and_a_bad_variable_is() {
    let file = ConfigFile::new("secret-key = \"5ec7e7\"\ndatabase-url = \"postgres://me:pa55@host/name\"\n");
    for arguments in [&["config", "show"][..], &["config", "show", "--json"]] {
        let (code, out, _) = file.run(arguments, &[]).await;
        assert_eq!(code, Some(0));
        assert!(!out.contains("5ec7e7") && !out.contains("pa55") && out.contains("(secret)"), "{out}");
    }
    let (code, _, error) = file.run(&["config", "show"], &[("LONGHAUL_SLOTS", "0")]).await;
    assert_eq!(code, Some(1));
    assert!(error.contains("LONGHAUL_SLOTS is invalid: 0 is not in 1..=65535"), "{error}");
}

#[tokio::test]
async fn the_example_sets_nothing_and_its_lines_are_the_defaults() {
    let example = ConfigFile::new("").run(&["config", "example"], &[]).await.1;
    let uncommented: String = example
        .lines()
        .filter(|line| line.contains(" = ") && !line.contains('<') && !line.starts_with("# slots = 64"))
        .filter_map(|line| line.strip_prefix("# "))
        .map(|line| format!("{line}\n"))
        .collect();
    assert!(uncommented.contains("slots = 32\n"), "{example}");
    let as_it_is = settings(&ConfigFile::new(&example), &["config", "show", "--json"], &[]).await;
    let said = settings(&ConfigFile::new(&uncommented), &["config", "show", "--json"], &[]).await;
    let values = |shown: &Value| -> Vec<(Value, Value)> {
        let settings = shown["Settings"].as_array().expect("settings");
        settings.iter().map(|setting| (setting["Key"].clone(), setting["Value"].clone())).collect()
    };
    assert_eq!(values(&as_it_is), values(&said));
    assert!(as_it_is["Settings"].as_array().expect("settings").iter().all(|setting| setting["Source"] != "file"));
}

#[tokio::test]
async fn the_documented_settings_are_the_settings() {
    let file = ConfigFile::new("");
    let shown = settings(&file, &["config", "show", "--json"], &[]).await;
    let mut table = "| setting | environment | default | of | what for |\n| --- | --- | --- | --- | --- |\n".to_owned();
    for setting in shown["Settings"].as_array().expect("settings") {
        let text = |name: &str| setting[name].as_str().expect("a string").replace('|', "\\|");
        let default = match &setting["Default"] {
            Value::Null => String::new(),
            Value::String(text) => format!("`{text}`"),
            other => format!("`{other}`"),
        };
        let commands: Vec<String> = setting["Commands"]
            .as_array()
            .expect("commands")
            .iter()
            .map(|name| name.as_str().expect("a name").into())
            .collect();
        let (key, variable, help) = (text("Key"), text("Environment"), text("Help"));
        table.push_str(&format!("| `--{key}` | `{variable}` | {default} | {} | {help} |\n", commands.join(", ")));
    }
    let example = file.run(&["config", "example"], &[]).await.1;
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/configuration.md");
    let documented = std::fs::read_to_string(&path).expect("docs/configuration.md");
    let put = |text: &str, name: &str, what: &str| -> String {
        let (begin, end) = (format!("<!-- {name} -->\n"), format!("<!-- /{name} -->"));
        let (before, rest) = text.split_once(&begin).expect("a place");
        let (_, after) = rest.split_once(&end).expect("an end");
        format!("{before}{begin}{what}{end}{after}")
    };
    let expected = put(&documented, "settings", &table);
    let expected = put(&expected, "example", &format!("```toml\n{example}```\n"));
    if std::env::var_os("LONGHAUL_BLESS").is_some() {
        std::fs::write(&path, &expected).expect("docs/configuration.md can be written");
        return;
    }
    assert!(
        documented == expected,
        "docs/configuration.md is out of date; run LONGHAUL_BLESS=1 cargo test -p longhaul-cli --test process documented_settings"
    );
}
