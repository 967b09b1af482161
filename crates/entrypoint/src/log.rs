//! Our own log lines: one JSON object each, in the shape of Prow's components.

use serde_json::json;
use std::io::Write;
use std::time::{SystemTime, UNIX_EPOCH};

/// One line, with its line break.
pub(crate) fn line(level: &str, message: &str) -> String {
    of(level, message, None)
}

/// A line about what failed, with why in a member of its own.
pub(crate) fn failure(message: &str, error: &str) -> String {
    of("error", message, Some(error))
}

fn of(level: &str, message: &str, error: Option<&str>) -> String {
    let mut line = json!({
        "component": "entrypoint",
        "level": level,
        "msg": message,
        "severity": level,
        "time": rfc3339(SystemTime::now()),
    });
    if let Some(error) = error {
        line["error"] = error.into();
    }
    format!("{line}\n")
}

/// For what happens before there is a log. A standard error that is closed is no reason to stop.
pub(crate) fn to_stderr(level: &str, message: &str) {
    let _ = std::io::stderr().write_all(line(level, message).as_bytes());
}

/// UTC, whole seconds. Days to a date by the civil calendar's 400-year cycle.
fn rfc3339(time: SystemTime) -> String {
    let seconds = time.duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn times_are_calendar_dates() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_709_164_799, "2024-02-28T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(rfc3339(UNIX_EPOCH + Duration::from_secs(seconds)), text);
        }
    }
}
