//! Reading JUnit XML reports, node by node.
//!
//! There is no standard; read is what JUnit, pytest, cargo-nextest, Surefire and
//! their like have in common: `testsuites`, `testsuite` (nested at will),
//! `testcase` with `failure`, `error` or `skipped`. Anything else is stepped
//! over. Entities that a document defines itself are not expanded.

use quick_xml::XmlVersion;
use quick_xml::escape::resolve_predefined_entity;
use quick_xml::events::{BytesStart, Event};
use quick_xml::reader::Reader;
use uuid::Uuid;

use crate::result_node::{Node, NodeKind, NodeStatus};

/// Names longer than this are cut.
const NAME_LIMIT: usize = 1_000;
/// What a failure says is cut here.
const MESSAGE_LIMIT: usize = 4_000;
/// Suites that nest deeper than this are none.
const DEEPEST: usize = 100;

/// A report that is being read.
pub(crate) struct Report<'a> {
    reader: Reader<&'a [u8]>,
    /// What the root calls itself.
    pub(crate) name: Option<String>,
    /// Open elements that are part of the report.
    open: Vec<Open>,
    /// The case that is being read.
    case: Option<Node>,
    /// Open elements within the case, and within those that are stepped over.
    inner: usize,
    /// Text of a failure, error or skip is collected.
    in_message: bool,
    seen_root: bool,
    position: i32,
}

enum Open {
    Root,
    Suite(Uuid),
    /// Not ours.
    Other,
}

/// Why a text is no report.
#[derive(Debug, thiserror::Error)]
#[error("at byte {at}: {message}")]
pub(crate) struct JUnitError {
    at: u64,
    message: String,
}

impl<'a> Report<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        Self {
            reader: Reader::from_str(text.strip_prefix('\u{feff}').unwrap_or(text)),
            name: None,
            open: Vec::new(),
            case: None,
            inner: 0,
            in_message: false,
            seen_root: false,
            position: 0,
        }
    }

    /// How many bytes have been read.
    pub(crate) fn bytes_read(&self) -> u64 {
        self.reader.buffer_position()
    }

    /// The next node, parents before children; `None` at the end of a whole
    /// report.
    pub(crate) fn next(&mut self) -> Result<Option<Node>, JUnitError> {
        loop {
            let event = self
                .reader
                .read_event()
                .map_err(|error| JUnitError { at: self.reader.error_position(), message: error.to_string() })?;
            let node = match event {
                Event::Start(element) => self.start(&element)?,
                Event::Empty(element) => {
                    let begun = self.start(&element)?;
                    let ended = self.end();
                    begun.or(ended)
                }
                Event::End(_) => self.end(),
                Event::Text(text) => {
                    self.say(&text.xml10_content());
                    None
                }
                Event::CData(text) => {
                    self.say(&text.xml10_content());
                    None
                }
                Event::GeneralRef(reference) => {
                    match reference.resolve_char_ref() {
                        Ok(Some(c)) => self.say(c.encode_utf8(&mut [0; 4])),
                        _ => self.say(resolve_predefined_entity(&reference).unwrap_or("\u{fffd}")),
                    }
                    None
                }
                Event::Eof if !self.seen_root => return Err(self.wrong("the document is empty")),
                Event::Eof if !self.open.is_empty() || self.case.is_some() => {
                    return Err(self.wrong("the document ends in the middle"));
                }
                Event::Eof => return Ok(None),
                Event::Comment(_) | Event::Decl(_) | Event::PI(_) | Event::DocType(_) => None,
            };
            if node.is_some() {
                return Ok(node);
            }
        }
    }

    /// A suite is a node at once, a case once it ends.
    fn start(&mut self, element: &BytesStart<'_>) -> Result<Option<Node>, JUnitError> {
        let local = element.local_name();
        let name: &str = local.as_ref();
        if self.case.is_some() {
            self.inner += 1;
            if self.inner == 1 {
                self.start_in_case(name, element)?;
            }
            return Ok(None);
        }
        if !self.seen_root && name != "testsuites" && name != "testsuite" {
            return Err(self.wrong("the root of a report is testsuites or testsuite"));
        }
        if self.open.len() >= DEEPEST {
            return Err(self.wrong("elements nest too deep"));
        }
        self.seen_root = true;
        match name {
            "testsuites" if self.open.is_empty() => {
                self.name = self.attribute(element, "name")?;
                self.open.push(Open::Root);
                Ok(None)
            }
            "testsuite" if !self.in_other() => {
                let name = self.attribute(element, "name")?;
                if self.open.is_empty() {
                    self.name.clone_from(&name);
                }
                let node = Node {
                    kind: NodeKind::Suite,
                    duration_seconds: self.seconds(element)?,
                    name: name.unwrap_or_else(|| "testsuite".to_owned()),
                    ..self.node()
                };
                self.open.push(Open::Suite(node.id));
                Ok(Some(node))
            }
            "testcase" if !self.in_other() => {
                self.case = Some(Node {
                    kind: NodeKind::Case,
                    name: self.attribute(element, "name")?.unwrap_or_else(|| "testcase".to_owned()),
                    class_name: self.attribute(element, "classname")?,
                    status: Some(NodeStatus::Passed),
                    duration_seconds: self.seconds(element)?,
                    ..self.node()
                });
                self.inner = 0;
                Ok(None)
            }
            _ => {
                self.open.push(Open::Other);
                Ok(None)
            }
        }
    }

    fn start_in_case(&mut self, name: &str, element: &BytesStart<'_>) -> Result<(), JUnitError> {
        let status = match name {
            "failure" => NodeStatus::Failed,
            "error" => NodeStatus::Error,
            "skipped" => NodeStatus::Skipped,
            _ => return Ok(()),
        };
        let message = self.attribute(element, "message")?;
        let Some(case) = &mut self.case else { return Ok(()) };
        // The worst of several counts (pytest adds an error of the teardown).
        if severity(status) > case.status.map_or(0, severity) {
            case.status = Some(status);
            case.message = message;
            self.in_message = true;
        }
        Ok(())
    }

    fn end(&mut self) -> Option<Node> {
        if self.case.is_some() {
            if self.inner > 0 {
                self.inner -= 1;
                self.in_message = self.in_message && self.inner > 0;
                return None;
            }
            let mut case = self.case.take()?;
            case.message = case.message.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
            return Some(case);
        }
        self.open.pop();
        None
    }

    /// Adds to what the case's failure says.
    fn say(&mut self, text: &str) {
        if !self.in_message {
            return;
        }
        let Some(case) = &mut self.case else { return };
        let message = case.message.get_or_insert_default();
        let left = MESSAGE_LIMIT.saturating_sub(message.chars().count());
        message.extend(text.chars().filter(|c| *c != '\0').take(left));
    }

    fn node(&mut self) -> Node {
        let position = self.position;
        self.position = self.position.saturating_add(1);
        let parent_id = self.open.iter().rev().find_map(|open| match open {
            Open::Suite(id) => Some(*id),
            Open::Root | Open::Other => None,
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

    fn in_other(&self) -> bool {
        matches!(self.open.last(), Some(Open::Other))
    }

    fn attribute(&self, element: &BytesStart<'_>, name: &str) -> Result<Option<String>, JUnitError> {
        let found = element.try_get_attribute(name).map_err(|error| self.wrong(&error.to_string()))?;
        let Some(found) = found else { return Ok(None) };
        let value = found.normalized_value(XmlVersion::Implicit1_0).map_err(|error| self.wrong(&error.to_string()))?;
        let limit = if name == "message" { MESSAGE_LIMIT } else { NAME_LIMIT };
        let value: String = value.chars().filter(|c| *c != '\0').take(limit).collect();
        Ok(Some(value).filter(|value| !value.is_empty()))
    }

    /// `time`, in seconds; some write thousands with a comma.
    fn seconds(&self, element: &BytesStart<'_>) -> Result<Option<f64>, JUnitError> {
        let text = self.attribute(element, "time")?;
        let seconds = text.and_then(|text| text.replace(',', "").trim().parse::<f64>().ok());
        Ok(seconds.filter(|seconds| seconds.is_finite() && *seconds >= 0.0))
    }

    fn wrong(&self, message: &str) -> JUnitError {
        JUnitError { at: self.reader.buffer_position(), message: message.to_owned() }
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

#[cfg(test)]
mod tests {
    use super::Report;
    use crate::result_node::{Node, NodeKind, NodeStatus};

    fn read(text: &str) -> Result<Vec<Node>, String> {
        let mut report = Report::new(text);
        let mut nodes = Vec::new();
        while let Some(node) = report.next().map_err(|error| error.to_string())? {
            nodes.push(node);
        }
        Ok(nodes)
    }

    #[test]
    fn a_tree_of_suites_and_cases_comes_parents_first() {
        let nodes = read(
            r#"<?xml version="1.0" encoding="utf-8"?><!-- x -->
            <testsuites name="all"><properties><testcase name="not one"/></properties>
              <testsuite name="outer" time="1,234.5">
                <testcase classname="c" name="passes" time="0.5"/>
                <testsuite name="inner"><testcase name="fails"><failure message="a &lt; b">line 1
&amp; <![CDATA[<more>]]>&#33;</failure><system-out><failure/></system-out></testcase></testsuite>
                <testcase name="both"><skipped/><error message="teardown"/><failure message="less"/></testcase>
              </testsuite></testsuites>"#,
        )
        .expect("a report");
        let names: Vec<&str> = nodes.iter().map(|node| node.name.as_str()).collect();
        assert_eq!(names, ["outer", "passes", "inner", "fails", "both"]);
        assert_eq!(nodes.iter().map(|node| node.position).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
        assert_eq!((nodes[0].kind, nodes[0].duration_seconds), (NodeKind::Suite, Some(1234.5)));
        assert_eq!((nodes[1].parent_id, nodes[1].status), (Some(nodes[0].id), Some(NodeStatus::Passed)));
        assert_eq!(nodes[3].parent_id, Some(nodes[2].id));
        assert_eq!(nodes[3].message.as_deref(), Some("a < bline 1\n& <more>!"));
        assert_eq!((nodes[4].status, nodes[4].message.as_deref()), (Some(NodeStatus::Error), Some("teardown")));
    }

    #[test]
    fn what_is_no_report_is_refused_with_the_place() {
        for text in
            ["", "text", "<html/>", "<testsuite>", "<testsuites><testsuite></testsuites>", "<testsuite><testcase>"]
        {
            assert!(read(text).is_err(), "{text}");
        }
        assert!(read("<testsuite name='a'/>").is_ok());
        let deep = "<testsuite>".repeat(200) + &"</testsuite>".repeat(200);
        assert!(read(&deep).expect_err("too deep").contains("too deep"));
    }

    #[test]
    fn entities_of_the_document_are_not_expanded() {
        let nodes = read(
            r#"<!DOCTYPE t [<!ENTITY a "aaaa"><!ENTITY f SYSTEM "file:///etc/passwd">]>
            <testsuite name="s"><testcase name="c"><failure>&a;&f;</failure></testcase></testsuite>"#,
        )
        .expect("a report");
        assert_eq!(nodes[1].message.as_deref(), Some("\u{fffd}\u{fffd}"));
    }
}
