//! Cron schedules of periodics (prow-config §5.5): five fields, or six with seconds first, or a descriptor; UTC.

use jiff::tz::TimeZone;
use jiff::{RoundMode, Span, Timestamp, ToSpan, Unit, Zoned, ZonedRound, civil};
use prow_api::duration::parse_go_duration;
use std::time::Duration;

/// Bit of a field that was written `*` or `?`: then day of month and day of week must both match.
const STAR: u64 = 1 << 63;

/// A parsed schedule.
#[derive(Debug, Clone, PartialEq)]
pub struct Schedule(Kind);

#[derive(Debug, Clone, PartialEq)]
enum Kind {
    /// One bit set a field: second, minute, hour, day of month, month, day of week.
    Fields { bits: [u64; 6], zone: TimeZone },
    /// A fixed delay of whole seconds.
    Every(Duration),
}

/// Why a text is not a schedule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid cron schedule {spec:?}: {reason}")]
pub struct CronError {
    /// As written.
    pub spec: String,
    /// Why.
    pub reason: String,
}

struct Field {
    min: u64,
    max: u64,
    names: &'static [&'static str],
}

const MONTHS: [&str; 12] =
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const DAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];
const FIELDS: [Field; 6] = [
    Field { min: 0, max: 59, names: &[] },
    Field { min: 0, max: 59, names: &[] },
    Field { min: 0, max: 23, names: &[] },
    Field { min: 1, max: 31, names: &[] },
    Field { min: 1, max: 12, names: &MONTHS },
    Field { min: 0, max: 6, names: &DAYS },
];
const SECOND: usize = 0;
const MINUTE: usize = 1;
const HOUR: usize = 2;
const DAY: usize = 3;
const MONTH: usize = 4;
const WEEKDAY: usize = 5;

impl Schedule {
    /// Parses a schedule. A `TZ=` or `CRON_TZ=` prefix names the zone it is meant in.
    pub fn parse(spec: &str) -> Result<Schedule, CronError> {
        parse(spec).map(Schedule).map_err(|reason| CronError { spec: spec.to_owned(), reason })
    }

    /// True if the text names its own time zone. Upstream accepts that at load and fails to run the job.
    pub fn names_zone(spec: &str) -> bool {
        spec.starts_with("TZ=") || spec.starts_with("CRON_TZ=")
    }

    /// The first moment after `after` that the schedule names; none within five years.
    pub fn next_after(&self, after: Timestamp) -> Option<Timestamp> {
        match &self.0 {
            Kind::Every(delay) => {
                let whole = Timestamp::from_second(after.as_second()).ok()?;
                let seconds = i64::try_from(delay.as_secs()).ok()?;
                whole.checked_add(Span::new().try_seconds(seconds).ok()?).ok()
            }
            Kind::Fields { bits, zone } => next(bits, &after.to_zoned(zone.clone())).map(|z| z.timestamp()),
        }
    }
}

fn parse(spec: &str) -> Result<Kind, String> {
    if spec.is_empty() {
        return Err("it is empty".into());
    }
    let (mut zone, mut rest) = (TimeZone::UTC, spec);
    if Schedule::names_zone(spec) {
        let (prefix, tail) = spec.split_once(' ').ok_or("nothing follows the time zone")?;
        let name = prefix.split_once('=').map_or("", |(_, name)| name);
        zone = TimeZone::get(name).map_err(|e| format!("unknown time zone {name:?}: {e}"))?;
        rest = tail.trim();
    }
    if let Some(delay) = rest.strip_prefix("@every ") {
        let nanos = parse_go_duration(delay).map_err(|e| e.to_string())?;
        // A delay below one second, negative ones included, is one second.
        let seconds = u64::try_from(nanos / 1_000_000_000).unwrap_or(0).max(1);
        return Ok(Kind::Every(Duration::from_secs(seconds)));
    }
    let fields = match rest {
        "@yearly" | "@annually" => "0 0 1 1 *",
        "@monthly" => "0 0 1 * *",
        "@weekly" => "0 0 * * 0",
        "@daily" | "@midnight" => "0 0 * * *",
        "@hourly" => "0 * * * *",
        other if other.starts_with('@') => {
            return Err(format!(
                "{other} is no descriptor; there are @yearly, @monthly, @weekly, @daily, @hourly and @every"
            ));
        }
        other => other,
    };
    Ok(Kind::Fields { bits: parse_fields(fields)?, zone })
}

fn parse_fields(text: &str) -> Result<[u64; 6], String> {
    let mut words: Vec<&str> = text.split_whitespace().collect();
    if !(5..=6).contains(&words.len()) {
        return Err(format!(
            "it has {} fields, not 5 (minute hour day month weekday) or 6 (seconds first)",
            words.len()
        ));
    }
    if words.len() == 5 {
        words.insert(0, "0");
    }
    let mut bits = [0; 6];
    for ((word, field), out) in words.iter().zip(&FIELDS).zip(&mut bits) {
        for part in word.split(',').filter(|p| !p.is_empty()) {
            *out |= parse_range(part, field)?;
        }
    }
    Ok(bits)
}

fn parse_range(text: &str, field: &Field) -> Result<u64, String> {
    let steps: Vec<&str> = text.split('/').collect();
    let ends: Vec<&str> = steps[0].split('-').collect();
    let (mut start, mut end, mut star) = (field.min, field.max, 0);
    if matches!(ends[0], "*" | "?") {
        star = STAR;
    } else {
        start = number(ends[0], field)?;
        end = match ends.as_slice() {
            [_] => start,
            [_, last] => number(last, field)?,
            _ => return Err(format!("{text:?} has too many hyphens")),
        };
    }
    let mut step = 1;
    match steps.as_slice() {
        [_] => {}
        [_, every] => {
            step = number(every, &Field { min: 0, max: u64::MAX, names: &[] })?;
            if ends.len() == 1 {
                end = field.max;
            }
            if step > 1 {
                star = 0;
            }
        }
        _ => return Err(format!("{text:?} has too many slashes")),
    }
    if start < field.min || end > field.max || start > end || step == 0 {
        return Err(format!("{text:?} is not a range within {} to {}", field.min, field.max));
    }
    let mut bits = star;
    let mut at = start;
    while at <= end {
        bits |= 1 << at;
        at = at.saturating_add(step);
    }
    Ok(bits)
}

fn number(text: &str, field: &Field) -> Result<u64, String> {
    if let Some(index) = field.names.iter().position(|n| n.eq_ignore_ascii_case(text)) {
        return Ok(index as u64 + field.min);
    }
    let value: i64 = text.parse().map_err(|_| format!("{text:?} is not a number"))?;
    u64::try_from(value).map_err(|_| format!("{value} is negative"))
}

fn truncated(time: &Zoned, unit: Unit) -> Option<Zoned> {
    time.round(ZonedRound::new().smallest(unit).mode(RoundMode::Trunc)).ok()
}

/// Walks forward from field to field, largest first, as robfig/cron does: what it answers around daylight-saving
/// changes is part of the contract.
fn next(bits: &[u64; 6], after: &Zoned) -> Option<Zoned> {
    let zone = after.time_zone().clone();
    let has = |field: usize, value: i8| bits[field] & (1u64 << value) != 0;
    let midnight = |day: civil::Date| day.at(0, 0, 0, 0).to_zoned(zone.clone()).ok();
    let mut t = truncated(after, Unit::Second)?.checked_add(1.second()).ok()?;
    let limit = t.year() + 5;
    let mut moved = false;
    'wrap: loop {
        if t.year() > limit {
            return None;
        }
        while !has(MONTH, t.month()) {
            if !moved {
                moved = true;
                t = midnight(civil::Date::new(t.year(), t.month(), 1).ok()?)?;
            }
            t = t.checked_add(1.month()).ok()?;
            if t.month() == 1 {
                continue 'wrap;
            }
        }
        while !day_matches(bits, &t) {
            if !moved {
                moved = true;
                t = midnight(t.date())?;
            }
            t = t.checked_add(1.day()).ok()?;
            // A day that does not begin at midnight: go back to, or on to, one that does.
            let hour = i64::from(t.hour());
            if hour > 12 {
                t = t.checked_add((24 - hour).hours()).ok()?;
            } else if hour != 0 {
                t = t.checked_sub(hour.hours()).ok()?;
            }
            if t.day() == 1 {
                continue 'wrap;
            }
        }
        while !has(HOUR, t.hour()) {
            if !moved {
                moved = true;
                t = t.date().at(t.hour(), 0, 0, 0).to_zoned(zone.clone()).ok()?;
            }
            t = t.checked_add(1.hour()).ok()?;
            if t.hour() == 0 {
                continue 'wrap;
            }
        }
        while !has(MINUTE, t.minute()) {
            if !moved {
                moved = true;
                t = truncated(&t, Unit::Minute)?;
            }
            t = t.checked_add(1.minute()).ok()?;
            if t.minute() == 0 {
                continue 'wrap;
            }
        }
        while !has(SECOND, t.second()) {
            moved = true;
            t = t.checked_add(1.second()).ok()?;
            if t.second() == 0 {
                continue 'wrap;
            }
        }
        return Some(t);
    }
}

/// Both days must match if either was written `*`; otherwise one is enough.
fn day_matches(bits: &[u64; 6], t: &Zoned) -> bool {
    let of_month = bits[DAY] & (1u64 << t.day()) != 0;
    let of_week = bits[WEEKDAY] & (1u64 << t.weekday().to_sunday_zero_offset()) != 0;
    if (bits[DAY] | bits[WEEKDAY]) & STAR != 0 { of_month && of_week } else { of_month || of_week }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nexts(spec: &str, after: &str, count: usize) -> Vec<String> {
        let schedule = Schedule::parse(spec).unwrap();
        let mut at: Timestamp = after.parse().unwrap();
        (0..count)
            .map_while(|_| {
                at = schedule.next_after(at)?;
                Some(at.to_string())
            })
            .collect()
    }

    #[test]
    fn names_the_next_moments() {
        for (spec, after, want) in [
            ("0 1 * * 1-5", "2026-03-06T00:00:07Z", vec!["2026-03-06T01:00:00Z", "2026-03-09T01:00:00Z"]),
            ("*/10 * * * * *", "2026-03-06T00:00:07Z", vec!["2026-03-06T00:00:10Z", "2026-03-06T00:00:20Z"]),
            ("0 0 13 * fri", "2026-03-06T00:00:00Z", vec!["2026-03-13T00:00:00Z", "2026-03-20T00:00:00Z"]),
            ("5/15 * * * *", "2026-03-06T00:00:07Z", vec!["2026-03-06T00:05:00Z", "2026-03-06T00:20:00Z"]),
            ("@every 90m", "2026-03-06T00:00:07.5Z", vec!["2026-03-06T01:30:07Z", "2026-03-06T03:00:07Z"]),
            ("@daily", "2026-03-06T00:00:00Z", vec!["2026-03-07T00:00:00Z", "2026-03-08T00:00:00Z"]),
            ("0 0 30 2 *", "2026-03-06T00:00:00Z", vec![]),
        ] {
            assert_eq!(nexts(spec, after, 2), want, "{spec}");
        }
    }

    #[test]
    fn refuses_what_is_no_schedule() {
        for spec in [
            "",
            "* * * *",
            "60 * * * *",
            "* * * * 7",
            "1-2-3 * * * *",
            "@sometimes",
            "*/0 * * * *",
            "TZ=Nowhere/None * * * * *",
        ] {
            assert!(Schedule::parse(spec).is_err(), "{spec:?}");
        }
    }

    #[test]
    fn the_reference_implementation_agrees() {
        let path =
            std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/golden/vectors/cron.json");
        let Ok(text) = std::fs::read_to_string(&path) else {
            eprintln!("skipped: {} is not here", path.display());
            return;
        };
        let vectors: serde_json::Value = serde_json::from_str(&text).unwrap();
        let after = vectors["after"].as_str().unwrap();
        let (mut wrong, mut count) = (Vec::new(), 0);
        for (spec, want) in vectors["next"].as_object().unwrap() {
            count += 1;
            match (Schedule::parse(spec), want.as_array()) {
                (Err(_), None) => {}
                (Ok(_), Some(times)) => {
                    let times: Vec<&str> =
                        times.iter().filter_map(|t| t.as_str()).filter(|t| *t != "never").collect();
                    let got = nexts(spec, after, 6);
                    if got != times {
                        wrong.push(format!("{spec}: wants {times:?}, got {got:?}"));
                    }
                }
                (got, want) => wrong.push(format!("{spec}: wants {want:?}, got {got:?}")),
            }
        }
        eprintln!("{count} schedules, {} differences", wrong.len());
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }
}
