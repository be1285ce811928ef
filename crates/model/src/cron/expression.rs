//! Cron expressions as people write them, before the `croner` crate reads them.
//!
//! croner replaces the names of months and weekdays wherever their letters stand, and its
//! messages quote what that makes of the text ("1DAY"). So letters are looked at here first.

const MONTHS: [&str; 12] = ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"];
const WEEKDAYS: [&str; 7] = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"];
const NICKNAMES: [&str; 7] = ["@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly"];

/// What a field may hold besides numbers, `*`, `/`, `-` and `,`.
struct Kind {
    name: &'static str,
    /// Words in capitals.
    words: &'static [&'static str],
    /// Whether `L` may follow a word: `FRIL`.
    last: bool,
    marks: &'static [char],
}

const SECOND: Kind = Kind { name: "second", words: &[], last: false, marks: &[] };
const MINUTE: Kind = Kind { name: "minute", words: &[], last: false, marks: &[] };
const HOUR: Kind = Kind { name: "hour", words: &[], last: false, marks: &[] };
const DAY: Kind = Kind { name: "day of month", words: &["L", "W", "LW"], last: false, marks: &['?'] };
const MONTH: Kind = Kind { name: "month", words: &MONTHS, last: false, marks: &[] };
const WEEKDAY: Kind = Kind { name: "day of week", words: &WEEKDAYS, last: true, marks: &['?', '#', '+'] };

/// The expressions that fire together when this one does: one, unless croner can't hold it
/// in one.
///
/// # Errors
/// What is wrong with its words and marks. Numbers are left to croner.
pub(super) fn read(expression: &str) -> Result<Vec<String>, String> {
    let expression = expression.trim().to_ascii_uppercase();
    if expression.starts_with('@') {
        if !NICKNAMES.iter().any(|known| known.eq_ignore_ascii_case(&expression)) {
            let given: String = expression.to_ascii_lowercase().chars().take(60).collect();
            return Err(format!("'{given}' is not a nickname; they are {}.", NICKNAMES.join(", ")));
        }
        // croner does not know it.
        return Ok(vec![if expression == "@MIDNIGHT" { "@DAILY".to_owned() } else { expression }]);
    }
    let fields: Vec<&str> = expression.split_whitespace().collect();
    let kinds: &[Kind] = match fields.len() {
        5 => &[MINUTE, HOUR, DAY, MONTH, WEEKDAY],
        6 => &[SECOND, MINUTE, HOUR, DAY, MONTH, WEEKDAY],
        count => return Err(format!("The expression has {count} fields.")),
    };
    for (field, kind) in fields.iter().zip(kinds) {
        kind.check(field)?;
    }
    let day = kinds.len() - 3;
    let days: Vec<&str> = fields[day].split(',').collect();
    if !(days.contains(&"L") && days.contains(&"LW")) {
        return Ok(vec![expression]);
    }
    // croner marks LW by the mark of L and one more, so a list of both is LW alone to it.
    let without = |word: &str| {
        let kept: Vec<&str> = days.iter().copied().filter(|other| *other != word).collect();
        let (kept, mut fields) = (kept.join(","), fields.clone());
        fields[day] = &kept;
        fields.join(" ")
    };
    Ok(vec![without("L"), without("LW")])
}

impl Kind {
    fn check(&self, field: &str) -> Result<(), String> {
        // croner takes an empty list for one that nothing matches, and then looks for
        // centuries: found by fuzzing (`fuzz/run`).
        if field.split(',').any(str::is_empty) {
            return Err(format!("The {} is a list with an empty item.", self.name));
        }
        // croner says no more than that it is no number.
        if let Some(alone) = field.split(',').find(|item| ["*", "?"].contains(item) && *item != field) {
            return Err(format!("The {} has '{alone}' in a list; it stands alone.", self.name));
        }
        let odd = |mark: &char| {
            !mark.is_ascii_alphanumeric() && !['*', '/', '-', ','].contains(mark) && !self.marks.contains(mark)
        };
        if let Some(mark) = field.chars().find(odd) {
            return Err(format!("The {} can't have '{}'.", self.name, mark.escape_default()));
        }
        for word in field.split(|mark: char| !mark.is_ascii_alphabetic()).filter(|word| !word.is_empty()) {
            let known = |word: &str| self.words.contains(&word);
            let last = self.last && word.strip_suffix('L').is_some_and(|word| word.is_empty() || known(word));
            if known(word) || last {
                continue;
            }
            return Err(if self.words.is_empty() {
                format!("The {} can't be '{word}': it is a number.", self.name)
            } else {
                format!("The {} can't be '{word}'; words there are {}.", self.name, self.words.join(", "))
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::read;

    #[test]
    fn words_stand_where_they_belong() {
        for good in ["0 0 L * *", "0 0 15w * *", "0 0 * jan-mar sun", "0 0 * * 5L", "0 0 * * fril", "0 0 ? * +MON#2"] {
            assert_eq!(read(good).map(|one| one.len()), Ok(1), "{good}");
        }
        for (bad, said) in [
            ("0 0 * * MONDAY", "The day of week can't be 'MONDAY'; words there are SUN, MON"),
            ("0 0 * JANUARY *", "The month can't be 'JANUARY'"),
            ("MON 0 * * *", "The minute can't be 'MON': it is a number."),
            ("0 0 * MON *", "The month can't be 'MON'"),
            ("0 0 X * *", "The day of month can't be 'X'; words there are L, W, LW."),
            ("0 0 é * *", "The day of month can't have '\\u{e9}'."),
            ("0 0 * *", "The expression has 4 fields."),
            ("@reboot", "'@reboot' is not a nickname; they are @yearly"),
            ("1,,2 * * * *", "The minute is a list with an empty item."),
            ("*,13 * * * *", "The minute has '*' in a list; it stands alone."),
            ("0 0 13,? * *", "The day of month has '?' in a list; it stands alone."),
        ] {
            let error = read(bad).expect_err(bad);
            assert!(error.starts_with(said), "{bad}: {error}");
        }
    }

    #[test]
    fn the_last_day_and_the_last_weekday_are_two_expressions() {
        assert_eq!(read("0 0 l,lw,3 * *"), Ok(vec!["0 0 LW,3 * *".to_owned(), "0 0 L,3 * *".to_owned()]));
    }
}
