//! Real git clients: clone, push, fetch, and who may.

use crate::harness::World;

#[tokio::test(flavor = "multi_thread")]
async fn anyone_clones_and_fetches_by_commit_and_by_pull_request() {
    let world = World::new().await;
    let (alice, pr) = world.pull_request().await;
    let reader = world.clone("").await;
    assert_eq!(reader.git(&["log", "--format=%s", "origin/main"]).await, "Initial commit");
    let mode = reader.git(&["ls-files", "--stage", "src/main.sh"]).await;
    assert!(mode.starts_with("100755"), "a script is executable: {mode}");
    reader.git(&["fetch", "--quiet", "origin", &format!("pull/{}/head", pr.number)]).await;
    assert_eq!(reader.git(&["rev-parse", "FETCH_HEAD"]).await, pr.head.sha);

    // A commit that no ref shows any more, as clonerefs asks for one after a force push.
    let old = pr.head.sha.clone();
    alice.git(&["commit", "--quiet", "--amend", "-m", "Make it fly higher"]).await;
    alice.git(&["push", "--quiet", "--force", "origin", "feature"]).await;
    let fresh = world.clone("").await;
    fresh.git(&["fetch", "--quiet", "--depth=1", "--filter=blob:none", "origin", &old]).await;
    assert_eq!(fresh.git(&["rev-parse", "FETCH_HEAD"]).await, old);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_big_push_is_streamed_and_gzip_requests_are_read() {
    let world = World::new().await;
    let alice = world.clone("alice").await;
    // Incompressible and larger than http.postBuffer, so git sends it in chunks.
    let noise: String =
        (0..120_000u64).map(|i| format!("{:016x}", i.wrapping_mul(0x9e37_79b9_7f4a_7c15))).collect();
    alice.write("noise", &noise);
    let sha = alice.commit("Noise").await;
    alice.git(&["-c", "http.postBuffer=65536", "push", "--quiet", "origin", "HEAD:refs/heads/noise"]).await;
    assert_eq!(world.forge.branch("acme", "rocket", "noise"), Some(sha.clone()));
    // Many `have` lines make git compress its request (from 1024 bytes on).
    for i in 0..60 {
        alice.git(&["commit", "--quiet", "--allow-empty", "-m", &format!("empty {i}")]).await;
    }
    world.forge.push_files("acme", "rocket", "main", "owner", "On main", &[("x", Some("y"))]).await.unwrap();
    alice.git(&["fetch", "--quiet", "origin", "main"]).await;
    let tip = world.forge.branch("acme", "rocket", "main").unwrap();
    assert_eq!(alice.git(&["rev-parse", "FETCH_HEAD"]).await, tip);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_those_who_may_push_do() {
    let world = World::new().await;
    let main = world.forge.branch("acme", "rocket", "main").unwrap();
    for (login, says) in [("mallory", "403"), ("", "could not read Username")] {
        let clone = world.clone(login).await;
        clone.write("evil", "x");
        clone.commit("Evil").await;
        let out = clone.try_git(&["push", "origin", "HEAD:main"]).await;
        let stderr = String::from_utf8_lossy(&out.stderr).into_owned();
        assert!(!out.status.success() && stderr.contains(says), "{login:?}: {stderr}");
    }
    let mut liar = world.clone("alice").await;
    liar.login = "nobody".into();
    liar.write("evil", "x");
    liar.commit("Evil").await;
    assert!(!liar.try_git(&["push", "origin", "HEAD:main"]).await.status.success(), "a wrong token");
    // Pull requests' refs are the forge's own.
    let alice = world.clone("alice").await;
    assert!(!alice.try_git(&["push", "origin", "HEAD:refs/pull/7/head"]).await.status.success());
    assert_eq!(world.forge.branch("acme", "rocket", "main"), Some(main));
}

#[tokio::test(flavor = "multi_thread")]
async fn private_repositories_do_not_exist_for_strangers() {
    let world = World::new().await;
    world.forge.create_repo_with("acme", "secret", "main", true, &[("a", "b")]).await.unwrap();
    let url = format!("{}/acme/secret.git", world.forge.base_url());
    for (login, may) in [("", false), ("mallory", false), ("alice", false), ("owner", true), ("bot", true)] {
        let clone = world.clone(login).await;
        assert_eq!(clone.try_git(&["ls-remote", &url]).await.status.success(), may, "{login:?}");
        assert_eq!(world.client(login).get_repo("acme", "secret").await.is_ok(), may, "{login:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_addresses_lead_nowhere() {
    let world = World::new().await;
    let base = world.forge.base_url().to_owned();
    let http = reqwest::Client::new();
    let repo = world.forge.find_repo("acme", "rocket").unwrap();
    for path in [
        "/acme/rocket.git/HEAD".to_owned(),
        "/acme/rocket.git/config".to_owned(),
        "/acme/rocket.git/objects/info/packs".to_owned(),
        "/acme/rocket.git/info/refs".to_owned(),
        format!("/acme/..%2F{}/info/refs?service=git-upload-pack", repo.id),
        "/acme/%2e%2e/info/refs?service=git-upload-pack".to_owned(),
        format!("/{}/x/info/refs?service=git-upload-pack", repo.id),
        "/api/v3/repos/acme/..%2F..".to_owned(),
        "/api/v3/repos/acme/rocket/contents/..%2f..%2fforge.redb".to_owned(),
        "/api/v3/repos/acme/rocket/git/ref/..%2f..%2fHEAD".to_owned(),
        "/api/v3/repos/acme/rocket/commits/--output=x".to_owned(),
    ] {
        let status = http.get(format!("{base}{path}")).send().await.unwrap().status().as_u16();
        assert!((400..500).contains(&status), "{path}: {status}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_show_what_people_wrote_as_text() {
    let world = World::new().await;
    let (_, pr) = world.pull_request().await;
    let bot = world.client("bot");
    bot.create_comment("acme", "rocket", pr.number, "<script>alert(1)</script>").await.unwrap();
    let status = prow_github::Status {
        state: "failure".into(),
        context: "unit <b>".into(),
        target_url: "javascript:alert(1)".into(),
        description: "Job failed.".into(),
        ..Default::default()
    };
    bot.create_status("acme", "rocket", &pr.head.sha, &status).await.unwrap();
    let page = reqwest::get(&pr.html_url).await.unwrap().text().await.unwrap();
    assert!(
        page.contains("Make it fly") && page.contains("&lt;script&gt;") && page.contains("unit &lt;b&gt;"),
        "{page}"
    );
    assert!(!page.contains("<script>") && !page.contains("javascript:"), "{page}");
    let repo =
        reqwest::get(format!("{}/acme/rocket", world.forge.base_url())).await.unwrap().text().await.unwrap();
    assert!(repo.contains("Make it fly") && repo.contains("git clone"), "{repo}");
}
