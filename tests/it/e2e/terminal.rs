//! A terminal obeys control characters, and most of what commands print was written by others.

use axum::Router;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use serde_json::{Value, json};

use super::process::{knotmeter, run};

/// Clears the screen, sets the title of the window, goes back to the start of the line, and reads backwards.
const HOSTILE: &str = "first\u{1b}[2J\u{1b}]0;owned\u{7}\r\u{9b}31m\u{7f}\u{202e}last";

/// An instance that says this of everything.
async fn instance() -> (String, tokio::task::JoinHandle<()>) {
    let answer = async |uri: Uri| -> Response {
        let journey = json!({"id": HOSTILE, "app": HOSTILE, "environment": HOSTILE, "workload": HOSTILE, "image": HOSTILE,
            "trigger": HOSTILE, "cluster": HOSTILE, "namespace": HOSTILE, "digest": HOSTILE, "stuck": {"reason": HOSTILE},
            "commit": {"id": HOSTILE, "subject": HOSTILE}});
        let answer = json!({"sentence": HOSTILE, "command": HOSTILE, "state": "live", "environment": "prod",
            "destination": HOSTILE, "team": HOSTILE, "holder": HOSTILE});
        match uri.path() {
            "/api/v1/journeys" => json!({ "journeys": [journey] }).to_string().into_response(),
            "/api/v1/why" if uri.query().is_some_and(|query| query.contains("nobody")) => {
                (StatusCode::SERVICE_UNAVAILABLE, json!({ "error": HOSTILE }).to_string()).into_response()
            }
            _ => json!({ "answers": [answer] }).to_string().into_response(),
        }
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = format!("http://{}", listener.local_addr().unwrap());
    let task =
        tokio::spawn(async move { axum::serve(listener, Router::new().fallback(answer)).await.unwrap() });
    (server, task)
}

#[tokio::test]
async fn no_command_hands_the_terminal_what_others_wrote_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let (server, task) = instance().await;
    for arguments in [
        &["status"][..],
        &["status", "-o", "wide"],
        &["status", "-o", "json"],
        &["status", "-o", "yaml"],
        &["why", "web"],
        &["why", "web", "-o", "wide"],
        &["why", "web", "-o", "json"],
        &["why", "web", "-o", "yaml"],
        &["why", "nobody"],
        &["wait", "r.example/team/web:1", "--timeout", "5s"],
        &["bundle", "00c0ffee00c0ffee"],
    ] {
        let arguments = [arguments, &["--server", &server]].concat();
        let said = run(knotmeter(&arguments, folder.path()), "knotmeter").await;
        let all = said.out.clone() + &said.err;
        let commands = |c: char| c != '\n' && c.is_control() || c == '\u{202e}';
        assert!(!all.contains(commands), "{arguments:?}: {all:?}");
        let is_bundle = arguments[0] == "bundle";
        assert!(is_bundle || all.contains("first") && all.contains("last"), "{arguments:?}: {all:?}");
        if arguments.contains(&"json") {
            let value: Value = serde_json::from_str(&said.out).unwrap();
            let first = if arguments[0] == "why" { &value[0]["sentence"] } else { &value[0]["app"] };
            assert_eq!(first, HOSTILE, "nothing is lost where a program reads it");
        }
    }
    task.abort();
}
