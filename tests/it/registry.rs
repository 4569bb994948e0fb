//! The registry observer against answers made by hand, hostile ones among them, and against a real registry.

mod broken;
mod clouds;
mod credentials;
mod fake;
mod hostile;
mod limits;
mod login;
mod looks;
mod many;
mod parts;
mod pulls;
mod real;
mod restart;
mod strangers;

use std::sync::Arc;
use std::time::Duration;

use knotmeter::config::{Glob, Registry, Seconds};
use knotmeter::image::{Digest, Repository, Tag};
use knotmeter::observation::{
    Fact, Interests, LastLook, LookFailure, Measure, Observation, RepositoryInterest, SourceId, SourceKind,
    Subject,
};
use knotmeter::observers::registry::{Limits, run_within};
use knotmeter::observers::schedule::LookNow;
use knotmeter::observers::{REPORT_QUEUE_SIZE, Report, Reporter};
use tokio::sync::{mpsc, watch};

/// Bound of every wait: far above what anything here takes, so that only a real hang reaches it.
const PATIENCE: Duration = Duration::from_secs(60);

/// The observer at work, and what it has said.
struct Watching {
    reports: mpsc::Receiver<Report>,
    interests: watch::Sender<Arc<Interests>>,
    look_now: LookNow,
    task: tokio::task::JoinHandle<()>,
    /// Everything received so far.
    facts: Vec<Observation>,
    measures: Vec<Measure>,
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Watching {
    fn start(registries: Vec<Registry>, interests: Interests, limits: Limits) -> Self {
        Self::resume(registries, Vec::new(), interests, limits)
    }

    /// As after a restart.
    fn resume(
        registries: Vec<Registry>,
        last_looks: Vec<LastLook>,
        interests: Interests,
        limits: Limits,
    ) -> Self {
        ring();
        let (to, reports) = mpsc::channel(REPORT_QUEUE_SIZE);
        let (sender, receiver) = watch::channel(Arc::new(interests));
        let reporters =
            move |host: &str| Reporter::new(SourceId::new(SourceKind::Registry, host), 1, to.clone());
        let look_now = LookNow::default();
        let watching = run_within(registries, last_looks, receiver, look_now.clone(), reporters, limits);
        let task = tokio::spawn(watching);
        Self { reports, interests: sender, look_now, task, facts: vec![], measures: vec![] }
    }

    /// Waits for the first fact from now on for which `pick` has something.
    async fn wait_for<T>(&mut self, what: &str, pick: impl Fn(&Observation) -> Option<T>) -> T {
        let found = async {
            loop {
                match self.reports.recv().await.expect("the observer runs") {
                    Report::Observation(observation) => {
                        let picked = pick(&observation);
                        self.facts.push(*observation);
                        if let Some(picked) = picked {
                            return picked;
                        }
                    }
                    Report::Measure(measure) => self.measures.push(measure),
                }
            }
        };
        let found = tokio::time::timeout(PATIENCE, found).await;
        found.unwrap_or_else(|_| panic!("waited in vain for {what}; had {:#?}", self.facts))
    }

    async fn tags_listed(&mut self) -> Vec<String> {
        self.wait_for("TagsListed", |seen| match &seen.fact {
            Fact::TagsListed { tags, .. } => Some(tags.iter().map(ToString::to_string).collect()),
            _ => None,
        })
        .await
    }

    async fn look_completed(&mut self) {
        self.wait_for("LookCompleted", |seen| matches!(seen.fact, Fact::LookCompleted { .. }).then_some(()))
            .await;
    }

    async fn look_failed(&mut self) -> (LookFailure, String) {
        self.wait_for("LookFailed", |seen| match &seen.fact {
            Fact::LookFailed { failure, message, .. } => Some((*failure, message.to_string())),
            _ => None,
        })
        .await
    }

    async fn points(&mut self, wanted: &str) -> (Digest, Observation) {
        self.wait_for(wanted, |seen| match &seen.fact {
            Fact::TagPointsTo { tag, digest, .. } if tag.as_str() == wanted => {
                Some((digest.clone(), seen.clone()))
            }
            _ => None,
        })
        .await
    }

    async fn described(&mut self, wanted: &Digest) -> knotmeter::observation::ImageDescribed {
        self.wait_for("ImageDescribed", |seen| match &seen.fact {
            Fact::ImageDescribed(image) if image.digest == *wanted => Some((**image).clone()),
            _ => None,
        })
        .await
    }

    fn absent_tags(&self) -> Vec<&str> {
        let absent = self.facts.iter().filter_map(|seen| match &seen.fact {
            Fact::Absent { subject: Subject::Tag { tag, .. } } => Some(tag.as_str()),
            _ => None,
        });
        absent.collect()
    }
}

/// One TLS provider for the test process; whoever comes second finds it there.
fn ring() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// A registry on loopback, looked at five times a second, without the credentials of whoever runs the test.
fn registry(host: &str, repositories: &[&str]) -> Registry {
    static NO_LOGINS: std::sync::LazyLock<tempfile::NamedTempFile> = std::sync::LazyLock::new(|| {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "{}").unwrap();
        file
    });
    Registry {
        host: host.into(),
        plain_http: true,
        interval: Seconds(0.2),
        repositories: repositories.iter().map(|text| Glob::new(text).unwrap()).collect(),
        docker_config: Some(NO_LOGINS.path().to_owned()),
        ..Registry::default()
    }
}

/// A docker config with one login.
fn docker_config(host: &str, user: &str, password: &str) -> tempfile::NamedTempFile {
    use base64::Engine as _;
    let auth = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
    let file = tempfile::NamedTempFile::new().unwrap();
    let text = serde_json::json!({"auths": {format!("http://{host}/v2/"): {"auth": auth}}});
    std::fs::write(file.path(), text.to_string()).unwrap();
    file
}

fn interest(repository: &str, urgent: bool, tags: &[&str], digests: &[Digest]) -> Interests {
    let interest = RepositoryInterest {
        urgent,
        tags: tags.iter().map(|tag| tag.parse::<Tag>().unwrap()).collect(),
        digests: digests.iter().cloned().collect(),
    };
    let repository: Repository = repository.parse().unwrap();
    Interests { repositories: [(repository, interest)].into(), ..Interests::default() }
}
