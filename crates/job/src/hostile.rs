//! What a stranger writes into a pull request stays where it belongs: property tests over all of the crate.
//!
//! Titles, branch and file names, comments and logins come from anyone. Whatever they hold, nothing panics, labels
//! are valid, JSON reads back as the same value, paths stay below their directory, and addresses stay one address.

use crate::build::{MAX_TEXT, PullRequest, new_prowjob, presubmit, presubmit_labels, pull_request_refs};
use crate::comment::{Commands, concerns_trigger, help_note, without_code_blocks};
use crate::explain::table;
use crate::labels::{Map, is_valid_value};
use crate::names::prowjob_name;
use crate::paths::{JobPaths, root};
use crate::pod::{PodOptions, pod};
use crate::select::{Ask, Decision, has_test_line, select, triggers};
use crate::url::{UrlConfig, job_url};
use k8s_openapi::api::core::v1::Pod;
use proptest::prelude::*;
use prow_api::decoration::DecorationConfig;
use prow_api::jobspec::JobSpec;
use prow_api::options::{CloneRefsOptions, EntrypointOptions};
use prow_api::prowjob::ProwJob;
use prow_config::goregex::GoRegex;
use prow_config::jobs::{ChangeMatcher, JobBase, Presubmit};
use prow_config::{GoTemplate, template_data};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Texts made of what is known to break things, and of anything else.
fn hostile() -> impl Strategy<Value = String> {
    let nasty = prop::sample::select(vec![
        "\n",
        "\r\n",
        "\0",
        "\u{202e}",
        "\u{2028}",
        "{{.Spec}}",
        "}}",
        "$(TOKEN)",
        "$$(TOKEN)",
        "$",
        "(",
        "`id`",
        "\"",
        "\\",
        "'",
        "<script>",
        "&amp;",
        "../",
        "/..",
        ".",
        "%2e%2e/",
        "#",
        "?x=",
        "://",
        "/test all\n",
        "```\n",
        "~~~",
        "\u{feff}",
        "\u{1f980}",
        " ",
        "-",
        "a",
        "é",
    ]);
    let piece = prop_oneof![3 => nasty.prop_map(str::to_owned), 1 => any::<String>()];
    prop_oneof![
        8 => prop::collection::vec(piece.clone(), 0..8).prop_map(|pieces| pieces.concat()),
        1 => piece.prop_map(|piece| piece.repeat(100_000 / piece.len().max(1))),
    ]
}

fn job() -> Presubmit {
    let decoration: DecorationConfig = serde_json::from_value(serde_json::json!({
        "utility_images": {"clonerefs": "c", "initupload": "i", "entrypoint": "e", "sidecar": "s"},
        "gcs_configuration": {"bucket": "b", "path_strategy": "legacy", "default_org": "o", "default_repo": "r"},
    }))
    .unwrap();
    let spec = serde_json::json!({"containers": [{"name": "", "image": "i", "command": ["make"]}]});
    Presubmit {
        base: JobBase {
            name: "unit".into(),
            agent: "kubernetes".into(),
            spec: Some(Arc::new(serde_json::from_value(spec).unwrap())),
            decoration_config: Some(Arc::new(decoration)),
            ..JobBase::default()
        },
        trigger: GoRegex::new(r"(?m)^/test( | .* )unit,?($|\s.*)").unwrap(),
        rerun_command: "/test unit".into(),
        context: "unit".into(),
        ..Presubmit::default()
    }
}

fn prowjob(pr: &PullRequest) -> ProwJob {
    let job = job();
    let spec = presubmit(&job, pull_request_refs(pr));
    let name = prowjob_name("guid", &spec);
    let labels = presubmit_labels(&job, "guid", false);
    new_prowjob(spec, &labels, &Map::new(), &name, "jobs", jiff::Timestamp::UNIX_EPOCH, false)
}

/// What the kubelet makes of a variable's value when `TOKEN` is set: its rules, so that a test can undo `literal`.
fn expanded(value: &str) -> String {
    expanded_with(value, &BTreeMap::from([("TOKEN".to_owned(), "the secret".to_owned())]))
}

fn expanded_with(value: &str, env: &BTreeMap<String, String>) -> String {
    let mut out = String::new();
    let mut rest = value;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if let Some((name, after)) = rest.strip_prefix('(').and_then(|r| r.split_once(')')) {
            out.push_str(&env.get(name).cloned().unwrap_or_else(|| format!("$({name})")));
            rest = after;
        } else {
            out.push('$');
        }
    }
    out + rest
}

prop_compose! {
    fn pull_request()(
        org in prop_oneof![Just("o".to_owned()), hostile()],
        repo in prop_oneof![Just("r".to_owned()), hostile()],
        title in hostile(),
        head_ref in hostile(),
        base_ref in hostile(),
        author in hostile(),
        number in any::<i64>(),
    ) -> PullRequest {
        PullRequest {
            repo_link: format!("https://github.com/{org}/{repo}"),
            base_sha: "1".repeat(40),
            head_sha: "2".repeat(40),
            author_link: String::new(),
            link: String::new(),
            org, repo, base_ref, number, author, head_ref, title,
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn labels_are_always_valid(pr in pull_request(), own in hostile()) {
        let mut made = prowjob(&pr);
        made.metadata.labels.get_or_insert_default().insert("mine".into(), own);
        let pod = pod(&made, "17", &PodOptions { plank_version: pr.title.clone(), ..PodOptions::default() }).unwrap();
        for (key, value) in pod.metadata.labels.as_ref().unwrap() {
            prop_assert!(is_valid_value(value), "{key}={value:?}");
        }
        for (key, value) in made.metadata.labels.iter().flatten().filter(|(key, _)| *key != "mine") {
            prop_assert!(is_valid_value(value), "{key}={value:?}");
        }
    }

    #[test]
    fn the_environment_says_exactly_what_the_pull_request_says(pr in pull_request()) {
        let mut made = prowjob(&pr);
        made.status.build_id = "17".into();
        let pod = pod(&made, "17", &PodOptions::default()).unwrap();
        let again: Pod = serde_json::from_str(&serde_json::to_string(&pod).unwrap()).unwrap();
        prop_assert_eq!(&again, &pod);

        let spec = pod.spec.unwrap();
        let names: Vec<&str> = spec.containers.iter().map(|c| c.name.as_str()).collect();
        prop_assert_eq!(names, ["test", "sidecar"]);
        let value = |container: &k8s_openapi::api::core::v1::Container, name: &str| {
            let var = container.env.iter().flatten().find(|e| e.name == name).unwrap();
            expanded(var.value.as_deref().unwrap())
        };
        let test = &spec.containers[0];
        let pull = &made.spec.refs.as_ref().unwrap().pulls[0];
        prop_assert!(pr.title.starts_with(&pull.title) && pull.title.len() <= MAX_TEXT);
        prop_assert_eq!(value(test, "PULL_TITLE"), pull.title.replace('\0', ""));
        prop_assert_eq!(value(test, "PULL_HEAD_REF"), pull.head_ref.replace('\0', ""));
        let job_spec: JobSpec = serde_json::from_str(&value(test, "JOB_SPEC")).unwrap();
        prop_assert_eq!(job_spec, JobSpec::of(&made));
        let clone = &spec.init_containers.as_ref().unwrap()[0];
        let options: CloneRefsOptions = serde_json::from_str(&value(clone, "CLONEREFS_OPTIONS")).unwrap();
        prop_assert_eq!(options.refs.first(), made.spec.refs.as_ref());
        for container in spec.containers.iter().chain(spec.init_containers.iter().flatten()) {
            let literals = container.env.iter().flatten().filter_map(|e| e.value.as_deref());
            prop_assert!(literals.into_iter().all(|value| !value.contains('\0')));
            let words = container.command.iter().chain(&container.args).flatten();
            let known = ["/tools/entrypoint", "--copy-mode-only"];
            prop_assert!(words.into_iter().all(|word| known.contains(&word.as_str())));
        }
        let dir = test.working_dir.as_deref().unwrap();
        prop_assert!(dir.starts_with("/home/prow/go/src/") && !dir.split('/').any(|s| s == ".." || s == "."));
    }

    #[test]
    fn building_is_deterministic(pr in pull_request()) {
        let (first, second) = (prowjob(&pr), prowjob(&pr));
        prop_assert_eq!(&first, &second);
        prop_assert_eq!(pod(&first, "1", &PodOptions::default()).unwrap(), pod(&second, "1", &PodOptions::default()).unwrap());
        let moved = prowjob(&PullRequest { title: String::new(), base_sha: String::new(), ..pr });
        prop_assert_eq!(first.metadata.name, moved.metadata.name);
    }

    #[test]
    fn paths_stay_below_their_directory(
        org in hostile(), repo in hostile(), job in hostile(), build in hostile(), prefix in hostile(),
        strategy in prop::sample::select(vec!["legacy", "single", "explicit"]), default in any::<bool>(),
        job_type in prop::sample::select(vec!["presubmit", "postsubmit", "batch", "periodic"]),
    ) {
        let spec: JobSpec = serde_json::from_value(serde_json::json!({
            "type": job_type, "job": job, "buildid": build,
            "refs": {"org": org, "repo": repo, "pulls": [{"number": -5}]},
        })).unwrap();
        let gcs = prow_api::GcsConfiguration {
            path_strategy: strategy.into(),
            default_org: if default { org } else { String::new() },
            path_prefix: prefix,
            ..prow_api::GcsConfiguration::default()
        };
        let Ok(paths) = JobPaths::new(&spec, &gcs) else { return Ok(()) };
        let all = paths.latest_builds.iter().chain(paths.alias.as_ref().map(|a| &a.path)).chain([&paths.dir]);
        for path in all.chain([&root(&spec).unwrap()]) {
            let segments: Vec<&str> = path.split('/').collect();
            prop_assert!(segments.iter().all(|s| !s.is_empty() && *s != "." && *s != ".."), "{path:?}");
            prop_assert!(!path.chars().any(char::is_control), "{path:?}");
        }
        let last = paths.dir.rsplit('/').next();
        prop_assert_eq!(last, Some(spec.build_id.as_str()));
        prop_assert!(paths.latest_builds.iter().all(|p| p.starts_with("logs/") || p.starts_with("pr-logs/")));
    }

    #[test]
    fn addresses_stay_one_address(pr in pull_request(), job in hostile()) {
        let mut made = prowjob(&pr);
        made.spec.job = job;
        made.status.build_id = "17".into();
        let prefixes = BTreeMap::from([("*".to_owned(), "https://prow.example/view/".to_owned())]);
        let config = UrlConfig { prefixes: Some(&prefixes), ..UrlConfig::default() };
        let Ok(url) = job_url(&made, config, |_| String::new()) else { return Ok(()) };
        prop_assert!(url.starts_with("https://prow.example/view/gs/b/pr-logs/pull/"), "{url}");
        let path = &url["https://prow.example".len()..];
        let allowed = |c: char| c.is_ascii_alphanumeric() || "/-_.~$&+,:;=@%".contains(c);
        prop_assert!(path.chars().all(allowed), "{url}");
        prop_assert!(!path.split('/').any(|s| s == ".." || s == "."), "{url}");
    }

    #[test]
    fn arguments_stay_the_arguments_that_they_are(pr in pull_request()) {
        let words = ["sh", "-c", "echo \"$1\"", "x", "--title=$(PULL_TITLE)!", "$$(PULL_TITLE)", "$(PULL_HEAD_REF)", "$(JOB_SPEC)"];
        let mut made = prowjob(&pr);
        made.spec.pod_spec.as_mut().unwrap().containers[0].command = Some(words.map(str::to_owned).to_vec());
        let pod = pod(&made, "17", &PodOptions::default()).unwrap();
        let spec = pod.spec.unwrap();
        let test = &spec.containers[0];
        // As the kubelet does: each variable's value is expanded with those before it.
        let mut env = BTreeMap::new();
        for var in test.env.iter().flatten() {
            let value = expanded_with(var.value.as_deref().unwrap(), &env);
            env.insert(var.name.clone(), value);
        }
        let options: EntrypointOptions = serde_json::from_str(&env["ENTRYPOINT_OPTIONS"]).unwrap();
        let pull = &made.spec.refs.as_ref().unwrap().pulls[0];
        let (title, head_ref) = (pull.title.replace('\0', ""), pull.head_ref.replace('\0', ""));
        let want = [
            "sh", "-c", "echo \"$1\"", "x", &format!("--title={title}!"), "$(PULL_TITLE)", &head_ref, &env["JOB_SPEC"],
        ];
        prop_assert_eq!(&options.wrapper.args[..], &want[..]);
    }

    #[test]
    fn yaml_and_json_say_the_same(pr in pull_request()) {
        let made = prowjob(&pr);
        let text = serde_json::to_string_pretty(&made).unwrap();
        let (again, odd) = prow_config::yaml::read::<ProwJob>("stdin", text.into_bytes()).unwrap();
        prop_assert_eq!(again, made);
        prop_assert!(odd.is_empty(), "{odd:?}");
    }

    #[test]
    fn templates_are_not_evaluated_twice(pr in pull_request()) {
        let template = GoTemplate::new("https://prow.example/{{.Spec.Refs.BaseRef}}/{{.Spec.Refs.Org}}").unwrap();
        let rendered = template.render(&template_data(&prowjob(&pr))).unwrap();
        prop_assert_eq!(rendered, format!("https://prow.example/{}/{}", pr.base_ref, pr.org));
    }

    #[test]
    fn shortcuts_decide_as_the_pattern_does(body in hostile(), name in "[a-z.+_-]{1,5}", other in "[a-z.+_-]{1,5}") {
        let job = Presubmit {
            trigger: GoRegex::new(&format!(r"(?m)^/test( | .* ){name},?($|\s.*)")).unwrap_or_default(),
            ..job()
        };
        for command in [&name, &other] {
            for body in [body.clone(), format!("{body}/test {command}"), format!("{body}\n/test x {command}, y\n{body}")] {
                prop_assert_eq!(triggers(&job, &body, has_test_line(&body)), job.trigger.is_match(&body), "{}", body);
            }
        }
    }

    #[test]
    fn comments_do_no_harm(body in hostile(), file in hostile(), branch in hostile()) {
        let jobs = [job()];
        let text = without_code_blocks(&body);
        prop_assert!(text.len() <= body.len());
        prop_assert!(text.split_inclusive('\n').all(|line| body.contains(line)));
        let _ = (Commands::parse(&body), concerns_trigger(&body, &jobs), help_note(&body, 0));
        let decisions = select(&jobs, &branch, &Ask::comment(&body, true), Some(&[file])).unwrap();
        // A name cannot be asked for without being written.
        prop_assert!(!decisions[0].run || body.contains("unit"));
        let shown = table(&decisions.iter().map(Decision::explain).collect::<Vec<_>>());
        prop_assert_eq!(shown.lines().count(), 2);
    }
}

/// One by one what a stranger may write, in every place that a stranger may write to.
#[test]
fn a_table_of_hostile_pull_requests() {
    // One variable's name and value may be this long on Linux; a longer one keeps the container from starting.
    const MAX_VARIABLE: usize = 128 * 1024;
    let long = |piece: &str| piece.repeat(100_000 / piece.len());
    let texts = [
        "line\nbreak\r\n".to_owned(),
        "nul\0nul".to_owned(),
        "right\u{202e}to\u{2066}left".to_owned(),
        "{{.Spec.Job}}{{range .}}{{end}}${{ secrets.TOKEN }}".to_owned(),
        "$(TOKEN)$$(TOKEN)`id`$(id);id|id&&id>/etc/passwd".to_owned(),
        "\",\"args\":[\"evil\"],\"x\":\"".to_owned(),
        "a: b\n- c\n---\n!!tag &anchor *alias".to_owned(),
        "https://evil.example/?a=b#c\" onclick=\"x".to_owned(),
        "../../../../etc/passwd".to_owned(),
        "</script><script>alert(1)</script>".to_owned(),
        long("a"),
        long("\0"),
        long("\""),
        long("$("),
        long("\u{1f980}"),
        long("{{"),
        long("/test all\n"),
    ];
    let plain = PullRequest {
        org: "o".into(),
        repo: "r".into(),
        base_ref: "main".into(),
        number: 5,
        ..PullRequest::default()
    };
    let places: [(&str, fn(&mut PullRequest, String)); 3] = [
        ("title", |pr, text| pr.title = text),
        ("head branch", |pr, text| pr.head_ref = text),
        ("author", |pr, text| pr.author = text),
    ];
    for (place, put) in places {
        for text in &texts {
            let mut pr = plain.clone();
            put(&mut pr, text.clone());
            let what = format!("{place} {:?}", text.chars().take(20).collect::<String>());
            let made = prowjob(&pr);
            let pod = pod(&made, "17", &PodOptions::default()).unwrap();
            let spec = pod.spec.as_ref().unwrap();
            for var in spec
                .containers
                .iter()
                .chain(spec.init_containers.iter().flatten())
                .flat_map(|c| c.env.iter().flatten())
            {
                let value = var.value.as_deref().unwrap();
                assert!(value.len() < MAX_VARIABLE && !value.contains('\0'), "{what}: {}", var.name);
            }
            let labels = pod.metadata.labels.as_ref().unwrap();
            assert!(labels.values().all(|value| is_valid_value(value)), "{what}");
            // Neither name nor place depend on what a stranger writes.
            let usual = prowjob(&plain);
            assert_eq!(made.metadata.name, usual.metadata.name, "{what}");
            assert_eq!(made.metadata.labels, usual.metadata.labels, "{what}");
            let gcs = made.spec.decoration_config.as_ref().unwrap().gcs_configuration.clone().unwrap();
            let paths = |made: &ProwJob| {
                let spec = JobSpec { build_id: "17".into(), ..JobSpec::of(made) };
                JobPaths::new(&spec, &gcs).unwrap()
            };
            assert_eq!(paths(&made), paths(&usual), "{what}");
        }
    }
    for text in &texts {
        // A comment, a changed file and a branch: decided about, without harm.
        let jobs = [Presubmit { changes: changes("\\.go$"), ..job() }];
        let files = [text.clone(), format!("{text}.go")];
        let decisions = select(&jobs, text, &Ask::all(), Some(&files)).unwrap();
        assert!(decisions[0].run && decisions[0].asked_by.is_some());
        assert!(!select(&jobs, text, &Ask::comment(text, true), Some(&[])).unwrap()[0].run);
    }
}

fn changes(pattern: &str) -> ChangeMatcher {
    ChangeMatcher { run_if_changed: Some(GoRegex::new(pattern).unwrap()), ..ChangeMatcher::default() }
}
