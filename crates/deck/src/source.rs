//! From the path of a page to a place in storage, and whether this Deck may read there (prow-runtime §12.6,
//! prow-config §4.4).
//!
//! Properties:
//! * directories of this machine (`file`) are readable only if the configuration names them, always;
//! * `gs` and `s3` buckets are checked when `deck.skip_storage_path_validation` is explicitly false, as in Prow;
//! * no segment is empty, `.` or `..`, and none has control characters: a place is below its bucket by its very form
//!   (links inside a directory that lead out of it are refused by prow-storage).

use crate::error::DeckError;
use crate::web;
use prow_config::Snapshot;
use prow_config::jobs::JobBase;
use prow_job::paths::split_bucket;
use prow_storage::{BucketUrl, Scheme};
use std::collections::{BTreeMap, BTreeSet};

/// What the configuration allows to be read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Allowed {
    enforced: bool,
    /// Names, without scheme and path suffix.
    buckets: BTreeSet<String>,
    /// Absolute directories.
    directories: BTreeSet<String>,
    aliases: BTreeMap<String, String>,
}

/// A place in storage, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The bucket.
    pub bucket: BucketUrl,
    /// Object or directory in it, without slashes at its ends; may be empty.
    pub key: String,
}

impl Allowed {
    /// From the buckets of default decoration configs, of static jobs, and of `deck.additional_allowed_buckets`.
    pub fn of(snapshot: &Snapshot) -> Allowed {
        let deck = &snapshot.prow.deck;
        let mut allowed = Allowed {
            enforced: deck.skip_storage_path_validation == Some(false),
            aliases: deck.spyglass.bucket_aliases.clone(),
            ..Allowed::default()
        };
        for bucket in &deck.additional_allowed_buckets {
            allowed.add(bucket);
        }
        let defaults = &snapshot.prow.plank;
        let of_defaults =
            defaults.default_decoration_config_entries.iter().filter_map(|e| e.config.as_deref());
        for config in of_defaults.chain(defaults.default_decoration_configs.values()) {
            allowed.add(config.gcs_configuration.as_ref().map_or("", |g| &g.bucket));
        }
        let jobs = &snapshot.jobs;
        let bases = (jobs.presubmits.values().flatten().map(|j| &j.base))
            .chain(jobs.postsubmits.values().flatten().map(|j| &j.base))
            .chain(jobs.periodics.iter().map(|j| &j.base));
        for bucket in bases.filter_map(bucket_of) {
            allowed.add(bucket);
        }
        allowed
    }

    fn add(&mut self, bucket: &str) {
        if bucket.is_empty() {
            return;
        }
        let (scheme, rest) = split_bucket(bucket);
        if scheme == Scheme::File.as_str() {
            // Parsed, so that it is spelled as a place is.
            if let Ok(url) = BucketUrl::parse(bucket) {
                self.directories.insert(url.bucket().to_owned());
            }
        } else {
            self.buckets.insert(rest.split('/').next().unwrap_or(rest).to_owned());
        }
    }

    /// The place that `provider` and the decoded `rest` of a path name, such as `gs` and `bucket/logs/job/1`, or
    /// `file` and `var/lib/prow/bucket/logs/job/1`.
    pub fn place(&self, provider: &str, rest: &str) -> Result<Place, DeckError> {
        let rest = rest.trim_matches('/');
        let unusable = |why: &str| {
            let shown: String = rest.chars().take(200).collect();
            DeckError::BadRequest(format!("{shown:?} is not a place in storage: {why}."))
        };
        if rest.is_empty() {
            return Err(unusable("it names no bucket"));
        }
        if rest.split('/').any(|s| matches!(s, "" | "." | "..")) {
            return Err(unusable("it has an empty, \".\" or \"..\" segment"));
        }
        if rest.contains('\\') || rest.chars().any(char::is_control) {
            return Err(unusable("it has a backslash or a control character"));
        }
        let scheme = match provider {
            "gs" | "gcs" => Scheme::Gs,
            "s3" => Scheme::S3,
            "file" => Scheme::File,
            other => {
                let other: String = other.chars().take(50).collect();
                return Err(DeckError::NotFound(format!(
                    "{other:?} is no kind of storage; a path begins with gs, s3, file or prowjob."
                )));
            }
        };
        if scheme == Scheme::File {
            return self.in_directory(rest);
        }
        let (name, key) = rest.split_once('/').unwrap_or((rest, ""));
        let name = self.aliases.get(name).map_or(name, String::as_str);
        if self.enforced && !self.buckets.contains(name) {
            return Err(DeckError::BucketNotAllowed { bucket: name.to_owned() });
        }
        let bucket = BucketUrl::parse(&format!("{}://{name}", scheme.as_str()))
            .map_err(|e| DeckError::storage("read that bucket", e))?;
        Ok(Place { bucket, key: key.to_owned() })
    }

    /// The innermost configured directory that the absolute path `/<rest>` lies in.
    fn in_directory(&self, rest: &str) -> Result<Place, DeckError> {
        let path = format!("/{rest}");
        let below = |directory: &str| {
            let tail = path.strip_prefix(directory)?;
            (tail.is_empty() || tail.starts_with('/')).then(|| tail.trim_start_matches('/').to_owned())
        };
        let found = self.directories.iter().filter_map(|d| Some((d, below(d)?))).max_by_key(|(d, _)| d.len());
        let refused = || DeckError::BucketNotAllowed {
            bucket: format!("file://{}", path.chars().take(200).collect::<String>()),
        };
        let (directory, key) = found.ok_or_else(refused)?;
        let bucket = BucketUrl::parse(&format!("file://{directory}"))
            .map_err(|e| DeckError::storage("read that bucket", e))?;
        Ok(Place { bucket, key })
    }

    /// The place of a result URL, such as the content of a pointer file: `gs://bucket/pr-logs/pull/…`.
    pub fn place_of_url(&self, url: &str) -> Result<Place, DeckError> {
        let (provider, rest) = split_bucket(url.trim());
        self.place(provider, rest)
    }
}

fn bucket_of(base: &JobBase) -> Option<&str> {
    base.decoration_config.as_deref()?.gcs_configuration.as_ref().map(|g| g.bucket.as_str())
}

impl Place {
    /// As it stands in our paths, encoded: `gs/bucket/key`, `file/dir/key`.
    pub fn path(&self) -> String {
        self.path_of(&self.key)
    }

    /// Another key of the same bucket, as it stands in our paths.
    pub fn path_of(&self, key: &str) -> String {
        let bucket = [self.bucket.bucket().trim_matches('/'), self.bucket.prefix(), key];
        let parts: Vec<String> =
            bucket.iter().filter(|p| !p.is_empty()).map(|p| web::encode_path(p)).collect();
        format!("{}/{}", self.bucket.scheme().as_str(), parts.join("/"))
    }

    /// The name of an object below this place.
    pub fn below(&self, name: &str) -> String {
        match self.key.is_empty() {
            true => name.to_owned(),
            false => format!("{}/{name}", self.key),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prow_api::{DecorationConfig, GcsConfiguration};
    use prow_config::prowconfig::DefaultDecorationEntry;
    use std::sync::Arc;

    fn snapshot(enforced: Option<bool>) -> Snapshot {
        let entry = |bucket: &str| DefaultDecorationEntry {
            config: Some(Arc::new(DecorationConfig {
                gcs_configuration: Some(GcsConfiguration { bucket: bucket.into(), ..Default::default() }),
                ..Default::default()
            })),
            ..Default::default()
        };
        let mut snapshot = Snapshot::default();
        snapshot.prow.plank.default_decoration_config_entries =
            vec![entry("gs://main/sub"), entry("file:///var/results/"), entry("file:///var/results/inner")];
        snapshot.prow.deck.skip_storage_path_validation = enforced;
        snapshot.prow.deck.additional_allowed_buckets = vec!["extra".into(), "s3://mine".into()];
        snapshot.prow.deck.spyglass.bucket_aliases = [("old".to_owned(), "main".to_owned())].into();
        snapshot
    }

    #[test]
    fn places() {
        for (provider, rest, open, strict) in [
            ("gs", "main/logs/j/1", "gs://main logs/j/1", true),
            ("gcs", "main/logs/j/1/", "gs://main logs/j/1", true),
            ("gs", "old/logs", "gs://main logs", true),
            ("s3", "mine", "s3://mine ", true),
            ("gs", "other/logs", "gs://other logs", false),
            ("file", "var/results/logs/j/1", "file:///var/results logs/j/1", true),
            ("file", "var/results", "file:///var/results ", true),
            ("file", "var/results/inner/x", "file:///var/results/inner x", true),
        ] {
            let of = |enforced| {
                Allowed::of(&snapshot(enforced))
                    .place(provider, rest)
                    .map(|p| format!("{} {}", p.bucket, p.key))
            };
            assert_eq!(of(None).unwrap(), open, "{rest}");
            assert_eq!(of(Some(true)).unwrap(), open, "{rest}");
            assert_eq!(of(Some(false)).ok(), strict.then(|| open.to_owned()), "{rest}");
        }
    }

    #[test]
    fn what_must_not_be_read_is_refused_whatever_the_configuration_says() {
        for enforced in [None, Some(true), Some(false)] {
            let allowed = Allowed::of(&snapshot(enforced));
            for (provider, rest) in [
                ("file", "etc/passwd"),
                ("file", "var/results-other/x"),
                ("file", "var/result"),
                ("file", "var/results/../../etc/passwd"),
                ("file", "var/results/./x"),
                ("file", "var/results//x"),
                ("file", "var/results/a\0b"),
                ("file", "var/results/a\\b"),
                ("gs", "main/../other"),
                ("gs", ""),
                ("gs", "ma in/x"),
                ("http", "main/x"),
            ] {
                assert!(allowed.place(provider, rest).is_err(), "{provider} {rest}");
            }
        }
    }

    #[test]
    fn a_place_is_written_as_it_is_read() {
        let allowed = Allowed::of(&snapshot(None));
        for path in ["gs/main/logs/j/1", "file/var/results/logs/a%20b/1"] {
            let (provider, rest) = path.split_once('/').unwrap();
            assert_eq!(allowed.place(provider, &rest.replace("%20", " ")).unwrap().path(), path);
        }
        let place = allowed.place_of_url("gs://main/pr-logs/pull/o_r/1/j/2\n").unwrap();
        assert_eq!(place.key, "pr-logs/pull/o_r/1/j/2");
        assert_eq!(place.below("build-log.txt"), "pr-logs/pull/o_r/1/j/2/build-log.txt");
    }
}
