//! Kubernetes quantities (`100m`, `1.5Gi`, `2e3`) as numbers.

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

/// The quantity in its base unit (cores, bytes), or `None` if it is not one.
pub fn parse(text: &str) -> Option<f64> {
    const SUFFIXES: [(&str, f64); 15] = [
        ("Ki", 1024.0),
        ("Mi", 1_048_576.0),
        ("Gi", 1_073_741_824.0),
        ("Ti", 1_099_511_627_776.0),
        ("Pi", 1_125_899_906_842_624.0),
        ("Ei", 1_152_921_504_606_846_976.0),
        ("n", 1e-9),
        ("u", 1e-6),
        ("m", 1e-3),
        ("k", 1e3),
        ("M", 1e6),
        ("G", 1e9),
        ("T", 1e12),
        ("P", 1e15),
        ("E", 1e18),
    ];
    let text = text.trim();
    let number = |t: &str| {
        let plain = !t.is_empty() && t.bytes().all(|b| b.is_ascii_digit() || b"+-.eE".contains(&b));
        if plain { t.parse::<f64>().ok().filter(|v| v.is_finite()) } else { None }
    };
    for (suffix, factor) in SUFFIXES {
        if let Some(value) = text.strip_suffix(suffix).and_then(number) {
            return Some(value * factor);
        }
    }
    number(text)
}

/// As [`parse`]; a quantity that is none counts as nothing, for the API should not have let it in.
pub fn value(quantity: Option<&Quantity>) -> f64 {
    quantity.and_then(|q| parse(&q.0)).unwrap_or(0.0).max(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_read_as_kubernetes_reads_them() {
        let cases = [
            ("1", Some(1.0)),
            ("100m", Some(0.1)),
            ("1.5", Some(1.5)),
            ("1Gi", Some(1_073_741_824.0)),
            ("500M", Some(5e8)),
            ("2e3", Some(2000.0)),
            ("1E", Some(1e18)),
            ("", None),
            ("abc", None),
            ("1Q", None),
            ("inf", None),
        ];
        for (text, want) in cases {
            assert_eq!(parse(text), want, "{text:?}");
        }
    }
}
