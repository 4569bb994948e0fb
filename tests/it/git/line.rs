//! What a look costs the server.

use knotmeter::observation::Measure;

use super::follower::{Follower, config};
use super::origin::HttpServer;
use super::shop;

#[tokio::test]
async fn a_look_is_one_question_for_the_followed_branch_once_the_server_is_known() {
    let origin = shop();
    origin.git(&["push", "--quiet", "origin", "HEAD:refs/heads/main2", "HEAD:refs/tags/main"]);
    let server = HttpServer::start(&origin).await;
    let mut follower = Follower::new(config(&server.url()));
    follower.poll().await;
    server.take_requests();
    follower.poll().await;
    let requests = server.take_requests();
    assert_eq!(requests.len(), 2, "{requests:?}");
    assert!(requests[0].starts_with("GET /origin.git/info/refs?service=git-upload-pack"), "{requests:?}");
    assert!(requests[1].contains("command=ls-refs") && requests[1].contains("ref-prefix refs/heads/main"));
    for _ in 0..3 {
        assert_eq!(follower.look().await, "main looked at\n");
    }
    let questions = server.take_requests();
    assert_eq!(questions, vec![requests[1].clone(); 3]);
    let polls =
        follower.measures.iter().filter(|it| matches!(it, Measure::GitOperation { operation: "poll", .. }));
    let fetches =
        follower.measures.iter().filter(|it| matches!(it, Measure::GitOperation { operation: "fetch", .. }));
    assert_eq!((polls.count(), fetches.count()), (5, 1));
}
