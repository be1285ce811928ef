//! `.ci/advisories` in a copy of what it reads: what it refuses where no package registry and no
//! network can help it. git may use no protocol but files here, so RustSec's repository is out of
//! reach unless a test puts a repository of its own in its place.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

const SCRIPT: &str = ".ci/advisories";
const RECORD: &str = ".ci/advisories.checked";
const LOCK: &str = "Cargo.lock";
const REPOSITORY: &str = "https://github.com/RustSec/advisory-db";

/// A copy of the files that the script reads.
struct Copy {
    root: TempDir,
}

impl Copy {
    fn new() -> Self {
        let copy = Self { root: TempDir::new().expect("a directory") };
        fs::create_dir(copy.path(".ci")).expect("a directory");
        for file in [SCRIPT, RECORD, LOCK] {
            let original = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..").join(file);
            fs::copy(&original, copy.path(file)).expect(file);
        }
        copy
    }

    /// A copy whose record says that today's versions were checked so many days ago.
    fn checked(days_ago: u32) -> Self {
        let copy = Self::new();
        let lock = fs::read_to_string(copy.path(LOCK)).expect(LOCK);
        let record = format!("{} 0123456789abcdef\n{}", date(days_ago), versions(&lock));
        fs::write(copy.path(RECORD), record).expect(RECORD);
        copy
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    /// Changes the version of the package that a line of `Cargo.lock` names.
    fn bump(&self, package: &str) {
        let lock = fs::read_to_string(self.path(LOCK)).expect(LOCK);
        let (before, after) = lock.split_once(&format!("name = \"{package}\"\nversion = \"")).expect(package);
        let bumped = format!("{before}name = \"{package}\"\nversion = \"99.{after}");
        fs::write(self.path(LOCK), bumped).expect(LOCK);
    }

    /// A git repository whose only commit is so many days old, in the place of a clone.
    fn clone_of(&self, days_ago: u32) -> PathBuf {
        let clone = self.path("clone");
        fs::create_dir(&clone).expect("a directory");
        let date = format!("{} 12:00:00 +0000", date(days_ago));
        for arguments in [&["init", "--quiet"][..], &["commit", "--quiet", "--allow-empty", "--message", "advisories"]]
        {
            let mut git = Command::new("git");
            git.args(arguments).current_dir(&clone).env("GIT_COMMITTER_DATE", &date);
            for role in ["AUTHOR", "COMMITTER"] {
                git.env(format!("GIT_{role}_NAME"), "nobody").env(format!("GIT_{role}_EMAIL"), "nobody@example.com");
            }
            assert!(git.status().expect("git runs").success(), "{arguments:?}");
        }
        clone
    }

    /// Runs the script with these variables: whether it succeeds, and what it says.
    fn run(&self, variables: &[(&str, &str)]) -> (bool, String) {
        let output = Command::new("bash")
            .arg(self.path(SCRIPT))
            .env_remove("LONGHAUL_RELEASE")
            .env_remove("LONGHAUL_ADVISORY_DB")
            .env("GIT_ALLOW_PROTOCOL", "file")
            .env("TMPDIR", self.root.path())
            // A script that goes on by mistake does not install `cargo-audit` first.
            .env("CARGO_HOME", self.root.path())
            .env("CARGO_NET_OFFLINE", "true")
            .env("TZ", "UTC")
            .envs(variables.iter().copied())
            .output()
            .expect("bash runs");
        let said = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8(said).expect("UTF-8"))
    }

    #[track_caller]
    fn must_pass(&self, variables: &[(&str, &str)], says: &str) {
        let (passed, said) = self.run(variables);
        assert!(passed && said.contains(says), "{said}");
    }

    #[track_caller]
    fn must_fail(&self, variables: &[(&str, &str)], says: &str) {
        let (passed, said) = self.run(variables);
        assert!(!passed && said.contains(says), "{said}");
    }
}

/// What a record has of the packages that others made.
fn versions(lock: &str) -> String {
    let mut versions = Vec::new();
    for package in lock.split("[[package]]\n").skip(1) {
        let value = |name: &str| {
            let line = package.lines().find_map(|line| line.strip_prefix(&format!("{name} = ")));
            line.map(|value| value.trim_matches('"').to_owned())
        };
        if let Some(checksum) = value("checksum") {
            let (name, version) = (value("name").expect("a name"), value("version").expect("a version"));
            versions.push(format!("{name} {version} {checksum}\n"));
        }
    }
    versions.sort();
    versions.concat()
}

/// The day that was so many days ago. It is for the script alone, which compares it with the same
/// clock.
fn date(days_ago: u32) -> String {
    let output = Command::new("date").args(["-u", "+%F", "-d", &format!("{days_ago} days ago")]).output();
    String::from_utf8(output.expect("`date` runs").stdout).expect("ASCII").trim().to_owned()
}

// A day may pass between the making of a record and its check, so the tests keep one day's distance
// from each limit.

#[test]
fn a_record_of_these_versions_is_enough_for_half_a_year() {
    for days_ago in [0, 179] {
        Copy::checked(days_ago).must_pass(&[], "These versions were checked");
    }
    Copy::checked(181).must_fail(&[], "181 days ago; 180 are allowed");
}

#[test]
fn a_release_needs_a_record_of_the_last_two_weeks() {
    Copy::checked(13).must_pass(&[("LONGHAUL_RELEASE", "1")], "These versions were checked");
    Copy::checked(15).must_fail(&[("LONGHAUL_RELEASE", "1")], "15 days ago; 14 are allowed");
}

#[test]
fn a_version_that_nobody_checked_is_refused() {
    for package in ["actix-http", "zmij"] {
        let copy = Copy::checked(0);
        copy.bump(package);
        copy.must_fail(&[], &format!("did not see these versions of Cargo.lock: {package} 99."));
    }
    let copy = Copy::checked(0);
    copy.bump("longhaul");
    copy.must_pass(&[], "These versions were checked");
    // One that is taken away was checked.
    let lock = fs::read_to_string(copy.path(LOCK)).expect(LOCK);
    let packages: Vec<&str> = lock.split("[[package]]\n").filter(|package| !package.contains("\"zmij\"\n")).collect();
    fs::write(copy.path(LOCK), packages.join("[[package]]\n")).expect(LOCK);
    copy.must_pass(&[], "These versions were checked");
}

#[test]
fn a_record_that_cannot_be_read_is_refused() {
    let copy = Copy::checked(0);
    let record = fs::read_to_string(copy.path(RECORD)).expect(RECORD);
    let (_, versions) = record.split_once('\n').expect("two lines");
    for first in ["", "2026-08-21"] {
        fs::write(copy.path(RECORD), format!("{first}\n{versions}")).expect(RECORD);
        copy.must_fail(&[], "must begin with a date and a commit");
    }
    fs::write(copy.path(RECORD), format!("yesteryear 0123456789abcdef\n{versions}")).expect(RECORD);
    copy.must_fail(&[], "invalid date");
    fs::write(copy.path(RECORD), "").expect(RECORD);
    copy.must_fail(&[], "must begin with a date and a commit");
}

#[test]
fn a_clone_that_is_too_old_is_refused_though_the_record_is_new() {
    for (variables, days_ago, says) in [
        (&[][..], 181, "181 days old; 180 are allowed"),
        (&[("LONGHAUL_RELEASE", "1")], 15, "15 days old; 14 are allowed"),
    ] {
        let copy = Copy::checked(0);
        let clone = copy.clone_of(days_ago);
        let named = ("LONGHAUL_ADVISORY_DB", clone.to_str().expect("UTF-8"));
        copy.must_fail(&[variables, &[named]].concat(), says);
        // The same in the place of RustSec's repository.
        let place = format!("url.file://{}.insteadOf", clone.display());
        let reached = [("GIT_CONFIG_COUNT", "1"), ("GIT_CONFIG_KEY_0", &place), ("GIT_CONFIG_VALUE_0", REPOSITORY)];
        copy.must_fail(&[variables, &reached].concat(), says);
    }
}
