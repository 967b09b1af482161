//! Loading with a memory gives what loading without one gives, whatever happened to the files in between.

use super::*;
use crate::golden::{config_record, job_records};
use crate::load::{LoadOptions, Reader, load};
use crate::{JobChanges, LoadErrors};
use proptest::prelude::*;
use std::fs;
use std::time::{Duration, SystemTime};

fn job(name: &str) -> String {
    format!(
        "periodics:\n- name: {name}\n  interval: 1h\n  labels: {{p: \"1\"}}\n  unknown_key: 1\n  spec:\n    containers:\n    - image: i\npresubmits:\n  o/r:\n  - name: pull-{name}\n    spec: {{containers: [{{image: i}}]}}\n"
    )
}

struct Tree {
    dir: tempfile::TempDir,
    options: LoadOptions,
    reader: Reader,
    /// Grows with each file, so that no two texts have one length: with a clock that is ahead, files count as old, and
    /// times and length must tell them apart.
    written: usize,
}

/// An hour ahead: nothing is so young that its looks prove nothing.
fn later() -> SystemTime {
    SystemTime::now() + Duration::from_secs(3600)
}

impl Tree {
    fn new(clock: fn() -> SystemTime) -> Tree {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("jobs/sub")).unwrap();
        fs::create_dir(dir.path().join("parts")).unwrap();
        let options = LoadOptions {
            config_path: dir.path().join("config.yaml"),
            job_config_path: Some(dir.path().join("jobs")),
            plugin_config: Some(dir.path().join("plugins.yaml")),
            supplemental_prow_config_dirs: vec![dir.path().join("parts")],
            ..LoadOptions::default()
        };
        let mut tree = Tree { dir, options, reader: Reader::with_clock(clock), written: 0 };
        tree.write("config.yaml", "pod_namespace: a\n");
        tree.write("plugins.yaml", "plugins: {}\n");
        tree.write("jobs/a.yaml", &job("a"));
        tree.write("jobs/b.yaml", &job("b"));
        tree
    }

    fn write(&mut self, name: &str, text: &str) {
        self.written += 1;
        let filler = "#".repeat(self.written);
        fs::write(self.dir.path().join(name), format!("{text}{filler}\n")).unwrap();
    }

    /// Loads again; the result must be that of a load without memory.
    fn again(&mut self) -> Result<Arc<Snapshot>, LoadErrors> {
        let (got, fresh) = (self.reader.load(&self.options), load(&self.options));
        let texts = |list: &[Diagnostic]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
        match (&got, &fresh) {
            (Ok(got), Ok(fresh)) => {
                let records = |s: &Snapshot| job_records(&s.jobs).collect::<Vec<_>>();
                assert_eq!(records(got), records(fresh));
                assert!(got.jobs.presubmits.keys().eq(fresh.jobs.presubmits.keys()));
                assert!(got.jobs.postsubmits.keys().eq(fresh.jobs.postsubmits.keys()));
                assert_eq!(got.jobs.presets, fresh.jobs.presets);
                assert_eq!(texts(&got.warnings), texts(&fresh.warnings));
                assert_eq!(config_record(&got.prow), config_record(&fresh.prow));
                assert_eq!(got.plugins, fresh.plugins);
                assert!(JobChanges::between(got, fresh).is_empty());
            }
            (Err(got), Err(fresh)) => {
                assert_eq!(texts(&got.errors), texts(&fresh.errors));
                assert_eq!(texts(&got.warnings), texts(&fresh.warnings));
            }
            _ => panic!("with memory: {:?}, without: {:?}", got.as_ref().err(), fresh.as_ref().err()),
        }
        self.reader.memory.tidy();
        got
    }
}

/// Whether two snapshots hold the very same Pod for a periodic.
fn taken_over(old: &Snapshot, new: &Snapshot, index: usize) -> bool {
    let spec = |s: &Snapshot| s.jobs.periodics[index].base.spec.clone().unwrap();
    Arc::ptr_eq(&spec(old), &spec(new))
}

#[test]
fn only_changed_files_are_read_again() {
    for clock in [SystemTime::now, later] {
        let mut tree = Tree::new(clock);
        let first = tree.again().unwrap();
        tree.write("jobs/b.yaml", &job("other"));
        tree.write("VERSION", "abc");
        let second = tree.again().unwrap();
        assert!(taken_over(&first, &second, 0) && !taken_over(&first, &second, 1));
        assert_eq!(second.jobs.periodics[1].base.name, "other");
        fs::remove_file(tree.dir.path().join("jobs/a.yaml")).unwrap();
        assert_eq!(tree.again().unwrap().jobs.len(), 2);
    }
}

#[test]
fn nothing_new_is_the_same_snapshot() {
    let mut tree = Tree::new(later);
    let first = tree.again().unwrap();
    assert!(!tree.reader.is_stale(&tree.options));
    assert!(Arc::ptr_eq(&first, &tree.again().unwrap()));
    fs::rename(tree.dir.path().join("jobs/a.yaml"), tree.dir.path().join("jobs/sub/a.yaml")).unwrap();
    assert!(tree.reader.is_stale(&tree.options));
    assert!(!Arc::ptr_eq(&first, &tree.again().unwrap()));
    // What is so young that it may change again without looking different is not trusted.
    let mut tree = Tree::new(SystemTime::now);
    tree.again().unwrap();
    assert!(tree.reader.is_stale(&tree.options));
}

#[test]
fn what_all_jobs_depend_on_makes_all_of_them_anew_and_nothing_else_does() {
    let mut tree = Tree::new(later);
    let first = tree.again().unwrap();
    tree.write("jobs/c.yaml", "presets: [{labels: {p: \"1\"}, env: [{name: E, value: x}]}]\n");
    let with_preset = tree.again().unwrap();
    assert!(!taken_over(&first, &with_preset, 0));
    tree.write("config.yaml", "pod_namespace: a\ntide: {max_goroutines: 7}\n");
    let tide = tree.again().unwrap();
    assert!(taken_over(&with_preset, &tide, 0) && tide.prow.tide.max_goroutines == 7);
    tree.write("config.yaml", "pod_namespace: b\n");
    let moved = tree.again().unwrap();
    assert!(!taken_over(&tide, &moved, 0));
    assert_eq!(moved.jobs.periodics[0].base.namespace, "b");
}

#[test]
fn rules_across_files_hold_for_files_that_did_not_change() {
    let mut tree = Tree::new(later);
    tree.again().unwrap();
    tree.write("jobs/b.yaml", &job("a"));
    let error = tree.again().unwrap_err().to_string();
    assert!(error.contains("twice"), "{error}");
    tree.write("jobs/b.yaml", &job("b"));
    tree.again().unwrap();
}

#[derive(Debug, Clone)]
enum Edit {
    Write(usize, String),
    Remove(usize),
    Rename(usize, usize),
    #[cfg(unix)]
    Link(usize, usize),
    Config(&'static str),
    Supplement(&'static str),
    Ignore(&'static str),
}

const FILES: [&str; 5] = ["jobs/a.yaml", "jobs/b.yaml", "jobs/sub/c.yaml", "jobs/sub/d.yaml", "jobs/z.yml"];

/// A job file of some lists, names and repositories few enough to clash.
fn text() -> impl Strategy<Value = String> {
    let jobs = |indent: &'static str| {
        prop::collection::vec((0..6_u8, any::<bool>()), 0..3).prop_map(move |names| {
            let one = |(name, decorate): (u8, bool)| {
                format!("{indent}- {{name: j{name}, decorate: {decorate}, labels: {{p: \"{name}\"}}, spec: {{containers: [{{image: i, command: [c]}}]}}")
            };
            names.into_iter().map(one).collect::<Vec<_>>()
        })
    };
    let lists = (jobs("  "), jobs("  "), jobs(""), 0..8_u8, any::<bool>());
    (lists, 0..3_u8, 0..3_u8).prop_map(|((pre, post, periodic, extra, preset), repo, other)| {
        let list = |jobs: Vec<String>, more: &str| {
            jobs.into_iter().map(|job| format!("{job}{more}}}\n")).collect::<String>()
        };
        let mut out = format!("presubmits:\n  o/r{repo}:\n{}", list(pre, ""));
        out += &format!("postsubmits:\n  o/r{other}:\n{}", list(post, ""));
        out += &format!("periodics:\n{}", list(periodic, ", cron: \"@hourly\""));
        match extra {
            0 if preset => out += "presets: [{labels: {p: \"1\"}, env: [{name: E, value: x}]}]\n",
            1 => out += "unknown: 1\n",
            2 => out += "broken: [\n",
            _ => {}
        }
        out
    })
}

fn edit() -> impl Strategy<Value = Edit> {
    let file = 0..FILES.len();
    prop_oneof![
        8 => (file.clone(), text()).prop_map(|(file, text)| Edit::Write(file, text)),
        2 => file.clone().prop_map(Edit::Remove),
        2 => (file.clone(), file.clone()).prop_map(|(from, to)| Edit::Rename(from, to)),
        2 => (file.clone(), file).prop_map(|(link, to)| if cfg!(unix) { Edit::Link(link, to) } else { Edit::Remove(to) }),
        1 => prop::sample::select(vec![
            "pod_namespace: b\n",
            "decorate_all_jobs: false\nperiodics: [{name: own, interval: 1h, spec: {containers: [{image: i}]}}]\n",
            "tide: {max_goroutines: 7}\n",
            "presubmits: {o/r1: [{name: j1, spec: {containers: [{image: i}]}}]}\n",
        ]).prop_map(Edit::Config),
        1 => prop::sample::select(vec!["slack_reporter_configs: {o: {channel: c}}\n", "tide: {max_goroutines: 1}\n", ""])
            .prop_map(Edit::Supplement),
        1 => prop::sample::select(vec!["b.yaml\n", "sub/\n", "#\n"]).prop_map(Edit::Ignore),
    ]
}

impl Tree {
    fn edit(&mut self, edit: &Edit) {
        let at = |file: usize| self.dir.path().join(FILES[file]);
        // What is not there cannot be removed or moved: then nothing happens, which is a case, too.
        match edit {
            Edit::Write(file, text) => {
                let _ = fs::remove_file(at(*file)).ok().filter(|()| self.written.is_multiple_of(2));
                self.write(FILES[*file], text);
            }
            Edit::Remove(file) => drop(fs::remove_file(at(*file))),
            Edit::Rename(from, to) => drop(fs::rename(at(*from), at(*to))),
            #[cfg(unix)]
            Edit::Link(link, to) if link != to => {
                let target = at(*to);
                drop(fs::remove_file(at(*link)));
                std::os::unix::fs::symlink(target, at(*link)).unwrap();
            }
            #[cfg(unix)]
            Edit::Link(..) => {}
            Edit::Config(text) => self.write("config.yaml", text),
            Edit::Supplement(text) => self.write("parts/x_prowconfig.yaml", text),
            Edit::Ignore(text) => self.write("jobs/.prowignore", text),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn after_any_edits_memory_changes_nothing(steps in prop::collection::vec(prop::collection::vec(edit(), 1..3), 1..12)) {
        for clock in [SystemTime::now as fn() -> SystemTime, later] {
            let mut tree = Tree::new(clock);
            let _ = tree.again();
            for edits in &steps {
                edits.iter().for_each(|edit| tree.edit(edit));
                // An error is an answer like another; `again` has compared it.
                let _ = tree.again();
            }
        }
    }
}
