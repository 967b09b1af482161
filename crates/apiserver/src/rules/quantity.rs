//! Quantities of a Pod's resources: that they are some, and that nobody asks for more than the limit.

use serde_json::Value;

use super::pods::CONTAINER_LISTS;
use crate::status::Cause;

/// A text that is no quantity.
#[derive(Debug, thiserror::Error)]
#[error(
    "{field}: {text:?} is not a quantity: it has to be a number with an optional suffix, as 500m, 2, 1.5Gi or 1e3"
)]
pub struct NotAQuantity {
    field: String,
    text: String,
}

/// The quantities of a Pod's spec, each a text, or a number that becomes one.
pub fn read(spec: &mut Value) -> Result<(), NotAQuantity> {
    for list in CONTAINER_LISTS {
        let containers = spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten();
        for (i, container) in containers.enumerate() {
            for kind in ["limits", "requests"] {
                let amounts = container.get_mut("resources").and_then(|r| r.get_mut(kind));
                for (name, amount) in amounts.and_then(Value::as_object_mut).into_iter().flatten() {
                    read_one(amount, || format!("spec.{list}[{i}].resources.{kind}[{name}]"))?;
                }
            }
        }
    }
    let volumes = spec.get_mut("volumes").and_then(Value::as_array_mut).into_iter().flatten();
    for (i, volume) in volumes.enumerate() {
        if let Some(limit) = volume.get_mut("emptyDir").and_then(|e| e.get_mut("sizeLimit")) {
            read_one(limit, || format!("spec.volumes[{i}].emptyDir.sizeLimit"))?;
        }
    }
    Ok(())
}

fn read_one(amount: &mut Value, field: impl Fn() -> String) -> Result<(), NotAQuantity> {
    let text = match &*amount {
        Value::Number(number) => number.to_string(),
        Value::String(text) => text.clone(),
        // Of another type altogether, which is for the kind's decoder to say.
        _ => return Ok(()),
    };
    if value(&text).is_none() {
        return Err(NotAQuantity { field: field(), text });
    }
    *amount = Value::String(text);
    Ok(())
}

/// Adds amounts below nothing, and requests above their limit.
pub fn check(resources: &Value, at: &str, causes: &mut Vec<Cause>) {
    let amounts = |kind: &str| resources[kind].as_object().into_iter().flatten();
    let number = |v: &Value| v.as_str().and_then(value);
    for kind in ["limits", "requests"] {
        for (name, amount) in amounts(kind) {
            if number(amount).is_some_and(|n| n < 0.0) {
                let why = "must be greater than or equal to 0";
                causes.push(Cause::invalid(format!("{at}.{kind}[{name}]"), amount, why));
            }
        }
    }
    for (name, request) in amounts("requests") {
        let limit = &resources["limits"][name];
        if let (Some(asked), Some(most)) = (number(request), number(limit))
            && asked > most
        {
            let why =
                format!("must be less than or equal to {name} limit of {}", limit.as_str().unwrap_or(""));
            causes.push(Cause::invalid(format!("{at}.requests"), request, &why));
        }
    }
}

/// The number that a quantity stands for.
fn value(text: &str) -> Option<f64> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let end = digits.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(digits.len());
    let (number, suffix) = digits.split_at(end);
    let size: f64 = if number == "." { return None } else { number.parse().ok()? };
    let factor = match suffix {
        "" => 1.0,
        "n" => 1e-9,
        "u" => 1e-6,
        "m" => 1e-3,
        "k" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        "T" => 1e12,
        "P" => 1e15,
        "E" => 1e18,
        "Ki" => 1024.0,
        "Mi" => 1024f64.powi(2),
        "Gi" => 1024f64.powi(3),
        "Ti" => 1024f64.powi(4),
        "Pi" => 1024f64.powi(5),
        "Ei" => 1024f64.powi(6),
        exponent => {
            let power = exponent.strip_prefix(['e', 'E'])?;
            10f64.powi(power.parse().ok()?)
        }
    };
    Some(if text.starts_with('-') { -size * factor } else { size * factor })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn quantities() {
        for (text, expected) in [
            ("1", Some(1.0)),
            ("500m", Some(0.5)),
            ("1.5Gi", Some(1.5 * 1024.0 * 1024.0 * 1024.0)),
            (".5", Some(0.5)),
            ("1.", Some(1.0)),
            ("+2k", Some(2000.0)),
            ("-1", Some(-1.0)),
            ("1e3", Some(1000.0)),
            ("1E", Some(1e18)),
            ("1E-2", Some(0.01)),
            ("", None),
            ("m", None),
            (".", None),
            ("1.2.3", None),
            ("1 Gi", None),
            ("1gi", None),
            ("lots", None),
            ("inf", None),
        ] {
            assert_eq!(value(text), expected, "{text:?}");
        }
    }

    #[test]
    fn numbers_become_texts_and_nonsense_is_refused() {
        let pod = |cpu: Value| json!({"containers": [{"resources": {"limits": {"cpu": cpu}}}]});
        let mut spec = pod(json!(2));
        read(&mut spec).unwrap();
        assert_eq!(spec, pod(json!("2")));
        let e = read(&mut pod(json!("two"))).unwrap_err();
        assert!(e.to_string().starts_with("spec.containers[0].resources.limits[cpu]: \"two\""), "{e}");
    }

    #[test]
    fn requests_stay_within_limits() {
        for (resources, fields) in [
            (json!({"limits": {"cpu": "1"}, "requests": {"cpu": "1000m"}}), vec![]),
            (json!({"limits": {"cpu": "1"}, "requests": {"cpu": "1001m"}}), vec!["r.requests"]),
            (json!({"limits": {"memory": "-1"}}), vec!["r.limits[memory]"]),
            (json!({"requests": {"cpu": "9"}}), vec![]),
        ] {
            let mut causes = Vec::new();
            check(&resources, "r", &mut causes);
            let found: Vec<&str> = causes.iter().map(|c| c.field.as_str()).collect();
            assert_eq!(found, fields, "{resources}");
        }
    }
}
