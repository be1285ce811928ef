//! Numbers and times as people read them.

use chrono::{DateTime, Utc};
use longhaul_model::State;
use maud::{Markup, html};

/// `1234567` as `1,234,567`.
pub(crate) fn number(number: i64) -> String {
    let digits = number.unsigned_abs().to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    if number < 0 { format!("-{text}") } else { text }
}

/// A count that may have stopped at `most`.
pub(crate) fn at_most(count: i64, most: i64) -> String {
    if count >= most { format!("{}+", number(most)) } else { number(count) }
}

/// A number of seconds in one or two units.
pub(crate) fn span(seconds: f64) -> String {
    let seconds = seconds.max(0.0);
    if seconds < 1.0 {
        return format!("{:.0} ms", seconds * 1_000.0);
    }
    if seconds < 10.0 {
        return format!("{seconds:.1} s");
    }
    let whole = seconds.round() as i64;
    match whole {
        0..60 => format!("{whole} s"),
        60..3_600 => two(whole / 60, "min", whole % 60, "s"),
        3_600..86_400 => two(whole / 3_600, "h", whole % 3_600 / 60, "min"),
        _ => two(whole / 86_400, "d", whole % 86_400 / 3_600, "h"),
    }
}

fn two(first: i64, of: &str, second: i64, of_second: &str) -> String {
    if second == 0 || first >= 10 { format!("{first} {of}") } else { format!("{first} {of} {second} {of_second}") }
}

/// Seconds between two moments.
pub(crate) fn seconds(from: DateTime<Utc>, to: DateTime<Utc>) -> f64 {
    (to - from).num_milliseconds() as f64 / 1_000.0
}

/// How long ago, or in how long, with the exact time behind it.
pub(crate) fn moment(at: DateTime<Utc>, now: DateTime<Utc>) -> Markup {
    let away = seconds(at, now);
    let words = if away.abs() < 1.0 {
        "now".to_owned()
    } else if away > 0.0 {
        format!("{} ago", span(away))
    } else {
        format!("in {}", span(-away))
    };
    html! { time datetime=(at.format("%Y-%m-%dT%H:%M:%SZ")) title=(at.format("%Y-%m-%d %H:%M:%S UTC")) { (words) } }
}

/// A fraction in per cent.
pub(crate) fn percent(fraction: f64) -> String {
    // 100 % is said of what is done only.
    let percent = (fraction * 100.0).clamp(0.0, 100.0);
    if percent >= 100.0 { "100 %".to_owned() } else { format!("{:.0} %", percent.floor()) }
}

/// A state as a word and a sign, so that it is not told by colour alone.
pub(crate) fn state(state: State) -> Markup {
    html! { span class={ "state state-" (state.name().to_lowercase()) } { (state.name()) } }
}

/// JSON for people.
pub(crate) fn json(value: &serde_json::Value) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::{at_most, number, percent, span};

    #[test]
    fn numbers_are_in_groups_of_three() {
        assert_eq!([0, 999, 1_000, -1_234_567].map(number), ["0", "999", "1,000", "-1,234,567"]);
        assert_eq!([at_most(9, 10), at_most(10, 10)], ["9", "10+"]);
    }

    #[test]
    fn spans_have_the_units_that_matter() {
        let spans = [0.25, 3.26, 59.0, 61.0, 3_600.0, 5_400.0, 90_000.0, 864_000.0].map(span);
        assert_eq!(spans, ["250 ms", "3.3 s", "59 s", "1 min 1 s", "1 h", "1 h 30 min", "1 d 1 h", "10 d"]);
    }

    #[test]
    fn only_the_whole_is_a_hundred_per_cent() {
        assert_eq!([0.0, 0.999, 1.0].map(percent), ["0 %", "99 %", "100 %"]);
    }
}
