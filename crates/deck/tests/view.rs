//! Job pages, logs, artifacts and histories, through the router, over a bucket in a directory.

mod support;

use http::StatusCode;
use prow_api::State;
use prow_deck::DeckOptions;
use prow_service::clock::{ManualClock, SharedClock};
use std::os::unix::fs::symlink;
use std::sync::Arc;
use support::{Impatient, World, presubmit};

const RUN: &str = "pr-logs/pull/acme_shop/7/unit/11";

#[tokio::test]
async fn a_runs_page_shows_what_it_left() {
    let world = World::new().await;
    world.job(presubmit("one", "unit", State::Failure, "11")).await;
    world.put(&format!("{RUN}/started.json"), r#"{"timestamp": 1782906600, "node": "node-1", "metadata": {"links": {"trace": {"url": "https://trace.example/1"}, "bad": {"url": "javascript:1"}}}}"#);
    world.put(&format!("{RUN}/finished.json"), r#"{"timestamp": 1782906720, "passed": false, "result": "FAILURE", "metadata": {"infra": {"zone": "<z>"}}, "revision": "abc"}"#);
    world.put(&format!("{RUN}/build-log.txt"), "one\nERROR: two <script>\n\x1b[31mred\x1b[0m\n");
    world.put(&format!("{RUN}/artifacts/junit.xml"), "<testsuite/>");
    let text = world.get(&format!("/view/{}/{RUN}", world.path())).await.has(&[
        "class=\"state failure\"",
        "unit",
        "2m 00s",
        "href=\"https://github.com/acme/shop/pull/7\"",
        "href=\"https://trace.example/1\"",
        &format!("href=\"/job-history/{}/pr-logs/directory/unit\"", world.path()),
        "href=\"/pr-history/?org=acme&amp;repo=shop&amp;pr=7\"",
        "href=\"/prowjob?prowjob=one\"",
        "3 lines",
        "1 marked",
        "<div class=\"l hit\" id=\"L2\">",
        "ERROR: two &lt;script&gt;",
        "<span class=\"f1\">red</span>",
        &format!("href=\"/artifacts/{}/{RUN}/artifacts/\"", world.path()),
        "infra.zone",
        "&lt;z&gt;",
    ]);
    assert!(!text.contains("javascript:") && !text.contains("data-running"));
    // With a trailing slash too, and from storage alone.
    world.get(&format!("/view/{}/{RUN}/", world.path())).await.has(&["ERROR: two"]);
}

#[tokio::test]
async fn a_run_that_the_cluster_forgot_is_shown_from_storage() {
    let world = World::new().await;
    let mut job = presubmit("one", "unit", State::Failure, "11");
    job.spec.decoration_config = None;
    world.put(&format!("{RUN}/prowjob.json"), serde_json::to_vec(&job).unwrap());
    world.put(&format!("{RUN}/finished.json"), r#"{"timestamp": 1782906720, "result": "ABORTED"}"#);
    world.put(&format!("{RUN}/started.json"), "not json");
    let text = world.get(&format!("/view/{}/{RUN}", world.path())).await.has(&[
        "state aborted",
        "Sell more cheese",
        "started.json is not what it should be",
        "This run left no build log.",
    ]);
    assert!(!text.contains("ProwJob YAML"), "the cluster has none");
    let none = world.get(&format!("/view/{}/pr-logs/pull/acme_shop/7/unit/99", world.path())).await;
    assert_eq!(none.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_large_log_is_shown_in_parts() {
    let world = World::new().await;
    let log: String = (1..=5000)
        .map(|n| if n == 2500 { "--- FAIL: TestIt\n".to_owned() } else { format!("line {n}\n") })
        .collect();
    world.put(&format!("{RUN}/build-log.txt"), log);
    let at = format!("{}/{RUN}", world.path());
    let text = world.get(&format!("/view/{at}")).await.has(&[
        "5,000 lines",
        "id=\"L2495\"",
        "<div class=\"l hit\" id=\"L2500\">",
        "id=\"L2505\"",
        "id=\"L5000\"",
        "2,494 lines",
    ]);
    assert!(!text.contains("id=\"L2494\"") && !text.contains("id=\"L2506\"") && !text.contains("id=\"L1\""));
    // The links of the gaps lead on.
    let more = text.split("data-fetch=\"").nth(1).unwrap().split('"').next().unwrap().replace("&amp;", "&");
    assert_eq!(more, format!("/lines/{at}/build-log.txt?from=1&to=2495&side=top"));
    let rows = world.get(&more).await.has(&["id=\"L1\"", "id=\"L500\"", "from=501&amp;to=2495"]);
    assert_eq!(rows.matches("class=\"l\"").count(), 500);
    let rows = world.get(&format!("/lines/{at}/build-log.txt?from=4000&to=99999999&side=bottom")).await;
    rows.has(&["id=\"L4501\"", "id=\"L5000\"", "from=4000&amp;to=4501"]);
    // Without the script the same links show a page around a line.
    let page = world.get(&format!("/view/{at}?log=build-log.txt&line=1234")).await.has(&["id=\"L1234\""]);
    assert!(!page.contains("id=\"L2500\""));
}

#[tokio::test]
async fn a_log_whose_lines_take_long_to_count_is_shown_by_its_end() {
    let impatient = |clock: &ManualClock| Arc::new(Impatient(clock.clone())) as SharedClock;
    let world = World::at(DeckOptions::default(), |_, _| {}, impatient).await;
    let log: String =
        (1..=20_000).map(|n| format!("line {n}\n")).chain(["ERROR: the end\n".to_owned()]).collect();
    world.put(&format!("{RUN}/build-log.txt"), log);
    let page = format!("/view/{}/{RUN}", world.path());
    let text = world.get(&page).await.has(&["data-indexing", "ERROR: the end", "line 20000<"]);
    assert!(!text.contains("id=\"L") && !text.contains("line 1<"), "{text}");
    // The counting went on: asking for lines waits for it, and the page has it then.
    world.get(&format!("/lines/{}/{RUN}/build-log.txt?from=1&to=3", world.path())).await.has(&["id=\"L2\""]);
    world.get(&page).await.has(&["20,001 lines", "<div class=\"l hit\" id=\"L20001\">"]);
}

#[tokio::test]
async fn hostile_logs_are_shown_and_bounded() {
    let world = World::new().await;
    let mut log = vec![b'x'; 1 << 20];
    log.extend_from_slice(b"\n\xff\xfe\x00 not text \xe2\x80\xae reversed\n<script>alert(1)</script>\n\x1b]0;title\x07\x1b[31;999999999999mlast");
    world.put(&format!("{RUN}/build-log.txt"), log);
    let answer = world.get(&format!("/view/{}/{RUN}", world.path())).await;
    let text = answer.has(&[
        "1,038,576 more bytes in this line",
        "\u{fffd}\u{fffd}␀ not text &lt;U+202E&gt; reversed",
        "&lt;script&gt;alert(1)&lt;/script&gt;",
        "<span class=\"f1\">last</span>",
        "4 lines",
    ]);
    assert!(text.len() < 40_000, "{} bytes", text.len());
}

#[tokio::test]
async fn logs_of_several_containers_are_tabs() {
    let world = World::new().await;
    world.put(&format!("{RUN}/zeta-build-log.txt"), "from zeta\n");
    world.put(&format!("{RUN}/alpha-build-log.txt"), "from alpha\n");
    let at = format!("/view/{}/{RUN}", world.path());
    let text = world.get(&at).await.has(&["from alpha", "?log=zeta-build-log.txt"]);
    assert!(!text.contains("from zeta"));
    world.get(&format!("{at}?log=zeta-build-log.txt")).await.has(&["from zeta"]);
    // Only logs of the run can be chosen.
    world.get(&format!("{at}?log=..%2f..%2fx")).await.has(&["from alpha"]);
}

#[tokio::test]
async fn nothing_outside_of_the_bucket_can_be_read() {
    let world = World::new().await;
    let secret = world.directory.path().join("secret.txt");
    std::fs::write(&secret, "the secret").unwrap();
    world.put(&format!("{RUN}/build-log.txt"), "fine\n");
    let run = world.bucket().join(RUN);
    symlink(&secret, run.join("link.txt")).unwrap();
    symlink(world.directory.path(), run.join("out")).unwrap();
    symlink(&secret, run.join("started.json")).unwrap();
    std::fs::create_dir_all(run.join("../12")).unwrap();
    symlink(&secret, run.join("../12/build-log.txt")).unwrap();
    let outside = format!("file{}", world.directory.path().display());
    let bucket = world.path();
    for path in [
        format!("{outside}/secret.txt"),
        format!("{bucket}/../secret.txt"),
        format!("{bucket}/%2e%2e/secret.txt"),
        format!("{bucket}/..%2fsecret.txt"),
        format!("{bucket}%2f..%2fsecret.txt"),
        format!("{bucket}/{RUN}/..%5c..%5csecret.txt"),
        format!("{bucket}/{RUN}/link.txt"),
        format!("{bucket}/{RUN}/out/secret.txt"),
        format!("{bucket}/{RUN}/out/"),
        format!("{bucket}/{RUN}/../12/build-log.txt"),
        format!("{bucket}/pr-logs/pull/acme_shop/7/unit/12/build-log.txt"),
        format!("{bucket}/.prow/attributes/x.json"),
        "file/etc/passwd".to_owned(),
        "file/".to_owned(),
        "prowjob/../../etc/passwd".to_owned(),
        "http/example.com/x".to_owned(),
    ] {
        for route in ["view", "artifacts", "lines", "job-history"] {
            let answer = world.get(&format!("/{route}/{path}")).await;
            assert!(!answer.status.is_success(), "/{route}/{path}: {} {}", answer.status, answer.text());
            assert!(
                !answer.text().contains("the secret") && !answer.text().contains("root:"),
                "/{route}/{path}"
            );
        }
    }
    let page = world.get(&format!("/view/{bucket}/{RUN}")).await.has(&["fine"]);
    assert!(!page.contains("the secret") && !page.contains("link.txt"));
}

#[tokio::test]
async fn artifacts_are_never_markup() {
    let world = World::new().await;
    for (name, content, media, saved) in [
        ("index.html", "<script>1</script>", "text/plain; charset=utf-8", false),
        ("x.svg", "<svg onload=1/>", "text/plain; charset=utf-8", false),
        ("x.js", "alert(1)", "text/plain; charset=utf-8", false),
        ("x.json", "{}", "application/json", false),
        ("x.png", "png", "image/png", false),
        ("x.tar.gz", "gz", "application/octet-stream", true),
    ] {
        world.put(&format!("{RUN}/artifacts/{name}"), content);
        let answer = world.get(&format!("/artifacts/{}/{RUN}/artifacts/{name}", world.path())).await;
        assert_eq!(answer.has(&[]), content);
        assert_eq!(answer.header("content-type"), media, "{name}");
        assert_eq!(
            answer.header("content-security-policy"),
            "sandbox; default-src 'none'; frame-ancestors 'none'"
        );
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
        assert_eq!(answer.header("content-disposition").starts_with("attachment"), saved, "{name}");
    }
    let directory = format!("/artifacts/{}/{RUN}/artifacts", world.path());
    let moved = world.get(&directory).await;
    assert_eq!(
        (moved.status, moved.header("location")),
        (StatusCode::FOUND, format!("{directory}/").as_str())
    );
    world.get(&format!("{directory}/")).await.has(&["index.html", &format!("href=\"{directory}/x.svg\"")]);
    assert_eq!(world.get(&format!("{directory}/none.txt")).await.status, StatusCode::NOT_FOUND);
    // Directories above runs would tell of jobs that are hidden.
    world.put(&format!("{RUN}/started.json"), "{}");
    world.get(&format!("/artifacts/{}/{RUN}/", world.path())).await.has(&["started.json", "artifacts/"]);
    for above in ["", "/pr-logs", "/pr-logs/pull/acme_shop/7/unit"] {
        let answer = world.get(&format!("/artifacts/{}{above}/", world.path())).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{above}: {}", answer.text());
    }
}

#[tokio::test]
async fn artifacts_are_read_by_range_and_revalidated() {
    let world = World::new().await;
    let content: Vec<u8> = (0..2_000_000u32).map(|n| n as u8).collect();
    world.put(&format!("{RUN}/artifacts/data.txt"), &content);
    let path = format!("/artifacts/{}/{RUN}/artifacts/data.txt", world.path());
    for (range, from, to) in [
        ("bytes=0-9", 0, 10),
        ("bytes=1999990-", 1_999_990, 2_000_000),
        ("bytes=-3", 1_999_997, 2_000_000),
        ("bytes=5-1500000", 5, 1_500_001),
    ] {
        let answer = world.get_with(&path, &[("range", range)]).await;
        assert_eq!(answer.status, StatusCode::PARTIAL_CONTENT);
        assert!(answer.bytes == content[from..to], "{range}");
        assert_eq!(answer.header("content-range"), format!("bytes {from}-{}/2000000", to - 1));
        assert_eq!(answer.header("content-length"), (to - from).to_string());
    }
    let beyond = world.get_with(&path, &[("range", "bytes=2000000-")]).await;
    assert_eq!(
        (beyond.status, beyond.header("content-range")),
        (StatusCode::RANGE_NOT_SATISFIABLE, "bytes */2000000")
    );
    let whole = world.get(&path).await;
    assert!(whole.bytes == content);
    let etag = whole.header("etag").to_owned();
    assert_eq!(world.get_with(&path, &[("if-none-match", &etag)]).await.status, StatusCode::NOT_MODIFIED);
}

#[tokio::test]
async fn a_running_jobs_log_comes_from_its_pod() {
    let world = World::new().await;
    world.job(presubmit("one", "unit", State::Pending, "11")).await;
    let page = format!("/view/{}/{RUN}", world.path());
    world.get(&page).await.has(&["data-running", "data-live=", "No log yet"]);
    world.pod("one", &[("test", "first\nERROR: <b>\nunfinish")]).await;
    world.get(&page).await.has(&["first", "ERROR: &lt;b&gt;", "data-offset=\"17\" data-line=\"3\""]);
    world.set_log("one", "test", "first\nERROR: <b>\nunfinished\nfourth\n");
    let next = world.get("/live?job=unit&id=11&container=test&offset=17&line=3").await;
    let text = next.has(&["id=\"L3\"", "unfinished", "id=\"L4\"", "data-line=\"5\""]);
    assert!(!text.contains("first") && !text.contains("data-done"));

    let raw = world.get("/log?job=unit&id=11").await;
    assert_eq!(raw.has(&[]), "first\nERROR: <b>\nunfinished\nfourth\n");
    assert!(raw.header("content-type").starts_with("text/plain"));
    assert_eq!(raw.header("access-control-allow-origin"), "*");
    for (query, status) in [
        ("job=unit", StatusCode::BAD_REQUEST),
        ("id=11", StatusCode::BAD_REQUEST),
        ("job=unit&id=12", StatusCode::NOT_FOUND),
        ("job=unit&id=11&container=other", StatusCode::NOT_FOUND),
    ] {
        let answer = world.get(&format!("/log?{query}")).await;
        assert_eq!(answer.status, status, "{query}");
        assert!(
            status != StatusCode::NOT_FOUND || answer.text().starts_with("Log not found: "),
            "{}",
            answer.text()
        );
    }
    // So it is with a name that has slashes.
    world.job(presubmit("two", "folder/unit", State::Pending, "13")).await;
    let nested = format!("/view/{}/pr-logs/pull/acme_shop/7/folder/unit/13", world.path());
    world.get(&nested).await.has(&["data-live=", "folder/unit"]);
    // Its page by name leads to its results.
    let by_name = world.get("/view/prowjob/unit/11").await;
    assert_eq!((by_name.status, by_name.header("location")), (StatusCode::FOUND, page.as_str()));
}

#[tokio::test]
async fn an_undecorated_job_has_a_page_too() {
    let world = World::new().await;
    let mut job = presubmit("one", "unit", State::Success, "11");
    job.spec.decoration_config = None;
    world.job(job).await;
    world.pod("one", &[("test", "all of it\nno newline")]).await;
    world.get("/").await.has(&["href=\"/view/prowjob/unit/11\""]);
    world.get("/view/prowjob/unit/11").await.has(&["all of it", "no newline", "data-done"]);
    assert_eq!(world.get("/view/prowjob/unit/99").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn pointer_files_lead_to_runs() {
    let world = World::new().await;
    world.put(&format!("{RUN}/build-log.txt"), "x\n");
    let pointed = format!("file://{}/{RUN}", world.bucket().display());
    world.put("pr-logs/directory/unit/11.txt", &pointed);
    world.put("pr-logs/directory/unit/12.txt", "file:///etc");
    let answer = world.get(&format!("/view/{}/pr-logs/directory/unit/11", world.path())).await;
    assert_eq!(
        (answer.status, answer.header("location")),
        (StatusCode::FOUND, format!("/view/{}/{RUN}", world.path()).as_str())
    );
    let evil = world.get(&format!("/view/{}/pr-logs/directory/unit/12", world.path())).await;
    assert_eq!(evil.status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn a_jobs_history_is_paged() {
    let world = World::new().await;
    for id in 1..=45 {
        world.put(
            &format!("logs/nightly/{id}/started.json"),
            format!(r#"{{"timestamp": {}}}"#, support::NOW - 1000 + id),
        );
        world.put(
            &format!("logs/nightly/{id}/finished.json"),
            format!(
                r#"{{"timestamp": {}, "result": "SUCCESS", "revision": "r{id}"}}"#,
                support::NOW - 940 + id
            ),
        );
    }
    world.put("logs/nightly/latest-build.txt", "45\n");
    let at = format!("/job-history/{}/logs/nightly", world.path());
    let text = world.get(&at).await.has(&[">45</a>", ">26</a>", "1m 00s", "r45", "?buildId=25"]);
    assert!(!text.contains(">25</a>") && !text.contains("Newer"));
    world.get(&format!("{at}?buildId=25")).await.has(&[
        ">25</a>",
        ">6</a>",
        "?buildId=5\"",
        "?buildId=45\"",
        "Latest",
    ]);
    // Of pull requests, through pointer files.
    world.put(&format!("{RUN}/finished.json"), r#"{"timestamp": 5, "passed": false}"#);
    world.put("pr-logs/directory/unit/11.txt", format!("file://{}/{RUN}", world.bucket().display()));
    world.put("pr-logs/directory/unit/latest-build.txt", "11");
    let pulls = world.get(&format!("/job-history/{}/pr-logs/directory/unit", world.path())).await;
    pulls.has(&[&format!("href=\"/view/{}/{RUN}\"", world.path()), "state failure"]);
    assert_eq!(
        world.get(&format!("/job-history/{}/logs/none", world.path())).await.status,
        StatusCode::NOT_FOUND
    );
}

#[tokio::test]
async fn a_pull_requests_history_is_of_store_and_storage() {
    let world = World::new().await;
    world.job(presubmit("one", "unit", State::Pending, "12")).await;
    world.put(&format!("{RUN}/started.json"), r#"{"timestamp": 1782906600}"#);
    world.put(
        &format!("{RUN}/finished.json"),
        format!(r#"{{"timestamp": 1782906660, "result": "FAILURE", "revision": "{}"}}"#, "c".repeat(40)),
    );
    world.get("/pr-history/?org=acme&repo=shop&pr=7").await.has(&[
        "state pending",
        "state failure",
        "aaaaaaa",
        "ccccccc",
        &format!("/view/{}/{RUN}", world.path()),
    ]);
    world.get("/pr-history/?org=acme&repo=shop&pr=8").await.has(&["No runs are known"]);
    assert_eq!(world.get("/pr-history/?org=acme").await.status, StatusCode::BAD_REQUEST);
}
