//! Times and spans as text: for people in the units that they would say, for programs by RFC 3339.
//!
//! Always UTC, and said so: what is read at night on another machine must not need its zone.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// The wall clock.
#[expect(clippy::disallowed_methods, reason = "the clock that everything here is given")]
pub(crate) fn now() -> SystemTime {
    SystemTime::now()
}

/// `2026-11-21 03:14:07 UTC`.
pub(crate) fn utc(at: SystemTime) -> String {
    let (date, seconds, _) = split(at);
    format!("{} {} UTC", date, clock_of(seconds))
}

/// `03:14:07` on the day of the other time, else with the date.
pub(crate) fn near(at: SystemTime, other: SystemTime) -> String {
    let (date, seconds, _) = split(at);
    if date == split(other).0 { clock_of(seconds) } else { format!("{date} {}", clock_of(seconds)) }
}

/// `2026-11-21T03:14:07.123Z`.
pub(crate) fn rfc3339(at: SystemTime) -> String {
    let (date, seconds, millis) = split(at);
    format!("{date}T{}.{millis:03}Z", clock_of(seconds))
}

/// `just now`, `2 minutes ago`; `in the future` when the clock went back meanwhile.
pub(crate) fn ago(at: SystemTime, now: SystemTime) -> String {
    let Ok(age) = now.duration_since(at) else { return "in the future".to_owned() };
    let seconds = age.as_secs();
    let told = [(DAY, "day"), (HOUR, "hour"), (MINUTE, "minute"), (1, "second")];
    match told.into_iter().find(|(unit, _)| seconds >= *unit) {
        Some((unit, name)) => match seconds / unit {
            1 => format!("1 {name} ago"),
            count => format!("{count} {name}s ago"),
        },
        None => "just now".to_owned(),
    }
}

/// `820µs`, `250ms`, `1.5s`, `1m 3s`, `2h 5m`, `3d 4h`.
pub(crate) fn span(span: Duration) -> String {
    let seconds = span.as_secs();
    match seconds {
        _ if span < Duration::from_millis(1) => format!("{}µs", span.as_micros()),
        0 => format!("{}ms", span.as_millis()),
        1..MINUTE => {
            let tenths = span.subsec_millis() / 100;
            if tenths == 0 { format!("{seconds}s") } else { format!("{seconds}.{tenths}s") }
        }
        MINUTE..HOUR => pair(seconds, (MINUTE, "m"), (1, "s")),
        HOUR..DAY => pair(seconds, (HOUR, "h"), (MINUTE, "m")),
        _ => pair(seconds, (DAY, "d"), (HOUR, "h")),
    }
}

fn pair(seconds: u64, (large, name): (u64, &str), (small, rest): (u64, &str)) -> String {
    match seconds % large / small {
        0 => format!("{}{name}", seconds / large),
        more => format!("{}{name} {more}{rest}", seconds / large),
    }
}

/// For programs: milliseconds, to the microsecond.
pub(crate) fn millis(span: Duration) -> f64 {
    (span.as_secs_f64() * 1e6).round() / 1e3
}

/// The date, the second of the day, and the millisecond.
fn split(at: SystemTime) -> (String, u64, u32) {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (days, seconds) = (since.as_secs() / DAY, since.as_secs() % DAY);
    (date(days), seconds, since.subsec_millis())
}

fn clock_of(seconds: u64) -> String {
    format!("{:02}:{:02}:{:02}", seconds / HOUR, seconds % HOUR / MINUTE, seconds % MINUTE)
}

/// The Gregorian date of a day counted from 1970, by eras of 400 years that begin in March, so that
/// the leap day is the last of its year.
fn date(days: u64) -> String {
    const ERA: u64 = 146_097;
    let days = days.saturating_add(719_468);
    let (era, day) = (days / ERA, days % ERA);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day_of_year = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = era * 400 + year + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn dates_are_gregorian() {
        for (seconds, told) in [
            (0, "1970-01-01 00:00:00 UTC"),
            (951_782_400, "2000-02-29 00:00:00 UTC"),
            (1_709_251_199, "2024-02-29 23:59:59 UTC"),
            (1_709_251_200, "2024-03-01 00:00:00 UTC"),
            (1_795_230_847, "2026-11-21 03:14:07 UTC"),
            (4_107_542_399, "2100-02-28 23:59:59 UTC"),
            (4_107_542_400, "2100-03-01 00:00:00 UTC"),
        ] {
            assert_eq!(utc(at(seconds)), told);
        }
        let precise = at(1_795_230_847) + Duration::from_millis(45);
        assert_eq!(rfc3339(precise), "2026-11-21T03:14:07.045Z");
        assert_eq!(near(precise, at(1_795_230_000)), "03:14:07");
        assert_eq!(near(precise, at(0)), "2026-11-21 03:14:07");
    }

    #[test]
    fn ages_are_told_in_one_unit() {
        let age = |seconds| ago(at(1_000_000), at(1_000_000 + seconds));
        assert_eq!(
            (age(0), age(1), age(59)),
            ("just now".into(), "1 second ago".into(), "59 seconds ago".into())
        );
        assert_eq!((age(60), age(7_300)), ("1 minute ago".into(), "2 hours ago".into()));
        assert_eq!(age(3 * DAY), "3 days ago");
        assert_eq!(ago(at(2), at(1)), "in the future");
    }

    #[test]
    fn spans_have_two_units_at_most() {
        let told = |millis| span(Duration::from_millis(millis));
        assert_eq!(span(Duration::from_micros(820)), "820µs");
        assert_eq!(
            (told(250), told(1_000), told(1_550)),
            ("250ms".into(), "1s".into(), "1.5s".into())
        );
        assert_eq!((told(63_000), told(60_000)), ("1m 3s".into(), "1m".into()));
        assert_eq!((told(7_500_000), told(273_600_000)), ("2h 5m".into(), "3d 4h".into()));
    }
}
