//! Go's durations (prow-config §0.2): the grammar, the two JSON forms, the normal form on output.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::fmt;
use std::time::Duration;

/// Why a text is not a Go duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid duration {0:?}: write a number with a unit, such as \"90s\", \"15m\" or \"1h30m\"")]
pub struct ParseDurationError(pub String);

/// Nanoseconds of `text` by Go's `time.ParseDuration` grammar: optional sign, then one or more
/// `<decimal><unit>` with units `ns us µs μs ms s m h`; a bare `0`.
pub fn parse_go_duration(text: &str) -> Result<i64, ParseDurationError> {
    let bad = || ParseDurationError(text.to_owned());
    let (negative, mut rest) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(bad());
    }
    let mut total: u128 = 0;
    while !rest.is_empty() {
        let (whole, after) = split_digits(rest);
        let (fraction, after) = match after.strip_prefix('.') {
            Some(tail) => split_digits(tail),
            None => ("", after),
        };
        if whole.is_empty() && fraction.is_empty() {
            return Err(bad());
        }
        let unit_len = after.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_len);
        let unit: u128 = match unit {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return Err(bad()),
        };
        let whole: u128 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| bad())? };
        total = whole.checked_mul(unit).and_then(|n| n.checked_add(total)).ok_or_else(bad)?;
        let mut scale = unit;
        for digit in fraction.bytes() {
            scale /= 10;
            total += u128::from(digit - b'0') * scale;
        }
        rest = after;
    }
    let limit = if negative { 1u128 << 63 } else { i64::MAX as u128 };
    if total > limit {
        return Err(bad());
    }
    Ok(if negative { (total as i128).wrapping_neg() as i64 } else { total as i64 })
}

fn split_digits(s: &str) -> (&str, &str) {
    s.split_at(s.find(|c: char| !c.is_ascii_digit()).unwrap_or(s.len()))
}

/// Go's normal form: `2h0m0s`, `1m30s`, `1.5s`, `100ms`, `0s`.
pub fn format_go_duration(nanos: i64) -> String {
    if nanos == 0 {
        return "0s".into();
    }
    let sign = if nanos < 0 { "-" } else { "" };
    let n = nanos.unsigned_abs();
    if n < 1_000_000_000 {
        let (unit, size) = match n {
            0..1_000 => ("ns", 1),
            1_000..1_000_000 => ("µs", 1_000),
            _ => ("ms", 1_000_000),
        };
        return format!("{sign}{}{unit}", decimal(n, size));
    }
    let seconds = decimal(n % 60_000_000_000, 1_000_000_000);
    let minutes = n / 60_000_000_000;
    match (minutes / 60, minutes % 60) {
        (0, 0) => format!("{sign}{seconds}s"),
        (0, m) => format!("{sign}{m}m{seconds}s"),
        (h, m) => format!("{sign}{h}h{m}m{seconds}s"),
    }
}

fn decimal(n: u64, size: u64) -> String {
    let fraction = n % size;
    if fraction == 0 {
        return (n / size).to_string();
    }
    let width = size.ilog10() as usize;
    let digits = format!("{fraction:0width$}");
    format!("{}.{}", n / size, digits.trim_end_matches('0'))
}

macro_rules! duration_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Hash)]
        pub struct $name(
            /// Nanoseconds; may be negative as in Go.
            pub i64,
        );

        impl $name {
            /// From whole seconds.
            pub const fn from_secs(seconds: i64) -> Self {
                Self(seconds * 1_000_000_000)
            }
            /// As a std duration; negative becomes zero.
            pub fn to_std(self) -> Duration {
                Duration::from_nanos(self.0.max(0).unsigned_abs())
            }
            /// True for exactly zero, which means "use the default" in most places.
            pub fn is_zero(self) -> bool {
                self.0 == 0
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&format_go_duration(self.0))
            }
        }
        impl std::str::FromStr for $name {
            type Err = ParseDurationError;
            fn from_str(s: &str) -> Result<Self, Self::Err> {
                parse_go_duration(s).map(Self)
            }
        }
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.collect_str(self)
            }
        }
    };
}

duration_type!(
    /// Prow's own duration (`decoration_config.timeout`, `.grace_period`): reads an integer count of
    /// nanoseconds or a Go duration text, writes the text.
    GoDuration
);
duration_type!(
    /// Kubernetes' `metav1.Duration`, every other typed duration: text only, a bare number is an error.
    K8sDuration
);

impl<'de> Deserialize<'de> for GoDuration {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct V;
        impl de::Visitor<'_> for V {
            type Value = GoDuration;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a duration such as \"2h\", or an integer number of nanoseconds")
            }
            fn visit_i64<E: de::Error>(self, v: i64) -> Result<GoDuration, E> {
                Ok(GoDuration(v))
            }
            fn visit_u64<E: de::Error>(self, v: u64) -> Result<GoDuration, E> {
                i64::try_from(v).map(GoDuration).map_err(|_| E::custom("duration out of range"))
            }
            fn visit_f64<E: de::Error>(self, v: f64) -> Result<GoDuration, E> {
                if v.fract() == 0.0 && v.abs() < 9.2e18 {
                    Ok(GoDuration(v as i64))
                } else {
                    Err(E::custom("a numeric duration is a whole number of nanoseconds"))
                }
            }
            fn visit_str<E: de::Error>(self, v: &str) -> Result<GoDuration, E> {
                v.parse().map_err(E::custom)
            }
        }
        d.deserialize_any(V)
    }
}

impl<'de> Deserialize<'de> for K8sDuration {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct V;
        impl de::Visitor<'_> for V {
            type Value = K8sDuration;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a duration such as \"2h\"")
            }
            fn visit_str<E: de::Error>(self, v: &str) -> Result<K8sDuration, E> {
                v.parse().map_err(E::custom)
            }
        }
        d.deserialize_any(V)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_writes_as_go_does() {
        for (text, nanos, back) in [
            ("0", 0, "0s"),
            ("2h", 7_200_000_000_000, "2h0m0s"),
            ("90s", 90_000_000_000, "1m30s"),
            ("1.5h", 5_400_000_000_000, "1h30m0s"),
            ("1h30m10s", 5_410_000_000_000, "1h30m10s"),
            ("100ms", 100_000_000, "100ms"),
            ("1500ms", 1_500_000_000, "1.5s"),
            ("1.5us", 1_500, "1.5µs"),
            (".5s", 500_000_000, "500ms"),
            ("-1m", -60_000_000_000, "-1m0s"),
            ("7ns", 7, "7ns"),
        ] {
            assert_eq!(parse_go_duration(text), Ok(nanos), "{text}");
            assert_eq!(format_go_duration(nanos), back, "{text}");
        }
        for bad in [
            "",
            "1",
            "1d",
            "h",
            ".s",
            "1h ",
            " 1h",
            "9999999h",
            "-",
            "99999999999999999999999999999999999999999999h",
        ] {
            assert!(parse_go_duration(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn only_prows_own_duration_takes_nanoseconds() {
        assert_eq!(serde_json::from_str::<GoDuration>("7200000000000").unwrap().to_string(), "2h0m0s");
        assert_eq!(serde_json::from_str::<GoDuration>("\"15s\"").unwrap(), GoDuration::from_secs(15));
        assert!(serde_json::from_str::<K8sDuration>("15").is_err());
        assert_eq!(serde_json::to_string(&K8sDuration::from_secs(60)).unwrap(), "\"1m0s\"");
    }
}
