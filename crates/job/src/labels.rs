//! Labels and annotations of ProwJobs and Pods (prow-config §2.2): composed, cut and made valid.

use prow_api::labels as keys;
use prow_api::prowjob::ProwJobSpec;
use std::collections::BTreeMap;

/// A set of labels or annotations.
pub type Map = BTreeMap<String, String>;

/// Kubernetes' limit on a label value, in bytes.
pub const MAX_VALUE: usize = 63;

/// Labels and annotations of a ProwJob or Pod of `spec`: the standard ones with the callers' laid over them. Label
/// values that Kubernetes would refuse become their last path element (`release/1.2` → `1.2`) or are dropped.
pub fn labels_and_annotations(spec: &ProwJobSpec, labels: &Map, annotations: &Map) -> (Map, Map) {
    let mut all = Map::from([
        (keys::CREATED_BY_PROW.to_owned(), "true".to_owned()),
        (keys::TYPE.to_owned(), spec.job_type.to_string()),
        (keys::JOB.to_owned(), cut(&spec.job).to_owned()),
        (keys::CONTEXT.to_owned(), cut(&spec.context).to_owned()),
    ]);
    if let Some(refs) = spec.first_refs() {
        all.insert(keys::ORG.to_owned(), refs.org.clone());
        all.insert(keys::REPO.to_owned(), refs.repo.clone());
        all.insert(keys::BASE_REF.to_owned(), refs.base_ref.clone());
        if let Some(pull) = refs.pulls.first() {
            all.insert(keys::PULL.to_owned(), pull.number.to_string());
        }
    }
    all.extend(labels.iter().map(|(k, v)| (k.clone(), v.clone())));
    let labels = all.into_iter().filter_map(|(key, value)| Some((key, valid(value)?))).collect();

    let mut all = Map::from([
        (keys::JOB.to_owned(), spec.job.clone()),
        (keys::CONTEXT.to_owned(), spec.context.clone()),
    ]);
    all.extend(annotations.iter().map(|(k, v)| (k.clone(), v.clone())));
    (labels, all)
}

/// The value of the labels `prow.k8s.io/job` and `prow.k8s.io/context`: cut to 63 bytes, then without trailing `.`,
/// `_` and `-`. Use it to select ProwJobs by these labels (trap 17), after [`valid`].
pub fn cut(value: &str) -> &str {
    if value.len() <= MAX_VALUE {
        return value;
    }
    let end = (0..=MAX_VALUE).rev().find(|&end| value.is_char_boundary(end)).unwrap_or(0);
    value[..end].trim_end_matches(['.', '_', '-'])
}

/// `value` if it may be a label's value, else its last path element if that may be, else `None`.
pub fn valid(value: String) -> Option<String> {
    if is_valid_value(&value) {
        return Some(value);
    }
    let base = value.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    // Nothing but slashes has "/" as last element, which is no label value.
    (!base.is_empty() && is_valid_value(base)).then(|| base.to_owned())
}

/// Kubernetes' rule: empty, or at most 63 bytes of letters, digits, `-`, `_`, `.`, beginning and ending with a letter
/// or digit; ASCII only.
pub fn is_valid_value(value: &str) -> bool {
    let bytes = value.as_bytes();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else { return true };
    bytes.len() <= MAX_VALUE
        && first.is_ascii_alphanumeric()
        && last.is_ascii_alphanumeric()
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(b))
}

#[cfg(test)]
mod tests {
    use super::*;
    use prow_api::refs::{Pull, Refs};

    #[test]
    fn values_become_valid_or_go() {
        for (value, want) in [
            ("", Some("")),
            ("v1.2_x-y", Some("v1.2_x-y")),
            ("release/1.2", Some("1.2")),
            ("ci/foo/bar/", Some("bar")),
            ("https://host", Some("host")),
            ("a b", None),
            ("-a", None),
            ("a/-", None),
            ("/", None),
            ("é", None),
            ("x/y\n", None),
        ] {
            assert_eq!(valid(value.to_owned()).as_deref(), want, "{value:?}");
        }
        assert_eq!(valid("a".repeat(64)), None);
        assert_eq!(valid("a".repeat(63)).map(|v| v.len()), Some(63));
    }

    #[test]
    fn long_names_are_cut() {
        let long = format!("{}-._-tail", "a".repeat(60));
        assert_eq!(cut(&long), "a".repeat(60));
        assert_eq!(cut(&"a".repeat(63)).len(), 63);
        assert_eq!(cut("trailing-"), "trailing-", "short values stay as they are");
        assert_eq!(cut(&"é".repeat(40)).len(), 62, "never inside a character");
    }

    #[test]
    fn callers_win_and_refs_fall_back_to_extra_refs() {
        let mut spec = ProwJobSpec { job: "j".into(), context: "ci/c".into(), ..ProwJobSpec::default() };
        spec.extra_refs = vec![Refs { org: "o".into(), base_ref: "feature/x y".into(), ..Refs::default() }];
        let mine = Map::from([("mine".into(), "a/b".into()), (keys::JOB.into(), "other".into())]);
        let (labels, annotations) = labels_and_annotations(&spec, &mine, &mine);
        let show = |map: &Map| map.iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>();
        assert_eq!(
            show(&labels),
            [
                "created-by-prow=true",
                "mine=b",
                "prow.k8s.io/context=c",
                "prow.k8s.io/job=other",
                "prow.k8s.io/refs.org=o",
                "prow.k8s.io/refs.repo=",
                "prow.k8s.io/type=presubmit",
            ]
        );
        assert_eq!(show(&annotations), ["mine=a/b", "prow.k8s.io/context=ci/c", "prow.k8s.io/job=other"]);
        spec.refs = Some(Refs { pulls: vec![Pull { number: 7, ..Pull::default() }], ..Refs::default() });
        assert_eq!(labels_and_annotations(&spec, &mine, &mine).0[keys::PULL], "7");
    }
}
