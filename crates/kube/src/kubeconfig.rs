//! Which clusters there are and how to reach them: in-cluster configuration and kubeconfig contexts, resolved by the
//! rules of prow-runtime §1.3.
//!
//! Properties:
//! * every context is a build cluster alias; the infrastructure cluster is the one we run in, else the current
//!   context;
//! * a context that cannot be used is left out and said, with its reason; it never stops the others;
//! * what only the files can tell (a name that occurs twice, an unreadable file) is an error at once.

use kube::Config;
use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// What the flags `--kubeconfig`, `--kubeconfig-dir`, `--kubeconfig-suffix`, `--projected-token-file` and
/// `--no-in-cluster-config` say.
#[derive(Debug, Clone, Default)]
pub struct KubernetesOptions {
    /// A kubeconfig file; every context in it becomes an alias.
    pub kubeconfig: Option<PathBuf>,
    /// A directory of kubeconfig files, as a mounted Secret has them.
    pub kubeconfig_dir: Option<PathBuf>,
    /// Only files of the directory whose names end so; empty takes all.
    pub kubeconfig_suffix: String,
    /// Replaces the token of the in-cluster configuration; read again as it rotates.
    pub projected_token_file: Option<PathBuf>,
    /// Do not use the configuration of the cluster that we run in.
    pub no_in_cluster_config: bool,
}

/// Why no clusters could be made out.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// A file or directory cannot be read, or is no kubeconfig.
    #[error("cannot use the kubeconfig {path}: {why}")]
    Kubeconfig {
        /// Which.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// One alias, two meanings.
    #[error(
        "the context {name:?} is in {first} and in {second}: contexts are build cluster aliases, rename one"
    )]
    Twice {
        /// The alias.
        name: String,
        /// Where it was seen first.
        first: PathBuf,
        /// And again.
        second: PathBuf,
    },
    /// Neither in a cluster nor a current context.
    #[error(
        "found no cluster to keep ProwJobs in: this process does not run in one ({in_cluster}), and {kubeconfig}. \
Give --kubeconfig a file that has a current-context"
    )]
    NoInfrastructure {
        /// Why not in a cluster.
        in_cluster: String,
        /// What the kubeconfig lacks.
        kubeconfig: String,
    },
    /// No client for the infrastructure cluster.
    #[error("cannot make a client for the infrastructure cluster: {0}")]
    Infrastructure(String),
}

/// The clusters that were found.
#[derive(Debug)]
pub struct Resolved {
    /// Where ProwJobs live.
    pub infra: Config,
    /// Build clusters by alias, `default` not included unless a context is called so.
    pub contexts: BTreeMap<String, Config>,
    /// Contexts that cannot be used, with the reason.
    pub unusable: BTreeMap<String, String>,
    /// The files that all this came from.
    pub files: Files,
}

/// Resolves the clusters; `disabled` are configuration's `disabled_clusters`.
pub async fn resolve(options: &KubernetesOptions, disabled: &[String]) -> Result<Resolved, ClusterError> {
    let in_cluster = if options.no_in_cluster_config {
        Err("--no-in-cluster-config is given".to_owned())
    } else {
        Config::incluster().map_err(|error| error.to_string())
    };
    resolve_with(in_cluster, options, disabled).await
}

/// As [`resolve`], told what the environment says.
async fn resolve_with(
    in_cluster: Result<Config, String>,
    options: &KubernetesOptions,
    disabled: &[String],
) -> Result<Resolved, ClusterError> {
    let mut found = Found::default();
    // Before they are read: what changes meanwhile is then noticed.
    let mut files = Files::of(options.clone());
    let given = options.kubeconfig.is_some() || options.kubeconfig_dir.is_some();
    if let Some(path) = &options.kubeconfig {
        found.add(path, read(path)?, disabled).await?;
    }
    if let Some(dir) = &options.kubeconfig_dir {
        for path in files_of(dir, &options.kubeconfig_suffix)? {
            found.add(&path, read(&path)?, disabled).await?;
        }
    }
    if !given {
        match by_default(&std::env::var_os("KUBECONFIG").unwrap_or_default()) {
            Ok(Some(kubeconfig)) => found.add(Path::new("$KUBECONFIG"), kubeconfig, disabled).await?,
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(%error, "the default kubeconfig cannot be used; going on without it")
            }
        }
    }
    let infra = match (in_cluster, found.current) {
        (Ok(mut config), _) => {
            if let Some(path) = &options.projected_token_file {
                config.auth_info.token = None;
                config.auth_info.token_file = Some(path.to_string_lossy().into_owned());
            }
            config
        }
        (Err(_), Some(config)) => config,
        (Err(in_cluster), None) => {
            let kubeconfig = match (given, found.contexts.is_empty() && found.unusable.is_empty()) {
                (true, true) => "the kubeconfig that was given has no contexts",
                (false, true) => "there is no kubeconfig",
                (_, false) => "the kubeconfig has no current-context that can be used",
            };
            return Err(ClusterError::NoInfrastructure { in_cluster, kubeconfig: kubeconfig.into() });
        }
    };
    files.named = found.named;
    Ok(Resolved { infra, contexts: found.contexts, unusable: found.unusable, files })
}

/// What kubectl would use: the files of the list in `$KUBECONFIG` as one (of a name that occurs twice the first means
/// it; a file that is not there counts for nothing), without a list the file in the home directory.
fn by_default(list: &OsStr) -> Result<Option<Kubeconfig>, KubeconfigError> {
    let absent = |error: &KubeconfigError| match error {
        KubeconfigError::FindPath => true,
        KubeconfigError::ReadConfig(error, _) => error.kind() == std::io::ErrorKind::NotFound,
        _ => false,
    };
    let paths: Vec<PathBuf> = std::env::split_paths(list).filter(|p| !p.as_os_str().is_empty()).collect();
    if paths.is_empty() {
        return match Kubeconfig::read() {
            Ok(kubeconfig) => Ok(Some(kubeconfig)),
            Err(error) if absent(&error) => Ok(None),
            Err(error) => Err(error),
        };
    }
    let mut all: Option<Kubeconfig> = None;
    for path in paths {
        let read = Kubeconfig::read_from(&path).map(|mut one| {
            // Written and empty is as good as not written.
            one.current_context = one.current_context.filter(|c| !c.is_empty());
            one
        });
        match (read, all.take()) {
            (Ok(next), Some(before)) => all = Some(before.merge(next)?),
            (Ok(next), None) => all = Some(next),
            (Err(error), before) if absent(&error) => all = before,
            (Err(error), _) => return Err(error),
        }
    }
    Ok(all)
}

#[derive(Default)]
struct Found {
    contexts: BTreeMap<String, Config>,
    unusable: BTreeMap<String, String>,
    came_from: BTreeMap<String, PathBuf>,
    current: Option<Config>,
    named: Vec<(PathBuf, Mark)>,
}

impl Found {
    async fn add(
        &mut self,
        path: &Path,
        kubeconfig: Kubeconfig,
        disabled: &[String],
    ) -> Result<(), ClusterError> {
        self.named.extend(named_in(&kubeconfig).map(|path| (path.clone(), mark(&path))));
        for context in &kubeconfig.contexts {
            let name = &context.name;
            if let Some(first) = self.came_from.insert(name.clone(), path.to_owned()) {
                return Err(ClusterError::Twice { name: name.clone(), first, second: path.to_owned() });
            }
            if disabled.contains(name) {
                tracing::info!(cluster = name, "left out: it is among disabled_clusters");
                continue;
            }
            let options = KubeConfigOptions { context: Some(name.clone()), ..KubeConfigOptions::default() };
            match Config::from_custom_kubeconfig(kubeconfig.clone(), &options).await {
                Ok(config) => {
                    if kubeconfig.current_context.as_ref() == Some(name) {
                        self.current = Some(config.clone());
                    }
                    self.contexts.insert(name.clone(), config);
                }
                Err(error) => {
                    self.unusable.insert(name.clone(), error.to_string());
                }
            }
        }
        Ok(())
    }
}

fn read(path: &Path) -> Result<Kubeconfig, ClusterError> {
    Kubeconfig::read_from(path)
        .map_err(|error| ClusterError::Kubeconfig { path: path.to_owned(), why: error.to_string() })
}

/// The directory's kubeconfigs, sorted. What begins with `..` is how the kubelet swaps a mounted Secret.
fn files_of(dir: &Path, suffix: &str) -> Result<Vec<PathBuf>, ClusterError> {
    let failed =
        |error: std::io::Error| ClusterError::Kubeconfig { path: dir.to_owned(), why: error.to_string() };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        // Followed through links: in a mounted Secret every file is one.
        if name.starts_with("..") || !name.ends_with(suffix) || entry.path().is_dir() {
            continue;
        }
        files.push(entry.path());
    }
    files.sort();
    Ok(files)
}

/// Certificates and keys that a kubeconfig names: they are read once, and renewed while we run.
fn named_in(kubeconfig: &Kubeconfig) -> impl Iterator<Item = PathBuf> {
    let authorities =
        kubeconfig.clusters.iter().filter_map(|c| c.cluster.as_ref()?.certificate_authority.as_ref());
    let users = kubeconfig.auth_infos.iter().filter_map(|user| user.auth_info.as_ref());
    let own = users.flat_map(|user| [&user.client_certificate, &user.client_key]).flatten();
    authorities.chain(own).map(PathBuf::from)
}

/// What is another when a file is.
type Mark = Option<(SystemTime, u64, u64)>;

fn mark(path: &Path) -> Mark {
    use std::os::unix::fs::MetadataExt;
    let meta = std::fs::metadata(path).ok()?;
    Some((meta.modified().ok()?, meta.len(), meta.ino()))
}

/// The kubeconfig files, and those that they name, as they were when they were read, so that a change can be noticed.
#[derive(Debug, Clone)]
pub struct Files {
    options: (Option<PathBuf>, Option<PathBuf>, String),
    marks: Vec<(PathBuf, Mark)>,
    named: Vec<(PathBuf, Mark)>,
}

impl Files {
    fn of(options: KubernetesOptions) -> Files {
        let KubernetesOptions { kubeconfig, kubeconfig_dir, kubeconfig_suffix, .. } = options;
        Files::look((kubeconfig, kubeconfig_dir, kubeconfig_suffix))
    }

    fn look(options: (Option<PathBuf>, Option<PathBuf>, String)) -> Files {
        let mut paths: Vec<PathBuf> = options.0.iter().cloned().collect();
        if let Some(dir) = &options.1 {
            paths.extend(files_of(dir, &options.2).unwrap_or_default());
        }
        if options.0.is_none() && options.1.is_none() {
            let list = std::env::var_os("KUBECONFIG").unwrap_or_default();
            paths.extend(std::env::split_paths(&list).filter(|p| !p.as_os_str().is_empty()));
        }
        let marks = paths.into_iter().map(|path| (path.clone(), mark(&path))).collect();
        Files { options, marks, named: Vec::new() }
    }

    /// Whether a file came, went or is another than when we were made.
    pub fn changed(&self) -> bool {
        Files::look(self.options.clone()).marks != self.marks
            || self.named.iter().any(|(path, then)| mark(path) != *then)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kubeconfig(contexts: &[&str], current: &str) -> String {
        let mut text = format!("apiVersion: v1\nkind: Config\ncurrent-context: {current}\n");
        text += "clusters:\n";
        for name in contexts {
            text += &format!("- name: {name}\n  cluster:\n    server: https://{name}.example:6443\n");
        }
        text += "users:\n- name: u\n  user:\n    token: not-a-secret\ncontexts:\n";
        for name in contexts {
            text += &format!("- name: {name}\n  context:\n    cluster: {name}\n    user: u\n");
        }
        text
    }

    fn host(config: &Config) -> &str {
        config.cluster_url.host().unwrap()
    }

    fn outside() -> Result<Config, String> {
        Err("no KUBERNETES_SERVICE_HOST".into())
    }

    fn inside() -> Result<Config, String> {
        Ok(Config::new("https://in-cluster.example:443".parse().unwrap()))
    }

    fn file(dir: &Path, name: &str, text: &str) -> PathBuf {
        let path = dir.join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    #[tokio::test]
    async fn contexts_are_aliases_and_the_current_one_keeps_prowjobs() {
        let dir = tempfile::tempdir().unwrap();
        let path = file(dir.path(), "config", &kubeconfig(&["alpha", "beta"], "beta"));
        let options = KubernetesOptions { kubeconfig: Some(path), ..Default::default() };
        let found = resolve_with(outside(), &options, &[]).await.unwrap();
        assert_eq!(host(&found.infra), "beta.example");
        assert_eq!(found.contexts.keys().collect::<Vec<_>>(), ["alpha", "beta"]);
        // In a cluster, that one keeps ProwJobs.
        let found = resolve_with(inside(), &options, &[]).await.unwrap();
        assert_eq!(host(&found.infra), "in-cluster.example");
    }

    #[tokio::test]
    async fn a_directory_is_read_as_the_kubelet_mounts_it() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("..2026_01");
        std::fs::create_dir(&data).unwrap();
        for (name, context) in [("a.kubeconfig", "alpha"), ("b.kubeconfig", "beta"), ("notes.txt", "no")] {
            file(&data, name, &kubeconfig(&[context], context));
            std::os::unix::fs::symlink(data.join(name), dir.path().join(name)).unwrap();
        }
        let options = KubernetesOptions {
            kubeconfig_dir: Some(dir.path().to_owned()),
            kubeconfig_suffix: ".kubeconfig".into(),
            ..Default::default()
        };
        let found = resolve_with(outside(), &options, &[]).await.unwrap();
        assert_eq!(found.contexts.keys().collect::<Vec<_>>(), ["alpha", "beta"]);
        // The last file's current context, as upstream.
        assert_eq!(host(&found.infra), "beta.example");
        // A disabled cluster is neither an alias nor the current one.
        let found = resolve_with(outside(), &options, &["beta".into()]).await.unwrap();
        assert_eq!(found.contexts.keys().collect::<Vec<_>>(), ["alpha"]);
        assert_eq!(host(&found.infra), "alpha.example");
        assert!(!found.files.changed());
        file(dir.path(), "c.kubeconfig", &kubeconfig(&["alpha"], ""));
        assert!(found.files.changed());
        let error = resolve_with(outside(), &options, &[]).await.unwrap_err().to_string();
        assert!(error.contains("\"alpha\"") && error.contains("c.kubeconfig"), "{error}");
    }

    #[tokio::test]
    async fn a_context_that_cannot_be_used_does_not_stop_the_others() {
        let dir = tempfile::tempdir().unwrap();
        let broken = kubeconfig(&["good", "bad"], "good").replace(
            "server: https://bad.example:6443",
            "certificate-authority: nowhere.pem\n    server: https://bad.example",
        );
        let path = file(dir.path(), "config", &broken);
        let options = KubernetesOptions { kubeconfig: Some(path), ..Default::default() };
        let found = resolve_with(outside(), &options, &[]).await.unwrap();
        assert_eq!(found.contexts.keys().collect::<Vec<_>>(), ["good"]);
        assert!(found.unusable["bad"].contains("nowhere.pem"), "{:?}", found.unusable);
    }

    #[test]
    fn a_list_of_kubeconfigs_is_read_as_kubectl_does() {
        let dir = tempfile::tempdir().unwrap();
        let first = file(dir.path(), "first", &kubeconfig(&["alpha"], ""));
        let second = file(dir.path(), "second", &kubeconfig(&["alpha", "beta"], "beta"));
        let list = |paths: &[&Path]| by_default(&std::env::join_paths(paths).unwrap());
        let names = |read: Option<Kubeconfig>| -> Vec<String> {
            read.unwrap().contexts.into_iter().map(|c| c.name).collect()
        };
        // One that is not there does not take the others with it.
        let absent = dir.path().join("absent");
        let read = list(&[&absent, &first, &second]).unwrap();
        assert_eq!(read.as_ref().unwrap().current_context.as_deref(), Some("beta"));
        assert_eq!(names(read), ["alpha", "beta"]);
        assert_eq!(names(list(&[&second, &absent]).unwrap()), ["alpha", "beta"]);
        assert!(list(&[&absent]).unwrap().is_none());
        let broken = file(dir.path(), "broken", "contexts: 7");
        assert!(list(&[&first, &broken]).is_err());
    }

    #[tokio::test]
    async fn without_any_cluster_it_says_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        let path = file(dir.path(), "config", &kubeconfig(&["alpha"], ""));
        let options = KubernetesOptions { kubeconfig: Some(path), ..Default::default() };
        let error = resolve_with(outside(), &options, &[]).await.unwrap_err().to_string();
        assert!(error.contains("--kubeconfig") && error.contains("current-context"), "{error}");
        let options = KubernetesOptions { kubeconfig: Some("/no/such/file".into()), ..Default::default() };
        let error = resolve_with(outside(), &options, &[]).await.unwrap_err().to_string();
        assert!(error.contains("/no/such/file"), "{error}");
    }

    #[tokio::test]
    async fn a_projected_token_replaces_the_service_accounts() {
        let dir = tempfile::tempdir().unwrap();
        let path = file(dir.path(), "config", &kubeconfig(&["alpha"], "alpha"));
        let options = KubernetesOptions {
            kubeconfig: Some(path),
            projected_token_file: Some("/var/run/projected/token".into()),
            ..Default::default()
        };
        let found = resolve_with(inside(), &options, &[]).await.unwrap();
        assert_eq!(found.infra.auth_info.token_file.as_deref(), Some("/var/run/projected/token"));
        assert!(found.contexts["alpha"].auth_info.token_file.is_none());
    }
}
