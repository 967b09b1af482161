//! What is agreed on with an engine, and what becomes of one that says nothing: a mock, since no engine hangs on demand.

use super::*;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixListener;

#[tokio::test]
async fn frames_are_taken_apart() {
    let frames =
        [&[1, 0, 0, 0, 0, 0, 0, 3][..], b"out", &[2, 0, 0, 0, 0, 0, 0, 2], b"er", &[1, 0, 0]].concat();
    let mut seen = Vec::new();
    demultiplex(&frames[..], |err, bytes| {
        seen.push((err, bytes.to_vec()));
        Ok(())
    })
    .await
    .unwrap();
    assert_eq!(seen, [(false, b"out".to_vec()), (true, b"er".to_vec())]);
    assert_eq!(escape("a/b:c@d {\"x\"}"), "a/b:c@d%20%7B%22x%22%7D");
}

#[test]
fn the_version_that_both_know_is_spoken() {
    let cases = [
        // Docker 20.10, Podman 4.3, Docker 19.03, Docker 29, and engines that say little.
        (Some("1.12"), Some("1.41"), Some("1.41")),
        (Some("1.24"), Some("1.41"), Some("1.41")),
        (Some("1.12"), Some("1.40"), Some("1.40")),
        (Some("1.44"), Some("1.52"), Some("1.44")),
        (Some("1.24"), Some("1.100"), Some("1.41")),
        (None, Some("1.47"), Some("1.47")),
        (Some("1.24"), None, None),
        (Some("x"), Some("y"), None),
    ];
    for (oldest, newest, want) in cases {
        assert_eq!(agree(oldest, newest).as_deref(), want, "{oldest:?} {newest:?}");
    }
}

/// An engine that hears a request, tells `heard` its first line, says `answer`, and then nothing, for ever.
fn hangs(dir: &Path, answer: &'static str) -> (PathBuf, std::sync::mpsc::Receiver<String>) {
    let socket = dir.join("engine.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let (heard, requests) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut kept = Vec::new();
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut line = String::new();
            // Who asks may have lost patience already.
            let _ = BufReader::new(stream.try_clone().unwrap()).read_line(&mut line);
            let _ = stream.write_all(answer.as_bytes());
            kept.push(stream);
            if heard.send(line).is_err() {
                return;
            }
        }
    });
    (socket, requests)
}

#[tokio::test]
async fn an_engine_that_never_answers_is_said_to_hang() {
    let dir = tempfile::tempdir().unwrap();
    let (socket, requests) = hangs(dir.path(), "");
    let short = Duration::from_millis(1);
    let client = Client::new(&socket, "1.41").patient(short, short);
    let spec = json!({});
    let errors = [
        client.about().await.map(drop).unwrap_err(),
        client.create("c", &spec).await.map(drop).unwrap_err(),
        client.start("c").await.unwrap_err(),
        client.inspect("c").await.map(drop).unwrap_err(),
        client.kill("c", "TERM").await.unwrap_err(),
        client.remove("c").await.unwrap_err(),
        client.list("l").await.map(drop).unwrap_err(),
        client.image("i").await.map(drop).unwrap_err(),
        client.attach("c").await.map(drop).unwrap_err(),
        client.pull("i:1", None).await.unwrap_err(),
        client.import("i:1", Vec::new()).await.unwrap_err(),
    ];
    for error in &errors {
        assert!(matches!(error, EngineError::Silent { .. }), "{error}");
        assert!(error.to_string().contains(&*socket.to_string_lossy()), "{error}");
    }
    drop(requests);
}

#[tokio::test]
async fn a_pull_that_stops_half_way_is_said_to_hang_and_one_that_goes_on_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let begun = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n14\r\n{\"status\":\"Pulling\"}\r\n";
    let (socket, requests) = hangs(dir.path(), begun);
    let client = Client::new(&socket, "").patient(PATIENCE, Duration::from_millis(300));
    let error = client.pull("example.com/i:1", None).await.unwrap_err();
    assert!(matches!(error, EngineError::Silent { .. }), "{error}");
    assert!(error.to_string().starts_with("cannot pull image example.com/i:1: "), "{error}");
    drop(requests);

    let dir = tempfile::tempdir().unwrap();
    let failed = "HTTP/1.1 200 OK\r\nContent-Length: 59\r\n\r\n{\"status\":\"Pulling\"}\n{\"error\":\"no such manifest, sorry\"}  \n";
    let (socket, requests) = hangs(dir.path(), failed);
    let client = Client::new(&socket, "1.44");
    let error = client.pull("example.com/i:1", None).await.unwrap_err();
    assert_eq!(error.to_string(), "cannot pull image example.com/i:1: no such manifest, sorry");
    let line = requests.recv().unwrap();
    assert!(line.starts_with("POST /v1.44/images/create?fromImage=example.com/i&tag=1 "), "{line}");
}

#[tokio::test]
async fn the_end_of_a_container_is_waited_for_without_a_bound() {
    let dir = tempfile::tempdir().unwrap();
    let (socket, requests) = hangs(dir.path(), "");
    let patient = Client::new(&socket, "");
    let client = patient.clone().patient(Duration::from_millis(1), Duration::from_millis(1));
    let mut wait = std::pin::pin!(patient.wait("c"));
    // Another request runs into its bound; the first still waits after that.
    tokio::select! {
        biased;
        ended = &mut wait => panic!("{ended:?}"),
        error = client.inspect("c") => assert!(matches!(error, Err(EngineError::Silent { .. }))),
    }
    assert!(futures::poll!(wait).is_pending());
    drop(requests);
}
