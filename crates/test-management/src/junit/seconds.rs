//! Durations as reports write them.

/// Seconds, with whatever separators: `1,234.56` and `1.234,56` are the same, `0,160` is
/// less than one. `comma_is_decimal` decides where a text alone does not tell (`1,234`).
/// `None` if it is no duration.
pub(super) fn seconds(text: &str, comma_is_decimal: impl FnOnce() -> bool) -> Option<f64> {
    let text: String = text.chars().filter(|c| !c.is_whitespace() && !"'’_\u{a0}\u{202f}".contains(*c)).collect();
    let (text, unit) = match text.strip_suffix("ms") {
        Some(number) => (number, 0.001),
        None => (text.strip_suffix('s').unwrap_or(&text), 1.0),
    };
    let (commas, dots) = (text.matches(',').count(), text.matches('.').count());
    let number = match (commas, dots) {
        (0, 0 | 1) => text.to_owned(),
        (0, _) => text.replace('.', ""),
        (1, 0) if is_decimal_comma(text).unwrap_or_else(comma_is_decimal) => text.replace(',', "."),
        (_, 0) => text.replace(',', ""),
        // The last one separates the fraction, the others thousands.
        (_, 1) if text.rfind(',') < text.rfind('.') => text.replace(',', ""),
        (1, _) if text.rfind('.') < text.rfind(',') => text.replace('.', "").replace(',', "."),
        _ => return None,
    };
    // What Rust reads besides: signs, `inf`, `nan`.
    let seconds: f64 = number.parse().ok().filter(|_| number.starts_with(|c: char| c.is_ascii_digit() || c == '.'))?;
    Some(seconds * unit).filter(|seconds| seconds.is_finite())
}

/// Whether the only separator, a comma, is that of a fraction; `None` if it may be either.
fn is_decimal_comma(text: &str) -> Option<bool> {
    let (whole, fraction) = text.split_once(',')?;
    let may_be_thousands = fraction.len() == 3 && (1..=3).contains(&whole.len()) && !whole.starts_with('0');
    (!may_be_thousands).then_some(true)
}

/// What the durations of a whole report show about the comma: `Some(true)` if it separates
/// fractions, `Some(false)` if dots do, `None` if no duration tells.
pub(super) fn comma_is_decimal(report: &str) -> Option<bool> {
    report.match_indices("time=").find_map(|(at, found)| {
        let quoted = report.get(at + found.len()..)?;
        let quote = quoted.chars().next().filter(|c| matches!(c, '"' | '\''))?;
        let text = quoted[1..].split(quote).next()?.trim();
        match (text.contains(','), text.contains('.')) {
            (true, false) => is_decimal_comma(text),
            (false, true) => Some(false),
            (true, true) => Some(text.rfind('.') < text.rfind(',')),
            (false, false) => None,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::{comma_is_decimal, seconds};

    #[test]
    fn durations_are_read_with_whatever_separators() {
        for (text, expected) in [
            ("0.5", Some(0.5)),
            (" 12 ", Some(12.0)),
            (".5", Some(0.5)),
            ("1.2E-4", Some(0.00012)),
            ("0,160", Some(0.16)),
            ("12,5", Some(12.5)),
            ("1,23456", Some(1.23456)),
            ("1,234.56", Some(1234.56)),
            ("1.234,56", Some(1234.56)),
            ("1,234,567.8", Some(1_234_567.8)),
            ("1.234.567,8", Some(1_234_567.8)),
            ("1,234,567", Some(1_234_567.0)),
            ("1.234.567", Some(1_234_567.0)),
            ("1 234,56", Some(1234.56)),
            ("1'234.56", Some(1234.56)),
            ("0.005s", Some(0.005)),
            ("160 ms", Some(0.16)),
            ("-1", None),
            ("nan", None),
            ("inf", None),
            ("1,2.3,4", None),
            ("00:01:02", None),
            ("", None),
        ] {
            let read = seconds(text, || panic!("{text} tells by itself"));
            assert!(
                match (read, expected) {
                    (Some(read), Some(expected)) => (read - expected).abs() < 1e-9,
                    (read, expected) => read == expected,
                },
                "{text}: {read:?}"
            );
        }
        assert_eq!(seconds("1,234", || true), Some(1.234));
        assert_eq!(seconds("1,234", || false), Some(1234.0));
    }

    #[test]
    fn other_durations_of_the_report_tell_what_a_comma_is() {
        for (report, expected) in [
            (r#"<a time="1,234"/><b time="0,160"/>"#, Some(true)),
            (r#"<a time="1,234"/><b time='0.160'/>"#, Some(false)),
            (r#"<a time="1,234"/><b time="1.234,5"/>"#, Some(true)),
            (r#"<a time="1,234"/><b time="2"/>"#, None),
            (r#"<a time="#, None),
        ] {
            assert_eq!(comma_is_decimal(report), expected, "{report}");
        }
    }
}
