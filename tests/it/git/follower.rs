//! Drives a poller step by step, and shows what it reports as short lines of text.

use std::collections::BTreeMap;
use std::fmt::Write;

use knotmeter::config::{Git, GitPath, Seconds};
use knotmeter::observation::{
    Basis, Fact, GitReference, LastTree, Measure, Observation, Scope, SourceId, SourceKind, Subject,
    TreeNames,
};
use knotmeter::observers::git::Poller;
use knotmeter::observers::{REPORT_QUEUE_SIZE, Report, Reporter};
use tokio::sync::mpsc;

/// A configuration for a repository, everything else as it is by default.
pub fn config(url: &str) -> Git {
    Git { url: url.into(), interval: Seconds(30.0), ..Git::default() }
}

pub fn paths(paths: &[&str]) -> Vec<GitPath> {
    paths.iter().map(|path| GitPath { path: (*path).into(), environment: None }).collect()
}

/// A poller and the other end of its reporter.
pub struct Follower {
    poller: Poller,
    reports: mpsc::Receiver<Report>,
    pub measures: Vec<Measure>,
    cache: tempfile::TempDir,
    reporter: Reporter,
}

impl Follower {
    pub fn new(config: Git) -> Self {
        // Clients are built for plain http, too, and want a provider then.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let (to, reports) = mpsc::channel(REPORT_QUEUE_SIZE);
        let cache = tempfile::tempdir().unwrap();
        let reporter = Reporter::new(SourceId::new(SourceKind::Git, "deploy"), 1, to);
        let poller = Poller::new(config, cache.path(), reporter.clone());
        Self { poller, reports, measures: Vec::new(), cache, reporter }
    }

    /// A new process with the copies of this one, which tells what it is to know of before.
    pub fn restart(self, config: Git, last_trees: Vec<LastTree>) -> Self {
        let next = Self::new(config.clone());
        let poller = Poller::new(config, self.cache.path(), next.reporter.clone()).resuming(last_trees);
        Self { poller, cache: self.cache, ..next }
    }

    /// Nothing is left of the copies.
    pub fn lose_copies(&self) {
        for entry in std::fs::read_dir(self.cache.path()).unwrap() {
            std::fs::remove_dir_all(entry.unwrap().path()).unwrap();
        }
    }

    /// The copy's directory is made anew after so many fetches.
    pub fn renewing_after(mut self, fetches: u32) -> Self {
        self.poller = self.poller.renewing_after(fetches);
        self
    }

    /// The copy that is read now; there is only one.
    pub fn copy(&self) -> std::path::PathBuf {
        let only = |directory: &std::path::Path| {
            let entries: Vec<_> = std::fs::read_dir(directory).unwrap().collect();
            let [Ok(entry)] = &entries[..] else { panic!("{entries:?}") };
            entry.path()
        };
        only(&only(self.cache.path()))
    }

    /// One look; everything it reported.
    pub async fn poll(&mut self) -> Vec<Observation> {
        let _ = self.poller.poll().await;
        let mut observations = Vec::new();
        while let Ok(report) = self.reports.try_recv() {
            match report {
                Report::Observation(observation) => observations.push(*observation),
                Report::Measure(measure) => self.measures.push(measure),
            }
        }
        observations
    }

    /// One look, as text.
    pub async fn look(&mut self) -> String {
        said(&self.poll().await)
    }

    /// The reasons for what was left out, with their number, since the start.
    pub fn dropped(&self) -> BTreeMap<&'static str, usize> {
        let mut reasons = BTreeMap::new();
        for measure in &self.measures {
            if let Measure::Dropped { reason, .. } = measure {
                *reasons.entry(*reason).or_default() += 1;
            }
        }
        reasons
    }
}

/// The levels among observations.
pub fn levels(observations: &[Observation]) -> Vec<&TreeNames> {
    observations
        .iter()
        .filter_map(|it| if let Fact::TreeNames(level) = &it.fact { Some(&**level) } else { None })
        .collect()
}

/// One line a fact, and one for each reference and commit in it.
pub fn said(observations: &[Observation]) -> String {
    let mut text = String::new();
    for Observation { basis, happened, fact, .. } in observations {
        // A backfill has no start; everything else is bounded.
        assert_eq!(happened.is_bounded(), *basis != Basis::Backfill, "{fact:?}");
        match fact {
            Fact::TreeNames(level) => {
                let forced = if level.forced { " forced" } else { "" };
                writeln!(text, "{}:{} names ({basis}){forced}", level.branch, level.path).unwrap();
                for reference in &level.references {
                    writeln!(text, "  {}", shown(reference)).unwrap();
                }
                for commit in &level.commits {
                    let added: Vec<_> = commit.added.iter().map(|it| it.image.to_string()).collect();
                    writeln!(text, "  commit {:?} added [{}]", commit.subject, added.join(", ")).unwrap();
                }
            }
            Fact::Absent { subject: Subject::Branch { branch, .. } } => {
                writeln!(text, "{branch} is absent ({basis})").unwrap();
            }
            Fact::LookCompleted { scope: Scope::Branch { branch, .. }, started, finished, .. } => {
                assert!(started <= finished);
                writeln!(text, "{branch} looked at").unwrap();
            }
            Fact::LookFailed { scope: Scope::Branch { branch, .. }, failure, .. } => {
                writeln!(text, "{branch} failed: {}", failure.as_str()).unwrap();
            }
            other => panic!("a git observer never says {other:?}"),
        }
    }
    text
}

/// `file:line kind/name[container] -n namespace = image #marker`
pub fn shown(reference: &GitReference) -> String {
    let mut text = format!("{}:{}", reference.file, reference.line);
    if let (Some(kind), Some(name)) = (&reference.kind, &reference.name) {
        write!(text, " {kind}/{name}").unwrap();
    }
    if let Some(container) = &reference.container {
        write!(text, "[{container}]").unwrap();
    }
    if let Some(namespace) = &reference.namespace {
        write!(text, " -n {namespace}").unwrap();
    }
    write!(text, " = {}", reference.image).unwrap();
    if let Some(marker) = &reference.marker {
        write!(text, " #{marker}").unwrap();
    }
    text
}

/// A Deployment as people write it, with its image on line 14.
pub fn deployment(name: &str, image: &str) -> String {
    format!(
        "apiVersion: apps/v1
kind: Deployment
metadata:
  name: {name}
  namespace: shop
spec:
  template:
    metadata:
      labels: {{app: {name}}}
    spec:
      containers:
        - name: main
          ports: [{{containerPort: 80}}]
          image: {image}
"
    )
}
