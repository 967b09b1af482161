//! Kubernetes quantities in canonical form: what Go writes after reading one (`0.8` is `800m`, `1024Mi` is `1Gi`).

use k8s_openapi::api::core::v1::{PodSpec, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use prow_api::DecorationConfig;

const NANO: i128 = 1_000_000_000;
const DECIMAL: [(&str, i32); 10] =
    [("n", -9), ("u", -6), ("m", -3), ("", 0), ("k", 3), ("M", 6), ("G", 9), ("T", 12), ("P", 15), ("E", 18)];
const BINARY: [(&str, u32); 6] = [("Ki", 10), ("Mi", 20), ("Gi", 30), ("Ti", 40), ("Pi", 50), ("Ei", 60)];

#[derive(PartialEq)]
enum Format {
    Decimal,
    Binary,
    Exponent,
}

/// The canonical form of a quantity; `None` if it is none.
pub(crate) fn canonical(text: &str) -> Option<String> {
    let text = text.trim();
    let (negative, body) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let digits_end = body.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(body.len());
    let (number, suffix) = body.split_at(digits_end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
        return None;
    }
    let (format, exponent, shift) = suffix_of(suffix)?;
    let nanos = nanos(whole, fraction, exponent, shift)?;
    let nanos = if negative { -nanos } else { nanos };
    Some(write(nanos, format))
}

fn suffix_of(suffix: &str) -> Option<(Format, i32, u32)> {
    if let Some((_, exponent)) = DECIMAL.iter().find(|(s, _)| *s == suffix) {
        return Some((Format::Decimal, *exponent, 0));
    }
    if let Some((_, shift)) = BINARY.iter().find(|(s, _)| *s == suffix) {
        return Some((Format::Binary, 0, *shift));
    }
    let exponent: i32 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
    (exponent.abs() <= 30).then_some((Format::Exponent, exponent, 0))
}

/// The amount in billionths, rounded away from zero, capped where Go caps it.
fn nanos(whole: &str, fraction: &str, exponent: i32, shift: u32) -> Option<i128> {
    let cap = i128::from(i64::MAX) * NANO;
    let digits: String = [whole, fraction].concat();
    let digits = digits.trim_start_matches('0');
    if digits.is_empty() {
        return Some(0);
    }
    let mut mantissa: i128 = 0;
    let mut power = exponent - i32::try_from(fraction.len()).ok()? + 9;
    for (at, digit) in digits.bytes().enumerate() {
        // Thirty digits say more than an amount can hold: the rest only shifts it.
        if at < 30 {
            mantissa = mantissa * 10 + i128::from(digit - b'0');
        } else {
            power += 1;
        }
    }
    let mut round_up = false;
    while power < 0 {
        round_up |= mantissa % 10 != 0;
        mantissa /= 10;
        power += 1;
        if mantissa == 0 {
            break;
        }
    }
    let mut value = mantissa + i128::from(round_up);
    for _ in 0..power.max(0) {
        value = value.checked_mul(10).unwrap_or(cap).min(cap);
    }
    for _ in 0..shift {
        value = value.checked_mul(2).unwrap_or(cap).min(cap);
    }
    Some(value.min(cap))
}

fn write(nanos: i128, format: Format) -> String {
    if nanos == 0 {
        return "0".into();
    }
    let small = nanos.abs() < 1024 * NANO;
    if format == Format::Binary && !small && nanos % NANO == 0 {
        let mut value = nanos / NANO;
        let mut step = 0;
        while value % 1024 == 0 && step < BINARY.len() {
            value /= 1024;
            step += 1;
        }
        let suffix = if step == 0 { "" } else { BINARY[step - 1].0 };
        return format!("{value}{suffix}");
    }
    let mut value = nanos;
    let mut exponent = -9;
    while value % 1000 == 0 && exponent < 18 {
        value /= 1000;
        exponent += 3;
    }
    if format == Format::Exponent {
        return if exponent == 0 { value.to_string() } else { format!("{value}e{exponent}") };
    }
    let suffix = DECIMAL.iter().find(|(_, e)| *e == exponent).map_or("", |(s, _)| s);
    format!("{value}{suffix}")
}

fn fix(quantity: &mut Quantity, bad: &mut Vec<String>) {
    match canonical(&quantity.0) {
        Some(text) if text == quantity.0 => {}
        Some(text) => quantity.0 = text,
        None => bad.push(quantity.0.clone()),
    }
}

fn fix_resources(resources: Option<&mut ResourceRequirements>, bad: &mut Vec<String>) {
    let Some(resources) = resources else { return };
    for map in [resources.limits.as_mut(), resources.requests.as_mut()].into_iter().flatten() {
        map.values_mut().for_each(|q| fix(q, bad));
    }
}

/// Makes all quantities of a Pod canonical; returns those that are none.
pub(crate) fn canonicalise_pod(spec: &mut PodSpec) -> Vec<String> {
    let mut bad = Vec::new();
    for container in spec.containers.iter_mut().chain(spec.init_containers.iter_mut().flatten()) {
        fix_resources(container.resources.as_mut(), &mut bad);
        for source in container.env.iter_mut().flatten().filter_map(|e| e.value_from.as_mut()) {
            if let Some(divisor) = source.resource_field_ref.as_mut().and_then(|r| r.divisor.as_mut()) {
                fix(divisor, &mut bad);
            }
        }
    }
    for volume in spec.volumes.iter_mut().flatten() {
        if let Some(limit) = volume.empty_dir.as_mut().and_then(|e| e.size_limit.as_mut()) {
            fix(limit, &mut bad);
        }
        if let Some(claim) = volume.ephemeral.as_mut().and_then(|e| e.volume_claim_template.as_mut())
            && let Some(resources) = &mut claim.spec.resources
        {
            for map in [resources.limits.as_mut(), resources.requests.as_mut()].into_iter().flatten() {
                map.values_mut().for_each(|q| fix(q, &mut bad));
            }
        }
    }
    spec.overhead.iter_mut().flat_map(|m| m.values_mut()).for_each(|q| fix(q, &mut bad));
    bad
}

/// The same for a decoration config.
pub(crate) fn canonicalise_decoration(config: &mut DecorationConfig) -> Vec<String> {
    let mut bad = Vec::new();
    if let Some(r) = &mut config.resources {
        for resources in [&mut r.clonerefs, &mut r.initupload, &mut r.place_entrypoint, &mut r.sidecar] {
            fix_resources(resources.as_mut(), &mut bad);
        }
    }
    if let Some(request) = &mut config.default_memory_request {
        fix(request, &mut bad);
    }
    bad
}

#[cfg(test)]
mod tests {
    use super::canonical;

    #[test]
    fn quantities_become_what_go_writes() {
        for (text, want) in [
            ("0.8", "800m"),
            ("800m", "800m"),
            ("1.5", "1500m"),
            ("1024Mi", "1Gi"),
            ("1.5Gi", "1536Mi"),
            ("1000", "1k"),
            ("1000m", "1"),
            ("0", "0"),
            ("0Mi", "0"),
            ("512Ki", "512Ki"),
            ("1000Ki", "1000Ki"),
            ("0.5Ki", "512"),
            ("1e3", "1e3"),
            ("1E3", "1e3"),
            ("100e-3", "100e-3"),
            ("-2", "-2"),
            ("+4Gi", "4Gi"),
            ("4G", "4G"),
            ("0.0000000001", "1n"),
            ("2.5k", "2500"),
            ("4096", "4096"),
            ("10.5Gi", "10752Mi"),
        ] {
            assert_eq!(canonical(text).as_deref(), Some(want), "{text}");
        }
        for bad in ["", "x", "1.2.3", "4GB", "1 Gi", "Gi", "e3", "."] {
            assert_eq!(canonical(bad), None, "{bad:?}");
        }
    }
}
