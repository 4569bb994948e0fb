//! Large registries: how many requests they cost, and what bounds their memory.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use knotmeter::config::Seconds;
use knotmeter::image::{Digest, Repository};
use knotmeter::observation::{Fact, Interests, LookFailure, RepositoryInterest};
use knotmeter::observers::registry::known::Known;
use knotmeter::observers::registry::names::Names;
use knotmeter::observers::registry::{Limits, room::Room};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

use super::fake::{Fake, ok, page};
use super::{Watching, registry};

const REPOSITORIES: usize = 10_000;

/// A registry that answers every request with the same tags, as fast as it can, and counts by path.
async fn quick_registry(body: String) -> (String, Arc<Mutex<BTreeMap<String, usize>>>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = listener.local_addr().unwrap().to_string();
    let counts: Arc<Mutex<BTreeMap<String, usize>>> = Arc::default();
    let counted = counts.clone();
    let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (counted, answer) = (counted.clone(), answer.clone());
            tokio::spawn(async move {
                let mut stream = BufReader::new(stream);
                let mut line = String::new();
                while stream.read_line(&mut line).await.is_ok_and(|read| read > 0) {
                    let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
                    while line.trim_end() != "" {
                        line.clear();
                        stream.read_line(&mut line).await.unwrap();
                    }
                    *counted.lock().unwrap().entry(path).or_default() += 1;
                    stream.write_all(answer.as_bytes()).await.unwrap();
                    line.clear();
                }
            });
        }
    });
    (host, counts)
}

fn repositories(host: &str, count: usize) -> Vec<Repository> {
    (0..count).map(|n| format!("{host}/team-{}/service-{n}", n % 100).parse().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_repositories_are_one_list_each() {
    let (host, counts) = quick_registry(page(["1.0.0", "1.0.1"])).await;
    let interests = repositories(&host, REPOSITORIES)
        .into_iter()
        .map(|repository| (repository, RepositoryInterest::default()))
        .collect();
    let mut slow = registry(&host, &[]);
    // So long that the first of the looks that follow is far away.
    slow.interval = Seconds(1e6);
    let mut watching = Watching::start(
        vec![slow],
        Interests { repositories: interests, ..Interests::default() },
        Limits::default(),
    );
    for _ in 0..REPOSITORIES {
        watching.look_completed().await;
    }
    let counts = counts.lock().unwrap();
    assert_eq!((counts.len(), counts.values().sum::<usize>()), (REPOSITORIES, REPOSITORIES));
    assert!(counts.keys().all(|path| path.ends_with("/tags/list?n=1000")));
}

#[test]
fn a_tag_costs_its_name_and_little_more() {
    let names: Vec<String> =
        (0..40_000).map(|n| format!("main-{:07x}-{}", n * 7919, 1_760_000_000 + n)).collect();
    let text: usize = names.iter().map(String::len).sum();
    let packed = Names::pack(names.iter().rev().map(|name| Cow::Borrowed(name.as_str())).collect());
    assert_eq!((packed.len(), packed.bytes()), (40_000, text + 40_000));
    let mut sorted = names.clone();
    sorted.sort();
    assert!(packed.iter().eq(sorted.iter().map(String::as_str)));
}

#[test]
fn room_that_is_given_back_can_be_taken_again() {
    let room = Room::new(100);
    let (mut one, mut other) = (room.place(), room.place());
    assert!(one.resize(60) && !other.resize(50) && other.resize(40));
    assert!(!one.resize(61) && one.resize(10) && other.resize(90));
    drop(other);
    assert!(one.resize(100));
}

#[tokio::test]
async fn repositories_that_fill_the_memory_for_all_are_refused_and_the_others_stay() {
    let fake = Fake::start(|_, _| ok(page((0..100).map(|n| format!("1.0.{n}"))))).await;
    let registries = vec![registry(&fake.host, &["shop/a", "shop/b", "shop/c"])];
    let limits = Limits { names_bytes: 2000, ..Limits::default() };
    let mut watching = Watching::start(registries, Interests::default(), limits);
    let (failure, message) = watching.look_failed().await;
    assert_eq!(failure, LookFailure::Malformed);
    assert!(
        message.contains("more bytes in the tags of all repositories than the limit of 2000"),
        "{message}"
    );
    watching.look_completed().await;
    watching.look_completed().await;
    let listed = watching.facts.iter().filter(|seen| matches!(seen.fact, Fact::TagsListed { .. })).count();
    assert_eq!(listed, 2);
}

#[test]
fn digests_that_nobody_wants_any_more_are_forgotten() {
    let mut known = Known::new("r.example/a".parse().unwrap());
    let digests: Vec<Digest> = (0..5000_u32).map(|n| Digest::of(&n.to_be_bytes())).collect();
    known.described.extend(digests.iter().cloned());
    let interest = RepositoryInterest {
        digests: digests[..3].iter().cloned().collect(),
        ..RepositoryInterest::default()
    };
    known.forget_unwanted(&interest);
    assert_eq!(known.described.len(), 3);
    known.forget_unwanted(&interest);
    assert!(digests[..3].iter().all(|digest| known.described.contains(digest)));
}
