//! From files to a [`Snapshot`]: what to read, in which order (prow-config §4.0, §6).

mod jobset;
mod look;
mod memory;
mod own;
mod parallel;
mod place;
mod plugin_parts;
mod sig;
mod still;
mod supplemental;

pub(crate) use jobset::finish_file;
pub(crate) use look::Look;
pub use own::own_jobs;
pub(crate) use sig::Sig;
pub(crate) use still::Reader;

use crate::diagnostic::{Diagnostic, Kind, LoadErrors, Severity};
use crate::goyaml::{self, Cursor, Document, Findings};
use crate::jobfile::{self, JobFile};
use crate::plugins::{self, PluginConfig};
use crate::podtemplate::Pool;
use crate::prowconfig::{self, ProwConfig};
use crate::snapshot::Snapshot;
use jobset::{Before, Read};
use memory::{Known, Last, Lookup, Memory, PartKnown, Remembered, Text};
use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::Read as _;
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

/// Reads, merges, defaults and validates everything. Either a whole snapshot, or every error that was found. A tree
/// that changes meanwhile is read again.
pub fn load(options: &LoadOptions) -> Result<Snapshot, LoadErrors> {
    Reader::default().load_once(options)
}

/// What one reading gave.
struct Loaded {
    snapshot: Snapshot,
    /// Nothing is different from the last snapshot.
    unchanged: bool,
    decorate_all_jobs: bool,
    config: PartKnown,
    plugins: PartKnown,
    files: Vec<Arc<Remembered>>,
}

impl Loaded {
    fn share(mut self) -> (Arc<Snapshot>, Loaded) {
        let snapshot = Arc::new(std::mem::take(&mut self.snapshot));
        (snapshot, self)
    }

    fn keep(self, snapshot: Arc<Snapshot>) -> Last {
        let Loaded { decorate_all_jobs, config, plugins, files, .. } = self;
        Last { snapshot, decorate_all_jobs, config, plugins, files }
    }
}

/// Reads what was looked at. Nothing, if a file was replaced since.
fn run(options: &LoadOptions, look: &Look, memory: &Memory) -> Option<Result<Loaded, LoadErrors>> {
    if let Some(last) = &memory.last {
        match run_after(options, look, memory, Some(last)) {
            Err(Unusable::Presets) => {}
            Err(Unusable::Moved) => return None,
            Ok(result) => return Some(result),
        }
    }
    run_after(options, look, memory, None).ok()
}

/// Why a reading came to nothing.
enum Unusable {
    /// Other presets than last time: what files said then does not count.
    Presets,
    /// A file was replaced after the look.
    Moved,
}

fn run_after(
    options: &LoadOptions,
    look: &Look,
    memory: &Memory,
    last: Option<&Last>,
) -> Result<Result<Loaded, LoadErrors>, Unusable> {
    let mut found = Found { strict: options.strict, ..Found::default() };
    let same_config = last.filter(|last| last.config.is(&look.config));
    let (prow, decorate_all_jobs, own, config) = match same_config {
        Some(last) => {
            found.take(last.config.warnings.clone());
            let own = Read::Same(last.files[0].clone());
            (last.snapshot.prow.clone(), last.decorate_all_jobs, own, last.config.clone())
        }
        None => {
            let mut part = Found { strict: options.strict, ..Found::default() };
            let (prow, jobs, known) = read_config_part(options, look, memory, &mut part);
            let config = PartKnown::new(&look.config, look, part.warnings.clone());
            found.absorb(part);
            (prow, jobs.decorate_all_jobs, Read::New(Box::new(jobs), known), config)
        }
    };
    let last_jobs = last.filter(|last| same_config.is_some() || last.suits(&prow, decorate_all_jobs));
    found.take(look.findings.clone());
    let read = read_jobs(options, look, memory, last_jobs, &mut found)?;
    let files: Vec<Read> = std::iter::once(own).chain(read).collect();
    if let Some(last) = last_jobs {
        let presets = files.iter().flat_map(Read::presets).map(|(preset, _)| preset);
        if !presets.eq(&last.jobs().presets) {
            return Err(Unusable::Presets);
        }
    }
    let same_jobs = last_jobs.is_some_and(|last| {
        files.len() == last.files.len() && files.iter().all(|f| matches!(f, Read::Same(_)))
    });
    let before = last_jobs.map(|last| Before { jobs: last.jobs(), files: &last.files });
    let (jobs, files) = jobset::assemble(files, &prow, decorate_all_jobs, &memory.pool, before, &mut found);
    let same_plugins = last.filter(|last| last.plugins.is(&look.plugins));
    let (plugins, plugins_known) = match same_plugins {
        Some(last) => {
            found.take(last.plugins.warnings.clone());
            (last.snapshot.plugins.clone(), last.plugins.clone())
        }
        None => {
            let mut part = Found { strict: options.strict, ..Found::default() };
            let plugins = read_plugins(options, &mut part);
            let known = PartKnown::new(&look.plugins, look, part.warnings.clone());
            found.absorb(part);
            (plugins, known)
        }
    };
    place::sharpen(&mut found.errors);
    let unchanged = same_config.is_some() && same_jobs && same_plugins.is_some();
    let snapshot = Snapshot { prow, jobs, plugins, warnings: Vec::new() };
    Ok(found.result(snapshot).map(|snapshot| Loaded {
        snapshot,
        unchanged,
        decorate_all_jobs,
        config,
        plugins: plugins_known,
        files,
    }))
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

    /// Takes up what was found elsewhere.
    fn absorb(&mut self, other: Found) {
        self.errors.extend(other.errors);
        self.warnings.extend(other.warnings);
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
    open_text(path, gunzip).map(|(text, _)| text)
}

/// A file's text, and what the file looks like that it was read from.
fn open_text(path: &Path, gunzip: bool) -> Result<(String, Sig), String> {
    let read = || {
        let mut file = File::open(path)?;
        let metadata = file.metadata()?;
        // No configuration file is larger: what is beyond is refused later, unread.
        let limit = goyaml::MAX_BYTES as u64 + 1;
        let mut bytes = Vec::with_capacity(metadata.len().min(limit) as usize + 1);
        file.by_ref().take(limit).read_to_end(&mut bytes)?;
        Ok((bytes, Sig::from(&metadata)))
    };
    let (bytes, sig) = read().map_err(|e: std::io::Error| format!("cannot read {}: {e}", path.display()))?;
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
    let text = goyaml::decode_text(bytes).map_err(|e| format!("cannot read {}: {e}", path.display()))?;
    Ok((text, sig))
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

/// config.yaml, VERSION and the supplemental files, finished; the jobs of config.yaml apart.
fn read_config_part(
    options: &LoadOptions,
    look: &Look,
    memory: &Memory,
    found: &mut Found,
) -> (ProwConfig, JobFile, Known) {
    let (mut prow, jobs) = read_config(options, &memory.pool, found);
    supplemental::merge(&mut prow, options, found);
    read_version(options, &mut prow, found);
    let mut at_fault = Vec::new();
    prowconfig::finish(&mut prow, &mut at_fault);
    prowconfig::check_times(&prow, jiff::Timestamp::now(), &mut at_fault);
    found.take(placed(at_fault, &options.config_path, true));
    let text = Text { path: &options.config_path.as_path().into(), sig: None, text: "" };
    let mut known = memory.known(&text, look);
    known.presets.clone_from(&jobs.presets);
    (prow, jobs, known)
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

/// The job files in walk order. Those that look as they did when the last snapshot was made are not read; the others
/// are, by as many threads as there are processors.
fn read_jobs(
    options: &LoadOptions,
    look: &Look,
    memory: &Memory,
    last: Option<&Last>,
    found: &mut Found,
) -> Result<Vec<Read>, Unusable> {
    let Some(root) = &options.job_config_path else { return Ok(Vec::new()) };
    if look.jobs.is_empty() && !root.exists() {
        found.error(Diagnostic::error(format!(
            "{} does not exist; it is the job configuration",
            root.display()
        )));
        return Ok(Vec::new());
    }
    let mut lookup = last.map(|last| Lookup::new(&last.files[1..]));
    let mut slots = Vec::with_capacity(look.jobs.len());
    let mut unread = Vec::new();
    for (path, sig) in &look.jobs {
        let known = lookup.as_mut().and_then(|lookup| lookup.get(path));
        slots.push(known.filter(|known| known.looks_like(path, *sig)));
        if slots.last().is_some_and(Option::is_none) {
            unread.push((path, *sig, known));
        }
    }
    let read = parallel::map_with(
        &unread,
        |(_, sig, _)| sig.len(),
        || (),
        |(), (path, sig, known)| read_job_file(path, *sig, *known, look, memory),
    );
    let mut read = read.into_iter();
    let mut out = Vec::with_capacity(slots.len());
    for slot in slots {
        let file = match slot {
            Some(same) => Ok(Read::Same(same.clone())),
            None => match read.next() {
                Some(read) => read?,
                None => continue,
            },
        };
        match file {
            Ok(Read::Same(same)) => {
                found.take(same.known.findings.clone());
                out.push(Read::Same(same));
            }
            Ok(Read::New(file, known)) => {
                found.take(known.findings.clone());
                out.push(Read::New(file, known));
            }
            Err(unreadable) => found.error(unreadable),
        }
    }
    Ok(out)
}

fn read_job_file(
    path: &Arc<Path>,
    sig: Sig,
    known: Option<&Arc<Remembered>>,
    look: &Look,
    memory: &Memory,
) -> Result<Result<Read, Diagnostic>, Unusable> {
    let (text, read) = match open_text(path, true) {
        Ok(read) => read,
        Err(message) => return Ok(Err(Diagnostic::error(message))),
    };
    if read != sig {
        return Err(Unusable::Moved);
    }
    let mut now = memory.known(&Text { path, sig: Some(sig), text: &text }, look);
    if let Some(same) = known.and_then(|known| memory.says_the_same(known, &now)) {
        return Ok(Ok(Read::Same(same)));
    }
    let mut findings = Findings::new(path.to_string_lossy().into());
    let document = Document::parse(&text, &mut findings);
    let root = document.as_ref().and_then(Document::root);
    let file = root.map(|root| jobfile::read(root, &memory.pool, &mut findings)).unwrap_or_default();
    now.presets.clone_from(&file.presets);
    now.findings = findings.list;
    Ok(Ok(Read::New(Box::new(file), now)))
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
