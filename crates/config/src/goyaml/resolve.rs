//! What a plain scalar is by YAML 1.1 as go-yaml v2 reads it (prow-config §0.1).

use std::borrow::Cow;

/// A resolved scalar.
#[derive(Debug, PartialEq, Clone, Copy)]
pub(crate) enum Scalar<'s> {
    Null,
    Bool(bool),
    Int(i64),
    UInt(u64),
    Float(f64),
    Str(&'s str),
}

/// Resolves a plain scalar without a tag.
pub(crate) fn resolve(text: &str) -> Scalar<'_> {
    let Some(&first) = text.as_bytes().first() else { return Scalar::Null };
    match first {
        b'y' | b'Y' | b't' | b'T' | b'n' | b'N' | b'f' | b'F' | b'o' | b'O' | b'~' => match text {
            "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
                Scalar::Bool(true)
            }
            "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
                Scalar::Bool(false)
            }
            "~" | "null" | "Null" | "NULL" => Scalar::Null,
            _ => Scalar::Str(text),
        },
        b'.' => match text {
            ".nan" | ".NaN" | ".NAN" => Scalar::Float(f64::NAN),
            ".inf" | ".Inf" | ".INF" => Scalar::Float(f64::INFINITY),
            _ if is_float(text) => text.parse().map_or(Scalar::Str(text), Scalar::Float),
            _ => Scalar::Str(text),
        },
        b'+' | b'-' | b'0'..=b'9' => number(text),
        _ => Scalar::Str(text),
    }
}

fn number(text: &str) -> Scalar<'_> {
    match text {
        "+.inf" | "+.Inf" | "+.INF" => return Scalar::Float(f64::INFINITY),
        "-.inf" | "-.Inf" | "-.INF" => return Scalar::Float(f64::NEG_INFINITY),
        _ => {}
    }
    if is_date(text) {
        return Scalar::Str(text);
    }
    let digits: Cow<'_, str> = if text.contains('_') { text.replace('_', "").into() } else { text.into() };
    if let Some(int) = integer(&digits) {
        return int;
    }
    match digits.parse::<f64>() {
        Ok(float) if is_float(&digits) && float.is_finite() => Scalar::Float(float),
        _ => Scalar::Str(text),
    }
}

/// Go's `ParseInt` and then `ParseUint` with base 0: `0x`, `0o`, `0b`, and a leading zero means octal.
fn integer(text: &str) -> Option<Scalar<'static>> {
    let (negative, signed, body) = match text.as_bytes().first()? {
        b'-' => (true, true, &text[1..]),
        b'+' => (false, true, &text[1..]),
        _ => (false, false, text),
    };
    let bytes = body.as_bytes();
    let prefixed = bytes.len() > 2 && bytes[0] == b'0';
    let (radix, digits) = match bytes.get(1).map(|b| b | 0x20) {
        Some(b'x') if prefixed => (16, &body[2..]),
        Some(b'o') if prefixed => (8, &body[2..]),
        Some(b'b') if prefixed => (2, &body[2..]),
        Some(_) if bytes[0] == b'0' => (8, &body[1..]),
        _ => (10, body),
    };
    if digits.is_empty() || digits.starts_with(['+', '-']) {
        return None;
    }
    let magnitude = u64::from_str_radix(digits, radix).ok()?;
    if negative {
        return (magnitude <= 1 << 63).then(|| Scalar::Int((magnitude as i64).wrapping_neg()));
    }
    match i64::try_from(magnitude) {
        Ok(value) => Some(Scalar::Int(value)),
        Err(_) => (!signed).then_some(Scalar::UInt(magnitude)),
    }
}

/// `[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?`
fn is_float(text: &str) -> bool {
    let bytes = text.as_bytes();
    let mut at = usize::from(matches!(bytes.first(), Some(b'+' | b'-')));
    let digits = |at: &mut usize| {
        let from = *at;
        while bytes.get(*at).is_some_and(u8::is_ascii_digit) {
            *at += 1;
        }
        *at > from
    };
    if bytes.get(at) == Some(&b'.') {
        at += 1;
        if !digits(&mut at) {
            return false;
        }
    } else {
        if !digits(&mut at) {
            return false;
        }
        if bytes.get(at) == Some(&b'.') {
            at += 1;
            digits(&mut at);
        }
    }
    if bytes.get(at).is_some_and(|b| b | 0x20 == b'e') {
        at += 1;
        at += usize::from(matches!(bytes.get(at), Some(b'+' | b'-')));
        if !digits(&mut at) {
            return false;
        }
    }
    at == bytes.len()
}

/// Dates stay texts.
fn is_date(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() > 4 && bytes[..4].iter().all(u8::is_ascii_digit) && bytes[4] == b'-'
}

/// Go's `FormatFloat(f, 'g', -1, 32)`: how a float becomes a key or a text.
pub(crate) fn format_g32(value: f64) -> String {
    let value = value as f32;
    if value.is_nan() {
        return "NaN".into();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf".into() } else { "-Inf".into() };
    }
    let scientific = format!("{value:e}");
    let Some((mantissa, exponent)) = scientific.split_once('e') else { return scientific };
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..6).contains(&exponent) {
        return format!("{value}");
    }
    format!("{mantissa}e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scalars_are_what_yaml_1_1_says() {
        for (text, want) in [
            ("", Scalar::Null),
            ("~", Scalar::Null),
            ("y", Scalar::Bool(true)),
            ("Off", Scalar::Bool(false)),
            ("yEs", Scalar::Str("yEs")),
            ("010", Scalar::Int(8)),
            ("0o17", Scalar::Int(15)),
            ("0x1F", Scalar::Int(31)),
            ("0b101", Scalar::Int(5)),
            ("1_000", Scalar::Int(1000)),
            ("-9223372036854775808", Scalar::Int(i64::MIN)),
            ("18446744073709551615", Scalar::UInt(u64::MAX)),
            ("1.5", Scalar::Float(1.5)),
            (".5", Scalar::Float(0.5)),
            ("1e3", Scalar::Float(1000.0)),
            ("08", Scalar::Float(8.0)),
            ("190:20:30", Scalar::Str("190:20:30")),
            ("2020-01-02", Scalar::Str("2020-01-02")),
            ("1.2.3", Scalar::Str("1.2.3")),
            ("0x", Scalar::Str("0x")),
        ] {
            assert_eq!(resolve(text), want, "{text:?}");
        }
    }

    #[test]
    fn floats_as_texts() {
        for (value, want) in [
            (1.10, "1.1"),
            (123456789.25, "1.2345679e+08"),
            (1e-5, "1e-05"),
            (100000.0, "100000"),
            (1e6, "1e+06"),
        ] {
            assert_eq!(format_g32(value), want);
        }
    }
}
