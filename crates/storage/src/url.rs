//! Bucket strings as Prow's configuration writes them (prow-runtime §9, prow-config §1.7).

use crate::{Result, StorageError};
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Where a bucket lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// Google Cloud Storage, `gs://`.
    Gs,
    /// S3 and what speaks its protocol, `s3://`.
    S3,
    /// A directory, `file://`.
    File,
}

impl Scheme {
    /// `gs`, `s3` or `file`: also the first segment of Deck's and Spyglass' storage paths.
    pub fn as_str(self) -> &'static str {
        match self {
            Scheme::Gs => "gs",
            Scheme::S3 => "s3",
            Scheme::File => "file",
        }
    }
}

/// A parsed bucket string: `name` (meaning `gs://name`), `gs://name`, `s3://name`, `file:///directory`; for
/// `gs` and `s3` a path may follow the name and then prefixes every object.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct BucketUrl {
    scheme: Scheme,
    bucket: String,
    prefix: String,
}

impl BucketUrl {
    /// Parses a bucket string. Trailing slashes are dropped.
    pub fn parse(text: &str) -> Result<Self> {
        let bad = |why: &str| StorageError::BadBucket { text: text.to_owned(), why: why.to_owned() };
        let (scheme, rest) = text.split_once("://").unwrap_or(("gs", text));
        let scheme = match scheme {
            "gs" => Scheme::Gs,
            "s3" => Scheme::S3,
            "file" => Scheme::File,
            other => return Err(bad(&format!("the scheme {other:?} is not supported"))),
        };
        if rest.contains(['?', '#', '\0']) {
            return Err(bad("it contains '?', '#' or NUL"));
        }
        let rest = rest.trim_end_matches('/');
        if rest.split('/').any(|segment| matches!(segment, "." | "..")) {
            return Err(bad("it has a '.' or '..' segment"));
        }
        if scheme == Scheme::File {
            let directory = rest.strip_prefix("localhost").unwrap_or(rest);
            if !directory.starts_with('/') {
                return Err(bad(
                    "a file bucket is an absolute directory with three slashes: file:///directory",
                ));
            }
            return Ok(BucketUrl { scheme, bucket: directory.to_owned(), prefix: String::new() });
        }
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        if bucket.is_empty() {
            return Err(bad("the bucket has no name"));
        }
        if !bucket.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b)) {
            return Err(bad("a bucket name is letters, digits, '-', '_' and '.'"));
        }
        if prefix.split('/').any(str::is_empty) && !prefix.is_empty() {
            return Err(bad("it has an empty segment"));
        }
        Ok(BucketUrl { scheme, bucket: bucket.to_owned(), prefix: prefix.to_owned() })
    }

    /// The bucket that is a directory of this machine.
    pub fn of_directory(directory: &Path) -> Result<Self> {
        match directory.to_str() {
            Some(text) => BucketUrl::parse(&format!("file://{text}")),
            None => Err(StorageError::BadBucket {
                text: directory.to_string_lossy().into_owned(),
                why: "its path is not UTF-8".to_owned(),
            }),
        }
    }

    /// Where it lives.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// The bucket's name; for `file` the directory.
    pub fn bucket(&self) -> &str {
        &self.bucket
    }

    /// What is put before every object name; empty or without slashes at its ends.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The directory of a `file` bucket.
    pub fn directory(&self) -> Option<PathBuf> {
        (self.scheme == Scheme::File).then(|| PathBuf::from(&self.bucket))
    }

    /// The full URL of an object in it, such as `gs://bucket/prefix/logs/job/1/build-log.txt`.
    pub fn object_url(&self, name: &str) -> String {
        format!("{self}/{name}")
    }
}

impl fmt::Display for BucketUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme.as_str(), self.bucket)?;
        if self.prefix.is_empty() { Ok(()) } else { write!(f, "/{}", self.prefix) }
    }
}

impl FromStr for BucketUrl {
    type Err = StorageError;
    fn from_str(text: &str) -> Result<Self> {
        BucketUrl::parse(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bucket_strings_parse_and_show_again() {
        for (text, scheme, bucket, prefix, shown) in [
            ("kyma-prow-logs", Scheme::Gs, "kyma-prow-logs", "", "gs://kyma-prow-logs"),
            ("gs://b/", Scheme::Gs, "b", "", "gs://b"),
            ("gs://b/some/dir/", Scheme::Gs, "b", "some/dir", "gs://b/some/dir"),
            ("b/dir", Scheme::Gs, "b", "dir", "gs://b/dir"),
            ("s3://b", Scheme::S3, "b", "", "s3://b"),
            ("file:///var/b ucket/", Scheme::File, "/var/b ucket", "", "file:///var/b ucket"),
            ("file://localhost/x", Scheme::File, "/x", "", "file:///x"),
        ] {
            let url = BucketUrl::parse(text).unwrap();
            assert_eq!((url.scheme(), url.bucket(), url.prefix()), (scheme, bucket, prefix), "{text}");
            assert_eq!(url.to_string(), shown);
            assert_eq!(BucketUrl::parse(shown).unwrap(), url);
        }
    }

    #[test]
    fn wrong_bucket_strings_are_refused_with_a_reason() {
        for (text, why) in [
            ("", "no name"),
            ("gs://", "no name"),
            ("azblob://x", "not supported"),
            ("file://relative", "absolute"),
            ("file://", "absolute"),
            ("file:///a/../b", "'..'"),
            ("gs://b/a//c", "empty segment"),
            ("gs://b b", "letters"),
            ("s3://b?region=x", "'?'"),
        ] {
            let error = BucketUrl::parse(text).unwrap_err().to_string();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
