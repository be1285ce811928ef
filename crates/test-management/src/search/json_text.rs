//! The words of a JSON document.

use std::borrow::Cow;

/// Calls `each` with every text and number of a JSON document in PostgreSQL's spelling, but
/// not with the names of members. Neither depth nor the size of a number matters, and a
/// document that was cut is read up to there.
pub(super) fn texts(json: &str, mut each: impl FnMut(&str)) {
    let mut rest = json;
    while let Some(at) = rest.find(|character: char| character == '"' || character == '-' || character.is_ascii_digit())
    {
        rest = &rest[at..];
        if let Some(inside) = rest.strip_prefix('"') {
            let end = end_of_string(inside);
            rest = inside.get(end + 1..).unwrap_or_default();
            if !rest.trim_start().starts_with(':') {
                each(&unescaped(&inside[..end]));
            }
        } else {
            let end = rest.find([',', ']', '}', ' ']).unwrap_or(rest.len());
            each(&rest[..end]);
            rest = &rest[end..];
        }
    }
}

/// Where the quotation mark is that ends a string.
fn end_of_string(inside: &str) -> usize {
    let bytes = inside.as_bytes();
    let mut at = 0;
    while let Some(found) = bytes.get(at..).and_then(|rest| rest.iter().position(|byte| matches!(byte, b'"' | b'\\'))) {
        at += found;
        if bytes[at] == b'"' {
            return at;
        }
        at += 2;
    }
    bytes.len()
}

fn unescaped(inside: &str) -> Cow<'_, str> {
    if !inside.contains('\\') {
        return Cow::Borrowed(inside);
    }
    let mut text = String::with_capacity(inside.len());
    let mut rest = inside.chars();
    while let Some(character) = rest.next() {
        text.push(match character {
            '\\' => match rest.next() {
                Some('b' | 'f' | 'n' | 'r' | 't') | None => ' ',
                // PostgreSQL writes control characters so, and nothing else.
                Some('u') => {
                    rest.by_ref().take(4).for_each(drop);
                    ' '
                }
                Some(itself) => itself,
            },
            itself => itself,
        });
    }
    Cow::Owned(text)
}

#[cfg(test)]
mod tests {
    fn read(json: &str) -> Vec<String> {
        let mut read = Vec::new();
        super::texts(json, |text| read.push(text.to_owned()));
        read
    }

    #[test]
    fn texts_and_numbers_are_read_and_names_are_not() {
        let json =
            r#"{"Name": "a \"b\"\\", "List": [1, -2.5, "c\nd\u0001e", true, null, {"x": "y"}], "Big": 1e400, "": ""}"#;
        assert_eq!(read(json), ["a \"b\"\\", "1", "-2.5", "c d e", "y", "1e400", ""]);
        assert_eq!(read(&format!("{}\"deep\"{}", "[".repeat(10_000), "]".repeat(10_000))), ["deep"]);
    }

    #[test]
    fn what_was_cut_is_read_up_to_there() {
        for (json, texts) in [
            (r#"{"a": "one tw"#, vec!["one tw"]),
            (r#"{"a": "one\"#, vec!["one "]),
            (r#"{"a": "one\u0"#, vec!["one "]),
            (r#"{"a": 12"#, vec!["12"]),
            (r#"{"a"#, vec!["a"]),
            ("{", vec![]),
        ] {
            assert_eq!(read(json), texts, "{json}");
        }
    }
}
