//! Numbers: how people read them, and those in JSON that would not be kept as they are written.

use std::fmt::Display;

/// A number with its noun: "1 project", "2 projects", "2 entities". The noun must have a regular
/// plural.
#[must_use]
pub fn counted<N: Display + PartialEq + From<u8>>(number: N, noun: &str) -> String {
    match noun.strip_suffix('y') {
        _ if number == N::from(1) => format!("1 {noun}"),
        Some(stem) => format!("{number} {stem}ies"),
        None => format!("{number} {noun}s"),
    }
}

/// The first whole number in a text of JSON that no integer of 64 bits holds: readers of
/// JSON take it for a double, and what is stored is another number. The text must be valid
/// JSON. `longhaul.check_parameters` (SQL) refuses such numbers unless a double holds them.
#[must_use]
pub fn beyond_64_bits(json: &str) -> Option<&str> {
    let bytes = json.as_bytes();
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => at = end_of_text(bytes, at + 1),
            b'-' | b'0'..=b'9' => {
                let part = |byte: &&u8| byte.is_ascii_digit() || matches!(byte, b'+' | b'-' | b'.' | b'e' | b'E');
                let end = at + bytes[at..].iter().take_while(part).count();
                let number = &json[at..end];
                let is_whole = number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
                if is_whole && number.parse::<i64>().is_err() && number.parse::<u64>().is_err() {
                    return Some(number);
                }
                at = end;
            }
            _ => at += 1,
        }
    }
    None
}

/// Just after the quotation mark that ends a text.
fn end_of_text(bytes: &[u8], mut at: usize) -> usize {
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    at
}

#[cfg(test)]
mod tests {
    use super::{beyond_64_bits, counted};

    #[test]
    fn plurals_are_right() {
        let told = [counted(0_u64, "project"), counted(1_usize, "entity"), counted(2_i64, "entity")];
        assert_eq!(told, ["0 projects", "1 entity", "2 entities"]);
    }

    #[test]
    fn whole_numbers_are_kept_or_told() {
        for kept in [
            "{}",
            "18446744073709551615",
            "[-9223372036854775808, 0]",
            r#"{"a": "99999999999999999999", "b\"": 1e30, "c": 99999999999999999999.5}"#,
            r#"["\\", "99999999999999999999\""]"#,
        ] {
            assert_eq!(beyond_64_bits(kept), None, "{kept}");
        }
        for (json, number) in [
            ("18446744073709551616", "18446744073709551616"),
            (r#"{"a\\": [1, -9223372036854775809]}"#, "-9223372036854775809"),
            (r#"["é", 99999999999999999999, 99999999999999999998]"#, "99999999999999999999"),
        ] {
            assert_eq!(beyond_64_bits(json), Some(number), "{json}");
        }
    }
}
