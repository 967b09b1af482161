//! Laying presets into a job's Pod (prow-config §10).

use crate::jobs::Preset;
use crate::podtemplate::{PodTemplate, Pool};
use k8s_openapi::api::core::v1::{EnvVar, Volume, VolumeMount};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// A preset ready to be laid into many Pods.
struct Layer<'p> {
    preset: &'p Preset,
    env: Vec<Arc<EnvVar>>,
    volumes: Vec<Arc<Volume>>,
    mounts: Vec<Arc<VolumeMount>>,
}

impl<'p> Layer<'p> {
    fn new(preset: &'p Preset, pool: &Pool) -> Layer<'p> {
        Layer {
            preset,
            env: pool.env(&preset.env),
            volumes: pool.volumes(&preset.volumes),
            mounts: pool.mounts(&preset.volume_mounts),
        }
    }
}

/// All presets, found by the labels of a job instead of tried one by one.
#[derive(Default)]
pub(crate) struct Layers<'p> {
    all: Vec<Layer<'p>>,
    /// Positions of those with labels, by the first of them.
    by_label: HashMap<(&'p str, &'p str), Vec<usize>>,
    /// Positions of those for every job.
    always: Vec<usize>,
}

impl<'p> Layers<'p> {
    pub(crate) fn new(presets: impl IntoIterator<Item = &'p Preset>, pool: &Pool) -> Layers<'p> {
        let mut out = Layers::default();
        for (position, preset) in presets.into_iter().enumerate() {
            match preset.labels.first_key_value() {
                Some((key, value)) => out.by_label.entry((key, value)).or_default().push(position),
                None => out.always.push(position),
            }
            out.all.push(Layer::new(preset, pool));
        }
        out
    }

    /// Applies, in order, every preset whose labels are all on the job. The first clash ends it.
    pub(crate) fn apply(
        &self,
        labels: &BTreeMap<String, String>,
        spec: &mut PodTemplate,
    ) -> Result<(), String> {
        let mut meant = self.always.clone();
        for (key, value) in labels {
            meant.extend(self.by_label.get(&(key.as_str(), value.as_str())).into_iter().flatten());
        }
        meant.sort_unstable();
        for layer in meant.into_iter().map(|position| &self.all[position]) {
            let preset = layer.preset;
            if preset.labels.iter().all(|(key, value)| labels.get(key) == Some(value)) {
                merge(layer, spec).map_err(|e| format!("preset {}: {e}", name(preset)))?;
            }
        }
        Ok(())
    }
}

fn name(preset: &Preset) -> String {
    let labels: Vec<String> = preset.labels.iter().map(|(k, v)| format!("{k}={v}")).collect();
    if labels.is_empty() { "without labels".into() } else { labels.join(",") }
}

fn merge(layer: &Layer<'_>, spec: &mut PodTemplate) -> Result<(), String> {
    for toleration in &layer.preset.tolerations {
        if spec.tolerations.iter().flatten().any(|t| t == toleration) {
            return Err("the Pod has this toleration already".into());
        }
        spec.tolerations.get_or_insert_default().push(toleration.clone());
    }
    for volume in &layer.volumes {
        if spec.volumes.iter().flatten().any(|v| v.name == volume.name) {
            return Err(format!("the Pod has a volume named {:?} already", volume.name));
        }
        spec.volumes.get_or_insert_default().push(volume.clone());
    }
    for container in &mut spec.containers {
        for env in &layer.env {
            if container.env.iter().flatten().any(|e| e.name == env.name) {
                return Err(format!("a container sets the variable {:?} already", env.name));
            }
            container.env.get_or_insert_default().push(env.clone());
        }
        for mount in &layer.mounts {
            if container.volume_mounts.iter().flatten().any(|m| m.name == mount.name) {
                return Err(format!("a container mounts the volume {:?} already", mount.name));
            }
            container.volume_mounts.get_or_insert_default().push(mount.clone());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn preset(value: serde_json::Value) -> Preset {
        Preset {
            labels: serde_json::from_value(value["labels"].clone()).unwrap_or_default(),
            env: serde_json::from_value(value["env"].clone()).unwrap_or_default(),
            volumes: serde_json::from_value(value["volumes"].clone()).unwrap_or_default(),
            volume_mounts: serde_json::from_value(value["mounts"].clone()).unwrap_or_default(),
            tolerations: serde_json::from_value(value["tolerations"].clone()).unwrap_or_default(),
        }
    }

    fn spec() -> PodTemplate {
        serde_json::from_value(json!({
            "initContainers": [{"name": "i"}],
            "containers": [{"name": "a", "env": [{"name": "OWN"}]}, {"name": "b"}]
        }))
        .unwrap()
    }

    #[test]
    fn matching_presets_go_into_every_regular_container_in_order() {
        let presets = [
            preset(json!({"env": [{"name": "ALL"}]})),
            preset(
                json!({"labels": {"p": "1"}, "env": [{"name": "P"}], "volumes": [{"name": "v"}], "mounts": [{"name": "v", "mountPath": "/v"}], "tolerations": [{"key": "k"}]}),
            ),
            preset(json!({"labels": {"p": "2"}, "env": [{"name": "NO"}]})),
            preset(json!({"labels": {"p": "1", "q": "2"}, "env": [{"name": "NO"}]})),
            preset(json!({"labels": {"q": "1", "r": "1"}, "env": [{"name": "QR"}]})),
            preset(json!({"labels": {"p": "1"}, "env": [{"name": "LAST"}]})),
        ];
        let pool = Pool::default();
        let layers = Layers::new(&presets, &pool);
        let mut spec = spec();
        let labels = [("p", "1"), ("q", "1"), ("r", "1")].map(|(k, v)| (k.to_owned(), v.to_owned()));
        layers.apply(&labels.into(), &mut spec).unwrap();
        let env =
            |c: usize| spec.containers[c].env.iter().flatten().map(|e| e.name.clone()).collect::<Vec<_>>();
        assert_eq!(
            (env(0), env(1)),
            (
                vec!["OWN".into(), "ALL".into(), "P".into(), "QR".into(), "LAST".into()],
                vec!["ALL".into(), "P".into(), "QR".into(), "LAST".to_owned()]
            )
        );
        assert!(spec.init_containers()[0].env.is_none());
        assert_eq!(spec.volumes.unwrap().len() + spec.tolerations.unwrap().len(), 2);
    }

    #[test]
    fn clashes_are_errors() {
        for clashing in [
            json!({"env": [{"name": "OWN"}]}),
            json!({"volumes": [{"name": "v"}, {"name": "v"}]}),
            json!({"mounts": [{"name": "v", "mountPath": "/1"}, {"name": "v", "mountPath": "/2"}]}),
            json!({"tolerations": [{"key": "k"}, {"key": "k"}]}),
        ] {
            let preset = preset(clashing.clone());
            let layers = Layers::new([&preset], &Pool::default());
            assert!(layers.apply(&BTreeMap::new(), &mut spec()).is_err(), "{clashing}");
        }
    }
}
