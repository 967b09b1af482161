//! Memory of test containers (prow-runtime §7.5): `default_memory_request` and `set_limit_equals_memory_request`.

use k8s_openapi::api::core::v1::Container;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use prow_api::decoration::DecorationConfig;
use std::collections::BTreeMap;

type Amounts = Option<BTreeMap<String, Quantity>>;

/// Gives a container without a memory request the default one, but no more than its limit (an API server refuses a
/// request above the limit; upstream makes such Pods); then copies the request to the limit, if so configured.
pub(crate) fn default_memory(container: &mut Container, config: &DecorationConfig) {
    let as_limit = config.set_limit_equals_memory_request == Some(true);
    let (request, limit) = container
        .resources
        .as_ref()
        .map_or((None, None), |resources| (memory(&resources.requests), memory(&resources.limits)));
    let request = match (request, &config.default_memory_request, limit) {
        (Some(request), _, _) => Some(request),
        (None, Some(default), Some(limit)) if !as_limit && exceeds(default, &limit) => Some(limit),
        (None, default, _) => default.clone(),
    };
    let Some(request) = request else { return };
    if config.default_memory_request.is_none() && !as_limit {
        return;
    }
    let resources = container.resources.get_or_insert_default();
    if as_limit {
        set_memory(&mut resources.limits, request.clone());
    }
    set_memory(&mut resources.requests, request);
}

fn memory(amounts: &Amounts) -> Option<Quantity> {
    amounts.as_ref()?.get("memory").cloned()
}

fn set_memory(amounts: &mut Amounts, memory: Quantity) {
    amounts.get_or_insert_default().insert("memory".to_owned(), memory);
}

/// Whether `a` is more than `b`; what is no quantity is not compared, the API server will say so.
fn exceeds(a: &Quantity, b: &Quantity) -> bool {
    matches!((amount(&a.0), amount(&b.0)), (Some(a), Some(b)) if a > b)
}

/// A quantity's amount. Exact up to 2^53 bytes, which is enough to compare memory.
fn amount(text: &str) -> Option<f64> {
    const FACTORS: [(&str, f64); 14] = [
        ("Ki", 1024.0),
        ("Mi", 1_048_576.0),
        ("Gi", 1_073_741_824.0),
        ("Ti", 1_099_511_627_776.0),
        ("Pi", 1_125_899_906_842_624.0),
        ("Ei", 1_152_921_504_606_846_976.0),
        ("u", 1e-6),
        ("m", 1e-3),
        ("k", 1e3),
        ("M", 1e6),
        ("G", 1e9),
        ("T", 1e12),
        ("P", 1e15),
        ("E", 1e18),
    ];
    let (number, factor) = FACTORS
        .iter()
        .find_map(|(suffix, factor)| Some((text.strip_suffix(suffix)?, *factor)))
        .unwrap_or((text, 1.0));
    number.parse::<f64>().ok().filter(|n| n.is_finite()).map(|n| n * factor)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_default_request_stays_below_the_limit() {
        for (resources, default, as_limit, want) in [
            (json!({}), "4Gi", false, json!({"requests": {"memory": "4Gi"}})),
            (
                json!({"limits": {"memory": "8Gi"}}),
                "4Gi",
                false,
                json!({"limits": {"memory": "8Gi"}, "requests": {"memory": "4Gi"}}),
            ),
            (
                json!({"limits": {"memory": "2G"}}),
                "2Gi",
                false,
                json!({"limits": {"memory": "2G"}, "requests": {"memory": "2G"}}),
            ),
            (
                json!({"limits": {"memory": "2e9"}}),
                "4Gi",
                true,
                json!({"limits": {"memory": "4Gi"}, "requests": {"memory": "4Gi"}}),
            ),
            (
                json!({"requests": {"memory": "1Gi"}, "limits": {"cpu": "1"}}),
                "4Gi",
                false,
                json!({"requests": {"memory": "1Gi"}, "limits": {"cpu": "1"}}),
            ),
        ] {
            let mut container: Container =
                serde_json::from_value(json!({"name": "a", "resources": resources})).unwrap();
            let config = DecorationConfig {
                default_memory_request: Some(Quantity(default.into())),
                set_limit_equals_memory_request: Some(as_limit),
                ..DecorationConfig::default()
            };
            default_memory(&mut container, &config);
            assert_eq!(json!(container.resources), want, "{resources} {default} {as_limit}");
        }
    }

    #[test]
    fn nothing_is_added_unasked() {
        let mut container = Container::default();
        default_memory(&mut container, &DecorationConfig::default());
        assert_eq!(container, Container::default());
    }

    #[test]
    fn amounts() {
        for (text, want) in [
            ("1Ki", Some(1024.0)),
            ("1.5G", Some(1.5e9)),
            ("2e3", Some(2000.0)),
            ("100m", Some(0.1)),
            ("-1", Some(-1.0)),
            ("much", None),
            ("", None),
        ] {
            assert_eq!(amount(text), want, "{text}");
        }
    }
}
