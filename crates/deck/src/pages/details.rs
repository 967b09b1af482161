//! What a job's page says of a run beside its log: the header with state, code, times and links, and the metadata of
//! started.json and finished.json (prow-runtime §12.6, the metadata lens).

use crate::html;
use crate::links;
use crate::run::Run;
use crate::state::View;
use crate::web;
use jiff::Timestamp;
use maud::{Markup, html};
use prow_api::Refs;
use prow_config::prowconfig::Spyglass;
use serde_json::{Map, Value};

/// State, job, code under test, times, links.
pub fn header(run: &Run, view: &View, now: Timestamp) -> Markup {
    let job = run.job.as_deref();
    let refs: Vec<&Refs> = job.iter().flat_map(|j| j.spec.refs.iter().chain(&j.spec.extra_refs)).collect();
    let description = job.map_or("", |j| j.status.description.as_str());
    html! {
        section.card.run data-running=[run.is_running().then_some("true")] {
            h1 {
                (html::result(&run.result())) " "
                bdi { (run.job_name()) } " "
                span.quiet.build { (run.build_id()) }
            }
            @if !description.is_empty() { p.description { bdi { (description) } } }
            dl.facts {
                @if let Some(start) = run.start() {
                    div { dt { "Started" } dd { (html::moment(start, now)) } }
                    @match run.end() {
                        Some(end) => {
                            div { dt { "Duration" } dd { (html::duration(end.as_second() - start.as_second())) } }
                        }
                        None => {
                            @if run.is_running() {
                                div { dt { "Running for" } dd data-since=(start.as_second()) {
                                    (html::duration(now.as_second() - start.as_second()))
                                } }
                            }
                        }
                    }
                }
                @if let Some(job) = job {
                    div { dt { "Type" } dd { (job.spec.job_type) } }
                    @if !job.spec.context.is_empty() { div { dt { "Context" } dd { bdi { (job.spec.context) } } } }
                    div { dt { "Cluster" } dd { bdi { (job.spec.cluster_alias()) } } }
                }
                @if job.is_none() && let Some(started) = &run.started {
                    @for (repo, refs) in &started.repos { div { dt { bdi { (repo) } } dd { code { bdi { (refs) } } } } }
                }
                @if let Some(node) = run.started.as_ref().map(|s| &s.node).filter(|n| !n.is_empty()) {
                    div { dt { "Pod" } dd { bdi { (node) } } }
                }
            }
            @for refs in refs { (code(refs, view)) }
            nav.links aria-label="This run" { (self::links(run, view)) }
        }
    }
}

/// What was tested.
fn code(refs: &Refs, view: &View) -> Markup {
    let github = view.github();
    html! {
        div.refs {
            (html::linked(links::repo(refs, github).as_deref(), html! { bdi { (refs.org_repo()) } }))
            " at "
            (html::linked(links::base(refs, github).as_deref(), html! {
                bdi { (refs.base_ref) } @if !refs.base_sha.is_empty() { " " code { (html::short(&refs.base_sha)) } }
            }))
            @for pull in &refs.pulls {
                div.pull {
                    "with "
                    (html::linked(links::pull(refs, pull, github).as_deref(), html! { "#" (pull.number) }))
                    @if !pull.title.is_empty() { " " bdi.title { (pull.title) } }
                    @if !pull.author.is_empty() { " " span.quiet { "by " bdi { (pull.author) } } }
                    @if !pull.sha.is_empty() {
                        " "
                        (html::linked(links::head(refs, pull, github).as_deref(), html! { code { (html::short(&pull.sha)) } }))
                    }
                }
            }
        }
    }
}

fn links(run: &Run, view: &View) -> Markup {
    let job = run.job.as_deref();
    let spyglass = &view.snapshot.prow.deck.spyglass;
    let pull = job
        .filter(|job| links::is_about_pulls(job) && !spyglass.hide_pr_history_link)
        .and_then(|job| job.spec.refs.as_ref())
        .and_then(|refs| Some((refs, refs.pulls.first()?)));
    let history = job.and_then(links::history).or_else(|| history_of_place(run));
    let browser = run.place.as_ref().and_then(|(place, _)| {
        let prefix = browser_prefix(spyglass, job.and_then(|j| j.spec.first_refs()), place.bucket.bucket())?;
        Some(format!("{}{}/{}/", prefix, place.bucket.bucket(), place.key))
    });
    html! {
        @if let Some(history) = history { a href=(history) { "Job history" } }
        @if let Some((refs, pull)) = pull { a href=(links::pr_history(refs, pull)) { "Pull request history" } }
        @if run.is_live && let Some(job) = job { a href=(links::yaml(job)) { "ProwJob YAML" } }
        @if let Some((place, _)) = &run.place { a href={ "/artifacts/" (place.path()) "/" } { "Artifacts" } }
        @if let Some(browser) = browser.as_deref().and_then(web::safe_link) { a href=(browser) { "Artifacts in storage" } }
        @for (name, url) in extra_links(run) { a href=(url) rel="noopener nofollow" { bdi { (name) } } }
    }
}

/// `logs/<job>/<build>` and pull request paths lead to a job's history without a ProwJob too.
fn history_of_place(run: &Run) -> Option<String> {
    let (place, _) = run.place.as_ref()?;
    let mut segments = place.key.rsplit('/');
    let (_, job) = (segments.next()?, segments.next()?);
    let root = match place.key.contains("pr-logs/pull/") {
        true => format!("pr-logs/directory/{job}"),
        false => format!("logs/{job}"),
    };
    Some(format!("/job-history/{}", place.path_of(&root)))
}

/// `gcs_browser_prefixes`: by repository, organisation, bucket, `*`.
fn browser_prefix<'s>(spyglass: &'s Spyglass, refs: Option<&Refs>, bucket: &str) -> Option<&'s str> {
    let by_repo = &spyglass.gcs_browser_prefixes;
    refs.and_then(|r| by_repo.get(&r.org_repo()).or_else(|| by_repo.get(&r.org)))
        .or_else(|| spyglass.gcs_browser_prefixes_by_bucket.get(bucket))
        .or_else(|| by_repo.get("*"))
        .map(String::as_str)
        .filter(|prefix| !prefix.is_empty())
}

/// `metadata.links` of started.json: `{name: {url, description}}`.
fn extra_links(run: &Run) -> Vec<(&str, &str)> {
    let links = run.started.as_ref().and_then(|s| s.metadata.as_ref()?.get("links")?.as_object());
    links
        .into_iter()
        .flatten()
        .filter_map(|(name, link)| Some((name.as_str(), web::safe_link(link.get("url")?.as_str()?)?)))
        .collect()
}

/// The metadata of started.json and finished.json, flattened.
pub fn metadata(run: &Run) -> Markup {
    let mut entries = Vec::new();
    if let Some(started) = &run.started {
        if !started.repo_commit.is_empty() {
            entries.push(("repo-commit".to_owned(), started.repo_commit.clone()));
        }
        flatten("", started.metadata.as_ref(), &mut entries);
    }
    if let Some(finished) = &run.finished {
        if !finished.revision.is_empty() {
            entries.push(("revision".to_owned(), finished.revision.clone()));
        }
        flatten("", finished.metadata.as_ref(), &mut entries);
    }
    html! {
        @if !entries.is_empty() {
            section.card aria-labelledby="metadata-title" {
                header { h2 #metadata-title { "Metadata" } }
                div.scroll {
                    table.metadata {
                        tbody { @for (name, value) in &entries { tr { th scope="row" { bdi { (name) } } td { bdi { (value) } } } } }
                    }
                }
            }
        }
    }
}

/// Members with their names joined by dots. Empty values and `links`, which are shown as links, are left out.
fn flatten(prefix: &str, object: Option<&Map<String, Value>>, out: &mut Vec<(String, String)>) {
    for (name, value) in object.into_iter().flatten() {
        let name = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
        match value {
            _ if name == "links" => {}
            Value::Object(inner) => flatten(&name, Some(inner), out),
            Value::String(text) if text.is_empty() => {}
            Value::String(text) => out.push((name, text.clone())),
            Value::Null => {}
            other => out.push((name, other.to_string())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn metadata_is_flattened() {
        let Value::Object(object) = json!({"a": "x", "b": {"c": {"d": "y"}, "e": ""}, "n": 3, "z": null, "links": {"l": {"url": "u"}}})
        else {
            unreachable!()
        };
        let mut out = Vec::new();
        flatten("", Some(&object), &mut out);
        let pairs: Vec<_> = out.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        assert_eq!(pairs, [("a", "x"), ("b.c.d", "y"), ("n", "3")]);
    }

    #[test]
    fn the_browser_prefix() {
        let mut spyglass = Spyglass::default();
        let refs = Refs { org: "o".into(), repo: "r".into(), ..Refs::default() };
        assert_eq!(browser_prefix(&spyglass, Some(&refs), "b"), None);
        spyglass.gcs_browser_prefixes = [("*".into(), "any".into()), ("o".into(), "org".into())].into();
        spyglass.gcs_browser_prefixes_by_bucket = [("b".into(), "bucket".into())].into();
        assert_eq!(browser_prefix(&spyglass, Some(&refs), "b"), Some("org"));
        assert_eq!(browser_prefix(&spyglass, None, "b"), Some("bucket"));
        assert_eq!(browser_prefix(&spyglass, None, "c"), Some("any"));
    }
}
