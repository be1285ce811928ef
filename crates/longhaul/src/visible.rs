//! What others wrote, on a terminal of ours.

use std::borrow::Cow;
use std::fmt::Write;

use serde_json::Value;

/// A text that someone else wrote (a task's message, a test's name, an error's detail) as it
/// may be printed: characters that steer a terminal, and those that turn round the direction
/// of what is read, are shown instead of sent, as `\u{1b}`. Line breaks and tabs stay.
pub(crate) fn visible(text: &str) -> Cow<'_, str> {
    if !text.chars().any(steers) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        if steers(character) {
            // A String takes everything.
            let _written = write!(shown, "{}", character.escape_unicode());
        } else {
            shown.push(character);
        }
    }
    Cow::Owned(shown)
}

/// An answer as a line of JSON that a terminal may be shown: what would steer it is written
/// as JSON's own escapes, which mean the same to whatever reads the line.
pub(crate) fn json_line(value: &Value) -> String {
    let line = value.to_string();
    if !line.chars().any(steers) {
        return line;
    }
    // They stand in texts alone, and all of them are of the basic plane.
    line.chars().fold(String::with_capacity(line.len() + 16), |mut shown, character| {
        if steers(character) {
            shown.push_str(&format!("\\u{:04x}", u32::from(character)));
        } else {
            shown.push(character);
        }
        shown
    })
}

/// Controls of C0, C1 and DEL, and Unicode's bidirectional controls (UAX #9).
fn steers(character: char) -> bool {
    (character.is_control() && !matches!(character, '\n' | '\t'))
        || matches!(character, '\u{200e}' | '\u{200f}' | '\u{061c}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{json_line, visible};

    #[test]
    fn what_steers_a_terminal_is_shown_and_not_sent() {
        assert_eq!(visible("Grüße\n\tan alle 👋"), "Grüße\n\tan alle 👋");
        assert_eq!(visible("\u{1b}]0;x\u{7}"), "\\u{1b}]0;x\\u{7}");
        assert_eq!(visible("a\rb\u{8}\u{7f}\u{9b}2J"), "a\\u{d}b\\u{8}\\u{7f}\\u{9b}2J");
        assert_eq!(visible("\u{202e}txt.exe"), "\\u{202e}txt.exe");
    }

    #[test]
    fn a_line_of_json_means_the_same() {
        let value = json!({"a\u{9b}": "\u{1b}[2J\u{7f}\u{202e}\n👋"});
        let line = json_line(&value);
        assert!(line.is_ascii() || !line.chars().any(super::steers), "{line}");
        assert_eq!(serde_json::from_str::<Value>(&line).expect("JSON"), value);
    }
}
