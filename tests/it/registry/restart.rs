//! A new process after an old one: what was known is not asked again, and what came meanwhile is new.

use std::sync::{Arc, Mutex};

use knotmeter::image::{Digest, Repository};
use knotmeter::observation::{Basis, Fact, Interests, KnownTag, LastLook, Time};
use knotmeter::observers::registry::Limits;
use knotmeter::tracker::Tracker;

use super::fake::{Content, Fake};
use super::{Watching, interest, registry};

/// A registry with four versions, and a tag that moves.
struct Shop {
    fake: Fake,
    content: Arc<Mutex<Content>>,
    repository: Repository,
}

impl Shop {
    async fn open() -> Self {
        let mut content = Content::default();
        for n in 0..4 {
            content.tag_image(&format!("1.0.{n}"), "2026-01-01T00:00:00Z");
        }
        content.tag_image("latest", "2026-01-02T00:00:00Z");
        let content = Arc::new(Mutex::new(content));
        let answers = content.clone();
        let fake = Fake::start(move |_, asked| answers.lock().unwrap().answer(asked)).await;
        let repository = format!("{}/shop/web", fake.host).parse().unwrap();
        Self { fake, content, repository }
    }

    fn push(&self, tag: &str) -> Digest {
        self.content.lock().unwrap().tag_image(tag, "2026-02-02T00:00:00Z").0
    }

    fn interests(&self, digests: &[Digest]) -> Interests {
        interest(self.repository.as_str(), false, &["latest", "1.0.3"], digests)
    }

    fn watch(&self, last_looks: Vec<LastLook>, interests: Interests) -> Watching {
        Watching::resume(vec![registry(&self.fake.host, &[])], last_looks, interests, Limits::default())
    }
}

/// The last looks as a tracker has them that saw what the observer said.
fn last_looks(watching: &Watching, interests: &Interests) -> Vec<LastLook> {
    let mut tracker = Tracker::default();
    for observation in &watching.facts {
        tracker.observe(observation);
    }
    tracker.last_looks(interests).collect()
}

#[tokio::test]
async fn what_came_while_nobody_looked_is_new_and_what_was_known_is_not_asked_again() {
    let shop = Shop::open().await;
    let latest = shop.content.lock().unwrap().tags["latest"].clone();
    let interests = shop.interests(std::slice::from_ref(&latest));
    let mut first = shop.watch(Vec::new(), interests.clone());
    first.described(&latest).await;
    first.look_completed().await;
    let last = last_looks(&first, &interests);
    assert_eq!(last[0].tags.len(), 5);
    let started = last[0].started;
    drop(first);

    let between = Time::from(chrono::Utc::now());
    let (pushed, moved) = (shop.push("1.0.9"), shop.push("latest"));
    let asked_before = shop.fake.asked().len();
    let mut second = shop.watch(last, interests);
    let (digest, seen) = second.points("1.0.9").await;
    assert_eq!((digest, seen.basis), (pushed, Basis::Poll));
    assert_eq!(seen.happened.not_before, started, "not there at the last look before the restart");
    let latest = second.facts.iter().find_map(|seen| match &seen.fact {
        Fact::TagPointsTo { tag, digest, .. } if tag.as_str() == "latest" => Some((digest.clone(), seen)),
        _ => None,
    });
    let (digest, seen) = latest.expect("what is named is asked about first");
    assert_eq!((digest, seen.basis), (moved.clone(), Basis::Poll));
    let not_before = seen.happened.not_before;
    assert!(started <= not_before && not_before <= between, "{not_before}: it was checked at the last look");
    second.described(&moved).await;
    second.look_completed().await;
    let listed = second.facts.iter().any(|seen| matches!(seen.fact, Fact::TagsListed { .. }));
    assert!(!listed, "nothing is told again");
    let asked: Vec<_> = shop.fake.asked().split_off(asked_before);
    let about = |part: &str| asked.iter().filter(|one| one.target.contains(part)).count();
    assert_eq!(about("/manifests/1.0.9"), 1);
    assert_eq!(about("/manifests/1.0."), 1, "1.0.3 is named, was resolved, and looks fixed");
    let heads = asked.iter().filter(|one| one.method == "HEAD" && one.target.contains("sha256:")).count();
    assert_eq!(heads, 1, "only the new image was described");
}

#[tokio::test]
async fn a_tag_that_went_while_nobody_looked_is_gone_after_two_looks_and_a_404() {
    let shop = Shop::open().await;
    let mut first = shop.watch(Vec::new(), shop.interests(&[]));
    first.look_completed().await;
    let last = last_looks(&first, &shop.interests(&[]));
    let started = last[0].started;
    drop(first);
    shop.content.lock().unwrap().tags.remove("1.0.1");
    let mut second = shop.watch(last, shop.interests(&[]));
    let happened = second
        .wait_for("Absent", |seen| matches!(seen.fact, Fact::Absent { .. }).then_some(seen.happened))
        .await;
    assert_eq!((second.absent_tags(), happened.not_before), (vec!["1.0.1"], started));
    assert_eq!(shop.fake.count("/manifests/1.0.1"), 1);
}

#[tokio::test]
async fn a_move_of_a_tag_that_nobody_checked_is_dated_from_when_it_was_resolved() {
    let shop = Shop::open().await;
    let (resolved, looked) = (Time(1_000), Time(1_790_000_000_000));
    let tags = ["1.0.0", "1.0.1", "1.0.2", "1.0.3", "latest"].map(|tag| KnownTag {
        tag: tag.parse().unwrap(),
        digest: (tag == "latest").then(|| (Digest::of(b"before"), resolved)),
    });
    let last = |tags: &[KnownTag]| LastLook {
        repository: shop.repository.clone(),
        started: looked,
        tags: tags.to_vec(),
        described: Vec::new(),
    };
    // Nobody named it before the restart: the first interests are empty.
    let listed = registry(&shop.fake.host, &["shop/web"]);
    let mut watching =
        Watching::resume(vec![listed], vec![last(&tags)], Interests::default(), Limits::default());
    watching.look_completed().await;
    watching.interests.send(Arc::new(shop.interests(&[]))).unwrap();
    let (_, seen) = watching.points("latest").await;
    assert_eq!(seen.happened.not_before, resolved);
}
