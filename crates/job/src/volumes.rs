//! Volumes that decoration adds to a Pod, and the names they get.
//!
//! A volume's name must be unique in its Pod and a DNS-1123 label. Some are made from the names of Secrets, which may
//! have dots and be longer. Upstream's name is kept whenever an API server would take it.

use crate::names::short_hash;
use k8s_openapi::api::core::v1::{
    EmptyDirVolumeSource, HostPathVolumeSource, KeyToPath, PodSpec, SecretVolumeSource, Volume, VolumeMount,
};
use std::collections::BTreeSet;

/// Kubernetes' limit on the name of a volume, in bytes.
const MAX_NAME: usize = 63;

/// The names of a Pod's volumes, each of which can be taken once.
pub(crate) struct VolumeNames(BTreeSet<String>);

impl VolumeNames {
    /// Those that `spec` has are taken, and so are `reserved`.
    pub(crate) fn new(spec: &PodSpec, reserved: &[&str]) -> VolumeNames {
        let own = spec.volumes.iter().flatten().map(|v| v.name.clone());
        VolumeNames(own.chain(reserved.iter().map(|&name| name.to_owned())).collect())
    }

    /// Takes `wanted`; if that is no name of a volume, then a name like it with a hash of it; if it is taken, then
    /// with a number.
    pub(crate) fn take(&mut self, wanted: &str) -> String {
        let base = if is_label(wanted) { wanted.to_owned() } else { like(wanted) };
        let mut name = base.clone();
        let mut n = 1;
        while !self.0.insert(name.clone()) {
            n += 1;
            let suffix = format!("-{n}");
            name = cut(&base, MAX_NAME - suffix.len()).to_owned() + &suffix;
        }
        name
    }
}

/// A DNS-1123 label that resembles `wanted`; different texts give different labels.
fn like(wanted: &str) -> String {
    let hash = short_hash(wanted);
    let simple = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    let text: String = wanted.chars().take(MAX_NAME).map(simple).collect();
    let text = cut(text.trim_start_matches('-'), MAX_NAME - hash.len() - 1);
    if text.is_empty() { format!("volume-{hash}") } else { format!("{text}-{hash}") }
}

/// At most `max` bytes of an ASCII `text`, not ending with a dash.
fn cut(text: &str, max: usize) -> &str {
    text[..text.len().min(max)].trim_end_matches('-')
}

/// Kubernetes' rule for the names of volumes and containers: a DNS-1123 label.
fn is_label(name: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (1..=MAX_NAME).contains(&name.len())
        && name.bytes().all(inner)
        && !name.starts_with('-')
        && !name.ends_with('-')
}

pub(crate) fn mount(volume: &str, path: &str) -> VolumeMount {
    VolumeMount { name: volume.to_owned(), mount_path: path.to_owned(), ..VolumeMount::default() }
}

pub(crate) fn read_only(volume: &str, path: &str) -> VolumeMount {
    VolumeMount { read_only: Some(true), ..mount(volume, path) }
}

pub(crate) fn empty_dir(name: &str) -> Volume {
    Volume { name: name.to_owned(), empty_dir: Some(EmptyDirVolumeSource::default()), ..Volume::default() }
}

pub(crate) fn host_path(name: &str, path: &str, kind: Option<&str>) -> Volume {
    let source = HostPathVolumeSource { path: path.to_owned(), type_: kind.map(str::to_owned) };
    Volume { name: name.to_owned(), host_path: Some(source), ..Volume::default() }
}

pub(crate) fn secret_volume(
    name: &str,
    secret: &str,
    mode: Option<i32>,
    item: Option<(&str, &str)>,
) -> Volume {
    Volume {
        name: name.to_owned(),
        secret: Some(SecretVolumeSource {
            secret_name: Some(secret.to_owned()),
            default_mode: mode,
            items: item.map(|(key, path)| {
                vec![KeyToPath { key: key.to_owned(), path: path.to_owned(), ..KeyToPath::default() }]
            }),
            ..SecretVolumeSource::default()
        }),
        ..Volume::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn none() -> VolumeNames {
        VolumeNames(BTreeSet::new())
    }

    #[test]
    fn names_are_kept_when_valid() {
        for name in ["ssh-keys-bot", "a", "0-9", &"x".repeat(63)] {
            assert_eq!(none().take(name), name);
        }
    }

    #[test]
    fn other_names_are_made_valid() {
        for (wanted, want) in [
            ("ssh-keys-bot.example.com", "ssh-keys-bot-example-com-"),
            ("Bot", "bot-"),
            ("-", "volume-"),
            ("", "volume-"),
        ] {
            let name = none().take(wanted);
            assert!(name.starts_with(want) && is_label(&name), "{wanted:?}: {name}");
            assert_eq!(none().take(wanted), name, "the same each time");
        }
        assert_ne!(none().take("a.b"), none().take("a_b"));
        // In clusters' Pods: a restarted plank must find the Pod it made.
        assert_eq!(none().take("bot.key"), "bot-key-186b04f7");
    }

    #[test]
    fn no_name_is_given_twice() {
        let mut names = VolumeNames::new(&PodSpec::default(), &["logs"]);
        assert_eq!(names.take("logs"), "logs-2");
        let long = "x".repeat(63);
        let taken: Vec<String> = (0..12).map(|_| names.take(&long)).collect();
        assert_eq!(taken[11], format!("{}-12", "x".repeat(60)));
        assert!(taken.iter().all(|name| is_label(name)));
    }

    proptest! {
        #[test]
        fn every_name_is_a_label_of_its_own(wanted in prop::collection::vec("(?s).{0,80}|[a-z.-]{50,70}", 0..5)) {
            let mut names = none();
            let taken: Vec<String> = wanted.iter().map(|w| names.take(w)).collect();
            prop_assert!(taken.iter().all(|name| is_label(name)), "{taken:?}");
            prop_assert_eq!(taken.iter().collect::<BTreeSet<_>>().len(), taken.len());
        }
    }
}
