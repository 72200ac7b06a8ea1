//! Time as the exchange writes it.

use std::time::{SystemTime, UNIX_EPOCH};

/// Milliseconds: since the Unix epoch for a moment, plain for a duration.
pub(crate) type Millis = i64;

/// Milliseconds in a day.
pub(crate) const DAY_MS: Millis = 86_400_000;

/// The last moment accepted from outside: the start of the year 2100.
pub(crate) const LATEST_MS: Millis = 4_102_444_800_000;

/// The machine's clock, without the shift a test may have asked for.
pub(crate) fn wall_ms() -> Millis {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .ok()
        .and_then(|elapsed| Millis::try_from(elapsed.as_millis()).ok())
        .unwrap_or_default()
}

/// The same in microseconds.
pub(crate) fn wall_us() -> i64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).ok();
    elapsed.and_then(|elapsed| i64::try_from(elapsed.as_micros()).ok()).unwrap_or_default()
}

/// Writes a moment as `YYYY-MM-DD HH:MM:SS` in UTC, the form of `applyTime` and `completeTime`.
pub(crate) fn utc_text(moment_ms: Millis) -> String {
    let seconds = moment_ms.clamp(0, LATEST_MS) / 1000;
    let (year, month, day) = civil_date(seconds / 86_400);
    let of_day = seconds % 86_400;
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}")
}

/// The calendar date a number of days after 1970-01-01. Counts year by year: the range is a century.
fn civil_date(days_since_epoch: i64) -> (i64, i64, i64) {
    let mut rest = days_since_epoch;
    let mut year = 1970;
    while rest >= 365 + i64::from(is_leap(year)) {
        rest -= 365 + i64::from(is_leap(year));
        year += 1;
    }
    let february = 28 + i64::from(is_leap(year));
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if rest < length {
            break;
        }
        rest -= length;
        month += 1;
    }
    (year, month, rest + 1)
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

#[cfg(test)]
mod tests {
    use super::utc_text;

    #[test]
    fn writes_utc_dates() {
        assert_eq!(utc_text(0), "1970-01-01 00:00:00");
        assert_eq!(utc_text(951_782_400_000), "2000-02-29 00:00:00");
        assert_eq!(utc_text(1_570_878_722_999), "2019-10-12 11:12:02");
        assert_eq!(utc_text(1_735_689_599_000), "2024-12-31 23:59:59");
        assert_eq!(utc_text(1_735_689_600_000), "2025-01-01 00:00:00");
    }
}
