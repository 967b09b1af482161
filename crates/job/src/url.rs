//! The address of a job's page, `status.url` (prow-config §11.3).

use crate::paths::{JobPaths, PathError, split_bucket};
use prow_api::jobspec::JobSpec;
use prow_api::prowjob::ProwJob;
use std::collections::BTreeMap;

/// What of the configuration decides a job's address (`plank.job_url_prefix_config`,
/// `plank.jobURLPrefixDisableAppendStorageProvider`).
#[derive(Debug, Clone, Copy, Default)]
pub struct UrlConfig<'a> {
    /// Prefixes by `org/repo`, `org` and `*`. `None` is an empty map.
    pub prefixes: Option<&'a BTreeMap<String, String>>,
    /// Leave `gs`, `s3`, … out of the address.
    pub omit_storage_provider: bool,
}

/// The address of `prowjob`'s page: below a prefix if the job is decorated and has one, otherwise what `template`
/// (`plank.job_url_template`, executed over the ProwJob) gives; that may be empty.
///
/// # Errors
/// A decorated job whose results have no place ([`PathError`]), such as one without build id.
pub fn job_url(
    prowjob: &ProwJob,
    config: UrlConfig<'_>,
    template: impl FnOnce(&ProwJob) -> String,
) -> Result<String, PathError> {
    let gcs = prowjob.spec.decoration_config.as_deref().and_then(|d| d.gcs_configuration.as_ref());
    let prefix = job_url_prefix(prowjob, config.prefixes);
    let (Some(gcs), false) = (gcs, prefix.is_empty()) else {
        return Ok(template(prowjob));
    };
    let dir = JobPaths::new(&JobSpec::of(prowjob), gcs)?.dir;
    let (provider, bucket) = split_bucket(&gcs.bucket);
    let provider = if config.omit_storage_provider { "" } else { provider };
    Ok(below(prefix, &[provider, bucket, &dir]))
}

/// The prefix for a job: its own, else by `org/repo`, `org`, `*` of `refs` or the first extra ref. Empty if none;
/// an empty value counts as unset.
pub fn job_url_prefix<'a>(prowjob: &'a ProwJob, prefixes: Option<&'a BTreeMap<String, String>>) -> &'a str {
    let gcs = prowjob.spec.decoration_config.as_deref().and_then(|d| d.gcs_configuration.as_ref());
    if let Some(own) = gcs.map(|g| g.job_url_prefix.as_str()).filter(|p| !p.is_empty()) {
        return own;
    }
    let Some(prefixes) = prefixes else { return "" };
    let by = |key: &str| prefixes.get(key).map(String::as_str).filter(|p| !p.is_empty());
    let refs = prowjob.spec.first_refs().filter(|r| !r.org.is_empty());
    refs.and_then(|r| by(&format!("{}/{}", r.org, r.repo)).or_else(|| by(&r.org)))
        .or_else(|| by("*"))
        .unwrap_or_default()
}

/// `prefix` with `parts` appended to its path, the path cleaned: no double or trailing slashes.
fn below(prefix: &str, parts: &[&str]) -> String {
    let (before, tail) = prefix.split_at(prefix.find(['?', '#']).unwrap_or(prefix.len()));
    let authority_end = match before.find("://") {
        Some(scheme) => before[scheme + 3..].find('/').map_or(before.len(), |slash| scheme + 3 + slash),
        None => 0,
    };
    let (authority, path) = before.split_at(authority_end);
    let mut out = authority.to_owned();
    let absolute = !authority.is_empty() || path.starts_with('/');
    let own = path.split('/').map(str::to_owned);
    let added = parts.iter().flat_map(|part| part.split('/')).map(escape);
    let mut first = true;
    for piece in own.chain(added).filter(|piece| !piece.is_empty() && piece != ".") {
        if absolute || !first {
            out.push('/');
        }
        out.push_str(&piece);
        first = false;
    }
    out.push_str(tail);
    out
}

/// Percent-encodes one path segment; what may stand in it unencoded is Go's choice.
fn escape(segment: &str) -> String {
    let mut out = String::with_capacity(segment.len());
    for byte in segment.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~$&+,:;=@".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use prow_api::decoration::{DecorationConfig, GcsConfiguration};
    use prow_api::prowjob::JobType;
    use prow_api::refs::Refs;

    fn job(bucket: &str, own_prefix: &str) -> ProwJob {
        let mut job = ProwJob::default();
        job.spec.job_type = JobType::Postsubmit;
        job.spec.job = "unit".into();
        job.status.build_id = "17".into();
        job.spec.refs = Some(Refs { org: "o".into(), repo: "r".into(), ..Refs::default() });
        job.spec.decoration_config = Some(Box::new(DecorationConfig {
            gcs_configuration: Some(GcsConfiguration {
                bucket: bucket.into(),
                job_url_prefix: own_prefix.into(),
                ..GcsConfiguration::default()
            }),
            ..DecorationConfig::default()
        }));
        job
    }

    #[test]
    fn the_nearest_prefix_is_used() {
        let all = [("*", "https://any/"), ("o", "https://org/view"), ("o/r", "https://repo")];
        for (keys, want) in [
            (&all[..], "https://repo/gs/b/logs/unit/17"),
            (&all[..2], "https://org/view/gs/b/logs/unit/17"),
            (&all[..1], "https://any/gs/b/logs/unit/17"),
            (&[("o/r", ""), ("*", "https://any/x/?a=b")][..], "https://any/x/gs/b/logs/unit/17?a=b"),
            (&[][..], "template"),
        ] {
            let prefixes: BTreeMap<_, _> =
                keys.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
            let config = UrlConfig { prefixes: Some(&prefixes), ..UrlConfig::default() };
            assert_eq!(job_url(&job("b", ""), config, |_| "template".into()).unwrap(), want);
        }
    }

    #[test]
    fn provider_and_bucket_are_part_of_the_address() {
        for (bucket, omit, want) in [
            ("s3://b/sub/", false, "https://p/s3/b/sub/logs/unit/17"),
            ("gs://b", true, "https://p/b/logs/unit/17"),
            ("file:///var/bucket", false, "https://p/file/var/bucket/logs/unit/17"),
            ("b c?#%", false, "https://p/gs/b%20c%3F%23%25/logs/unit/17"),
        ] {
            let config = UrlConfig { prefixes: None, omit_storage_provider: omit };
            assert_eq!(job_url(&job(bucket, "https://p"), config, |_| String::new()).unwrap(), want);
        }
    }

    #[test]
    fn undecorated_jobs_have_the_templates_address() {
        let mut job = job("b", "https://p");
        job.spec.decoration_config = None;
        assert_eq!(job_url(&job, UrlConfig::default(), |j| j.spec.job.clone()).unwrap(), "unit");
    }
}
