//! Whatever a schedule says, it is due in the future or is refused.
#![no_main]

use libfuzzer_sys::fuzz_target;
use longhaul_model::CronSchedule;

fuzz_target!(|text: &str| {
    // The expression, and on a line of its own the time zone.
    let (expression, zone) = text.split_once('\n').unwrap_or((text, "Europe/Vienna"));
    let now = chrono::DateTime::from_timestamp(1_800_000_000, 0).expect("a time");
    let Ok(schedule) = CronSchedule::new(expression, zone, now) else { return };
    let mut last = now;
    for _ in 0..5 {
        let Some(next) = schedule.next_after(last) else { return };
        assert!(next > last, "{next} is not after {last}");
        last = next;
    }
});
