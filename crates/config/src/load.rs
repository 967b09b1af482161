//! From files to a [`Snapshot`]: what to read, in which order (prow-config §4.0, §6).

mod jobset;
mod memory;
mod own;
mod parallel;
mod plugin_parts;
mod supplemental;

pub(crate) use jobset::finish_file;
pub(crate) use memory::Memory;
pub use own::own_jobs;

use crate::diagnostic::{Diagnostic, Kind, LoadErrors, Severity};
use crate::goyaml::{self, Cursor, Document, Findings};
use crate::jobfile::{self, JobFile};
use crate::plugins::{self, PluginConfig};
use crate::podtemplate::Pool;
use crate::prowconfig::{self, ProwConfig};
use crate::snapshot::Snapshot;
use crate::walk;
use memory::{Remembered, Usable};
use std::collections::{HashMap, HashSet};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What to load, in the words of the flags (§6.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadOptions {
    /// `--config-path`: config.yaml.
    pub config_path: PathBuf,
    /// `--job-config-path`: file or directory; absent means only the jobs of config.yaml.
    pub job_config_path: Option<PathBuf>,
    /// `--plugin-config`: plugins.yaml.
    pub plugin_config: Option<PathBuf>,
    /// `--supplemental-prow-config-dir`.
    pub supplemental_prow_config_dirs: Vec<PathBuf>,
    /// `--supplemental-prow-configs-filename-suffix`.
    pub supplemental_prow_configs_suffix: String,
    /// `--supplemental-plugin-config-dir`.
    pub supplemental_plugin_config_dirs: Vec<PathBuf>,
    /// `--supplemental-plugin-configs-filename-suffix`; empty turns them off.
    pub supplemental_plugin_configs_suffix: String,
    /// Unknown and retired keys are errors.
    pub strict: bool,
}

impl Default for LoadOptions {
    fn default() -> Self {
        LoadOptions {
            config_path: PathBuf::new(),
            job_config_path: None,
            plugin_config: None,
            supplemental_prow_config_dirs: Vec::new(),
            supplemental_prow_configs_suffix: "_prowconfig.yaml".into(),
            supplemental_plugin_config_dirs: Vec::new(),
            supplemental_plugin_configs_suffix: "_pluginconfig.yaml".into(),
            strict: false,
        }
    }
}

/// Reads, merges, defaults and validates everything. Either a whole snapshot, or every error that was found.
pub fn load(options: &LoadOptions) -> Result<Snapshot, LoadErrors> {
    run(options, &Memory::default()).map(|done| done.snapshot)
}

/// As [`load`], with the jobs of files that did not change since the memory's last snapshot. Errors leave the memory
/// as it was.
pub(crate) fn load_again(options: &LoadOptions, memory: &mut Memory) -> Result<Arc<Snapshot>, LoadErrors> {
    let Loaded { snapshot, decorate_all_jobs, files } = run(options, memory)?;
    let snapshot = Arc::new(snapshot);
    memory.keep(&snapshot, decorate_all_jobs, files);
    Ok(snapshot)
}

struct Loaded {
    snapshot: Snapshot,
    decorate_all_jobs: bool,
    files: memory::Files,
}

fn run(options: &LoadOptions, memory: &Memory) -> Result<Loaded, LoadErrors> {
    let mut found = Found { strict: options.strict, ..Found::default() };
    let (mut prow, own_jobs) = read_config(options, &memory.pool, &mut found);
    supplemental::merge(&mut prow, options, &mut found);
    read_version(options, &mut prow, &mut found);
    let mut at_fault = Vec::new();
    prowconfig::finish(&mut prow, &mut at_fault);
    prowconfig::check_times(&prow, jiff::Timestamp::now(), &mut at_fault);
    found.take(placed(at_fault, &options.config_path, true));
    let decorate_all_jobs = own_jobs.decorate_all_jobs;
    let mut last = memory.usable(&mut prow, decorate_all_jobs);
    let mut read = read_jobs(options, memory, last);
    if let Some(usable) = last
        && !usable.same_presets(std::iter::once(&own_jobs).chain(&read.files))
    {
        last = None;
        read = read_jobs(options, memory, last);
    }
    found.take(read.findings);
    read.files.insert(0, own_jobs);
    let jobs = jobset::assemble(read.files, &prow, &memory.pool, last, &mut found);
    let plugins = read_plugins(options, &mut found);
    let snapshot = found.result(Snapshot { prow, jobs, plugins, warnings: Vec::new() })?;
    Ok(Loaded { snapshot, decorate_all_jobs, files: read.remembered })
}

/// Findings of all files so far.
#[derive(Default)]
pub(crate) struct Found {
    strict: bool,
    errors: Vec<Diagnostic>,
    warnings: Vec<Diagnostic>,
}

impl Found {
    /// Takes up findings. Strictly, a key that nothing reads is an error.
    pub(crate) fn take(&mut self, list: Vec<Diagnostic>) {
        for mut diagnostic in list {
            if self.strict && diagnostic.kind != Kind::Rule {
                diagnostic.severity = Severity::Error;
            }
            match diagnostic.severity {
                Severity::Error => self.errors.push(diagnostic),
                Severity::Warning => self.warnings.push(diagnostic),
            }
        }
    }

    pub(crate) fn error(&mut self, diagnostic: Diagnostic) {
        self.take(vec![diagnostic]);
    }

    fn result(mut self, snapshot: Snapshot) -> Result<Snapshot, LoadErrors> {
        let mut seen = HashSet::new();
        self.errors.retain(|e| seen.insert(e.to_string()));
        in_order(&mut self.errors);
        in_order(&mut self.warnings);
        if self.errors.is_empty() {
            Ok(Snapshot { warnings: self.warnings, ..snapshot })
        } else {
            Err(LoadErrors { errors: self.errors, warnings: self.warnings })
        }
    }
}

/// Files in the order they first appear, lines ascending.
fn in_order(list: &mut [Diagnostic]) {
    let mut files: HashMap<Arc<str>, usize> = HashMap::new();
    for diagnostic in list.iter() {
        let next = files.len();
        files.entry(diagnostic.file.clone()).or_insert(next);
    }
    list.sort_by_key(|d| (files.get(&d.file).copied(), d.line, d.column));
}

/// A file's text: unpacked if it begins as gzip does, and `gunzip` allows it.
pub(crate) fn read_text(path: &Path, gunzip: bool) -> Result<String, String> {
    let bytes = std::fs::read(path).map_err(|e| format!("cannot read {}: {e}", path.display()))?;
    let bytes = if gunzip && bytes.starts_with(&[0x1f, 0x8b]) {
        let mut out = Vec::new();
        // One byte beyond the limit is enough to refuse a bomb later.
        flate2::read::MultiGzDecoder::new(bytes.as_slice())
            .take(goyaml::MAX_BYTES as u64 + 1)
            .read_to_end(&mut out)
            .map_err(|e| format!("cannot unpack {}: {e}", path.display()))?;
        out
    } else {
        bytes
    };
    goyaml::decode_text(bytes).map_err(|e| format!("cannot read {}: {e}", path.display()))
}

/// Reads one file and hands its top to `read`; what goes wrong before is a finding.
pub(crate) fn with_document<T: Default>(
    path: &Path,
    gunzip: bool,
    findings: &mut Findings,
    read: impl FnOnce(Cursor<'_, '_>, &mut Findings) -> T,
) -> T {
    match read_text(path, gunzip) {
        Err(message) => {
            findings.list.push(Diagnostic::error(message));
            T::default()
        }
        Ok(text) => match Document::parse(&text, findings) {
            Some(document) => document.root().map(|root| read(root, findings)).unwrap_or_default(),
            None => T::default(),
        },
    }
}

fn read_config(options: &LoadOptions, pool: &Pool, found: &mut Found) -> (ProwConfig, JobFile) {
    let path = &options.config_path;
    let mut findings = Findings::new(path.to_string_lossy().into());
    let out = if path.is_dir() {
        let message = format!("{} is a directory; --config-path names the file", path.display());
        findings.list.push(Diagnostic::error(message));
        Default::default()
    } else {
        with_document(path, true, &mut findings, |root, findings| {
            let mut jobs = JobFile::default();
            for entry in root.entries(findings) {
                let of_jobs = jobfile::read_entry(&mut jobs, &entry.key, entry.value, false, pool, findings);
                if of_jobs || entry.value.holds_anchor() {
                    findings.pass_over(entry.key_at);
                }
            }
            let retired = prowconfig::find_retired(root, findings);
            let (mut prow, _): (ProwConfig, bool) = root.decode(false, findings);
            retired.apply(&mut prow);
            (prow, jobs)
        })
    };
    found.take(findings.list);
    out
}

/// Findings of whole-file rules, with the place of their key in the file. The file is read again for it: rules are
/// seldom broken.
fn placed(list: Vec<Diagnostic>, path: &Path, gunzip: bool) -> Vec<Diagnostic> {
    if list.is_empty() {
        return list;
    }
    let mut placed = Findings::new(path.to_string_lossy().into());
    // What is wrong with the file itself was found before; a file that has gone meanwhile leaves findings without
    // lines.
    let mut ignored = Findings::new(placed.file.clone());
    with_document(path, gunzip, &mut ignored, |root, _| {
        for diagnostic in &list {
            placed.note(root.locate(&diagnostic.key_path), diagnostic.clone());
        }
    });
    if placed.list.is_empty() {
        return list.into_iter().map(|d| d.in_file(&placed.file)).collect();
    }
    placed.list
}

/// A file VERSION beside config.yaml says which commit the configuration is, as config-updater writes it.
fn read_version(options: &LoadOptions, prow: &mut ProwConfig, found: &mut Found) {
    let path = options.config_path.with_file_name("VERSION");
    match std::fs::read_to_string(&path) {
        Ok(text) => prow.config_version_sha = text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => found.error(Diagnostic::error(format!("cannot read {}: {error}", path.display()))),
    }
}

/// What reading the job files gave.
#[derive(Default)]
struct ReadJobs {
    /// In walk order.
    files: Vec<JobFile>,
    remembered: memory::Files,
    findings: Vec<Diagnostic>,
}

/// The job files in walk order. They are read by as many threads as there are processors; of those that are as they
/// were in the last snapshot, only the text is.
fn read_jobs(options: &LoadOptions, memory: &Memory, last: Option<Usable<'_>>) -> ReadJobs {
    let mut out = ReadJobs::default();
    let Some(root) = &options.job_config_path else { return out };
    if !root.exists() {
        out.findings.push(Diagnostic::error(format!(
            "{} does not exist; it is the job configuration",
            root.display()
        )));
        return out;
    }
    let paths = walk::job_files(root, &mut out.findings);
    let read = parallel::map(&paths, |path| read_job_file(path, memory, last));
    for (path, (file, findings, remembered)) in paths.into_iter().zip(read) {
        out.findings.extend(findings);
        out.files.push(file);
        out.remembered.extend(remembered.map(|r| (path, r)));
    }
    out
}

fn read_job_file(
    path: &Path,
    memory: &Memory,
    last: Option<Usable<'_>>,
) -> (JobFile, Vec<Diagnostic>, Option<Remembered>) {
    let mut findings = Findings::new(path.to_string_lossy().into());
    let text = match read_text(path, true) {
        Ok(text) => text,
        Err(message) => return (JobFile::default(), vec![Diagnostic::error(message)], None),
    };
    if let Some((file, known)) = last.and_then(|last| last.unchanged(path, &text)) {
        return (file, known.findings.clone(), Some(known.clone()));
    }
    let document = Document::parse(&text, &mut findings);
    let root = document.as_ref().and_then(Document::root);
    let file = root.map(|root| jobfile::read(root, &memory.pool, &mut findings)).unwrap_or_default();
    let remembered = memory.remembered(&text, &file, &findings.list);
    (file, findings.list, Some(remembered))
}

fn read_plugins(options: &LoadOptions, found: &mut Found) -> PluginConfig {
    let Some(path) = &options.plugin_config else { return PluginConfig::default() };
    let mut findings = Findings::new(path.to_string_lossy().into());
    let mut plugins = with_document(path, false, &mut findings, plugins::read);
    found.take(findings.list);
    plugin_parts::merge(&mut plugins, options, found);
    let mut at_fault = Vec::new();
    plugins::finish(&mut plugins, &mut at_fault);
    found.take(placed(at_fault, path, false));
    plugins
}
