//! A host that wants to be left alone: real git behind a front that refuses, and says for how long.

use std::time::Duration;

use knotmeter::observation::{Fact, LookFailure, Observation, Time};
use knotmeter::observers::git::{Error, check};
use knotmeter::observers::schedule::retry_after::{RETRY_AFTER_MAX, RETRY_AFTER_MIN, wait};

use super::follower::{Follower, config};
use super::origin::HttpServer;
use super::running::Running;
use super::shop;

#[tokio::test]
async fn the_host_is_left_alone_for_as_long_as_it_says() {
    let origin = shop();
    let server = HttpServer::start(&origin).await;
    let settings = config(&server.url());
    // Thu, 23 Nov 2023 20:13:20 GMT.
    let now = Time(1_700_770_400_000);
    for (status, said, seconds) in [
        (429, "7", 7),
        (503, "7", 7),
        (429, "Thu, 23 Nov 2023 20:13:50 GMT", 30),
        (429, "0", RETRY_AFTER_MIN.as_secs()),
        (429, "Thu, 23 Nov 2023 20:00:00 GMT", RETRY_AFTER_MIN.as_secs()),
        (503, "Fri, 23 Nov 2040 20:00:00 GMT", RETRY_AFTER_MAX.as_secs()),
        (429, "99999999999999999999999", RETRY_AFTER_MAX.as_secs()),
    ] {
        server.throttle(status, said);
        let error = check(&settings).await.unwrap_err();
        assert_eq!(error.failure(), LookFailure::Throttled, "{status} {said}: {error}");
        let headers = error.headers().unwrap_or_else(|| panic!("{status} {said}: no headers"));
        assert_eq!(wait(headers, 1, now), Duration::from_secs(seconds), "{status} {said}");
    }
}

#[tokio::test]
async fn a_server_that_fails_and_asks_for_nothing_is_not_throttling() {
    let origin = shop();
    let server = HttpServer::start(&origin).await;
    server.answer_with(503);
    let error = check(&config(&server.url())).await.unwrap_err();
    assert!(matches!(error, Error::Server { status: 503, .. }) && error.headers().is_none(), "{error}");
}

#[tokio::test]
async fn who_refuses_the_short_question_is_not_asked_the_long_one() {
    let origin = shop();
    let server = HttpServer::start(&origin).await;
    let mut follower = Follower::new(config(&server.url()));
    for _ in 0..3 {
        follower.poll().await;
    }
    server.take_requests();
    for round in 0..2 {
        server.throttle(429, "60");
        let observations = follower.poll().await;
        let [Observation { fact: Fact::LookFailed { failure, .. }, .. }] = &observations[..] else {
            panic!("{observations:?}");
        };
        assert_eq!((*failure, server.take_requests().len()), (LookFailure::Throttled, 1), "round {round}");
    }
    server.answer_with(0);
    assert_eq!(follower.look().await, "main looked at\n");
}

/// Two repositories of one host, looked at ten times a second: one is refused, both are left alone.
#[tokio::test]
async fn a_refusal_silences_every_repository_of_the_host() {
    const WAIT: Duration = Duration::from_secs(3);
    let origin = shop();
    let server = HttpServer::start(&origin).await;
    let again = format!("{}/", server.url());
    let mut running = Running::start(&[&server.url(), &again], 0.1);
    for _ in 0..4 {
        running.look_completed().await;
    }
    server.take_times();
    server.throttle_once(429, &WAIT.as_secs().to_string());
    running.next(|fact| matches!(fact, Fact::LookFailed { .. })).await;
    // One may have been on its way when the refusal came.
    for _ in 0..3 {
        running.look_completed().await;
    }
    let times = server.take_times();
    let quiet = times.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default();
    // Without that word the pause would be one second.
    assert!(quiet >= WAIT - WAIT / 4, "the host was left alone for {quiet:?}");
}
