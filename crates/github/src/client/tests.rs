//! The engine against a server that misbehaves in scripted ways, on a clock that jumps over every wait.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use prow_api::Secret;
use prow_service::clock::Clock;

use super::*;
use crate::Status;

/// Sleeping moves its time forward at once, and is remembered.
struct Jumping {
    now: Mutex<Timestamp>,
    slept: Mutex<Vec<u64>>,
}

impl Clock for Jumping {
    fn now(&self) -> Timestamp {
        *self.now.lock()
    }
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        *self.now.lock() += duration;
        self.slept.lock().push(duration.as_secs());
        Box::pin(std::future::ready(()))
    }
}

type Reply = (u16, Vec<(&'static str, String)>, &'static str);

#[derive(Default)]
struct Script {
    replies: Mutex<VecDeque<Reply>>,
    seen: Mutex<Vec<(Method, String, HeaderMap)>>,
}

struct World {
    script: Arc<Script>,
    clock: Arc<Jumping>,
    url: Url,
}

async fn play(State(script): State<Arc<Script>>, request: Request) -> Response {
    let path = request.uri().path_and_query().map(ToString::to_string).unwrap_or_default();
    script.seen.lock().push((request.method().clone(), path, request.headers().clone()));
    let (status, headers, body) =
        script.replies.lock().pop_front().unwrap_or((418, vec![], "the script is over"));
    let mut response = body.into_response();
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    for (name, value) in headers {
        response.headers_mut().insert(name, value.parse().unwrap());
    }
    response
}

impl World {
    async fn new(replies: Vec<Reply>) -> World {
        let script = Arc::new(Script { replies: Mutex::new(replies.into()), ..Script::default() });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/api/v3", listener.local_addr().unwrap()).parse().unwrap();
        let router = axum::Router::new().fallback(play).with_state(script.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        let clock = Arc::new(Jumping {
            now: Mutex::new(Timestamp::from_second(1_000_000).unwrap()),
            slept: Mutex::default(),
        });
        World { script, clock, url }
    }

    fn client(&self, change: impl FnOnce(&mut ClientOptions)) -> Client {
        let mut options = ClientOptions {
            endpoint: vec![self.url.clone()],
            token: TokenSource::Static(Secret::new("s3cret")),
            ..ClientOptions::default()
        };
        change(&mut options);
        Client::new(options, self.clock.clone()).unwrap()
    }

    fn slept(&self) -> Vec<u64> {
        self.clock.slept.lock().clone()
    }

    fn seen(&self) -> Vec<String> {
        self.script.seen.lock().iter().map(|(m, p, _)| format!("{m} {p}")).collect()
    }
}

fn plain(status: u16, body: &'static str) -> Reply {
    (status, vec![], body)
}

#[tokio::test]
async fn reads_are_tried_again_and_writes_only_where_that_is_safe() {
    let world = World::new(vec![plain(502, ""), plain(404, "{}"), plain(200, r#"{"login":"x"}"#)]).await;
    let client = world.client(|_| {});
    assert_eq!(client.bot_user().await.unwrap().login, "x");
    assert_eq!(client.bot_user().await.unwrap().login, "x", "asked once");
    assert_eq!(world.slept(), [2, 4]);
    assert_eq!(world.seen().len(), 3);

    let world = World::new(vec![plain(502, "bad gateway"), plain(201, "{}")]).await;
    let error = world.client(|_| {}).create_comment("o", "r", 1, "once").await.unwrap_err();
    assert_eq!(error.status(), Some(StatusCode::BAD_GATEWAY), "a comment may have been made: {error}");
    assert!(error.to_string().starts_with("POST /repos/o/r/issues/1/comments: "), "{error}");
    assert!(world.slept().is_empty());

    let world = World::new(vec![plain(502, ""), plain(201, "{}")]).await;
    world
        .client(|_| {})
        .create_status("o", "r", "abc", &Status::default())
        .await
        .expect("a status may be set twice");
    assert_eq!(world.seen(), ["POST /api/v3/repos/o/r/statuses/abc"; 2]);
}

#[tokio::test]
async fn absence_is_an_answer_where_it_was_asked_for() {
    let world = World::new(vec![plain(404, r#"{"message":"Not Found"}"#), plain(204, "")]).await;
    let client = world.client(|_| {});
    assert!(!client.is_member("o", "someone").await.unwrap());
    assert!(client.is_member("o", "someone").await.unwrap());
    assert!(world.slept().is_empty());

    let world = World::new(vec![plain(404, r#"{"message":"Not Found"}"#); 3]).await;
    let error = world.client(|_| {}).get_pull_request("o", "r", 1).await.unwrap_err();
    assert!(error.is_not_found() && error.message() == Some("Not Found"));
    assert_eq!(world.slept(), [2, 4]);
}

#[tokio::test]
async fn rate_limits_are_waited_for_or_told() {
    let limited = |header: &'static str, value: &str| {
        (403, vec![("x-ratelimit-remaining", "0".to_owned()), (header, value.to_owned())], "{}")
    };
    let world = World::new(vec![limited("x-ratelimit-reset", "1000030"), plain(201, r#"{"id":1}"#)]).await;
    world
        .client(|_| {})
        .create_comment("o", "r", 1, "x")
        .await
        .expect("nothing was done yet: safe to send again");
    assert_eq!(world.slept(), [31]);

    let world = World::new(vec![limited("retry-after", "3600")]).await;
    let error = world.client(|_| {}).get_repo("o", "r").await.unwrap_err();
    let Error::RateLimited { until, wait, .. } = &error else { panic!("{error}") };
    assert_eq!((until.as_second(), wait.as_secs()), (1_003_600, 3600));
    assert!(world.slept().is_empty());
    assert!(!format!("{error} {error:?}").contains("s3cret"));
}

#[tokio::test]
async fn a_known_answer_is_revalidated_and_costs_no_throttle() {
    let etag = |v: &str| vec![("etag", v.to_owned())];
    let world = World::new(vec![
        (200, etag("\"one\""), r#"{"default_branch":"main"}"#),
        (304, vec![], ""),
        (200, etag("\"two\""), r#"{"default_branch":"trunk"}"#),
    ])
    .await;
    // One call an hour: a call that was not free would wait.
    let client = world.client(|o| o.throttle = Some(ThrottleOptions { hourly_tokens: 1, burst: 1 }));
    for (want, waits) in [("main", 0), ("main", 1), ("trunk", 1)] {
        assert_eq!(client.get_repo("o", "r").await.unwrap().default_branch, want);
        assert_eq!(world.slept().len(), waits, "{want}");
    }
    let seen = world.script.seen.lock();
    let sent: Vec<_> =
        seen.iter().map(|(_, _, h)| h.get(IF_NONE_MATCH).map(|v| v.to_str().unwrap())).collect();
    assert_eq!(sent, [None, Some("\"one\""), Some("\"one\"")]);
    assert!(seen.iter().all(|(_, _, h)| h[AUTHORIZATION] == "Bearer s3cret"));
}

#[tokio::test]
async fn lists_are_followed_to_their_end() {
    let world = World::new(vec![]).await;
    let next = format!("<{}/repos/o/r/issues/1/labels?per_page=100&page=2>; rel=\"next\"", world.url);
    world.script.replies.lock().extend([
        (200, vec![("link", next), ("etag", "\"p1\"".to_owned())], r#"[{"name":"a"}]"#),
        plain(200, r#"[{"name":"b"}]"#),
        // Asked again: the first page is unchanged, and its link is remembered with it.
        plain(304, ""),
        plain(200, r#"[{"name":"c"}]"#),
    ]);
    let client = world.client(|_| {});
    for want in [["a", "b"], ["a", "c"]] {
        let names: Vec<_> =
            client.get_issue_labels("o", "r", 1).await.unwrap().into_iter().map(|l| l.name).collect();
        assert_eq!(names, want);
    }
    assert_eq!(world.seen()[1], "GET /api/v3/repos/o/r/issues/1/labels?per_page=100&page=2");
}

#[tokio::test]
async fn the_next_endpoint_takes_over_when_one_cannot_be_reached() {
    let world = World::new(vec![plain(200, "{}"), plain(201, r#"{"id":7}"#)]).await;
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let dead: Url = format!("http://{}", closed.local_addr().unwrap()).parse().unwrap();
    drop(closed);
    let client = world.client(|o| o.endpoint.insert(0, dead.clone()));
    client.get_repo("o", "r").await.unwrap();
    client.create_comment("o", "r", 1, "x").await.expect("a write that never left may be sent elsewhere");
    assert!(world.slept().is_empty());

    let client = world.client(|o| {
        o.endpoint = vec![dead];
        o.max_retries = 3;
    });
    let error = client.create_comment("o", "r", 1, "x").await.unwrap_err();
    assert!(matches!(error, Error::Transport { attempts: 4, .. }), "{error}");
    assert!(error.to_string().contains("refused") && !error.to_string().contains("127.0.0.1"), "{error}");
    assert_eq!(world.slept(), [2, 4, 8]);
}

#[tokio::test]
async fn a_moved_repository_is_followed_on_the_same_host_only() {
    let to = |location: String| (307, vec![("location", location)], "");
    let world = World::new(vec![]).await;
    world
        .script
        .replies
        .lock()
        .extend([to(format!("{}/repositories/7/issues/1/comments", world.url)), plain(201, "{}")]);
    world.client(|_| {}).create_comment("o", "r", 1, "x").await.unwrap();
    assert_eq!(world.seen()[1], "POST /api/v3/repositories/7/issues/1/comments", "still a write");

    world.script.replies.lock().push_back(to("http://evil.example/steal".to_owned()));
    let error = world.client(|_| {}).get_repo("o", "r").await.unwrap_err();
    assert!(
        matches!(error, Error::Unexpected { .. }) && error.to_string().contains("evil.example"),
        "{error}"
    );
    world.script.replies.lock().extend(vec![to("/api/v3/again".to_owned()); 7]);
    let error = world.client(|_| {}).get_repo("o", "r").await.unwrap_err();
    assert!(error.to_string().contains("redirects"), "{error}");
}

#[tokio::test]
async fn refusals_say_what_github_said_and_what_to_do() {
    let scopes =
        vec![("x-oauth-scopes", "repo".to_owned()), ("x-accepted-oauth-scopes", "admin:org".to_owned())];
    let world = World::new(vec![
        plain(401, r#"{"message":"Bad credentials"}"#),
        (403, scopes, r#"{"message":"Must be admin"}"#),
        plain(422, r#"{"message":"Validation Failed","errors":[{"message":"too long"},{"code":"missing"}]}"#),
        plain(200, "<html>"),
    ])
    .await;
    let client = world.client(|_| {});
    for says in [
        "GitHub answered 401 Unauthorized: Bad credentials; check the token in --github-token-path",
        "Must be admin; the token has the scopes [repo], the call needs one of [admin:org]",
        r#"Validation Failed (too long; {"code":"missing"})"#,
        "cannot read GitHub's answer",
    ] {
        let error = client.get_repo("o", "r").await.unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
}

#[tokio::test]
async fn callers_are_counted_apart() {
    let world = World::new(vec![plain(200, "{}"), plain(200, "{}")]).await;
    let client = world.client(|_| {});
    let (trigger, cat) = (client.tagged("trigger"), client.tagged("cat"));
    trigger.get_repo("o", "r").await.unwrap();
    trigger.clone().get_repo("o", "r").await.unwrap();
    assert_eq!((trigger.calls(), cat.calls(), client.calls()), (2, 0, 0));
    assert!(client.get_repo("..", "r").await.is_err(), "a name that would climb out of its place");
    assert_eq!(client.calls(), 0);
    assert!(matches!(
        Client::new(
            ClientOptions { endpoint: vec!["ftp://x".parse().unwrap()], ..ClientOptions::default() },
            world.clock.clone()
        ),
        Err(Error::Setup(_))
    ));
}
