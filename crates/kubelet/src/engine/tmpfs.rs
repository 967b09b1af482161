//! Volumes that an engine keeps in memory: volumes of its own driver, labelled like a Pod's containers and removed with
//! them. The engine mounts one with the first container that has it and drops it, with all it holds, after the last; the
//! container that keeps the Pod's network has them all.

use super::http::{Client, EngineError, Result, escape};
use super::spec;
use crate::plan::{EnginePlan, PodPlan};
use hyper::Method;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Where a vector of the kernel's says how large its pages are, and how large they usually are.
const AT_PAGESZ: u64 = 6;
const USUAL_PAGE: u64 = 4096;

/// A volume of an engine.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Volume {
    /// Its name.
    pub name: String,
    /// What it was labelled with.
    #[serde(default)]
    pub labels: Option<BTreeMap<String, String>>,
    /// Where it is on this machine.
    #[serde(default)]
    pub mountpoint: PathBuf,
}

/// The engine's name for a Pod's volume.
pub fn name(uid: &str, volume: &str) -> String {
    format!("prow-{uid}-{volume}")
}

/// Makes the Pod's volumes in memory.
pub async fn make(client: &Client, pod: &PodPlan, plan: &EnginePlan) -> Result<()> {
    for memory in &pod.memory {
        let mut options = format!("nr_blocks={},mode=0777", blocks(memory.bytes));
        if let Some(group) = memory.group {
            options = format!("nr_blocks={},mode=2777,gid={group}", blocks(memory.bytes));
        }
        create(client, &name(&pod.uid, &memory.volume), &options, &spec::labels(pod, plan, "")).await?;
    }
    Ok(())
}

/// Removes them; those that are not there are as good.
pub async fn remove(client: &Client, pod: &PodPlan) -> Result<()> {
    for memory in &pod.memory {
        client.remove_volume(&name(&pod.uid, &memory.volume)).await?;
    }
    Ok(())
}

/// Makes one that is only tried.
pub async fn probe(client: &Client, name: &str, labels: &Value) -> Result<()> {
    create(client, name, "nr_blocks=16,mode=0777", labels).await
}

/// Not `size`: Podman takes that for a quota of a disk.
async fn create(client: &Client, name: &str, options: &str, labels: &Value) -> Result<()> {
    let body = json!({
        "Name": name,
        "Driver": "local",
        "DriverOpts": {"type": "tmpfs", "device": "tmpfs", "o": options},
        "Labels": labels,
    });
    let what = format!("create volume {name}");
    client.call(&what, Method::POST, "/volumes/create", Some(&body)).await.map(drop)
}

/// Where a volume in memory is on this machine.
///
/// # Errors
/// If the engine has it where we cannot see it: what we find there would be a directory on disk, which nobody meant.
pub async fn place(client: &Client, name: &str) -> Result<PathBuf> {
    let what = format!("find volume {name}");
    let volume: Volume = client.get(&what, &format!("/volumes/{}", escape(name))).await?;
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let path = volume.mountpoint.to_string_lossy().into_owned();
    let there =
        mounts.lines().any(|l| l.split(' ').nth(1) == Some(&path) && l.split(' ').nth(2) == Some("tmpfs"));
    if there {
        return Ok(volume.mountpoint);
    }
    let why = "the engine keeps it where this process cannot see it, so there is no subPath of it".to_owned();
    Err(EngineError::Broken { what, why })
}

impl Client {
    /// Volumes with a label.
    pub async fn volumes(&self, label: &str) -> Result<Vec<Volume>> {
        #[derive(Deserialize)]
        struct Answer {
            #[serde(rename = "Volumes", default)]
            volumes: Option<Vec<Volume>>,
        }
        let filters = json!({ "label": [label] }).to_string();
        let answer: Answer =
            self.get("list volumes", &format!("/volumes?filters={}", escape(&filters))).await?;
        Ok(answer.volumes.unwrap_or_default())
    }

    /// Removes a volume; one that is not there is as good.
    pub async fn remove_volume(&self, name: &str) -> Result<()> {
        let what = format!("remove volume {name}");
        match self.call(&what, Method::DELETE, &format!("/volumes/{}", escape(name)), None).await {
            Err(e) if e.is_absent() => Ok(()),
            other => other.map(drop),
        }
    }
}

/// In the pages that the kernel counts in.
fn blocks(bytes: u64) -> u64 {
    let auxiliary = std::fs::read("/proc/self/auxv").unwrap_or_default();
    bytes.div_ceil(page_size(&auxiliary)).max(1)
}

/// Of /proc/self/auxv: pairs of a kind and a value.
fn page_size(auxiliary: &[u8]) -> u64 {
    let number = |b: &[u8]| b.try_into().map(u64::from_ne_bytes).unwrap_or_default();
    let mut pairs = auxiliary.chunks_exact(16).map(|pair| (number(&pair[..8]), number(&pair[8..])));
    pairs.find(|(kind, size)| *kind == AT_PAGESZ && *size > 0).map_or(USUAL_PAGE, |(_, size)| size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_counted_in_pages() {
        let pair = |kind: u64, value: u64| [kind.to_ne_bytes(), value.to_ne_bytes()].concat();
        assert_eq!(page_size(&[pair(3, 64), pair(AT_PAGESZ, 65536), pair(0, 0)].concat()), 65536);
        assert_eq!(page_size(b"junk"), USUAL_PAGE);
        let page = page_size(&std::fs::read("/proc/self/auxv").unwrap());
        assert_eq!([blocks(0), blocks(1), blocks(page), blocks(page + 1)], [1, 1, 1, 2]);
    }
}
