//! A world in which every line is bad: connections to git and to the cluster are refused, reset, stalled, cut at any
//! byte, or answered with 429 and 503; then the registry is throttled; and a second cluster is dead all the time.
//! What Knotmeter says at the end is held against what the world wrote down.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use knotmeter::app;
use knotmeter::config::{self, Config};
use knotmeter::demo::{Fault, Happened, Options, World};
use knotmeter::tracker::{Journey, Outcome};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

use super::truth::lies;
use super::world::{Watched, config_of, quick};
use super::{ASK_EVERY, PATIENCE, Timed, get, until};

/// Bytes after which an answer may be cut. Most are between a hundred bytes and some tens of thousands.
const CUT_BYTES_MAX: u64 = 40_000;
const STALL: Duration = Duration::from_millis(1500);
/// Longest life of a connection.
const LASTS: Duration = Duration::from_secs(2);

/// Versions that are pushed while the lines are bad.
const ROUNDS: usize = 5;

/// What a connection met.
#[derive(Debug, Clone, Copy)]
enum Trouble {
    None,
    Dropped,
    Reset,
    Stalled,
    CutAt(u64),
    Throttled,
    Unavailable,
}

/// A line that misbehaves while it is told to; the same seed gives the same row of troubles.
struct Line {
    address: SocketAddr,
    bad: watch::Sender<bool>,
    troubles: Arc<AtomicUsize>,
    task: AbortHandle,
}

impl Drop for Line {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Line {
    async fn to(target: String, seed: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (bad, is_bad) = watch::channel(false);
        let troubles = Arc::new(AtomicUsize::new(0));
        let count = troubles.clone();
        let mut state = seed;
        let task = tokio::spawn(async move {
            // Dropped with this task, and with it every connection.
            let mut connections = JoinSet::new();
            while let Ok((from, _)) = listener.accept().await {
                while connections.try_join_next().is_some() {}
                let trouble = if *is_bad.borrow() { next(&mut state) } else { Trouble::None };
                count.fetch_add(usize::from(!matches!(trouble, Trouble::None)), Ordering::Relaxed);
                connections.spawn(carry(from, target.clone(), trouble, is_bad.clone()));
            }
        });
        Self { address, bad, troubles, task: task.abort_handle() }
    }
}

fn next(state: &mut u64) -> Trouble {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    let random = *state >> 20;
    match random % 10 {
        0 => Trouble::Dropped,
        1 => Trouble::Reset,
        2 => Trouble::Stalled,
        3..=5 => Trouble::CutAt((random >> 8) % CUT_BYTES_MAX),
        6 => Trouble::Throttled,
        7 => Trouble::Unavailable,
        _ => Trouble::None,
    }
}

async fn carry(mut from: TcpStream, target: String, trouble: Trouble, mut bad: watch::Receiver<bool>) {
    match trouble {
        Trouble::Dropped => return,
        Trouble::Reset => {
            let _ = from.set_zero_linger();
            return;
        }
        Trouble::Stalled => tokio::time::sleep(STALL).await,
        Trouble::Throttled => return refuse(&mut from, "429 Too Many Requests").await,
        Trouble::Unavailable => return refuse(&mut from, "503 Service Unavailable").await,
        Trouble::None | Trouble::CutAt(_) => {}
    }
    let Ok(mut to) = TcpStream::connect(target).await else { return };
    let bytes = if let Trouble::CutAt(bytes) = trouble { bytes } else { u64::MAX };
    {
        let ((mut asks, mut hears), (mut answers, mut is_asked)) = (from.split(), to.split());
        let mut limited = (&mut answers).take(bytes);
        let ends = async {
            // A connection that lasts, as a watch does, does not last on a bad line.
            let _ = bad.wait_for(|bad| *bad).await;
            tokio::time::sleep(LASTS).await;
        };
        // Whichever ends first ends all.
        tokio::select! {
            _ = tokio::io::copy(&mut limited, &mut hears) => {}
            _ = tokio::io::copy(&mut asks, &mut is_asked) => {}
            () = ends => {}
        }
    }
    if *bad.borrow() {
        let _ = from.set_zero_linger();
    }
}

async fn refuse(from: &mut TcpStream, status: &str) {
    let mut asked = [0; 8192];
    let _ = from.read(&mut asked).await;
    let answer =
        format!("HTTP/1.1 {status}\r\nretry-after: 1\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    let _ = from.write_all(answer.as_bytes()).await;
}

fn version(number: usize) -> String {
    format!("v1.0.{}", number + 1)
}

/// Both apps run this version in prod, in truth.
fn in_prod(watched: &Watched, number: usize) -> bool {
    let truth = watched.world.truth();
    ["web", "api"].into_iter().all(|app| {
        let wanted = watched.image(&format!("team/{app}"), &version(number));
        truth.iter().any(|entry| {
            matches!(&entry.what, Happened::Live { namespace, image, .. } if namespace == "prod" && *image == wanted)
        })
    })
}

/// The journeys, as soon as all these images are told to be live in both places, and for good where that is wanted.
async fn told_live(watched: &Watched, images: &BTreeSet<String>, for_good: bool) -> Vec<Journey> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let journeys = watched.journeys();
        let live = |image: &String, environment: &str| {
            journeys.iter().any(|journey| {
                journey.image.to_string() == *image
                    && &*journey.destination.environment == environment
                    && journey.outcome == Some(Outcome::Live)
                    && (journey.settled || !for_good)
            })
        };
        if images.iter().all(|image| live(image, "staging") && live(image, "prod")) {
            return journeys;
        }
        if Instant::now() > deadline {
            let told = journeys.iter().map(|one| {
                format!("{} to {}: {:?}, settled: {}", one.image, one.destination, one.outcome, one.settled)
            });
            panic!("not all of {images:?} are live:\n{}", told.collect::<Vec<_>>().join("\n"));
        }
        tokio::time::sleep(ASK_EVERY).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_and_nothing_invented_where_every_line_is_bad() {
    let _timed = Timed::part("bad lines");
    let _ = rustls::crypto::ring::default_provider().install_default();
    let world = World::start(Options { seed: 11, ..quick() }).await.unwrap();
    let addresses = world.addresses().clone();
    let bare = |url: &str| url.trim_start_matches("http://").split('/').next().unwrap().to_owned();
    let (git_host, api) = (bare(&addresses.git), bare(&addresses.kubernetes));
    let lines = [Line::to(git_host.clone(), 1).await, Line::to(api.clone(), 2).await];

    let folder = tempfile::tempdir().unwrap();
    let text = std::fs::read_to_string(&addresses.kubeconfig).unwrap();
    let (behind, dead) = (folder.path().join("kubeconfig"), folder.path().join("dead"));
    std::fs::write(&behind, text.replace(&api, &lines[1].address.to_string())).unwrap();
    // Nobody listens there.
    std::fs::write(&dead, text.replace(&api, "127.0.0.1:1")).unwrap();
    let mut config = config_of(&addresses);
    config["git"][0]["url"] = addresses.git.replace(&git_host, &lines[0].address.to_string()).into();
    config["clusters"][0]["kubeconfig"] = json!(behind);
    config["clusters"]
        .as_array_mut()
        .unwrap()
        .push(json!({"name": "dead", "kubeconfig": dead, "context": addresses.cluster}));
    // Longer than what a bad line holds up: an ending is told once.
    config["settle"] = json!({"min": "8s", "max": "12s"});
    let config: Config = config::parse(&config.to_string(), Path::new("test.yaml")).unwrap();
    let running = app::start(config, folder.path().join("cache")).await.unwrap();
    let watched = Watched { world, running, folder };
    let page = watched.page();
    until("all but the dead cluster was seen whole", async || {
        let answer = get(&format!("{page}/api/v1/sources")).await?;
        let up = answer["sources"]
            .as_array()?
            .iter()
            .filter(|one| one["up"] == true && one["fresh"] == one["scopes"]);
        (up.count() == 3).then_some(())
    })
    .await;

    let bad = |bad: bool| lines.iter().for_each(|line| _ = line.bad.send_replace(bad));
    let mut pushed = BTreeSet::new();
    for number in 0..ROUNDS {
        bad(true);
        for app in ["web", "api"] {
            let (repository, tag) = (format!("team/{app}"), version(number));
            watched.world.push(&repository, &tag).await.unwrap();
            pushed.insert(watched.image(&repository, &tag));
        }
        // All of it happens while the lines are bad. What is overtaken before anybody could look is another story.
        until("it is live in the world", async || in_prod(&watched, number).then_some(())).await;
        bad(false);
        // Not before: the world's own people would get through no more than we do.
        watched.world.inject(Fault::RegistryThrottled);
        told_live(&watched, &pushed, false).await;
        watched.world.clear(Fault::RegistryThrottled);
    }
    let troubles: Vec<usize> = lines.iter().map(|line| line.troubles.load(Ordering::Relaxed)).collect();
    assert!(troubles.iter().all(|count| *count >= 3), "there was no trouble: {troubles:?}");

    let settled = told_live(&watched, &pushed, true).await;
    let truth = watched.world.truth();
    let (checked, lies) = lies(&truth, &settled);
    assert!(lies.is_empty(), "{} of {checked} are wrong:\n{}", lies.len(), lies.join("\n"));
    // Each image once to each place, and no image that was not pushed.
    let mut told = BTreeSet::new();
    for journey in watched.journeys() {
        let image = journey.image.to_string();
        assert!(pushed.contains(&image), "invented: {journey:?}");
        assert!(told.insert((image, journey.destination.to_string())), "told twice: {journey:?}");
    }
    println!("{troubles:?} troubles, {} journeys, {checked} times held against the truth", settled.len());
    watched.stop().await;
}
