//! From the texts of a repository's files to its jobs under one configuration (prow-config §8): parsed once for the
//! same content, defaulted and validated beside the configuration's own jobs. Pure.

use super::choose::Chosen;
use crate::defaults::Defaulter;
use crate::diagnostic::{Diagnostic, LoadErrors, Severity};
use crate::goyaml::{self, Document, Findings};
use crate::jobfile::{self, JobFile, JobKind};
use crate::jobs::{JobBase, Postsubmit, Preset, Presubmit};
use crate::load::finish_file;
use crate::podtemplate::Pool;
use crate::presets::Layers;
use crate::snapshot::Snapshot;
use crate::validate;

/// Containers of all jobs of a repository together, and branches that they name.
const MAX_PARTS: usize = 20_000;
/// Variables, volumes, mounts and tolerations of its presets together: each goes into many containers.
const MAX_LAID_IN: usize = 500;
/// Findings after which no more files are read: nobody reads more.
const MAX_FINDINGS: usize = 5_000;

/// The jobs of files as they are written, whatever the configuration.
#[derive(Debug, Default)]
pub struct Parsed {
    files: Vec<JobFile>,
    errors: Vec<Diagnostic>,
    warnings: Vec<Diagnostic>,
}

impl Parsed {
    /// Reads files with their contents, in walk order. What is wrong is kept for [`InRepoJobs::of`].
    pub fn new(files: &[(&Chosen, Vec<u8>)], mut found: Vec<Diagnostic>) -> Parsed {
        let pool = Pool::default();
        let mut out = Parsed::default();
        let mut left = jobfile::MAX_OWN;
        for (chosen, content) in files {
            let mut findings = Findings::new(chosen.path.as_str().into());
            match goyaml::decode_text(content.clone()) {
                Ok(text) => {
                    let document = Document::parse(&text, &mut findings);
                    let root = document.as_ref().and_then(Document::root);
                    let read = root.map(|root| jobfile::read_in_repo(root, &pool, &mut left, &mut findings));
                    out.files.extend(read.flatten());
                }
                Err(why) => findings.list.push(Diagnostic::error(why).in_file(&findings.file)),
            }
            found.append(&mut findings.list);
            if out.is_too_much() {
                let message = format!(
                    "with it the repository's own jobs have more than {MAX_PARTS} containers and branches, or its presets more than {MAX_LAID_IN} entries, which is more than is read"
                );
                found.push(Diagnostic::error(message).in_file(&findings.file));
                out.files.clear();
                break;
            }
            if found.len() > MAX_FINDINGS {
                break;
            }
        }
        (out.errors, out.warnings) = found.into_iter().partition(|d| d.severity == Severity::Error);
        out
    }

    /// Whether laying its presets into its jobs, and comparing its jobs with each other, would take too long.
    fn is_too_much(&self) -> bool {
        let presets = self.files.iter().flat_map(|file| &file.presets).map(|(preset, _)| {
            preset.env.len() + preset.volumes.len() + preset.volume_mounts.len() + preset.tolerations.len()
        });
        let lists = self.files.iter().flat_map(|file| file.presubmits.iter().chain(&file.postsubmits));
        let parts = lists.flat_map(|(_, list)| list).map(|job| {
            let containers = job.spec.as_ref().map_or(0, |spec| spec.containers.len());
            containers + job.raw.branches.len() + job.raw.skip_branches.len()
        });
        presets.sum::<usize>() > MAX_LAID_IN || parts.sum::<usize>() > MAX_PARTS
    }
}

/// The jobs that a repository itself defines, defaulted and valid beside the configuration's.
#[derive(Debug, Clone, Default)]
pub struct InRepoJobs {
    /// In walk order.
    pub presubmits: Vec<Presubmit>,
    /// In walk order.
    pub postsubmits: Vec<Postsubmit>,
    /// What was odd but not wrong.
    pub warnings: Vec<Diagnostic>,
}

impl InRepoJobs {
    /// Defaults and checks `parsed` as jobs of `identifier` (`org/repo`). Either all jobs, or every error: one bad
    /// job keeps all of the repository's own jobs away, and none of the configuration's.
    pub fn of(config: &Snapshot, identifier: &str, parsed: &Parsed) -> Result<InRepoJobs, LoadErrors> {
        let pool = Pool::default();
        let own = parsed.files.iter().flat_map(|file| &file.presets).map(|(preset, _)| preset);
        let presets: Vec<&Preset> = config.jobs.presets.iter().chain(own).collect();
        let layers = Layers::new(presets, &pool);
        let mut defaulter = Defaulter::new(&config.prow, &layers, &pool, config.jobs.decorate_all_jobs);
        let mut errors = parsed.errors.clone();
        let mut out = InRepoJobs { warnings: parsed.warnings.clone(), ..InRepoJobs::default() };
        for file in &parsed.files {
            let mut file = file.clone();
            let lists = file
                .presubmits
                .iter_mut()
                .map(|l| &mut l.0)
                .chain(file.postsubmits.iter_mut().map(|l| &mut l.0));
            lists.for_each(|repo| identifier.clone_into(repo));
            let mut done = finish_file(file, &mut defaulter);
            errors.append(&mut done.errors);
            out.presubmits.extend(done.presubmits.into_iter().flat_map(|(_, list)| list));
            out.postsubmits.extend(done.postsubmits.into_iter().flat_map(|(_, list)| list));
        }
        // The file has no repository keys, so its paths have none either.
        let key = format!("[{identifier:?}]");
        for error in &mut errors {
            error.key_path = error.key_path.replacen(&key, "", 1);
        }
        // The configuration's jobs first: a clash is the fault of what came later.
        let presubmits: Vec<Presubmit> =
            config.presubmits_for(identifier).iter().chain(&out.presubmits).cloned().collect();
        validate::check_presubmits(identifier, &presubmits, &mut errors);
        let postsubmits: Vec<Postsubmit> =
            config.postsubmits_for(identifier).iter().chain(&out.postsubmits).cloned().collect();
        validate::check_postsubmits(identifier, &postsubmits, &mut errors);
        let bases = out.presubmits.iter().map(|j| (JobKind::Presubmit, &j.base));
        let bases = bases.chain(out.postsubmits.iter().map(|j| (JobKind::Postsubmit, &j.base)));
        errors.extend(bases.filter_map(|(kind, base)| not_allowed(config, identifier, kind, base)));
        if errors.is_empty() { Ok(out) } else { Err(LoadErrors { errors, warnings: out.warnings }) }
    }
}

/// Jobs that anybody can propose run only on clusters that are open to them (§4.8).
fn not_allowed(config: &Snapshot, identifier: &str, kind: JobKind, base: &JobBase) -> Option<Diagnostic> {
    if config.prow.in_repo_config_allows_cluster(&base.cluster, identifier) {
        return None;
    }
    let message = format!(
        "{} {:?}: cluster {:?} is not open to the jobs that {identifier} defines itself; in_repo_config.allowed_clusters says which are",
        kind.word(),
        base.name,
        base.cluster
    );
    Some(Diagnostic::error(message).in_file(&base.source.file).at(base.source.line, 0))
}
