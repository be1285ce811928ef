//! What is read of reports, and what is told of them.

use super::Report;
use crate::result_node::{Node, NodeKind, NodeStatus};

fn read(text: &str) -> Result<Vec<Node>, String> {
    read_with_notes(text).map(|(nodes, _)| nodes)
}

fn read_with_notes(text: &str) -> Result<(Vec<Node>, Vec<String>), String> {
    let mut report = Report::new(text);
    let mut nodes = Vec::new();
    while let Some(node) = report.next().map_err(|error| error.to_string())? {
        nodes.push(node);
    }
    Ok((nodes, report.notes.sentences()))
}

/// The names of the cases, and how they went.
fn cases(nodes: &[Node]) -> Vec<(&str, NodeStatus)> {
    nodes.iter().filter_map(|node| Some((node.name.as_str(), node.status?))).collect()
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
    for text in ["", "text", "<html/>", "<testsuite>", "<testsuites><testsuite></testsuites>", "<testsuite><testcase>"]
    {
        assert!(read(text).is_err(), "{text}");
    }
    assert!(read("<testsuite name='a'/>").is_ok());
    let deep = "<testsuite>".repeat(200) + &"</testsuite>".repeat(200);
    assert!(read(&deep).expect_err("too deep").contains("too deep"));
}

#[test]
fn a_message_of_very_many_pieces_is_cut_and_soon_read() {
    let pieces = "&lt;".repeat(400_000);
    let text = format!(r#"<testsuite><testcase><failure message="said">{pieces}</failure></testcase></testsuite>"#);
    let began = std::time::Instant::now();
    let nodes = read(&text).expect("a report");
    assert_eq!(nodes[1].message.as_ref().map(|message| message.chars().count()), Some(super::MESSAGE_LIMIT));
    assert!(began.elapsed() < std::time::Duration::from_secs(5), "{:?}", began.elapsed());
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

#[test]
fn a_case_that_did_not_run_is_skipped_also_without_an_element_that_says_so() {
    let (nodes, notes) = read_with_notes(
        r#"<testsuite name="s" tests="9">
            <testcase name="a" status="notrun"/><testcase name="b" status="run" result="skipped"/>
            <testcase name="c" status="disabled"><system-out/></testcase>
            <testcase name="d" status="notrun" result="suppressed"/>
            <testcase name="e" status="failed"/><testcase name="f" status="fail"><failure message="m"/></testcase>
            <testcase name="g" status="run" result="completed"/>
            <testcase name="h" status="skipped"><error message="worse"/></testcase>
            <testcase name="i" status="purple"/></testsuite>"#,
    )
    .expect("a report");
    let skipped = NodeStatus::Skipped;
    assert_eq!(
        cases(&nodes),
        [
            ("a", skipped),
            ("b", skipped),
            ("c", skipped),
            ("d", skipped),
            ("e", NodeStatus::Failed),
            ("f", NodeStatus::Failed),
            ("g", NodeStatus::Passed),
            ("h", NodeStatus::Error),
            ("i", NodeStatus::Passed),
        ]
    );
    assert_eq!((nodes[6].message.as_deref(), nodes[8].message.as_deref()), (Some("m"), Some("worse")));
    assert_eq!(notes.len(), 1, "{notes:?}");
    assert!(notes[0].contains("status='purple'"), "{notes:?}");
}

#[test]
fn what_a_suite_says_of_itself_is_a_case() {
    let (nodes, notes) = read_with_notes(
        r#"<testsuites><testsuite name="broken" tests="1" errors="1"><error message="No module">Traceback
           <![CDATA[<x>]]></error></testsuite>
           <testsuite name="also" failures="1"><testcase name="fine"/><failure/></testsuite></testsuites>"#,
    )
    .expect("a report");
    let expected = [("error", NodeStatus::Error), ("fine", NodeStatus::Passed), ("failure", NodeStatus::Failed)];
    assert_eq!(cases(&nodes), expected);
    assert_eq!(nodes[1].parent_id, Some(nodes[0].id));
    assert!(nodes[1].message.as_ref().is_some_and(|said| said.starts_with("No moduleTraceback")), "{nodes:?}");
    assert!(notes.is_empty(), "{notes:?}");
}

#[test]
fn nested_reports_are_part_of_the_report_and_strange_elements_are_told() {
    let (nodes, notes) = read_with_notes(
        r#"<testsuites name="all"><testsuites name="inner"><testsuite name="s"><testcase name="a"/></testsuite>
           </testsuites><testsuite name="t"><testsuites><testcase name="b"/></testsuites></testsuite>
           <group><testsuite name="u"><testcase name="c"/></testsuite></group></testsuites>"#,
    )
    .expect("a report");
    let names: Vec<&str> = nodes.iter().map(|node| node.name.as_str()).collect();
    assert_eq!(names, ["s", "a", "t", "b"]);
    assert_eq!(nodes[3].parent_id, Some(nodes[2].id));
    assert_eq!(notes.len(), 1, "{notes:?}");
    assert!(notes[0].contains("2 times; the first: testsuite in group"), "{notes:?}");
}

#[test]
fn a_suite_that_counts_failures_it_does_not_show_is_not_green() {
    let (nodes, notes) = read_with_notes(
        r#"<testsuites tests="7" failures="2" errors="1"><testsuite name="s" tests="5" failures="2"/>
           <testsuite name="t" tests="2" errors="1"></testsuite><testsuite name="u" tests="0"/></testsuites>"#,
    )
    .expect("a report");
    let gone = "not in the report";
    assert_eq!(cases(&nodes), [(gone, NodeStatus::Failed), (gone, NodeStatus::Error)]);
    assert_eq!((nodes[1].parent_id, nodes[3].parent_id), (Some(nodes[0].id), Some(nodes[2].id)));
    assert!(notes[0].contains("'s' counts 5 tests, 2 failures, 0 errors, and has 0 cases"), "{notes:?}");
    for (text, statuses, noted) in [
        (r#"<testsuites tests="1" errors="1"/>"#, vec![NodeStatus::Error], true),
        (r#"<testsuite tests="3"/>"#, vec![], true),
        (
            r#"<testsuite tests="3" failures="2"><testcase/><testcase><failure/></testcase></testsuite>"#,
            vec![NodeStatus::Passed, NodeStatus::Failed, NodeStatus::Failed],
            true,
        ),
        (
            r#"<testsuite tests="2" failures="1" errors="1"><testcase><failure/><error/></testcase></testsuite>"#,
            vec![NodeStatus::Error],
            false,
        ),
        (r#"<testsuite tests="0" failures="0"/>"#, vec![], false),
    ] {
        let (nodes, notes) = read_with_notes(text).expect(text);
        let found: Vec<NodeStatus> = nodes.iter().filter_map(|node| node.status).collect();
        assert_eq!((found, !notes.is_empty()), (statuses, noted), "{text}: {notes:?}");
    }
}

#[test]
fn durations_with_a_comma_are_read_as_the_rest_of_the_report_tells() {
    for (text, expected, noted) in [
        (r#"<testsuite time="1,234"><testcase time="0,160"/></testsuite>"#, [Some(1.234), Some(0.16)], false),
        (r#"<testsuite time="1,234"><testcase time="0.160"/></testsuite>"#, [Some(1234.0), Some(0.16)], false),
        (
            r#"<testsuite time="1.234,56"><testcase time="1,234.56"/></testsuite>"#,
            [Some(1234.56), Some(1234.56)],
            false,
        ),
        (r#"<testsuite time="1,234"><testcase/></testsuite>"#, [Some(1234.0), None], true),
        (r#"<testsuite time="long"><testcase time=""/></testsuite>"#, [None, None], true),
    ] {
        let (nodes, notes) = read_with_notes(text).expect(text);
        let found: Vec<Option<f64>> = nodes.iter().map(|node| node.duration_seconds).collect();
        assert_eq!((found.as_slice(), !notes.is_empty()), (expected.as_slice(), noted), "{text}: {notes:?}");
    }
}
