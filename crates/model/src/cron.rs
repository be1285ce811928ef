//! When a cron schedule fires.

mod expression;

use std::collections::VecDeque;
use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;
use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use schemars::JsonSchema;
use serde::Deserialize;

/// A cron expression in a time zone.
///
/// Five fields (minute, hour, day of month, month, day of week) or six with
/// seconds first, or a nickname such as `@daily`; names of months and weekdays,
/// lists, ranges, steps, `L`, `W` and `#` as the `croner` crate reads them.
///
/// Where clocks change, a schedule at one time of day (one second, one minute,
/// one hour) fires once that day: a time that does not exist fires at the first
/// moment after the gap, a time that exists twice fires the first time. Any other
/// schedule (`*`, lists, ranges, steps) fires at each matching moment that really
/// comes: not in a gap, and both times in an overlap.
#[derive(Debug, Clone)]
pub struct CronSchedule {
    /// It fires when one of these does.
    crons: Vec<Cron>,
    zone: Tz,
}

/// Why a schedule is invalid. The text explains what to change.
#[derive(Debug, thiserror::Error)]
pub enum CronError {
    /// The expression can't be read.
    #[error("{0}")]
    Expression(String),
    /// The time zone is unknown.
    #[error("{0} is not a time zone of the IANA database, such as Europe/Berlin or UTC")]
    TimeZone(String),
    /// No date ever matches.
    #[error("this expression never fires")]
    Never,
}

/// What becomes of firings that came due while no process was there to see.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
pub enum Missed {
    /// Skips them; only the latest fires, if it is less than a minute late.
    Skip,
    /// Fires once, for the latest of them.
    Once,
    /// Fires each of them, at most the latest [`CATCH_UP`].
    All,
}

/// The maximum number of missed firings of [`Missed::All`].
pub const CATCH_UP: usize = 1_000;
/// How late a firing may be under [`Missed::Skip`].
const LATE: TimeDelta = TimeDelta::seconds(60);
/// Due times that are looked at one by one; of more only the latest are.
const STEPS: usize = 100_000;

/// What to do about a schedule that is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    /// The due times to fire now, in order.
    pub fire: Vec<DateTime<Utc>>,
    /// The latest due time that gets no task, by the policy.
    pub skipped: Option<DateTime<Utc>>,
    /// The next due time; `None` means never.
    pub next: Option<DateTime<Utc>>,
}

fn refused(why: &dyn fmt::Display) -> CronError {
    CronError::Expression(format!(
        "{why} Expected are five fields (minute, hour, day of month, month, day of week) or six with seconds first, such \
         as '30 4 * * MON-FRI' or '*/10 * * * * *'."
    ))
}

impl CronSchedule {
    /// Reads an expression and the name of a time zone.
    ///
    /// # Errors
    /// If one of them is invalid, or no date in the next centuries matches.
    pub fn new(expression: &str, time_zone: &str, now: DateTime<Utc>) -> Result<Self, CronError> {
        if expression.len() > 200 {
            return Err(CronError::Expression("An expression may have at most 200 characters.".to_owned()));
        }
        let zone = Tz::from_str(time_zone)
            .map_err(|_| CronError::TimeZone(format!("'{}'", time_zone.chars().take(60).collect::<String>())))?;
        let parser = CronParser::builder().seconds(Seconds::Optional).year(Year::Disallowed).build();
        let expressions = expression::read(expression).map_err(|why| refused(&why))?;
        let crons = expressions
            .iter()
            .map(|one| parser.parse(one).map_err(|error| refused(&error)))
            .collect::<Result<_, _>>()?;
        let schedule = Self { crons, zone };
        if schedule.next_after(now).is_none() {
            return Err(CronError::Never);
        }
        Ok(schedule)
    }

    /// The first due time after `time`.
    #[must_use]
    pub fn next_after(&self, time: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let time = time.with_timezone(&self.zone);
        let next = self.crons.iter().filter_map(|cron| cron.find_next_occurrence(&time, false).ok()).min()?;
        Some(next.with_timezone(&Utc))
    }

    fn last_until(&self, time: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let time = time.with_timezone(&self.zone);
        let last = self.crons.iter().filter_map(|cron| cron.find_previous_occurrence(&time, true).ok()).max()?;
        Some(last.with_timezone(&Utc))
    }

    /// Decides at `now` what to do about a schedule whose first due time is `first`, which is not
    /// later than `now`.
    #[must_use]
    pub fn due(&self, first: DateTime<Utc>, now: DateTime<Utc>, missed: Missed) -> Due {
        let (mut times, mut dropped) = self.latest(first, now);
        let kept = match missed {
            Missed::All => CATCH_UP,
            Missed::Once => 1,
            Missed::Skip => usize::from(times.back().is_some_and(|last| now - *last <= LATE)),
        };
        while times.len() > kept {
            dropped = times.pop_front();
        }
        Due {
            fire: times.into(),
            // One firing stands for those before it.
            skipped: dropped.filter(|_| missed != Missed::Once),
            next: self.next_after(now),
        }
    }

    /// The latest [`CATCH_UP`] due times from `first` to `now`, in order, and the
    /// last one before them.
    fn latest(&self, first: DateTime<Utc>, now: DateTime<Utc>) -> (VecDeque<DateTime<Utc>>, Option<DateTime<Utc>>) {
        let mut times = VecDeque::new();
        let mut dropped = None;
        let mut time = Some(first);
        for _ in 0..STEPS {
            match time.filter(|time| *time <= now) {
                Some(due) => {
                    times.push_back(due);
                    if times.len() > CATCH_UP {
                        dropped = times.pop_front();
                    }
                    time = self.next_after(due);
                }
                None => return (times, dropped),
            }
        }
        // Very far behind: walk back from now.
        times.clear();
        let mut time = self.last_until(now);
        while let Some(due) = time.filter(|time| *time >= first && times.len() < CATCH_UP) {
            times.push_front(due);
            time = self.last_until(due - TimeDelta::microseconds(1));
        }
        (times, time)
    }
}

impl Missed {
    /// Every policy.
    pub const ALL: [Missed; 3] = [Missed::Skip, Missed::Once, Missed::All];

    /// The word on the wire and in the database.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Missed::Skip => "Skip",
            Missed::Once => "Once",
            Missed::All => "All",
        }
    }

    /// The policy of this name.
    #[must_use]
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|missed| missed.name() == name)
    }
}

impl fmt::Display for Missed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::{CATCH_UP, CronError, CronSchedule, Missed};
    use chrono::{DateTime, TimeDelta, Utc};

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().expect("a time")
    }

    fn schedule(expression: &str, zone: &str) -> CronSchedule {
        CronSchedule::new(expression, zone, at("2026-01-01T00:00:00Z")).expect("a schedule")
    }

    /// Due times in an interval, `from` excluded.
    fn between(schedule: &CronSchedule, from: &str, to: &str) -> Vec<String> {
        let to = at(to);
        std::iter::successors(schedule.next_after(at(from)), |time| schedule.next_after(*time))
            .take_while(|time| *time <= to)
            .map(|time| time.to_rfc3339_opts(chrono::SecondsFormat::Secs, true))
            .collect()
    }

    #[test]
    fn five_and_six_fields_nicknames_and_names_are_read() {
        let from = "2026-11-24T12:00:00.5Z";
        assert_eq!(
            between(&schedule("*/20 * * * * *", "UTC"), from, "2026-11-24T12:01:00Z"),
            ["2026-11-24T12:00:20Z", "2026-11-24T12:00:40Z", "2026-11-24T12:01:00Z"]
        );
        assert_eq!(
            between(&schedule("30 4 * * MON-FRI", "Asia/Kolkata"), "2026-11-26T23:00:01Z", "2026-11-30T00:00:00Z"),
            ["2026-11-29T23:00:00Z"],
            "Friday's is over; Monday 04:30 in Kolkata is Sunday 23:00 UTC"
        );
        assert_eq!(
            between(&schedule("@monthly", "UTC"), from, "2027-01-01T00:00:00Z"),
            ["2026-12-01T00:00:00Z", "2027-01-01T00:00:00Z"]
        );
        assert_eq!(between(&schedule("0 0 L * *", "UTC"), from, "2026-12-01T00:00:00Z"), ["2026-11-30T00:00:00Z"]);
        assert_eq!(
            between(&schedule("@midnight", "UTC"), from, "2026-11-26T00:00:00Z"),
            ["2026-11-25T00:00:00Z", "2026-11-26T00:00:00Z"]
        );
    }

    /// The days of November 2026 on which it fires. The 1st is a Sunday.
    fn days(expression: &str) -> Vec<u32> {
        let times = between(&schedule(expression, "UTC"), "2026-10-31T23:59:59Z", "2026-11-30T23:59:59Z");
        times.iter().map(|time| time[8..10].parse().expect("a day")).collect()
    }

    #[test]
    fn either_day_is_enough_unless_a_field_is_just_a_star_or_the_weekday_has_a_plus() {
        const EVERY_DAY: &[u32] = &[
            1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29,
            30,
        ];
        const MONDAYS: &[u32] = &[2, 9, 16, 23, 30];
        const ODD_DAYS_AND_MONDAYS: &[u32] = &[1, 2, 3, 5, 7, 9, 11, 13, 15, 16, 17, 19, 21, 23, 25, 27, 29, 30];
        const ODD_MONDAYS: &[u32] = &[9, 23];
        // The same, and Sunday, Tuesday, Thursday and Saturday.
        const THE_12TH_AND_EVERY_OTHER_WEEKDAY: &[u32] =
            &[1, 3, 5, 7, 8, 10, 12, 14, 15, 17, 19, 21, 22, 24, 26, 28, 29];
        for (expression, ours, vixie) in [
            // Both fields are given, in either cron.
            ("0 0 13 * MON", &[2, 9, 13, 16, 23, 30][..], Some(&[2, 9, 13, 16, 23, 30][..])),
            ("0 0 1-31 * MON", EVERY_DAY, Some(EVERY_DAY)),
            ("0 0 1-31/2 * MON", ODD_DAYS_AND_MONDAYS, Some(ODD_DAYS_AND_MONDAYS)),
            // One of them is just a star.
            ("0 0 * * MON", MONDAYS, Some(MONDAYS)),
            ("0 0 13 * *", &[13], Some(&[13])),
            ("0 0 * * *", EVERY_DAY, Some(EVERY_DAY)),
            // One of them begins with a star: Vixie cron requires both days.
            ("0 0 */2 * MON", ODD_DAYS_AND_MONDAYS, Some(ODD_MONDAYS)),
            ("0 0 */1 * MON", EVERY_DAY, Some(MONDAYS)),
            ("0 0 12 * */2", THE_12TH_AND_EVERY_OTHER_WEEKDAY, Some(&[12])),
            // Not in Vixie cron.
            ("0 0 ? * MON", MONDAYS, None),
            ("0 0 13 * ?", &[13], None),
            ("0 0 */2 * +MON", ODD_MONDAYS, None),
            ("0 0 12 * +*/2", &[12], None),
            ("0 0 * * +MON", MONDAYS, None),
            ("0 0 13 * +MON", &[], None),
            ("0 0 13 * +FRI", &[13], None),
        ] {
            assert_eq!(days(expression), ours, "{expression}");
            if let Some(vixie) = vixie {
                assert_eq!(vixie_days(expression), vixie, "{expression} in Vixie cron");
            }
        }
    }

    /// The days of November 2026 on which Vixie cron starts the command: it requires both days if
    /// a field begins with a star (`DOM_STAR` and `DOW_STAR` in its `entry.c`), and else either one.
    fn vixie_days(expression: &str) -> Vec<u32> {
        let fields: Vec<&str> = expression.split(' ').collect();
        let (day, weekday) = (fields[2], fields[4]);
        // Each field alone, which both crons read in the same way.
        let (of_day, of_weekday) = (days(&format!("0 0 {day} * *")), days(&format!("0 0 * * {weekday}")));
        let both = day.starts_with('*') || weekday.starts_with('*');
        let fires = |day: &u32| match (of_day.contains(day), of_weekday.contains(day)) {
            (day, weekday) if both => day && weekday,
            (day, weekday) => day || weekday,
        };
        (1..=30).filter(fires).collect()
    }

    #[test]
    fn the_last_day_and_the_last_weekday_of_a_month_stand_in_one_list() {
        // The last day of January and of February 2026 is a Saturday, that of March a Tuesday.
        let both = schedule("0 0 L,LW * *", "UTC");
        assert_eq!(
            between(&both, "2026-01-01T00:00:00Z", "2026-04-01T00:00:00Z"),
            [
                "2026-01-30T00:00:00Z",
                "2026-01-31T00:00:00Z",
                "2026-02-27T00:00:00Z",
                "2026-02-28T00:00:00Z",
                "2026-03-31T00:00:00Z"
            ]
        );
        let due = both.due(at("2000-01-31T00:00:00Z"), at("2026-02-28T12:00:00Z"), Missed::Once);
        assert_eq!((due.fire, due.next), (vec![at("2026-02-28T00:00:00Z")], Some(at("2026-03-31T00:00:00Z"))));
    }

    #[test]
    fn messages_quote_what_was_written() {
        for (bad, quoted) in
            [("0 0 * * MONDAY", "'MONDAY'"), ("0 0 * Janvier *", "'JANVIER'"), ("@reboot", "@midnight")]
        {
            match CronSchedule::new(bad, "UTC", at("2026-01-01T00:00:00Z")) {
                Err(CronError::Expression(why)) => assert!(why.contains(quoted), "{bad}: {why}"),
                other => panic!("{bad}: {other:?}"),
            }
        }
    }

    #[test]
    fn what_is_no_expression_or_zone_or_never_fires_is_refused() {
        let now = at("2026-01-01T00:00:00Z");
        for bad in [
            "",
            "*/10 , * * * *",
            "1,,2 * * * *",
            "1, * * * *",
            "* * * *",
            "61 * * * *",
            "* * * * * * *",
            "a b c d e",
            "*/0 * * * *",
            &"*".repeat(300),
        ] {
            assert!(matches!(CronSchedule::new(bad, "UTC", now), Err(CronError::Expression(_))), "{bad}");
        }
        assert!(matches!(CronSchedule::new("* * * * *", "Berlin", now), Err(CronError::TimeZone(_))));
        assert!(matches!(CronSchedule::new("0 0 30 2 *", "UTC", now), Err(CronError::Never)));
    }

    // Berlin 2026: 02:00 to 03:00 do not exist on 29 March, exist twice on 25 October.

    #[test]
    fn a_time_of_day_in_a_gap_fires_once_just_after_it() {
        let daily = schedule("30 2 * * *", "Europe/Berlin");
        assert_eq!(
            between(&daily, "2026-03-28T12:00:00Z", "2026-03-30T12:00:00Z"),
            ["2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"],
            "03:00 summer time, then 02:30 again"
        );
    }

    #[test]
    fn a_time_of_day_in_an_overlap_fires_once_the_first_time() {
        let daily = schedule("30 2 * * *", "Europe/Berlin");
        assert_eq!(
            between(&daily, "2026-10-24T12:00:00Z", "2026-10-26T12:00:00Z"),
            ["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"]
        );
    }

    #[test]
    fn intervals_follow_real_time_through_gap_and_overlap() {
        let quarters = schedule("*/30 * * * *", "Europe/Berlin");
        assert_eq!(
            between(&quarters, "2026-03-29T00:00:00Z", "2026-03-29T02:00:00Z"),
            ["2026-03-29T00:30:00Z", "2026-03-29T01:00:00Z", "2026-03-29T01:30:00Z", "2026-03-29T02:00:00Z"]
        );
        assert_eq!(
            between(&quarters, "2026-10-24T23:30:00Z", "2026-10-25T01:30:00Z"),
            ["2026-10-25T00:00:00Z", "2026-10-25T00:30:00Z", "2026-10-25T01:00:00Z", "2026-10-25T01:30:00Z"]
        );
    }

    #[test]
    fn each_policy_deals_with_missed_firings_in_its_way() {
        let hourly = schedule("0 * * * *", "UTC");
        let (first, now) = (at("2026-05-01T01:00:00Z"), at("2026-05-01T03:00:30Z"));
        let next = Some(at("2026-05-01T04:00:00Z"));
        let all = hourly.due(first, now, Missed::All);
        assert_eq!((all.fire.len(), all.skipped, all.next), (3, None, next));
        let once = hourly.due(first, now, Missed::Once);
        assert_eq!((once.fire, once.skipped, once.next), (vec![at("2026-05-01T03:00:00Z")], None, next));
        let skip = hourly.due(first, now, Missed::Skip);
        assert_eq!((skip.fire, skip.skipped), (vec![at("2026-05-01T03:00:00Z")], Some(at("2026-05-01T02:00:00Z"))));
        let late = hourly.due(first, now + TimeDelta::minutes(5), Missed::Skip);
        assert_eq!((late.fire, late.skipped), (vec![], Some(at("2026-05-01T03:00:00Z"))));
    }

    #[test]
    fn a_firing_on_time_is_fired_whatever_the_policy() {
        let hourly = schedule("0 * * * *", "UTC");
        let first = at("2026-05-01T01:00:00Z");
        for missed in Missed::ALL {
            let due = hourly.due(first, first + TimeDelta::milliseconds(3), missed);
            assert_eq!((due.fire, due.skipped), (vec![first], None), "{missed}");
        }
    }

    #[test]
    fn making_up_is_bounded_even_after_a_year() {
        let every_second = schedule("* * * * * *", "Europe/Berlin");
        for days in [1, 365] {
            let (first, now) = (at("2026-05-01T00:00:00Z"), at("2026-05-01T00:00:00Z") + TimeDelta::days(days));
            let due = every_second.due(first, now, Missed::All);
            assert_eq!(due.fire.len(), CATCH_UP);
            assert!(due.fire.is_sorted() && due.fire.last() == Some(&now));
            assert_eq!(due.skipped, Some(due.fire[0] - TimeDelta::seconds(1)));
            assert_eq!(every_second.due(first, now, Missed::Once).fire, [now]);
        }
    }
}
