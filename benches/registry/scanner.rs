//! The program's own registry observer, alone in a process.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use knotmeter::config::{Registry, Seconds};
use knotmeter::image::{Repository, Tag};
use knotmeter::observation::{Fact, Interests, Measure, RepositoryInterest, SourceId, SourceKind};
use knotmeter::observers::schedule::LookNow;
use knotmeter::observers::{REPORT_QUEUE_SIZE, Report, Reporter, registry};
use serde_json::json;
use tokio::sync::{mpsc, watch};

use super::debian;
use crate::process::{cpu, memory_kib};

/// Of the tags in use, so many times fewer are such as people move.
pub const MUTABLE_PART: usize = 10;
/// A tag whose name says so.
pub const MOVED: &str = "stable";
/// How long memory is left alone before it is measured: the allocator gives back what is unused.
const REST: Duration = Duration::from_millis(500);

/// The path of a repository.
pub fn name(at: usize) -> String {
    format!("team-{:02}/service-{at:05}", at % 40)
}

/// A tag's name, 16 characters.
pub fn tag(at: usize) -> String {
    format!("v1.{at:06}.0-r1234")[..16].to_owned()
}

/// What a child process does.
pub struct Job<'a> {
    pub host: &'a str,
    pub repositories: usize,
    /// Sweeps after the first, and one more with a new tag.
    pub sweeps: usize,
    /// Seconds between two sweeps.
    pub interval: f64,
    /// Tags in use.
    pub in_use: usize,
    /// Where the registry keeps its repositories.
    pub push_to: Option<&'a Path>,
}

impl<'a> Job<'a> {
    pub fn new(host: &'a str, repositories: usize) -> Self {
        Self { host, repositories, sweeps: 0, interval: 3600.0, in_use: 0, push_to: None }
    }

    /// As words for [`run`]; they are leaked, for a bench has few.
    pub fn words(&self) -> Vec<&'static str> {
        let push_to = self.push_to.map(|path| path.display().to_string()).unwrap_or_default();
        let numbers = [self.repositories, self.sweeps, self.in_use].map(|number| number.to_string());
        let words = [
            vec!["scan".into(), self.host.to_owned()],
            numbers.into(),
            vec![self.interval.to_string(), push_to],
        ];
        words.into_iter().flatten().map(|word| &*word.leak()).collect()
    }
}

/// Does what the words say and prints a line after the first sweep and after each other.
pub fn run(words: &[String]) {
    let [host, repositories, sweeps, in_use, interval, push_to] = words else { panic!("{words:?}") };
    let parse = |word: &String| word.parse::<usize>().expect("a number");
    let (repositories, sweeps, in_use) = (parse(repositories), parse(sweeps), parse(in_use));
    let interval = interval.parse().expect("seconds");
    rustls::crypto::ring::default_provider().install_default().expect("the first to ask");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let mut scanner = Scanner::start(host, repositories, in_use, interval);
        let started = Instant::now();
        let counts = scanner.looks(repositories).await;
        let mut line = json!({"seconds": started.elapsed().as_secs_f64(), "cpu_ms": cpu().as_secs_f64() * 1000.0,
            "lists": counts.lists, "heads": counts.heads, "gets": counts.gets, "peak_kib": memory_kib("VmHWM")});
        tokio::time::sleep(REST).await;
        line["rest_kib"] = memory_kib("VmRSS").into();
        println!("{line}");
        if sweeps == 0 {
            return;
        }
        // The looks are spread by now, and what is in use is described.
        scanner.looks(2 * repositories).await;
        for _ in 0..sweeps {
            scanner.sweep(repositories).await;
        }
        let folder = PathBuf::from(push_to);
        debian::push(&folder, &name(7), "v2.0.0-new", &debian::manifest(&folder, &name(7)));
        // Looks keep no step: only after two sweeps has each repository been looked at for certain.
        scanner.sweep(2 * repositories).await;
        println!("{}", json!({"lists": scanner.lists}));
    });
}

/// The observer at work; nobody tracks what it says.
struct Scanner {
    reports: mpsc::Receiver<Report>,
    _interests: watch::Sender<Arc<Interests>>,
    /// Asked for since the start.
    lists: usize,
}

#[derive(Default)]
struct Counts {
    looks: usize,
    lists: usize,
    heads: usize,
    gets: usize,
}

impl Scanner {
    fn start(host: &str, repositories: usize, in_use: usize, interval: f64) -> Self {
        let (to, reports) = mpsc::channel(REPORT_QUEUE_SIZE);
        let mut wanted = Interests::default();
        for at in 0..repositories {
            let repository: Repository = format!("{host}/{}", name(at)).parse().expect("a repository");
            wanted.repositories.insert(repository, interest(at, repositories, in_use));
        }
        let (sender, interests) = watch::channel(Arc::new(wanted));
        let listed = Registry {
            host: host.into(),
            plain_http: true,
            interval: Seconds(interval),
            ..Registry::default()
        };
        let reporters =
            move |host: &str| Reporter::new(SourceId::new(SourceKind::Registry, host), 1, to.clone());
        tokio::spawn(registry::run(vec![listed], [], interests, LookNow::default(), reporters));
        Self { reports, _interests: sender, lists: 0 }
    }

    /// Waits for so many complete looks.
    async fn looks(&mut self, count: usize) -> Counts {
        let mut counts = Counts::default();
        while counts.looks < count {
            match self.reports.recv().await.expect("the observer runs") {
                Report::Observation(observation) => match &observation.fact {
                    Fact::LookCompleted { .. } => counts.looks += 1,
                    Fact::LookFailed { message, .. } => panic!("{message}"),
                    _ => {}
                },
                Report::Measure(Measure::RegistryRequest { operation, .. }) => match operation {
                    "tags" => counts.lists += 1,
                    "head_manifest" => counts.heads += 1,
                    _ => counts.gets += 1,
                },
                Report::Measure(_) => {}
            }
        }
        self.lists += counts.lists;
        counts
    }

    /// As many looks as there are repositories.
    async fn sweep(&mut self, repositories: usize) {
        let before = cpu();
        let counts = self.looks(repositories).await;
        let cpu_ms = (cpu() - before).as_secs_f64() * 1000.0;
        let Counts { looks, lists, heads, gets } = counts;
        println!(
            "{}",
            json!({"looks": looks, "lists": lists, "heads": heads, "gets": gets, "cpu_ms": cpu_ms})
        );
    }
}

/// The tags in use are spread over the repositories; a tenth of them is [`MOVED`].
fn interest(at: usize, repositories: usize, in_use: usize) -> RepositoryInterest {
    let here = (at..in_use).step_by(repositories).map(|number| {
        let name = if number < in_use / MUTABLE_PART { MOVED.to_owned() } else { tag(number % 100) };
        name.parse::<Tag>().expect("a tag")
    });
    RepositoryInterest { tags: here.collect(), ..RepositoryInterest::default() }
}
