//! Images: those that jobs name are looked up and pulled by the rules of a kubelet; the pod utilities' is made here, of
//! nothing but mount points, and filled with this machine's system directories and our executable.

use super::context::Engine;
use super::http::{Client, EngineError};
use super::{reference, tar};
use crate::build::volumes::secret_data;
use crate::build::{Objects, Problem, Remark, all_containers, utility};
use crate::error::Error;
use crate::runtime::PrepareError;
use crate::sandbox::SYSTEM_DIRS;
use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

const UTILITIES: &str = "localhost/prow-utilities";
/// Keys of a Secret that hold credentials of registries: `kubernetes.io/dockerconfigjson`, `kubernetes.io/dockercfg`.
const DOCKER_CONFIGS: [&str; 2] = [".dockerconfigjson", ".dockercfg"];

/// An image that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// `sha256:…`, or the registry's digest of it.
    pub image_id: String,
    /// What a container is made of.
    pub id: String,
    /// It brings a program of its own.
    pub has_program: bool,
    /// As whom it runs unless told otherwise, as `1000`, `root` or `user:group`; empty is root.
    pub user: String,
}

impl Found {
    /// The image's user without a group.
    pub fn user_alone(&self) -> &str {
        match self.user.split(':').next() {
            Some("") | None => "0",
            Some(user) => user,
        }
    }
}

/// How often each image of a Pod could not be pulled.
pub type Failures = parking_lot::Mutex<HashMap<(String, String), u32>>;

/// The images of a Pod's containers, by the container's name, pulled if need be; with what was done for the events.
pub async fn resolve(
    engine: &Engine,
    pod: &Pod,
    objects: &Objects,
    failures: &Failures,
) -> Result<(BTreeMap<String, Found>, Vec<Remark>), PrepareError> {
    let (mut found, mut remarks) = (BTreeMap::new(), Vec::new());
    let Some(spec) = &pod.spec else { return Ok((found, remarks)) };
    let uid = pod.metadata.uid.clone().unwrap_or_default();
    // Containers of one image pull it once.
    let mut pulled: HashMap<String, Found> = HashMap::new();
    for container in all_containers(spec).filter(|c| utility(c).is_none()) {
        let asked = container.image.as_deref().unwrap_or_default();
        let Some(whole) = reference::whole(asked) else {
            let message =
                format!("Failed to apply default image tag {asked:?}: it is not the name of an image");
            return Err(PrepareError::Problem(problem(
                container,
                "InvalidImageName",
                "InspectFailed",
                message,
            )));
        };
        let image = match pulled.get(&whole) {
            Some(image) => image.clone(),
            None => {
                let key = (uid.clone(), whole.clone());
                let image = one(engine, spec, container, &whole, objects, &mut remarks).await;
                if let Err(PrepareError::Problem(problem)) = &image
                    && problem.reason == "ErrImagePull"
                {
                    let mut failures = failures.lock();
                    let times = failures.entry(key).or_default();
                    *times += 1;
                    if *times > 1 {
                        let message = format!("Back-off pulling image {asked:?}: {}", problem.message);
                        return Err(PrepareError::Problem(Problem {
                            reason: "ImagePullBackOff",
                            event: "BackOff",
                            message,
                            ..problem.clone()
                        }));
                    }
                } else {
                    failures.lock().remove(&key);
                }
                image?
            }
        };
        pulled.insert(whole, image.clone());
        found.insert(container.name.clone(), image);
    }
    Ok((found, remarks))
}

fn problem(container: &Container, reason: &'static str, event: &'static str, message: String) -> Problem {
    Problem { reason, event, ..Problem::config(&container.name, message) }
}

async fn one(
    engine: &Engine,
    spec: &PodSpec,
    container: &Container,
    whole: &str,
    objects: &Objects,
    remarks: &mut Vec<Remark>,
) -> Result<Found, PrepareError> {
    let asked = container.image.as_deref().unwrap_or_default();
    let policy = container.image_pull_policy.as_deref();
    let failed = |e: EngineError| PrepareError::Failed(Error::Other(e.to_string()));
    let there = engine.client.image(whole).await.map_err(failed)?;
    if policy == Some("Never") && there.is_none() {
        let message = format!("Container image {asked:?} is not present with pull policy of Never");
        return Err(PrepareError::Problem(problem(
            container,
            "ErrImageNeverPull",
            "ErrImageNeverPull",
            message,
        )));
    }
    if there.is_none() || reference::pull_always(policy, whole) {
        let done = pull(engine, spec, whole, objects).await;
        match done {
            Ok(()) => remarks
                .push(Remark { reason: "Pulled", message: format!("Successfully pulled image {asked:?}") }),
            Err(EngineError::Unreachable { .. }) => done.map_err(failed)?,
            Err(e) => {
                let message = format!("Failed to pull image {asked:?}: {e}");
                return Err(PrepareError::Problem(problem(container, "ErrImagePull", "Failed", message)));
            }
        }
    } else {
        let message = format!("Container image {asked:?} already present on machine");
        remarks.push(Remark { reason: "Pulled", message });
    }
    let Some(image) = engine.client.image(whole).await.map_err(failed)? else {
        let message = format!("Failed to pull image {asked:?}: the engine does not have it afterwards");
        return Err(PrepareError::Problem(problem(container, "ErrImagePull", "Failed", message)));
    };
    let config = image.config.unwrap_or_default();
    let some = |list: &Option<Vec<String>>| list.as_ref().is_some_and(|l| !l.is_empty());
    let digest = image.repo_digests.and_then(|d| d.into_iter().next());
    Ok(Found {
        image_id: digest.unwrap_or_else(|| image.id.clone()),
        id: image.id,
        has_program: some(&config.entrypoint) || some(&config.cmd),
        user: config.user.unwrap_or_default(),
    })
}

/// With each of the credentials that are for it, then with none.
async fn pull(engine: &Engine, spec: &PodSpec, whole: &str, objects: &Objects) -> Result<(), EngineError> {
    let mut tries: Vec<Option<String>> = Vec::new();
    for secret in spec.image_pull_secrets.iter().flatten() {
        // As a kubelet has it: one that is missing is done without.
        let Some(secret) = objects.secrets.get(&secret.name) else { continue };
        let data = secret_data(secret);
        for config in DOCKER_CONFIGS.iter().filter_map(|key| data.get(*key)) {
            tries.extend(reference::credentials(config, whole).into_iter().map(Some));
        }
    }
    tries.push(None);
    let mut first = None;
    for auth in tries {
        match engine.client.pull(whole, auth.as_deref()).await {
            Ok(()) => return Ok(()),
            Err(e) => first.get_or_insert(e),
        };
    }
    // What the best credentials were told says more than what nobody was told.
    first.map_or(Ok(()), Err)
}

/// The image of the pod utilities, made if it is not there; its name says what is in it.
pub async fn utilities(client: &Client) -> Result<String, EngineError> {
    let archive = root();
    let hash = archive
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(*b)).wrapping_mul(0x0100_0000_01b3));
    let name = format!("{UTILITIES}:{hash:016x}");
    if client.image(&name).await?.is_none() {
        client.import(&name, archive).await?;
    }
    Ok(name)
}

/// Mount points as this machine has its directories, and what a program expects to find.
fn root() -> Vec<u8> {
    let mut archive = tar::Archive::default();
    for name in SYSTEM_DIRS.iter().filter(|n| **n != "etc") {
        let path = Path::new("/").join(name);
        match std::fs::read_link(&path) {
            Ok(target) => archive.link(name, &target.to_string_lossy()),
            Err(_) if path.is_dir() => archive.directory(name, 0o755),
            Err(_) => {}
        }
    }
    for name in ["dev", "etc", "home", "proc", "prow", "prow/bin", "run", "sys", "var"] {
        archive.directory(name, 0o755);
    }
    for (name, mode) in [("root", 0o700), ("tmp", 0o1777)] {
        archive.directory(name, mode);
    }
    archive.file("etc/passwd", "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n");
    archive.file("etc/group", "root:x:0:\nnobody:x:65534:\n");
    archive.finish()
}
