//! Reading JUnit XML reports, node by node.
//!
//! There is no standard; read is what JUnit, pytest, cargo-nextest, Surefire, GoogleTest,
//! CTest and their like have in common: `testsuites` and `testsuite` (nested at will),
//! `testcase` with `failure`, `error` or `skipped`, or with attributes that say as much, and
//! what a suite says of itself. Anything else is stepped over; what was not understood of it
//! is noted. Entities that a document defines itself are not expanded.

mod notes;
mod seconds;
mod status;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use quick_xml::XmlVersion;
use quick_xml::escape::resolve_predefined_entity;
use quick_xml::events::{BytesStart, Event};
use quick_xml::reader::Reader;
use uuid::Uuid;

use self::notes::Doubt;
pub(crate) use self::notes::Notes;
use self::seconds::{comma_is_decimal, seconds};
use self::status::{ATTRIBUTES, Said, read_status};
use crate::result_node::{Node, NodeKind, NodeStatus};
use crate::xml_text::XmlText;

/// Names longer than this are cut.
const NAME_LIMIT: usize = 1_000;
/// What a failure says is cut here.
const MESSAGE_LIMIT: usize = 4_000;
/// Suites that nest deeper than this are none.
const DEEPEST: usize = 100;

/// A report that is being read.
pub(crate) struct Report<'a> {
    text: &'a str,
    reader: Reader<&'a [u8]>,
    /// What the root calls itself.
    pub(crate) name: Option<String>,
    /// What was not understood so far.
    pub(crate) notes: Notes,
    /// Open elements that are part of the report.
    open: Vec<Open>,
    /// Nodes that are to be returned.
    ready: VecDeque<Node>,
    /// The case that is being read.
    case: Option<Case>,
    /// Open elements within the case, and within those that are stepped over.
    inner: usize,
    /// Text of a failure, error or skip is collected.
    in_message: bool,
    /// So many characters of it are still taken: to count those that were for each piece
    /// would take a report of nothing but entities an hour.
    room: usize,
    /// What a comma in this report's durations is, once one does not tell itself.
    comma: Option<Option<bool>>,
    seen_root: bool,
    position: i32,
}

/// A case, and what its attributes say of how it went.
struct Case {
    node: Node,
    by_attribute: Option<NodeStatus>,
}

enum Open {
    /// `testsuites` or `testsuite`.
    Suites(Suites),
    /// Not ours.
    Other(String),
}

/// An open `testsuites` or `testsuite`.
#[derive(Default)]
struct Suites {
    /// The node of a `testsuite`.
    id: Option<Uuid>,
    name: String,
    /// What it counts itself.
    tests: u64,
    failures: u64,
    errors: u64,
    /// Cases, and failures and errors, that were found within.
    found: u64,
    found_bad: u64,
}

/// Why a text is no report.
#[derive(Debug, thiserror::Error)]
#[error("at byte {at}: {message}")]
pub(crate) struct JUnitError {
    at: u64,
    message: String,
}

impl<'a> Report<'a> {
    /// Begins to read a document that was decoded.
    pub(crate) fn of(xml: &'a XmlText) -> Self {
        let mut report = Self::new(&xml.text);
        if let Some(encoding) = xml.replaced_in {
            report.notes.add(Doubt::Characters, format_args!("they are not valid {encoding}"));
        }
        report
    }

    pub(crate) fn new(text: &'a str) -> Self {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        Self {
            text,
            reader: Reader::from_str(text),
            name: None,
            notes: Notes::default(),
            open: Vec::new(),
            ready: VecDeque::new(),
            case: None,
            inner: 0,
            in_message: false,
            room: 0,
            comma: None,
            seen_root: false,
            position: 0,
        }
    }

    /// All of the text.
    pub(crate) fn text(&self) -> &'a str {
        self.text
    }

    /// How many bytes have been read.
    pub(crate) fn bytes_read(&self) -> u64 {
        self.reader.buffer_position()
    }

    /// Whether the root of a report has been seen.
    pub(crate) fn has_begun(&self) -> bool {
        self.seen_root
    }

    /// The next node, parents before children; `None` at the end of a whole
    /// report.
    pub(crate) fn next(&mut self) -> Result<Option<Node>, JUnitError> {
        loop {
            if let Some(node) = self.ready.pop_front() {
                return Ok(Some(node));
            }
            let event = self
                .reader
                .read_event()
                .map_err(|error| JUnitError { at: self.reader.error_position(), message: error.to_string() })?;
            match event {
                Event::Start(element) => self.start(&element)?,
                Event::Empty(element) => {
                    self.start(&element)?;
                    self.end();
                }
                Event::End(_) => self.end(),
                Event::Text(text) => self.say(&text.xml10_content()),
                Event::CData(text) => self.say(&text.xml10_content()),
                Event::GeneralRef(reference) => match reference.resolve_char_ref() {
                    Ok(Some(c)) => self.say(c.encode_utf8(&mut [0; 4])),
                    _ => self.say(resolve_predefined_entity(&reference).unwrap_or("\u{fffd}")),
                },
                Event::Eof if !self.seen_root => return Err(self.wrong("the document is empty")),
                Event::Eof if !self.open.is_empty() || self.case.is_some() => {
                    return Err(self.wrong("the document ends in the middle"));
                }
                Event::Eof => return Ok(None),
                Event::Comment(_) | Event::Decl(_) | Event::PI(_) | Event::DocType(_) => {}
            }
        }
    }

    /// A suite is a node at once, a case once it ends.
    fn start(&mut self, element: &BytesStart<'_>) -> Result<(), JUnitError> {
        let local = element.local_name();
        let name: &str = local.as_ref();
        if self.case.is_some() {
            self.inner += 1;
            if self.inner == 1
                && let Some(status) = outcome(name)
            {
                self.start_outcome(status, element)?;
            }
            return Ok(());
        }
        let is_suite = name == "testsuites" || name == "testsuite";
        if !self.seen_root && !is_suite {
            let tool = written_by(name).map(|tool| format!(" (a report of {tool})")).unwrap_or_default();
            let name: String = name.chars().take(100).collect();
            return Err(self.wrong(&format!("the root of a report must be testsuites or testsuite, not {name}{tool}")));
        }
        if self.open.len() >= DEEPEST {
            return Err(self.wrong("elements are nested too deeply"));
        }
        let is_root = !self.seen_root;
        self.seen_root = true;
        if let Some(Open::Other(other)) = self.open.last() {
            if is_suite || name == "testcase" {
                self.notes.add(Doubt::LeftOut, format_args!("{name} in {other}"));
            }
            let other = other.clone();
            self.open.push(Open::Other(other));
            return Ok(());
        }
        match (name, outcome(name)) {
            ("testsuites" | "testsuite", _) => self.start_suites(name, element, is_root),
            ("testcase", _) => {
                let by_attribute = self.status_by_attributes(element)?;
                let node = Node {
                    kind: NodeKind::Case,
                    name: self.attribute(element, "name")?.unwrap_or_else(|| "testcase".to_owned()),
                    class_name: self.attribute(element, "classname")?,
                    status: Some(NodeStatus::Passed),
                    duration_seconds: self.seconds(element)?,
                    ..self.node()
                };
                self.case = Some(Case { node, by_attribute });
                self.inner = 0;
                Ok(())
            }
            // What a suite says of itself, e.g. that its tests could not be loaded, is a case
            // that has no other name.
            (_, Some(status)) => {
                let node = Node {
                    kind: NodeKind::Case,
                    name: name.to_owned(),
                    status: Some(NodeStatus::Passed),
                    ..self.node()
                };
                self.case = Some(Case { node, by_attribute: None });
                self.inner = 0;
                self.start_outcome(status, element)
            }
            _ => {
                self.open.push(Open::Other(name.chars().take(100).collect()));
                Ok(())
            }
        }
    }

    fn start_suites(&mut self, tag: &str, element: &BytesStart<'_>, is_root: bool) -> Result<(), JUnitError> {
        let name = self.attribute(element, "name")?;
        if is_root {
            self.name.clone_from(&name);
        }
        let mut suites = Suites {
            id: None,
            name: name.unwrap_or_else(|| tag.to_owned()),
            tests: self.count(element, "tests")?,
            failures: self.count(element, "failures")?,
            errors: self.count(element, "errors")?,
            ..Suites::default()
        };
        if tag == "testsuite" {
            let duration_seconds = self.seconds(element)?;
            let node = Node { name: suites.name.clone(), duration_seconds, ..self.node() };
            suites.id = Some(node.id);
            self.ready.push_back(node);
        }
        self.open.push(Open::Suites(suites));
        Ok(())
    }

    /// A failure, an error or a skip begins.
    fn start_outcome(&mut self, status: NodeStatus, element: &BytesStart<'_>) -> Result<(), JUnitError> {
        let message = self.attribute(element, "message")?;
        self.find_bad(status);
        let Some(Case { node, .. }) = &mut self.case else { return Ok(()) };
        // The worst of several counts (pytest adds an error of the teardown).
        if severity(status) > node.status.map_or(0, severity) {
            node.status = Some(status);
            self.room = MESSAGE_LIMIT - message.as_ref().map_or(0, |said| said.chars().count().min(MESSAGE_LIMIT));
            node.message = message;
            self.in_message = true;
        }
        Ok(())
    }

    /// Counts a failure or an error.
    fn find_bad(&mut self, status: NodeStatus) {
        if matches!(status, NodeStatus::Failed | NodeStatus::Error)
            && let Some(suites) = self.innermost()
        {
            suites.found_bad = suites.found_bad.saturating_add(1);
        }
    }

    fn end(&mut self) {
        if self.case.is_some() && self.inner > 0 {
            self.inner -= 1;
            self.in_message = self.in_message && self.inner > 0;
            return;
        }
        if let Some(Case { mut node, by_attribute }) = self.case.take() {
            self.in_message = false;
            node.message = node.message.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
            if let Some(status) = by_attribute
                && severity(status) > node.status.map_or(0, severity)
            {
                node.status = Some(status);
                self.find_bad(status);
            }
            if let Some(suites) = self.innermost() {
                suites.found += 1;
            }
            self.ready.push_back(node);
            return;
        }
        match self.open.last() {
            Some(Open::Suites(_)) => self.end_suites(),
            Some(Open::Other(_)) | None => drop(self.open.pop()),
        }
    }

    /// Compares what a suite counts with what it has. One that counts more failures than it
    /// shows gets a case for the rest: else it would look as if all were well.
    fn end_suites(&mut self) {
        let Some(suites) = self.innermost() else { return };
        let Suites { tests, failures, errors, found, found_bad, .. } = *suites;
        let bad = failures.saturating_add(errors);
        if bad > found_bad || (found == 0 && tests > 0) {
            let counts = format!(
                "'{}' counts {tests} tests, {failures} failures, {errors} errors, and has {found} cases with {found_bad} \
                 failures and errors",
                suites.name
            );
            if bad > found_bad {
                suites.found += 1;
                suites.found_bad = bad;
                let node = Node {
                    kind: NodeKind::Case,
                    name: "not in the report".to_owned(),
                    status: Some(if failures > 0 { NodeStatus::Failed } else { NodeStatus::Error }),
                    message: Some(format!("The suite {counts}.")),
                    ..self.node()
                };
                self.ready.push_back(node);
            }
            self.notes.add(Doubt::Counts, counts);
        }
        let Some(Open::Suites(ended)) = self.open.pop() else { return };
        if let Some(parent) = self.innermost() {
            parent.found = parent.found.saturating_add(ended.found);
            parent.found_bad = parent.found_bad.saturating_add(ended.found_bad);
        }
    }

    /// The innermost open suite.
    fn innermost(&mut self) -> Option<&mut Suites> {
        self.open.iter_mut().rev().find_map(|open| match open {
            Open::Suites(suites) => Some(suites),
            Open::Other(_) => None,
        })
    }

    /// Adds to what the case's failure says.
    fn say(&mut self, text: &str) {
        if !self.in_message || self.room == 0 {
            return;
        }
        let Some(Case { node, .. }) = &mut self.case else { return };
        let message = node.message.get_or_insert_default();
        for character in text.chars().filter(|c| *c != '\0').take(self.room) {
            message.push(character);
            self.room -= 1;
        }
    }

    fn node(&mut self) -> Node {
        let position = self.position;
        self.position = self.position.saturating_add(1);
        let parent_id = self.open.iter().rev().find_map(|open| match open {
            Open::Suites(suites) => suites.id,
            Open::Other(_) => None,
        });
        Node {
            id: Uuid::now_v7(),
            parent_id,
            position,
            kind: NodeKind::Suite,
            name: String::new(),
            class_name: None,
            status: None,
            duration_seconds: None,
            message: None,
        }
    }

    fn attribute(&self, element: &BytesStart<'_>, name: &str) -> Result<Option<String>, JUnitError> {
        let found = element.try_get_attribute(name).map_err(|error| self.wrong(&error.to_string()))?;
        let Some(found) = found else { return Ok(None) };
        let value = found.normalized_value(XmlVersion::Implicit1_0).map_err(|error| self.wrong(&error.to_string()))?;
        let limit = if name == "message" { MESSAGE_LIMIT } else { NAME_LIMIT };
        let value: String = value.chars().filter(|c| *c != '\0').take(limit).collect();
        Ok(Some(value).filter(|value| !value.is_empty()))
    }

    /// How many of something a suite says it has.
    fn count(&self, element: &BytesStart<'_>, name: &str) -> Result<u64, JUnitError> {
        Ok(self.attribute(element, name)?.and_then(|text| text.trim().parse().ok()).unwrap_or(0))
    }

    /// The worst that the attributes of a case say.
    fn status_by_attributes(&mut self, element: &BytesStart<'_>) -> Result<Option<NodeStatus>, JUnitError> {
        let mut worst = None;
        for attribute in ATTRIBUTES {
            let Some(value) = self.attribute(element, attribute)? else { continue };
            match read_status(attribute, &value) {
                Said::Status(status) if worst.is_none_or(|worst| severity(status) > severity(worst)) => {
                    worst = Some(status);
                }
                Said::Status(_) => {}
                Said::Unknown => self.notes.add(Doubt::Status, format_args!("{attribute}='{value}'")),
            }
        }
        Ok(worst)
    }

    /// `time`, in seconds.
    fn seconds(&mut self, element: &BytesStart<'_>) -> Result<Option<f64>, JUnitError> {
        let Some(text) = self.attribute(element, "time")? else { return Ok(None) };
        let (report, comma) = (self.text, &mut self.comma);
        let mut in_doubt = false;
        let read = seconds(&text, || {
            let comma = *comma.get_or_insert_with(|| comma_is_decimal(report));
            in_doubt = comma.is_none();
            comma.unwrap_or(false)
        });
        if read.is_none() {
            self.notes.add(Doubt::Duration, format_args!("'{text}'"));
        } else if in_doubt {
            self.notes.add(Doubt::Comma, format_args!("'{text}'"));
        }
        Ok(read)
    }

    fn wrong(&self, message: &str) -> JUnitError {
        JUnitError { at: self.reader.buffer_position(), message: message.to_owned() }
    }
}

/// Whose reports have this root.
fn written_by(root: &str) -> Option<&'static str> {
    match root {
        "test-results" | "test-run" | "test-suite" => Some("NUnit"),
        "assemblies" | "assembly" => Some("xUnit.net"),
        "TestRun" => Some("Visual Studio, TRX"),
        "testng-results" => Some("TestNG"),
        "robot" => Some("Robot Framework"),
        _ => None,
    }
}

/// What an element says of the case, or suite, that it stands in.
fn outcome(element: &str) -> Option<NodeStatus> {
    match element {
        "failure" => Some(NodeStatus::Failed),
        "error" => Some(NodeStatus::Error),
        "skipped" => Some(NodeStatus::Skipped),
        _ => None,
    }
}

const fn severity(status: NodeStatus) -> u8 {
    match status {
        NodeStatus::Passed => 0,
        NodeStatus::Skipped => 1,
        NodeStatus::Failed => 2,
        NodeStatus::Error => 3,
    }
}
