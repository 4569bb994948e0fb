//! Answers that break the rules, on purpose or not. None may hang us, fill memory, or send us where nobody
//! asked us to go.

use std::io::Write as _;
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use futures::StreamExt;
use knotmeter::observation::{Fact, Interests, LookFailure, Measure};
use knotmeter::observers::registry::{Limits, check, scan};

use super::fake::{Content, Fake, ok, page, status, with};
use super::{Watching, interest, registry, ring};

async fn failure_of(fake: &Fake, limits: Limits) -> (LookFailure, String) {
    let mut watching =
        Watching::start(vec![registry(&fake.host, &["shop/web"])], Interests::default(), limits);
    let failed = watching.look_failed().await;
    let told = watching.facts.iter().any(|seen| !matches!(seen.fact, Fact::LookFailed { .. }));
    assert!(!told, "a failed look tells nothing else: {:#?}", watching.facts);
    failed
}

#[tokio::test]
async fn pages_that_go_round_in_circles_end_the_look() {
    let fake = Fake::start(|at, _| {
        let link = format!("</v2/shop/web/tags/list?last={}>; rel=\"next\"", at % 3);
        with(200, &[("link", &link)], page([at]))
    })
    .await;
    let (failure, message) = failure_of(&fake, Limits::default()).await;
    assert_eq!(failure, LookFailure::Malformed);
    assert!(message.contains("/shop/web: ") && message.contains("back to a page we had"), "{message}");
}

#[tokio::test]
async fn the_same_last_under_another_address_is_a_circle_too() {
    let fake = Fake::start(|at, _| {
        let link = format!("</v2/shop/web/tags/list?last=b&n={at}>; rel=\"next\"");
        with(200, &[("link", &link)], page([at]))
    })
    .await;
    assert_eq!(failure_of(&fake, Limits::default()).await.0, LookFailure::Malformed);
    assert_eq!(fake.asked().len(), 2);
}

#[tokio::test]
async fn a_link_to_another_host_is_not_followed() {
    let other = Fake::start(|_, _| ok(page(["stolen"]))).await;
    let link = format!("<http://{}/v2/shop/web/tags/list?last=a>; rel=\"next\"", other.host);
    let fake = Fake::start(move |_, _| with(200, &[("link", &link)], page(["a"]))).await;
    let (failure, message) = failure_of(&fake, Limits::default()).await;
    assert_eq!(failure, LookFailure::Malformed);
    assert!(message.contains("another host"), "{message}");
    assert!(other.asked().is_empty());
}

#[tokio::test]
async fn links_are_followed_as_written_relative_or_absolute() {
    let fake = Fake::start(|_, asked| match asked.target.as_str() {
        "/v2/shop/web/tags/list?n=1000" => {
            with(200, &[("link", r#"<list?next_page=g%3DA>; rel="next""#)], page(["z", "a"]))
        }
        "/v2/shop/web/tags/list?next_page=g%3DA" => {
            let target = "</v2/shop/web/tags/list?last=z&n=1>; rel=next";
            with(200, &[("link", target)], r#"{"tags":null}"#)
        }
        "/v2/shop/web/tags/list?last=z&n=1" => ok(r#"{"tags":["m","a","no tag"],"manifest":{}}"#),
        _ => status(400),
    })
    .await;
    ring();
    let repository = format!("{}/shop/web", fake.host).parse().unwrap();
    let report = scan(&registry(&fake.host, &[]), &repository).await.unwrap();
    let tags: Vec<&str> = report.tags.iter().map(|tag| tag.as_str()).collect();
    assert_eq!((tags, report.pages, report.invalid), (vec!["a", "m", "z"], 3, 1));
    assert_eq!(report.requests, [(200, 3)].into());
}

#[tokio::test]
async fn bodies_above_their_limit_are_cut_off() {
    let pieces =
        || futures::stream::repeat_with(|| Ok::<_, std::io::Error>(Bytes::from(vec![b' '; 1 << 16])));
    let fake = Fake::start(move |_, _| ok(Body::from_stream(pieces()))).await;
    let limits = Limits { page_bytes: 1 << 20, ..Limits::default() };
    let (failure, message) = failure_of(&fake, limits).await;
    assert_eq!(failure, LookFailure::Malformed);
    assert!(message.contains("more bytes in one page of tags than the limit of 1048576"), "{message}");
}

#[tokio::test]
async fn a_compressed_bomb_is_measured_unpacked() {
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    packed.write_all(&vec![b' '; 64 << 20]).unwrap();
    let packed = packed.finish().unwrap();
    assert!(packed.len() < 1 << 20, "the bomb itself is below the limit");
    let fake = Fake::start(move |_, _| with(200, &[("content-encoding", "gzip")], packed.clone())).await;
    let (failure, message) = failure_of(&fake, Limits { page_bytes: 1 << 20, ..Limits::default() }).await;
    assert_eq!(failure, LookFailure::Malformed);
    assert!(message.contains("limit of 1048576"), "{message}");
}

#[tokio::test]
async fn too_many_pages_and_too_many_tags_end_the_look() {
    let fake = Fake::start(|at, _| {
        let link = format!("</v2/shop/web/tags/list?last={at}>; rel=\"next\"");
        with(200, &[("link", &link)], page([at]))
    })
    .await;
    let (_, message) = failure_of(&fake, Limits { pages: 7, ..Limits::default() }).await;
    assert!(message.contains("more pages of tags than the limit of 7"), "{message}");
    let (_, message) = failure_of(&fake, Limits { tags: 5, ..Limits::default() }).await;
    assert!(message.contains("more tags than the limit of 5"), "{message}");
}

#[tokio::test]
async fn a_list_that_is_new_at_every_look_is_forgotten_and_said() {
    let fake = Fake::start(|at, asked| {
        if asked.target.contains("/tags/list") {
            ok(page((0..50).map(|number| format!("{at}-{number}"))))
        } else {
            status(404)
        }
    })
    .await;
    let registries = vec![registry(&fake.host, &["shop/web"])];
    let limits = Limits { waiting_tags: 10, ..Limits::default() };
    let mut watching = Watching::start(registries, Interests::default(), limits);
    watching.tags_listed().await;
    for _ in 0..3 {
        watching.look_completed().await;
    }
    let dropped =
        |measure: &&Measure| matches!(measure, Measure::Dropped { reason: "too_many_new_tags", .. });
    // Of fifty that left and fifty that came ten are kept, twice; the first look brings nothing new.
    assert_eq!(watching.measures.iter().filter(dropped).count(), 2 * 90);
    let questions = fake.asked().iter().filter(|one| one.target.contains("/manifests/")).count();
    assert_eq!(questions, 20);
}

#[tokio::test]
async fn a_body_that_never_ends_times_out() {
    let fake = Fake::start(|_, _| {
        let first = futures::stream::iter([Ok::<_, std::io::Error>(Bytes::from_static(b"{"))]);
        ok(Body::from_stream(first.chain(futures::stream::pending())))
    })
    .await;
    let limits = Limits { request: Duration::from_millis(300), ..Limits::default() };
    let (failure, message) = failure_of(&fake, limits).await;
    assert_eq!(failure, LookFailure::Network);
    assert!(message.contains("no complete answer within 300ms"), "{message}");
}

#[tokio::test]
async fn endless_slow_pages_end_with_the_listing() {
    let fake = Fake::start(|at, _| {
        let link = format!("</v2/shop/web/tags/list?last={at}>; rel=\"next\"");
        with(200, &[("link", &link)], page([at]))
    })
    .await;
    let limits = Limits { listing: Duration::from_millis(300), pages: usize::MAX, ..Limits::default() };
    assert_eq!(failure_of(&fake, limits).await.0, LookFailure::Network);
}

#[tokio::test]
async fn each_refusal_has_its_own_class_and_a_sentence() {
    for (code, body, expected) in [
        (404, r#"{"errors":[{"code":"NAME_UNKNOWN"}]}"#, LookFailure::Missing),
        (403, "", LookFailure::Forbidden),
        (401, "", LookFailure::Unauthorized),
        (500, "", LookFailure::Server),
        (503, "", LookFailure::Server),
        (405, "", LookFailure::Server),
        (200, "<html>", LookFailure::Malformed),
    ] {
        let fake = Fake::start(move |_, _| with(code, &[], body)).await;
        let (failure, message) = failure_of(&fake, Limits::default()).await;
        assert_eq!(failure, expected, "{code}");
        assert!(message.starts_with(&format!("{}/shop/web: ", fake.host)), "{message}");
    }
}

#[tokio::test]
async fn a_registry_that_comes_back_is_looked_at_again() {
    let fake = Fake::start(|at, _| if at < 2 { status(500) } else { ok(page(["a"])) }).await;
    let registries = vec![registry(&fake.host, &["shop/web"])];
    let mut watching = Watching::start(registries, Interests::default(), Limits::default());
    assert_eq!(watching.look_failed().await.0, LookFailure::Server);
    assert_eq!(watching.tags_listed().await, ["a"]);
    watching.look_completed().await;
}

#[tokio::test]
async fn a_short_retry_after_is_sat_out_and_the_listing_goes_on() {
    let fake =
        Fake::start(|at, _| if at == 0 { with(429, &[("retry-after", "1")], "") } else { ok(page(["a"])) })
            .await;
    let started = Instant::now();
    let registries = vec![registry(&fake.host, &["shop/web"])];
    let mut watching = Watching::start(registries, Interests::default(), Limits::default());
    assert_eq!(watching.tags_listed().await, ["a"]);
    assert!(started.elapsed() >= Duration::from_secs(1));
}

#[tokio::test]
async fn a_long_retry_after_silences_the_whole_host() {
    let fake = Fake::start(|_, _| with(429, &[("retry-after", "999999999999999999999")], "")).await;
    let near = Fake::start(|_, _| ok(page(["a"]))).await;
    let registries =
        vec![registry(&fake.host, &["shop/web", "shop/api"]), registry(&near.host, &["shop/web"])];
    let mut watching = Watching::start(registries, Interests::default(), Limits::default());
    let (failure, message) = watching.look_failed().await;
    assert_eq!(failure, LookFailure::Throttled);
    assert!(message.contains("wait 900s"), "{message}");
    // Five looks at the other host are five times when a second question could have been asked.
    for _ in 0..5 {
        watching.look_completed().await;
    }
    // Two repositories may both have asked before the first answer was there.
    assert!(fake.asked().len() <= 2, "{:?}", fake.asked());
}

#[tokio::test]
async fn content_that_does_not_hash_to_its_name_is_not_described() {
    let mut content = Content::default();
    let (digest, _) = content.tag_image("1.0.0", "2026-01-01T00:00:00Z");
    content.blobs.insert(digest.to_string(), br#"{"schemaVersion":2,"config":{}}"#.to_vec());
    let fake = Fake::start(move |_, asked| content.answer(asked)).await;
    let interests = interest(&format!("{}/shop/web", fake.host), true, &["1.0.0"], &[]);
    let mut watching = Watching::start(vec![registry(&fake.host, &[])], interests, Limits::default());
    assert_eq!(watching.points("1.0.0").await.0, digest);
    watching.look_completed().await;
    watching.look_completed().await;
    let described = watching.facts.iter().any(|seen| matches!(seen.fact, Fact::ImageDescribed(_)));
    assert!(!described);
    let dropped = |measure: &Measure| matches!(measure, Measure::Dropped { reason: "broken_manifest", .. });
    assert!(watching.measures.iter().any(dropped));
    // It is remembered as broken: two looks, one read.
    let reads =
        fake.asked().iter().filter(|one| one.method == "GET" && one.target.contains("sha256:")).count();
    assert_eq!(reads, 1);
}

#[tokio::test]
async fn redirects_are_counted_and_go_to_no_plain_address_elsewhere() {
    let fake = Fake::start(|_, asked| with(307, &[("location", &asked.target)], "")).await;
    let (_, message) = failure_of(&fake, Limits::default()).await;
    assert!(message.contains("more redirects than the limit of 5"), "{message}");
    let fake = Fake::start(|_, _| with(307, &[("location", "http://localhost:1/x")], "")).await;
    let (_, message) = failure_of(&fake, Limits::default()).await;
    assert!(message.contains("a redirect to another host without https"), "{message}");
    let fake = Fake::start(|_, _| with(307, &[("location", "https://169.254.169.254/latest")], "")).await;
    let (_, message) = failure_of(&fake, Limits::default()).await;
    assert!(message.contains("169.254.169.254, which is refused"), "{message}");
}

#[tokio::test]
async fn a_loopback_registry_that_only_a_workload_names_is_refused() {
    let fake = Fake::start(|_, _| ok(page(["a"]))).await;
    let port = fake.host.rsplit(':').next().unwrap();
    for host in [format!("127.0.0.1:{port}"), format!("localhost:{port}")] {
        let interests = interest(&format!("{host}/shop/web"), false, &[], &[]);
        let mut watching = Watching::start(vec![], interests, Limits::default());
        let (failure, message) = watching.look_failed().await;
        assert_eq!(failure, LookFailure::Network);
        assert!(message.contains(&format!("registries: [{{host: \"{host}\"}}]")), "{message}");
    }
    assert!(fake.asked().is_empty());
}

#[tokio::test]
async fn hosts_beyond_the_bound_are_counted() {
    let mut interests = Interests::default();
    for port in 1..=203 {
        interests
            .repositories
            .extend(interest(&format!("127.0.0.1:{port}/a/b"), false, &[], &[]).repositories);
    }
    let mut watching = Watching::start(vec![], interests, Limits::default());
    watching.look_failed().await;
    let dropped = |measure: &&Measure| matches!(measure, Measure::Dropped { reason: "too_many_hosts", .. });
    assert_eq!(watching.measures.iter().filter(dropped).count(), 3);
}

#[tokio::test]
async fn nothing_listens_there_and_check_says_so() {
    ring();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let host = listener.local_addr().unwrap().to_string();
    drop(listener);
    let error = check(&registry(&host, &[]), &[]).await.unwrap_err();
    assert_eq!(error.class(), LookFailure::Network);
    assert!(error.to_string().starts_with(&format!("{host}: no answer (")), "{error}");
}
