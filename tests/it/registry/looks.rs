//! What looks conclude: new tags, moved tags, tags that are gone, and lists that lie.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use knotmeter::image::Digest;
use knotmeter::observation::{Basis, CacheResult, Fact, Interests, Measure, NodeRole, Time};
use knotmeter::observers::registry::Limits;
use knotmeter::observers::schedule::{Asked, TOLD_AGAIN_MAX};

use super::fake::{Content, Fake, ok, page, status};
use super::{Watching, interest, registry};

/// A fake whose content a test changes while it is looked at.
async fn changing(content: Content) -> (Fake, Arc<Mutex<Content>>) {
    let shared = Arc::new(Mutex::new(content));
    let answers = shared.clone();
    (Fake::start(move |_, asked| answers.lock().unwrap().answer(asked)).await, shared)
}

#[tokio::test]
async fn tags_of_the_first_look_are_listed_and_not_resolved() {
    let mut content = Content::default();
    for n in 0..50 {
        content.tag_image(&format!("1.0.{n}"), "2026-01-01T00:00:00Z");
    }
    let (fake, _) = changing(content).await;
    let registries = vec![registry(&fake.host, &["shop/web"])];
    let mut watching = Watching::start(registries, Interests::default(), Limits::default());
    assert_eq!(watching.tags_listed().await.len(), 50);
    watching.look_completed().await;
    watching.look_completed().await;
    assert_eq!(fake.count("/manifests/"), 0);
    let listed = watching.facts.iter().filter(|seen| matches!(seen.fact, Fact::TagsListed { .. })).count();
    assert_eq!(listed, 1);
    let hit = |measure: &Measure| {
        matches!(measure, Measure::CacheLookup { cache: "tag_list", result: CacheResult::Hit, .. })
    };
    assert!(watching.measures.iter().any(hit));
    let unchanged =
        |measure: &Measure| matches!(measure, Measure::RegistryScan { unchanged: true, tags: 50, .. });
    assert!(watching.measures.iter().any(unchanged));
    let clock = watching.measures.iter().find_map(|measure| match measure {
        Measure::ClockOffset { seconds, .. } => Some(*seconds),
        _ => None,
    });
    assert!(clock.is_some_and(|seconds| seconds.abs() < 5.0), "{clock:?}: one machine, one clock");
}

#[tokio::test]
async fn a_new_tag_is_resolved_between_two_looks_and_described_when_it_is_named() {
    let mut content = Content::default();
    content.tag_image("1.0.0", "2026-01-01T00:00:00Z");
    let (fake, content) = changing(content).await;
    let registries = vec![registry(&fake.host, &["shop/web"])];
    let mut watching = Watching::start(registries, Interests::default(), Limits::default());
    watching.look_completed().await;
    let before = Time::from(chrono::Utc::now());
    let (digest, config) = content.lock().unwrap().tag_image("1.0.1", "2026-02-02T00:00:00Z");
    let (found, seen) = watching.points("1.0.1").await;
    assert_eq!(found, digest);
    assert_eq!(seen.basis, Basis::Poll);
    let look_started = watching.facts.iter().find_map(|seen| match &seen.fact {
        Fact::LookCompleted { started, .. } => Some(*started),
        _ => None,
    });
    assert!(seen.happened.not_before >= look_started.unwrap(), "{:?}", seen.happened);
    assert!(seen.happened.not_after >= before && seen.happened.is_bounded(), "{:?}", seen.happened);
    for _ in 0..2 {
        watching.look_completed().await;
    }
    assert_eq!(fake.count("/manifests/"), 1, "one HEAD, and nothing more while nobody names it");
    let interests = interest(&format!("{}/shop/web", fake.host), false, &["1.0.1"], &[]);
    watching.interests.send(Arc::new(interests)).unwrap();
    let image = watching.described(&digest).await;
    assert_eq!((image.nodes.len(), image.nodes[0].role), (1, NodeRole::Config));
    assert_eq!(image.nodes[0].digest, config);
    watching.look_completed().await;
    assert_eq!(fake.count("/manifests/1.0.1"), 1, "its digest is known");
    assert_eq!(fake.count("/manifests/1.0.0"), 0);
    let accept = fake.asked().into_iter().find_map(|one| one.accept.filter(|_| one.target.contains("1.0.1")));
    assert_eq!(accept.unwrap().matches("application/vnd.").count(), 4);
}

#[tokio::test]
async fn a_named_tag_is_asked_again_and_its_move_told_once() {
    let mut content = Content::default();
    let (old, _) = content.tag_image("latest", "2026-01-01T00:00:00Z");
    let (fake, content) = changing(content).await;
    let interests = interest(&format!("{}/shop/web", fake.host), false, &["latest"], &[]);
    let mut watching = Watching::start(vec![registry(&fake.host, &[])], interests, Limits::default());
    let (found, seen) = watching.points("latest").await;
    assert_eq!((found, seen.basis, seen.happened.not_before), (old, Basis::Backfill, Time::MIN));
    watching.look_completed().await;
    let (new, _) = content.lock().unwrap().tag_image("latest", "2026-02-02T00:00:00Z");
    let (found, seen) = watching.points("latest").await;
    assert_eq!((found, seen.basis), (new, Basis::Poll));
    assert!(seen.happened.is_bounded());
    for _ in 0..3 {
        watching.look_completed().await;
    }
    let told = watching.facts.iter().filter(|seen| matches!(seen.fact, Fact::TagPointsTo { .. })).count();
    assert_eq!(told, 2);
}

#[tokio::test]
async fn a_registry_without_the_digest_header_is_read_and_hashed() {
    let mut content = Content::default();
    let (digest, _) = content.tag_image("1.0.0", "2026-01-01T00:00:00Z");
    let fake = Fake::start(move |_, asked| {
        let mut answer = content.answer(asked);
        answer.headers_mut().remove("docker-content-digest");
        answer
    })
    .await;
    let interests = interest(&format!("{}/shop/web", fake.host), false, &["1.0.0"], &[]);
    let mut watching = Watching::start(vec![registry(&fake.host, &[])], interests, Limits::default());
    assert_eq!(watching.points("1.0.0").await.0, digest);
}

#[tokio::test]
async fn a_tag_is_gone_after_two_looks_without_it_and_a_404() {
    let mut content = Content::default();
    content.tag_image("1.0.0", "2026-01-01T00:00:00Z");
    content.tag_image("1.0.1", "2026-02-02T00:00:00Z");
    let (fake, content) = changing(content).await;
    let registries = vec![registry(&fake.host, &["shop/web"])];
    let mut watching = Watching::start(registries, Interests::default(), Limits::default());
    watching.look_completed().await;
    content.lock().unwrap().tags.remove("1.0.0");
    watching.wait_for("Absent", |seen| matches!(seen.fact, Fact::Absent { .. }).then_some(())).await;
    for _ in 0..3 {
        watching.look_completed().await;
    }
    assert_eq!(watching.absent_tags(), ["1.0.0"]);
    assert_eq!(fake.count("/manifests/1.0.0"), 1);
    let gone = watching.facts.iter().find(|seen| matches!(seen.fact, Fact::Absent { .. })).unwrap();
    assert!(gone.happened.is_bounded());
    // It comes back: that is a new push.
    let (digest, _) = content.lock().unwrap().tag_image("1.0.0", "2026-03-03T00:00:00Z");
    assert_eq!(watching.points("1.0.0").await.0, digest);
}

#[tokio::test]
async fn lists_that_shrink_and_recover_remove_and_add_nothing() {
    // As seen on a large public registry: the same repository, minutes apart, nothing pushed or deleted.
    const SIZES: [usize; 4] = [506, 595, 490, 505];
    let lists = Arc::new(AtomicUsize::new(0));
    let counted = lists.clone();
    let fake = Fake::start(move |_, asked| {
        if !asked.target.contains("/tags/list") {
            // Every tag is there all the time.
            let digest = Digest::of(asked.target.as_bytes()).to_string();
            return super::fake::with(200, &[("docker-content-digest", &digest)], "");
        }
        let look = counted.fetch_add(1, Ordering::SeqCst);
        let size = if look == 0 { 595 } else { SIZES[look % 4] };
        ok(page((0..size).map(|n| format!("1.{n}.0"))))
    })
    .await;
    let registries = vec![registry(&fake.host, &["shop/web"])];
    let mut watching = Watching::start(registries, Interests::default(), Limits::default());
    assert_eq!(watching.tags_listed().await.len(), 595);
    while lists.load(Ordering::SeqCst) < 13 {
        watching.look_completed().await;
    }
    assert!(watching.absent_tags().is_empty());
    let pushed = watching.facts.iter().filter(|seen| matches!(seen.fact, Fact::TagPointsTo { .. })).count();
    assert_eq!(pushed, 0);
}

#[tokio::test]
async fn a_failed_look_removes_nothing_and_counts_as_none() {
    let looks = Arc::new(AtomicUsize::new(0));
    let counted = looks.clone();
    let fake = Fake::start(move |_, asked| {
        if !asked.target.contains("/tags/list") {
            return status(404);
        }
        // Complete, failed, without the tag, failed, complete again.
        match counted.fetch_add(1, Ordering::SeqCst) {
            0 => ok(page(["1.0.0", "1.0.1"])),
            2 => ok(page(["1.0.1"])),
            1 | 3 => status(500),
            _ => ok(page(["1.0.0", "1.0.1"])),
        }
    })
    .await;
    let registries = vec![registry(&fake.host, &["shop/web"])];
    let mut watching = Watching::start(registries, Interests::default(), Limits::default());
    while looks.load(Ordering::SeqCst) < 8 {
        watching.look_completed().await;
    }
    assert!(watching.absent_tags().is_empty());
    assert_eq!(fake.count("/manifests/"), 0);
}

#[tokio::test]
async fn a_tag_that_lists_and_is_not_there_does_not_blind_the_repository() {
    let looks = Arc::new(AtomicUsize::new(0));
    let counted = looks.clone();
    let fake = Fake::start(move |_, asked| {
        if !asked.target.contains("/tags/list") {
            return status(404);
        }
        let listed = if counted.fetch_add(1, Ordering::SeqCst) == 0 { vec![] } else { vec!["dangling"] };
        ok(page(listed))
    })
    .await;
    let registries = vec![registry(&fake.host, &["shop/web"])];
    let mut watching = Watching::start(registries, Interests::default(), Limits::default());
    for _ in 0..4 {
        watching.look_completed().await;
    }
    assert_eq!(fake.count("/manifests/dangling"), 1, "remembered, not asked again at every look");
}

#[tokio::test]
async fn a_stalled_host_delays_no_other() {
    // Accepts connections and never answers.
    let stalled = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let stalled_host = stalled.local_addr().unwrap().to_string();
    let fake = Fake::start(|_, _| ok(page(["a"]))).await;
    let registries = vec![registry(&stalled_host, &["shop/web"]), registry(&fake.host, &["shop/web"])];
    let mut watching = Watching::start(registries, Interests::default(), Limits::default());
    for _ in 0..5 {
        watching.look_completed().await;
    }
    assert!(watching.facts.iter().all(|seen| &*seen.source.name == fake.host.as_str()));
}

#[tokio::test]
async fn only_meant_repositories_are_asked_for() {
    let fake = Fake::start(|_, _| ok(page(["a"]))).await;
    let mut interests = interest(&format!("{}/team/web", fake.host), false, &[], &[]);
    interests
        .repositories
        .extend(interest(&format!("{}/other/web", fake.host), false, &[], &[]).repositories);
    let registries = vec![registry(&fake.host, &["team/*", "always/this"])];
    let mut watching = Watching::start(registries, interests, Limits::default());
    for _ in 0..4 {
        watching.look_completed().await;
    }
    assert_eq!(fake.count("/v2/other/web"), 0);
    assert!(fake.count("/v2/team/web/tags/list") > 0 && fake.count("/v2/always/this/tags/list") > 0);
}

#[tokio::test]
async fn a_repository_that_becomes_interesting_is_looked_at_without_delay() {
    let mut content = Content::default();
    let (digest, _) = content.tag_image("1.0.0", "2026-01-01T00:00:00Z");
    let (fake, _) = changing(content).await;
    let mut slow = registry(&fake.host, &[]);
    slow.interval = knotmeter::config::Seconds(3600.0);
    let mut watching = Watching::start(vec![slow], Interests::default(), Limits::default());
    let interests = interest(&format!("{}/shop/web", fake.host), true, &[], std::slice::from_ref(&digest));
    watching.interests.send(Arc::new(interests)).unwrap();
    watching.described(&digest).await;
    watching.look_completed().await;
}

#[tokio::test]
async fn what_somebody_tells_of_is_looked_at_at_once_and_the_tag_asked_for() {
    let mut content = Content::default();
    content.tag_image("1.0.0", "2026-01-01T00:00:00Z");
    let (fake, content) = changing(content).await;
    let mut slow = registry(&fake.host, &["shop/web"]);
    slow.interval = knotmeter::config::Seconds(3600.0);
    // A named tag whose name looks fixed: by itself it is asked about every ten minutes.
    let interests = interest(&format!("{}/shop/web", fake.host), false, &["1.0.0"], &[]);
    let mut watching = Watching::start(vec![slow], interests, Limits::default());
    watching.look_completed().await;
    let repository = |path: &str| format!("{}/{path}", fake.host).parse().unwrap();
    assert_eq!(watching.look_now.repository(&repository("shop/other"), None), Asked::Unknown);

    let (new, _) = content.lock().unwrap().tag_image("1.0.1", "2026-02-02T00:00:00Z");
    assert_eq!(watching.look_now.repository(&repository("shop/web"), None), Asked::Noted);
    assert_eq!(watching.points("1.0.1").await.0, new, "the list shows it");
    watching.look_completed().await;

    let (moved, _) = content.lock().unwrap().tag_image("1.0.0", "2026-03-03T00:00:00Z");
    let tag = "1.0.0".parse().unwrap();
    for _ in 0..100 {
        watching.look_now.repository(&repository("shop/web"), Some(&tag));
    }
    assert_eq!(watching.points("1.0.0").await.0, moved);
    watching.look_completed().await;
    assert_eq!(fake.count("/manifests/1.0.0"), 2, "a flood is one look");
    assert_eq!(fake.count("/tags/list"), 3, "one whole look follows both wishes");
    assert_eq!(fake.count("/shop/other"), 0);
}

#[tokio::test]
async fn a_tag_that_is_told_of_before_it_is_there_is_found_an_instant_later() {
    let mut content = Content::default();
    content.tag_image("1.0.0", "2026-01-01T00:00:00Z");
    let mut later = content.clone();
    let (digest, _) = later.tag_image("1.0.1", "2026-02-02T00:00:00Z");
    let asked_for_it = AtomicUsize::new(0);
    // As distribution: the tag is not there, then it is being linked, then it is there.
    let fake = Fake::start(move |_, asked| {
        let asks_for_it = asked.target.contains("/manifests/1.0.1");
        match asked_for_it.fetch_add(usize::from(asks_for_it), Ordering::SeqCst) {
            1 if asks_for_it => status(500),
            0 | 1 => content.answer(asked),
            _ => later.answer(asked),
        }
    })
    .await;
    let mut slow = registry(&fake.host, &["shop/web"]);
    slow.interval = knotmeter::config::Seconds(3600.0);
    let mut watching = Watching::start(vec![slow], Interests::default(), Limits::default());
    watching.look_completed().await;
    let repository = format!("{}/shop/web", fake.host).parse().unwrap();
    let told = Time::from(chrono::Utc::now());
    watching.look_now.repository(&repository, Some(&"1.0.1".parse().unwrap()));
    let (found, seen) = watching.points("1.0.1").await;
    assert_eq!((found, seen.basis), (digest, Basis::Poll));
    assert!(seen.happened.not_before >= told, "it was asked for in vain after that: {:?}", seen.happened);
    watching.look_completed().await;
    let points = watching.facts.iter().filter(|seen| matches!(seen.fact, Fact::TagPointsTo { .. })).count();
    assert_eq!((points, fake.count("/tags/list")), (1, 2), "the list that follows tells nothing new");
    let failed = watching.facts.iter().any(|seen| matches!(seen.fact, Fact::LookFailed { .. }));
    assert!(!failed, "{:?}", watching.facts);

    // One that never comes costs so many questions and one list, however often it is told of meanwhile.
    for _ in 0..20 {
        watching.look_now.repository(&repository, Some(&"6.6.6".parse().unwrap()));
    }
    watching.look_completed().await;
    let most = 2 + TOLD_AGAIN_MAX as usize;
    assert!((2..=most).contains(&fake.count("/manifests/6.6.6")), "{:#?}", fake.asked());
    assert_eq!(fake.count("/tags/list"), 3);
}

#[tokio::test]
async fn a_wish_waits_for_the_end_of_the_pause_that_the_registry_asked_for() {
    let started = std::time::Instant::now();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let times = asked.clone();
    let fake = Fake::start(move |_, _| {
        times.lock().unwrap().push(started.elapsed());
        super::fake::with(429, &[("retry-after", "900")], "")
    })
    .await;
    let mut watching =
        Watching::start(vec![registry(&fake.host, &["shop/web"])], Interests::default(), Limits::default());
    watching.look_failed().await;
    // The other host's looks are the time in which a question could have been asked.
    let near = Fake::start(|_, _| ok(page(["a"]))).await;
    let mut other =
        Watching::start(vec![registry(&near.host, &["shop/web"])], Interests::default(), Limits::default());
    for _ in 0..5 {
        let repository = format!("{}/shop/web", fake.host).parse().unwrap();
        assert_ne!(watching.look_now.repository(&repository, None), Asked::Unknown);
        other.look_completed().await;
    }
    assert_eq!(asked.lock().unwrap().len(), 1);
}
