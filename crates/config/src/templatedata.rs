//! A ProwJob as templates see it: Go's field names, every field there (prow-config §11.2).

use prow_api::ProwJob;
use prow_api::decoration::DecorationConfig;
use prow_api::refs::Refs;
use serde_json::{Map, Value, json};

/// The data of templates over a ProwJob. Absent pointers are null, so that going through one is an error as in Go.
pub fn template_data(job: &ProwJob) -> Value {
    let meta = &job.metadata;
    let object_meta = json!({
        "Name": meta.name.clone().unwrap_or_default(),
        "GenerateName": meta.generate_name.clone().unwrap_or_default(),
        "Namespace": meta.namespace.clone().unwrap_or_default(),
        "UID": meta.uid.clone().unwrap_or_default(),
        "ResourceVersion": meta.resource_version.clone().unwrap_or_default(),
        "Generation": meta.generation.unwrap_or_default(),
        "CreationTimestamp": value(&meta.creation_timestamp),
        "DeletionTimestamp": value(&meta.deletion_timestamp),
        "Labels": value(&meta.labels.clone().unwrap_or_default()),
        "Annotations": value(&meta.annotations.clone().unwrap_or_default()),
        "Finalizers": value(&meta.finalizers.clone().unwrap_or_default()),
    });
    let spec = &job.spec;
    let status = &job.status;
    let mut out = json!({
        "APIVersion": "prow.k8s.io/v1",
        "Kind": "ProwJob",
        "ObjectMeta": object_meta,
        "Complete": job.complete(),
        "ClusterAlias": spec.cluster_alias(),
        "Spec": {
            "Type": spec.job_type.as_str(),
            "Agent": spec.agent,
            "Cluster": spec.cluster,
            "Namespace": spec.namespace,
            "Job": spec.job,
            "Refs": spec.refs.as_ref().map_or(Value::Null, refs),
            "ExtraRefs": spec.extra_refs.iter().map(refs).collect::<Vec<_>>(),
            "Report": spec.report,
            "Context": spec.context,
            "RerunCommand": spec.rerun_command,
            "MaxConcurrency": spec.max_concurrency,
            "ErrorOnEviction": spec.error_on_eviction,
            "PodSpec": value(&spec.pod_spec),
            "JenkinsSpec": spec.jenkins_spec.as_ref().map_or(Value::Null, |j| json!({"GitHubBranchSourceJob": j.github_branch_source_job})),
            "PipelineRunSpec": value(&spec.pipeline_run_spec),
            "TektonPipelineRunSpec": spec.tekton_pipeline_run_spec.as_ref().map_or(Value::Null, |t| json!({"V1Beta1": t.v1beta1})),
            "HasPipelineRunSpec": spec.pipeline_run_spec.is_some() || spec.tekton_pipeline_run_spec.as_ref().is_some_and(|t| t.v1beta1.is_some()),
            "DecorationConfig": spec.decoration_config.as_deref().map_or(Value::Null, decoration),
            "ReporterConfig": spec.reporter_config.as_ref().map_or(Value::Null, |r| go_names(&value(r), &NAMES)),
            "RerunAuthConfig": spec.rerun_auth_config.as_ref().map_or(Value::Null, |r| json!({
                "AllowAnyone": r.allow_anyone, "GitHubTeamIDs": r.github_team_ids, "GitHubUsers": r.github_users, "GitHubOrgs": r.github_orgs,
                "GitHubTeamSlugs": r.github_team_slugs.iter().map(|t| json!({"Slug": t.slug, "Org": t.org})).collect::<Vec<_>>(),
            })),
            "Hidden": spec.hidden,
            "ProwJobDefault": spec.prowjob_defaults.as_ref().map_or(Value::Null, |d| json!({
                "TenantID": d.tenant_id,
                "ResultStoreConfig": d.resultstore_config.as_ref().map(|r| json!({"ProjectID": r.project_id})),
            })),
            "JobQueueName": spec.job_queue_name,
        },
        "Status": {
            "StartTime": value(&status.start_time),
            "PendingTime": value(&status.pending_time),
            "CompletionTime": value(&status.completion_time),
            "State": status.state.as_str(),
            "Description": status.description,
            "URL": status.url,
            "PodRevivalCount": status.pod_revival_count,
            "PodName": status.pod_name,
            "BuildID": status.build_id,
            "JenkinsBuildID": status.jenkins_build_id,
            "PrevReportStates": value(&status.prev_report_states),
        }
    });
    // ObjectMeta is embedded in Go: its fields are the ProwJob's own as well.
    if let (Value::Object(all), Value::Object(meta)) = (&mut out, object_meta) {
        for (key, member) in meta {
            all.insert(key, member);
        }
    }
    out
}

fn value<T: serde::Serialize>(thing: &T) -> Value {
    serde_json::to_value(thing).unwrap_or(Value::Null)
}

fn refs(r: &Refs) -> Value {
    json!({
        "Org": r.org, "Repo": r.repo, "RepoLink": r.repo_link, "BaseRef": r.base_ref, "BaseSHA": r.base_sha,
        "BaseLink": r.base_link, "PathAlias": r.path_alias, "WorkDir": r.workdir, "Auxiliary": r.auxiliary,
        "CloneURI": r.clone_uri, "SkipSubmodules": r.skip_submodules, "CloneDepth": r.clone_depth,
        "SkipFetchHead": r.skip_fetch_head, "BloblessFetch": r.blobless_fetch,
        "SparseCheckoutFiles": r.sparse_checkout_files,
        "String": r.refs_string(), "OrgRepoString": r.org_repo(),
        "Pulls": r.pulls.iter().map(|p| json!({
            "Number": p.number, "Author": p.author, "SHA": p.sha, "Title": p.title, "Ref": p.ref_,
            "HeadRef": p.head_ref, "Link": p.link, "CommitLink": p.commit_link, "AuthorLink": p.author_link,
        })).collect::<Vec<_>>(),
    })
}

/// Members of DecorationConfig whose Go name is not the camel case of the key, and all members that Go always has.
fn decoration(config: &DecorationConfig) -> Value {
    let mut out = match go_names(&value(config), &NAMES) {
        Value::Object(members) => members,
        _ => Map::new(),
    };
    for (key, zero) in [
        ("Timeout", Value::Null),
        ("GracePeriod", Value::Null),
        ("UtilityImages", Value::Null),
        ("Resources", Value::Null),
        ("GCSConfiguration", Value::Null),
        ("GCSCredentialsSecret", Value::Null),
        ("S3CredentialsSecret", Value::Null),
        ("DefaultServiceAccountName", Value::Null),
        ("SSHKeySecrets", json!([])),
        ("SSHHostFingerprints", json!([])),
        ("BloblessFetch", Value::Null),
        ("SparseCheckoutFiles", json!([])),
        ("SkipCloning", Value::Null),
        ("CookiefileSecret", Value::Null),
        ("OauthTokenSecret", Value::Null),
        ("GitHubAPIEndpoints", json!([])),
        ("GitHubAppID", json!("")),
        ("GitHubAppPrivateKeySecret", Value::Null),
        ("CensorSecrets", Value::Null),
        ("CensoringOptions", Value::Null),
        ("UploadIgnoresInterrupts", Value::Null),
        ("SetLimitEqualsMemoryRequest", Value::Null),
        ("DefaultMemoryRequest", Value::Null),
        ("SchedulingOptions", Value::Null),
        ("PodPendingTimeout", Value::Null),
        ("PodRunningTimeout", Value::Null),
        ("PodUnscheduledTimeout", Value::Null),
        ("RunAsUser", Value::Null),
        ("RunAsGroup", Value::Null),
        ("FsGroup", Value::Null),
    ] {
        out.entry(key).or_insert(zero);
    }
    if let Some(Value::Object(gcs)) = out.get_mut("GCSConfiguration") {
        for key in [
            "Bucket",
            "PathPrefix",
            "PathStrategy",
            "DefaultOrg",
            "DefaultRepo",
            "JobURLPrefix",
            "LocalOutputDir",
        ] {
            gcs.entry(key).or_insert_with(|| json!(""));
        }
        gcs.entry("MediaTypes").or_insert_with(|| json!({}));
        gcs.entry("CompressFileTypes").or_insert_with(|| json!([]));
    }
    Value::Object(out)
}

/// Words of keys that Go writes in capitals.
const NAMES: [(&str, &str); 12] = [
    ("gcs", "GCS"),
    ("s3", "S3"),
    ("ssh", "SSH"),
    ("url", "URL"),
    ("id", "ID"),
    ("api", "API"),
    ("uri", "URI"),
    ("github", "GitHub"),
    ("oauth", "Oauth"),
    ("uid", "UID"),
    ("sha", "SHA"),
    ("mediaTypes", "MediaTypes"),
];

/// Object members under their Go names, but not below maps whose keys are data.
fn go_names(thing: &Value, words: &[(&str, &str)]) -> Value {
    let Value::Object(members) = thing else { return thing.clone() };
    let renamed = members.iter().map(|(key, member)| {
        let name: String = key
            .split('_')
            .map(|word| match words.iter().find(|(w, _)| *w == word) {
                Some((_, go)) => (*go).to_owned(),
                None => {
                    let mut chars = word.chars();
                    chars
                        .next()
                        .map_or_else(String::new, |c| c.to_uppercase().collect::<String>() + chars.as_str())
                }
            })
            .collect();
        let member =
            if key == "mediaTypes" || key == "resources" { member.clone() } else { go_names(member, words) };
        (name, member)
    });
    Value::Object(renamed.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gotemplate::GoTemplate;
    use prow_api::refs::Pull;

    fn job() -> ProwJob {
        let mut job = ProwJob::default();
        job.metadata.name = Some("n".into());
        job.spec.job = "unit".into();
        job.spec.refs = Some(Refs {
            org: "o".into(),
            repo: "r".into(),
            pulls: vec![Pull { number: 5, author: "a".into(), ..Pull::default() }],
            ..Refs::default()
        });
        job.status.build_id = "12".into();
        job
    }

    #[test]
    fn templates_reach_every_field_by_its_go_name() {
        for (template, want) in [
            ("{{.Spec.Job}} {{.Name}} {{.ObjectMeta.Name}} {{.Status.BuildID}}", "unit n n 12"),
            ("{{with index .Spec.Refs.Pulls 0}}{{.Number}}{{end}}", "5"),
            (
                "{{if eq .Spec.Type \"presubmit\"}}pr{{else if eq .Spec.Type \"batch\"}}b{{else}}l{{end}}",
                "pr",
            ),
            ("{{.Spec.Refs.OrgRepoString}} {{.Status.State}} {{.ClusterAlias}}", "o/r triggered default"),
            ("{{if .Spec.DecorationConfig}}yes{{else}}no{{end}}", "no"),
        ] {
            assert_eq!(
                GoTemplate::new(template).unwrap().render(&template_data(&job())).unwrap(),
                want,
                "{template}"
            );
        }
    }

    #[test]
    fn going_through_an_absent_pointer_is_an_error() {
        let mut job = job();
        job.spec.refs = None;
        let template = GoTemplate::new("{{.Spec.Refs.Org}}").unwrap();
        assert!(template.render(&template_data(&job)).is_err());
    }

    #[test]
    fn decoration_has_all_members_under_go_names() {
        let mut job = job();
        let config = DecorationConfig {
            gcs_configuration: Some(prow_api::GcsConfiguration { bucket: "b".into(), ..Default::default() }),
            gcs_credentials_secret: Some("s".into()),
            ..DecorationConfig::default()
        };
        job.spec.decoration_config = Some(Box::new(config));
        let template = "{{with .Spec.DecorationConfig}}{{.GCSConfiguration.Bucket}}{{.GCSConfiguration.PathPrefix}} {{.GCSCredentialsSecret}} {{if .S3CredentialsSecret}}s3{{end}}{{end}}";
        assert_eq!(GoTemplate::new(template).unwrap().render(&template_data(&job)).unwrap(), "b s ");
    }
}
