//! A finished run again: its prowjob.json from a file, a bucket, a web server, or through a page about the run
//! (prow-runtime §9, §12.6).

use super::Args;
use crate::flags;
use anyhow::{Context, bail};
use prow_api::ProwJob;
use prow_storage::{BucketUrl, Opener, Scheme, StorageOptions};
use std::time::Duration;
use url::Url;

/// A ProwJob is small; a page that is not one need not be read to its end.
const LIMIT: u64 = 16 << 20;
/// For a server to accept us, and then between two pieces of its answer.
const PATIENCE: Duration = Duration::from_secs(30);
/// Public objects of Google's buckets.
const PUBLIC: &str = "storage.googleapis.com";
/// The same for people who are logged in.
const LOGGED_IN: &str = "storage.cloud.google.com";
/// Google's page about a bucket.
const CONSOLE: &str = "console.cloud.google.com";

/// Reads it from where the flags say.
pub async fn read(args: &Args) -> anyhow::Result<ProwJob> {
    let (name, bytes) = match (&args.from_url, &args.from_file) {
        (Some(url), _) => (url.clone(), fetch(url).await?),
        (None, Some(path)) => (path.display().to_string(), flags::read("the ProwJob", path)?),
        (None, None) => bail!("give --from-url or --from-file"),
    };
    let (job, _) = prow_config::yaml::read::<ProwJob>(&name, bytes)
        .with_context(|| format!("{name} is not a ProwJob"))?;
    check(&name, &job)?;
    Ok(job)
}

/// Whether it can be run here, and shown: its texts were written by whoever wrote the file.
fn check(name: &str, job: &ProwJob) -> anyhow::Result<()> {
    let spec = &job.spec;
    if spec.job.is_empty() {
        bail!("{name} is not a ProwJob: it has no spec.job");
    }
    let refs = spec.refs.iter().chain(&spec.extra_refs);
    let shown = refs.flat_map(|r| [&r.org, &r.repo, &r.base_ref, &r.base_sha]);
    if let Some(text) = shown.chain([&spec.job]).find(|text| text.chars().any(char::is_control)) {
        bail!("{name} is not a ProwJob that can be run: {text:?} has control characters");
    }
    Ok(())
}

async fn fetch(given: &str) -> anyhow::Result<Vec<u8>> {
    let at = object_url(given).with_context(|| format!("--from-url {given}"))?;
    let what = || match at == given {
        true => format!("cannot fetch {given}"),
        false => format!("cannot fetch {at}, which {given} stands for"),
    };
    if let Some((bucket, name)) = bucket_and_name(&at) {
        return from_bucket(&BucketUrl::parse(&bucket)?, &name).await.with_context(what);
    }
    let client = reqwest::Client::builder().connect_timeout(PATIENCE).read_timeout(PATIENCE).build();
    let client = client.with_context(what)?;
    let mut answer =
        client.get(&at).send().await.and_then(reqwest::Response::error_for_status).with_context(what)?;
    let mut bytes = Vec::new();
    while let Some(chunk) = answer.chunk().await.with_context(what)? {
        bytes.extend_from_slice(&chunk);
        if bytes.len() as u64 > LIMIT {
            bail!("{}: it is larger than any ProwJob", what());
        }
    }
    if bytes.trim_ascii_start().starts_with(b"<") {
        bail!("{}: it is a web page, not a ProwJob; give the URL of its prowjob.json", what());
    }
    Ok(bytes)
}

/// As nobody, for results are often public and people's machines often have no credentials; else with those there are.
async fn from_bucket(bucket: &BucketUrl, name: &str) -> anyhow::Result<Vec<u8>> {
    let nobody = StorageOptions { anonymous: true, ..StorageOptions::default() };
    let open = async |options| Opener::new(options).open(bucket)?.get_bytes(name, LIMIT).await;
    let refused = match open(nobody).await {
        Ok(bytes) => return Ok(bytes.to_vec()),
        Err(error) if bucket.scheme() == Scheme::File => return Err(error.into()),
        Err(error) => error,
    };
    let bytes = open(StorageOptions::default()).await;
    Ok(bytes.with_context(|| format!("it is not public ({refused})"))?.to_vec())
}

/// A run's prowjob.json, from its own URL, its directory's, that of Deck's or gcsweb's page about the run, or Google's
/// about its directory.
fn object_url(given: &str) -> anyhow::Result<String> {
    let url = Url::parse(given).context("this is no URL; write it with its scheme: https, gs, s3 or file")?;
    let path = url.path().trim_end_matches('/');
    let web = match url.scheme() {
        "http" | "https" => true,
        "gs" | "s3" | "file" => false,
        other => bail!("there is no {other}://; https, gs, s3 and file are read"),
    };
    let file = |at: String| match [".json", ".yaml"].iter().any(|end| at.ends_with(end)) {
        true => at,
        false => format!("{at}/prowjob.json"),
    };
    if !web {
        // As it is written: what is an escape in a URL is a part of an object's name.
        let plain = given.split(['?', '#']).next().unwrap_or_default().trim_end_matches('/');
        return Ok(file(plain.to_owned()));
    }
    let page = path.split_once("/view/").map(|(_, rest)| rest);
    // gcsweb's path begins so.
    let page =
        page.or_else(|| path.strip_prefix('/').filter(|p| p.starts_with("gcs/") || p.starts_with("s3/")));
    let host = url.host_str().unwrap_or_default();
    Ok(match page.and_then(|page| page.split_once('/')) {
        Some(("gs" | "gcs", rest)) => file(format!("gs://{rest}")),
        Some(("s3", rest)) => file(format!("s3://{rest}")),
        Some(("file", rest)) => file(format!("file:///{rest}")),
        _ if host == CONSOLE => match path.strip_prefix("/storage/browser/") {
            Some(rest) => file(format!("gs://{}", rest.trim_start_matches("_details/"))),
            None => bail!("this page of {CONSOLE} is not that of a directory of a bucket"),
        },
        _ if host == LOGGED_IN => file(format!("gs:/{path}")),
        _ if host == PUBLIC => file(format!("{}{path}", &url[..url::Position::BeforePath])),
        _ => given.to_owned(),
    })
}

/// Bucket URL and object name; `None` for what is not in a bucket.
fn bucket_and_name(url: &str) -> Option<(String, String)> {
    let (scheme, rest) = url.split_once("://")?;
    let (bucket, name) = match scheme {
        "gs" | "s3" => rest.split_once('/')?,
        "file" => rest.rsplit_once('/')?,
        _ => return None,
    };
    Some((format!("{scheme}://{bucket}"), name.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_runs_prowjob_is_found_from_any_of_its_addresses() {
        for (url, want) in [
            ("gs://b/logs/j/1/prowjob.json", "gs://b/logs/j/1/prowjob.json"),
            ("gs://b/logs/j/1/", "gs://b/logs/j/1/prowjob.json"),
            ("https://deck/view/gs/b/logs/j/1", "gs://b/logs/j/1/prowjob.json"),
            ("https://deck/view/gcs/b/logs/j/1/?x#1:build-log.txt%3A5", "gs://b/logs/j/1/prowjob.json"),
            ("https://deck/prow/view/s3/b/logs/j/1", "s3://b/logs/j/1/prowjob.json"),
            ("https://deck/prowjob?prowjob=abc", "https://deck/prowjob?prowjob=abc"),
            ("https://gcsweb.example.com/gcs/b/logs/j/1/", "gs://b/logs/j/1/prowjob.json"),
            (
                "https://storage.googleapis.com/b/logs/j/1/prowjob.json",
                "https://storage.googleapis.com/b/logs/j/1/prowjob.json",
            ),
            ("https://storage.cloud.google.com/b/logs/j/1", "gs://b/logs/j/1/prowjob.json"),
            ("https://console.cloud.google.com/storage/browser/b/logs/j/1", "gs://b/logs/j/1/prowjob.json"),
            ("file:///dir/1", "file:///dir/1/prowjob.json"),
        ] {
            assert_eq!(object_url(url).unwrap(), want, "{url}");
        }
        for (url, says) in [("logs/j/1", "no URL"), ("ftp://x/y", "no ftp://"), ("C:\\job", "no c://")] {
            let error = format!("{:#}", object_url(url).unwrap_err());
            assert!(error.contains(says), "{url}: {error}");
        }
        let split = |url| bucket_and_name(url).unwrap();
        assert_eq!(split("gs://b/l/p.json"), ("gs://b".into(), "l/p.json".into()));
        assert_eq!(split("file:///d/1/p.json"), ("file:///d/1".into(), "p.json".into()));
        assert_eq!(bucket_and_name("https://x/y"), None);
    }
}
