//! The job list and what programs ask for, through the router.

mod support;

use http::StatusCode;
use prow_api::State;
use prow_deck::DeckOptions;
use support::{World, presubmit};

#[tokio::test]
async fn the_list_shows_jobs_with_links_and_filters() {
    let world = World::new().await;
    world.job(presubmit("one", "pull-unit", State::Failure, "11")).await;
    world.job(presubmit("two", "pull-lint", State::Success, "12")).await;
    let mut other = presubmit("three", "pull-unit", State::Success, "13");
    other.spec.refs.as_mut().unwrap().repo = "bank".into();
    other.spec.refs.as_mut().unwrap().pulls[0].author = "bob".into();
    world.job(other).await;

    let view = format!("href=\"/view/{}/pr-logs/pull/acme_shop/7/pull-unit/11\"", world.path());
    world.get("/").await.has(&[
        &view,
        "href=\"https://github.com/acme/shop/pull/7\"",
        "Sell more cheese",
        "10 min ago",
        "2m 00s",
        "all <span class=\"count\">3</span>",
        "href=\"/?state=failure\"",
    ]);
    for (query, shown, hidden) in [
        ("repo=acme/bank", "acme/bank", "pull-lint</bdi>"),
        ("job=pull-l*", "pull-lint</bdi>", "pull-unit</bdi>"),
        ("state=failure", "pull-unit</bdi>", "pull-lint</bdi>"),
        ("author=bob", "by <bdi>bob", "by <bdi>ann"),
    ] {
        let text = world.get(&format!("/jobs?{query}")).await.has(&[shown]);
        assert!(!text.contains(hidden), "{query}: {hidden} in {text}");
    }
    world.get("/?job=nothing").await.has(&["No jobs match."]);
    let refused = world.get("/?state=nonsense").await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST);
    assert!(refused.text().contains("The filter state=nonsense means nothing"));
}

#[tokio::test]
async fn the_list_is_paged() {
    let world = World::new().await;
    for n in 0..205 {
        let mut job = presubmit(&format!("j{n}"), "unit", State::Success, &n.to_string());
        job.status.start_time.as_mut().unwrap().0 -= std::time::Duration::from_secs(n);
        world.job(job).await;
    }
    let first = world.get("/").await.has(&["1–200 of 205", "rel=\"next\"", "page=2"]);
    assert_eq!(first.matches("<tr>").count(), 201);
    let second = world.get("/?page=2").await.has(&["201–205 of 205", "rel=\"prev\""]);
    assert_eq!(second.matches("<tr>").count(), 6);
    world.get("/?page=9").await.has(&["There is no such page."]);
}

#[tokio::test]
async fn the_fragment_is_sent_again_only_when_something_changed() {
    let world = World::new().await;
    world.job(presubmit("one", "unit", State::Pending, "1")).await;
    let first = world.get("/jobs?repo=acme/shop").await;
    first.has(&["unit"]);
    let etag = first.header("etag").to_owned();
    let again = world.get_with("/jobs?repo=acme/shop", &[("if-none-match", &etag)]).await;
    assert_eq!((again.status, again.bytes.len()), (StatusCode::NOT_MODIFIED, 0));
    world.job(presubmit("two", "unit", State::Pending, "2")).await;
    let changed = world.get_with("/jobs?repo=acme/shop", &[("if-none-match", &etag)]).await;
    assert_eq!(changed.status, StatusCode::OK);
    assert_ne!(changed.header("etag"), etag);
}

#[tokio::test]
async fn hostile_words_stay_words() {
    let world = World::new().await;
    let mut job = presubmit("one", "unit", State::Success, "1");
    let refs = job.spec.refs.as_mut().unwrap();
    refs.pulls[0].title = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>".into();
    refs.pulls[0].author = "<b onmouseover=x>".into();
    refs.pulls[0].link = "javascript:alert(3)".into();
    refs.base_ref = "--><script>alert(4)</script>".into();
    refs.repo_link = "data:text/html,x".into();
    job.status.description = "</td><script>alert(5)</script>".into();
    job.status.url = "javascript:alert(6)".into();
    world.job(job).await;
    let view = format!("/view/{}/pr-logs/pull/acme_shop/7/unit/1", world.path());
    for page in ["/", "/jobs", &view, "/?repo=%22%3E%3Cscript%3Ealert(7)%3C/script%3E"] {
        let answer = world.get(page).await;
        let text = answer.has(&[]);
        assert!(
            !text.contains("<script>") && !text.contains("<img src=x") && !text.contains("<b on"),
            "{page}: {text}"
        );
        assert!(!text.contains("href=\"javascript") && !text.contains("href=\"data:"), "{page}: {text}");
        let policy = answer.header("content-security-policy");
        assert!(
            policy.contains("script-src 'self'") && policy.contains("frame-ancestors 'none'"),
            "{policy}"
        );
        assert!(!policy.contains("unsafe"), "{policy}");
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
    }
}

#[tokio::test]
async fn hidden_jobs_are_nowhere() {
    let seed = async |options: DeckOptions| {
        let world =
            World::with(options, |snapshot, _| snapshot.prow.deck.hidden_repos = vec!["acme/vault".into()])
                .await;
        world.job(presubmit("open", "open-job", State::Success, "1")).await;
        let mut hidden = presubmit("dark", "dark-job", State::Success, "2");
        hidden.spec.hidden = true;
        world.job(hidden).await;
        let mut vault = presubmit("vault", "vault-job", State::Failure, "3");
        vault.spec.refs.as_mut().unwrap().repo = "vault".into();
        world.job(vault).await;
        world.put("pr-logs/pull/acme_shop/7/dark-job/2/build-log.txt", "a secret\n");
        world
    };
    let world = seed(DeckOptions::default()).await;
    let dark = format!("{}/pr-logs/pull/acme_shop/7/dark-job/2", world.path());
    for page in ["/", "/jobs", "/prowjobs.js", "/data.js", "/pr-history/?org=acme&repo=shop&pr=7"] {
        let text = world.get(page).await.has(&["open-job"]);
        assert!(!text.contains("dark-job") && !text.contains("vault"), "{page}: {text}");
    }
    for page in [
        "/prowjob?prowjob=dark".to_owned(),
        "/log?job=dark-job&id=2".to_owned(),
        "/live?job=dark-job&id=2".to_owned(),
        "/view/prowjob/dark-job/2".to_owned(),
        "/pr-history/?org=acme&repo=vault&pr=7".to_owned(),
        format!("/view/{dark}"),
        format!("/artifacts/{dark}/build-log.txt"),
        format!("/artifacts/{dark}/"),
        format!("/lines/{dark}/build-log.txt?from=1&to=2"),
    ] {
        let answer = world.get(&page).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{page}: {}", answer.text());
        assert!(!answer.text().contains("a secret"), "{page}");
    }
    world.get("/badge.svg?jobs=vault-job").await.has(&["no results"]);

    let all = seed(DeckOptions { show_hidden: true, ..DeckOptions::default() }).await;
    all.get("/").await.has(&["open-job", "dark-job", "vault-job"]);
    let only = seed(DeckOptions { hidden_only: true, ..DeckOptions::default() }).await;
    let text = only.get("/").await.has(&["dark-job", "vault-job"]);
    assert!(!text.contains("open-job"));
}

#[tokio::test]
async fn a_copy_in_storage_keeps_a_forgotten_job_hidden() {
    let world = World::new().await;
    let mut job = presubmit("dark", "dark-job", State::Success, "2");
    job.spec.hidden = true;
    let directory = "pr-logs/pull/acme_shop/7/dark-job/2";
    world.put(&format!("{directory}/prowjob.json"), serde_json::to_vec(&job).unwrap());
    world.put(&format!("{directory}/artifacts/x.txt"), "a secret");
    for page in ["view", "artifacts"] {
        let path = if page == "view" { "" } else { "/artifacts/x.txt" };
        let answer = world.get(&format!("/{page}/{}/{directory}{path}", world.path())).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{}", answer.text());
    }
}

#[tokio::test]
async fn programs_get_what_prow_gives_them() {
    let world = World::new().await;
    assert_eq!(world.get("/prowjobs.js").await.text(), "{\"items\":[]}");
    assert_eq!(world.get("/data.js").await.text(), "[]");
    world.job(presubmit("one", "unit", State::Failure, "1")).await;
    world.job(presubmit("two", "lint", State::Success, "2")).await;

    let answer =
        world.get("/prowjobs.js?var=allBuilds&omit=annotations,labels,decoration_config,pod_spec").await;
    assert_eq!(answer.header("content-type"), "application/javascript");
    assert_eq!(answer.header("cache-control"), "no-store, must-revalidate");
    let text = answer.has(&[]);
    let json = text.strip_prefix("var allBuilds = ").unwrap().strip_suffix(';').unwrap();
    let list: serde_json::Value = serde_json::from_str(json).unwrap();
    assert_eq!(list["items"].as_array().unwrap().len(), 2);
    assert_eq!(list["items"][0]["spec"]["pod_spec"]["containers"][0]["name"], "");
    assert!(list["items"][0]["spec"]["decoration_config"].is_null());
    let filtered: serde_json::Value =
        serde_json::from_slice(&world.get("/prowjobs.js?org=acme&repo=other").await.bytes).unwrap();
    assert_eq!(filtered, serde_json::json!({"items": []}));
    assert_eq!(world.get("/prowjobs.js?var=alert(1)//").await.status, StatusCode::BAD_REQUEST);

    let legacy: serde_json::Value = serde_json::from_slice(&world.get("/data.js").await.bytes).unwrap();
    assert_eq!(legacy[0]["refs_key"], format!("acme/shop=main:{},7:{}", "b".repeat(40), "a".repeat(40)));

    let yaml = world.get("/prowjob?prowjob=one").await;
    yaml.has(&["kind: ProwJob", "job: unit"]);
    assert!(yaml.header("content-type").starts_with("text/plain"));
    assert_eq!(world.get("/prowjob").await.status, StatusCode::BAD_REQUEST);
    let missing = world.get("/prowjob?prowjob=none").await;
    assert_eq!(missing.status, StatusCode::NOT_FOUND);
    assert!(missing.text().starts_with("ProwJob not found: "));

    world.get("/config").await.has(&["prowjob_namespace: default"]);
    world.get("/config?key=disabled-clusters").await.has(&["[]"]);
    assert_eq!(world.get("/config?key=x").await.status, StatusCode::INTERNAL_SERVER_ERROR);

    for (jobs, expected) in
        [("unit", "failing unit"), ("lint", "passing"), ("*", "failing unit"), ("none", "no results")]
    {
        let badge = world.get(&format!("/badge.svg?jobs={jobs}")).await;
        badge.has(&[expected]);
        assert_eq!(badge.header("content-type"), "image/svg+xml");
    }
    assert_eq!(world.get("/badge.svg").await.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn paths_behave_like_gos_mux() {
    let world = World::new().await;
    for (path, to) in [
        ("/pr-history?org=a&repo=b&pr=1", "/pr-history/?org=a&repo=b&pr=1"),
        ("/job-history", "/job-history/"),
        ("//config", "/config"),
        ("/view/../config?key=x", "/config?key=x"),
    ] {
        let answer = world.get(path).await;
        assert_eq!((answer.status, answer.header("location")), (StatusCode::MOVED_PERMANENTLY, to), "{path}");
    }
    for (path, to) in [
        ("/github-link?dest=acme/shop/pulls", "https://github.com/acme/shop/pulls"),
        ("/github-link?dest=//evil.example", "https://github.com/evil.example"),
        ("/git-provider-link?target=pr&repo=acme/shop&number=7", "https://github.com/acme/shop/pull/7"),
    ] {
        let answer = world.get(path).await;
        assert_eq!((answer.status, answer.header("location")), (StatusCode::FOUND, to), "{path}");
    }
    for path in ["/tide", "/rerun", "/nothing", "/static/nothing", "/static/..%2fCargo.toml"] {
        assert_eq!(world.get(path).await.status, StatusCode::NOT_FOUND, "{path}");
    }
    assert_eq!(world.get("/nothing").await.text(), "404 page not found\n");
    world.get("/healthz").await.has(&["OK"]);
}

#[tokio::test]
async fn static_files_are_kept_by_browsers() {
    let world = World::new().await;
    let page = world.get("/").await.text();
    let script = page.split("<script src=\"").nth(1).unwrap().split('"').next().unwrap();
    let answer = world.get(script).await;
    answer.has(&["\"use strict\""]);
    assert_eq!(answer.header("cache-control"), "public, max-age=315360000");
    let etag = answer.header("etag").to_owned();
    let again = world.get_with(script, &[("if-none-match", &etag)]).await;
    assert_eq!(again.status, StatusCode::NOT_MODIFIED);
    assert_eq!(page.matches("<script").count(), 1, "no inline script");
    assert!(!page.contains("style="), "no inline style");
}

#[tokio::test]
async fn text_is_compressed_for_those_who_take_it() {
    use std::io::Read as _;
    let world = World::new().await;
    for n in 0..50 {
        world.job(presubmit(&format!("j{n}"), "unit", State::Success, &n.to_string())).await;
    }
    for path in ["/jobs", "/prowjobs.js", "/?job=unit"] {
        let plain = world.get(path).await;
        assert_eq!(plain.header("content-encoding"), "");
        let packed = world.get_with(path, &[("accept-encoding", "gzip, br")]).await;
        assert_eq!((packed.header("content-encoding"), packed.header("vary")), ("gzip", "Accept-Encoding"));
        let mut unpacked = Vec::new();
        flate2::read::GzDecoder::new(&packed.bytes[..]).read_to_end(&mut unpacked).unwrap();
        assert!(unpacked == plain.bytes, "{path}");
        assert!(packed.bytes.len() * 4 < plain.bytes.len(), "{path}");
    }
    let etag = world.get_with("/jobs", &[("accept-encoding", "gzip")]).await.header("etag").to_owned();
    let again = world.get_with("/jobs", &[("accept-encoding", "gzip"), ("if-none-match", &etag)]).await;
    assert_eq!(again.status, StatusCode::NOT_MODIFIED);
    assert_eq!(
        world.get_with("/healthz", &[("accept-encoding", "gzip")]).await.header("content-encoding"),
        ""
    );
}
