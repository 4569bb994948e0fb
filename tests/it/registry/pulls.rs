//! Do no harm: a registry that counts pulls, and a cluster with many of its images in use.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use axum::response::Response;
use knotmeter::observation::{Fact, Interests, Measure, RepositoryInterest};
use knotmeter::observers::registry::Limits;

use super::fake::{Asked, Content, Fake, with};
use super::{Watching, registry};

const IMAGES: usize = 400;
const LIMIT: u32 = 100;

/// Allows 100 pulls in 6 hours, tells what is left at every question about a manifest, and refuses beyond.
async fn counting_registry(used_by_others: u32) -> (Fake, Arc<AtomicU32>) {
    // Each image is another one: what is known by its digest is not read again.
    let images: Vec<Content> = (0..IMAGES)
        .map(|n| {
            let mut content = Content::default();
            content.tag_image("1.4", &format!("2026-01-01T00:{:02}:{:02}Z", n / 60, n % 60));
            content
        })
        .collect();
    let pulls = Arc::new(AtomicU32::new(used_by_others));
    let counted = pulls.clone();
    let fake = Fake::start(move |_, asked: &Asked| -> Response {
        let name = asked.target.split('/').nth(3).unwrap_or_default();
        let image = name.strip_prefix("image-").and_then(|number| number.parse::<usize>().ok()).unwrap();
        let mut answer = images[image].answer(asked);
        if asked.target.contains("/manifests/") {
            let is_pull = asked.method == "GET";
            let used = counted.fetch_add(u32::from(is_pull), Ordering::SeqCst) + u32::from(is_pull);
            if used > LIMIT {
                return with(429, &[], "");
            }
            let headers = answer.headers_mut();
            headers.insert("ratelimit-limit", format!("{LIMIT};w=21600").parse().unwrap());
            headers.insert("ratelimit-remaining", format!("{};w=21600", LIMIT - used).parse().unwrap());
        }
        answer
    })
    .await;
    (fake, pulls)
}

fn images_in_use(host: &str) -> Interests {
    let interest = RepositoryInterest { tags: ["1.4".parse().unwrap()].into(), ..Default::default() };
    let repositories =
        (0..IMAGES).map(|n| (format!("{host}/vendor/image-{n}").parse().unwrap(), interest.clone()));
    Interests { repositories: repositories.collect(), ..Interests::default() }
}

#[tokio::test]
async fn four_hundred_images_in_use_take_a_tenth_of_the_pulls_and_no_more() {
    let (fake, pulls) = counting_registry(0).await;
    let mut slow = registry(&fake.host, &[]);
    slow.interval = knotmeter::config::Seconds(1.0);
    let mut watching = Watching::start(vec![slow], images_in_use(&fake.host), Limits::default());
    for _ in 0..3 * IMAGES {
        watching.look_completed().await;
    }
    assert_eq!(pulls.load(Ordering::SeqCst), LIMIT / 10, "the tenth is used, and nothing beyond it");
    let told = |fact: &Fact| matches!(fact, Fact::TagPointsTo { .. });
    let known = watching.facts.iter().filter(|seen| told(&seen.fact)).count();
    assert_eq!(known, IMAGES, "HEAD tells every digest all the same");
    let dropped = |measure: &&Measure| matches!(measure, Measure::Dropped { reason: "pull_limit", .. });
    assert!(watching.measures.iter().filter(dropped).count() > 0, "what was left out is counted");
}

#[tokio::test]
async fn a_limit_that_the_cluster_needs_itself_is_left_to_it() {
    let (fake, pulls) = counting_registry(60).await;
    let mut watching =
        Watching::start(vec![registry(&fake.host, &[])], images_in_use(&fake.host), Limits::default());
    for _ in 0..IMAGES {
        watching.look_completed().await;
    }
    assert_eq!(pulls.load(Ordering::SeqCst), 60);
}
