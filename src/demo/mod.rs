//! A whole world on loopback to try Knotmeter on: an OCI registry, a git repository, a Kubernetes cluster, and
//! the people and programs that bring images from one to the other. It imports nothing of Knotmeter but
//! [`crate::image`]: whoever watches it must speak the real protocols, so the figures cannot be cheated.
//! `registry`, `git` and `cluster` are the servers, `gitops` the actors (with `flux` in the place of some of them
//! where it is the engine), `fault` what may go wrong, `truth` what really happened. A new server is started in [`World::start`] and has its address in [`Addresses`].

mod changes;
mod cluster;
mod engine;
mod fault;
mod flux;
mod folder;
mod git;
mod gitops;
mod random;
mod registry;
mod serve;
mod truth;
mod verbs;

use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::extract::Query;
use http::Uri;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

pub use engine::{Engine, UnknownEngine};
pub use fault::{Fault, UnknownFault};
pub use flux::Intervals;
pub use truth::{Entry, Happened};
pub use verbs::{Paused, Push};

use cluster::{CLUSTER, Cluster, Pace};
use fault::Faults;
use flux::Flux;
use folder::Folder;
use git::Git;
use gitops::applier::Applier;
use gitops::developer::Developer;
use gitops::meddler::Meddler;
use gitops::updater::Updater;
use gitops::{APPS, ENVIRONMENTS, Setup, apps, release};
use random::Random;
use truth::Truth;

/// The version of everything at the start.
const FIRST_NUMBER: u64 = 0;
/// The world must run its first version within this time; more means that something is broken.
const SETTLE_TIME_MAX: Duration = Duration::from_secs(60);
/// One request between the actors; a registry that is slow on purpose answers within it.
const REQUEST_TIME_MAX: Duration = Duration::from_secs(30);

/// Why the world could not start, or a verb failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The `git` program is not on the path.
    #[error("the demo needs the git program: install it (for example `apt install git`) and try again")]
    NoGit,
    /// A git call failed or took too long.
    #[error("git {call} failed in the demo world: {said}")]
    Git { call: String, said: String },
    /// A listener on loopback or the world's folder could not be made.
    #[error("the demo world cannot {doing}: {source}")]
    Host { doing: &'static str, source: std::io::Error },
    /// A file in a work tree cannot be read or written.
    #[error("the demo world cannot use the file {}: {source}", path.display())]
    File { path: PathBuf, source: std::io::Error },
    /// A server of the world refused a request or did not answer.
    #[error("{what} failed in the demo world: {why}")]
    Http { what: String, why: String },
    /// Not everything ran in time after the start.
    #[error("the demo world did not come up within {} seconds", SETTLE_TIME_MAX.as_secs())]
    NotSettled,
}

impl Error {
    fn no_git(source: std::io::Error) -> Self {
        if source.kind() == std::io::ErrorKind::NotFound {
            Error::NoGit
        } else {
            Error::Host { doing: "run git", source }
        }
    }
}

/// How the world behaves. The defaults bring a pushed image to live within seconds.
#[derive(Debug, Clone)]
pub struct Options {
    /// Who brings images from the registry to the cluster.
    pub engine: Engine,
    /// Whether a developer pushes new images on their own.
    pub autopush: bool,
    pub push_every: Duration,
    /// How often the plain engine's two programs look.
    pub updater_every: Duration,
    pub applier_every: Duration,
    /// How often Flux looks.
    pub intervals: Intervals,
    /// Pulling an image that is not on the node takes about this long.
    pub pull_delay: Duration,
    /// A started container is ready after about this long.
    pub ready_delay: Duration,
    /// `progressDeadlineSeconds` of the Deployments.
    pub progress_deadline_seconds: u32,
    /// What is wrong from the moment everything runs for the first time.
    pub faults: Vec<Fault>,
    /// The same seed gives the same order of pushes and the same delays.
    pub seed: u64,
    /// Where something of the caller's stands before the registry, and everybody has to go through it.
    pub registry_front: Option<Front>,
}

/// What stands before the registry.
#[derive(Debug, Clone)]
pub struct Front {
    /// `127.0.0.1:port`, as images name the registry.
    pub name: String,
    /// Where it expects the registry itself.
    pub registry: std::net::SocketAddr,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            engine: Engine::Plain,
            autopush: true,
            push_every: Duration::from_secs(3),
            updater_every: Duration::from_secs(1),
            applier_every: Duration::from_secs(1),
            intervals: Intervals::default(),
            pull_delay: Duration::from_millis(300),
            ready_delay: Duration::from_millis(400),
            progress_deadline_seconds: 6,
            faults: Vec::new(),
            seed: 1,
            registry_front: None,
        }
    }
}

/// Where the world can be reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Addresses {
    /// `127.0.0.1:port`, plain HTTP.
    pub registry: String,
    /// `http://127.0.0.1:port/fleet.git`
    pub git: String,
    /// `http://127.0.0.1:port`
    pub kubernetes: String,
    pub kubeconfig: PathBuf,
    /// The name of the cluster, and of the context in the kubeconfig.
    pub cluster: String,
    pub branch: String,
    /// What the engine's reflector counts of itself, where it does: `http://127.0.0.1:port/metrics`.
    pub controllers: Option<String>,
}

/// A running world. Dropping it ends everything it started.
#[derive(Debug)]
pub struct World {
    engine: Engine,
    addresses: Addresses,
    faults: Faults,
    truth: Truth,
    client: reqwest::Client,
    developer: Developer,
    push_every: Duration,
    /// Index of the app that is pushed first.
    first_app: usize,
    /// The work tree for commits by hand, one at a time.
    hand: tokio::sync::Mutex<Git>,
    // The tasks end before the folder in which they work.
    tasks: JoinSet<()>,
    folder: Folder,
}

impl World {
    /// Starts the servers, lets the first version of everything go live, and then begins: with the faults, the
    /// developer and the updater. The process must have installed a rustls provider (reqwest needs one even
    /// for plain HTTP).
    ///
    /// # Errors
    /// Where `git` is missing, a port or folder cannot be had, or the world does not come up.
    pub async fn start(options: Options) -> Result<Self, Error> {
        let folder = Folder::create()?;
        git::create(&folder.path).await?;
        let client =
            reqwest::Client::builder().no_proxy().timeout(REQUEST_TIME_MAX).build().map_err(|error| {
                Error::Http { what: "making a client".to_owned(), why: error.to_string() }
            })?;
        let (faults, truth) = (Faults::default(), Truth::new());
        let mut random = Random::seeded(options.seed);
        let first_app = random.below(APPS.len());
        let pace = Pace { pull_delay: options.pull_delay, ready_delay: options.ready_delay };
        let mut namespaces = ENVIRONMENTS.to_vec();
        if options.engine == Engine::Flux {
            namespaces.push(flux::NAMESPACE);
        }
        let cluster = Cluster::new(&namespaces, client.clone(), pace, random, faults.clone(), truth.clone());

        let mut tasks = JoinSet::new();
        let (listener, registry) = match &options.registry_front {
            None => listen().await?,
            Some(front) => (listen_at(front.registry).await?.0, front.name.clone()),
        };
        tasks
            .spawn(serve::serve(listener, registry::router(registry.clone(), faults.clone(), truth.clone())));
        let (listener, git_host) = listen().await?;
        let git_router = git::router(folder.path.clone(), faults.clone(), truth.clone());
        tasks.spawn(serve::serve(listener, git_router));
        let (listener, kubernetes) = listen().await?;
        tasks.spawn(serve::serve(listener, cluster.router(options.engine)));
        tasks.spawn(cluster.run_controllers());
        tasks.spawn(cluster.run_node());

        let addresses = Addresses {
            git: format!("http://{git_host}/{}", git::REPOSITORY),
            kubernetes: format!("http://{kubernetes}"),
            kubeconfig: folder.path.join("kubeconfig"),
            cluster: CLUSTER.to_owned(),
            branch: git::BRANCH.to_owned(),
            controllers: None,
            registry,
        };
        write_file(&addresses.kubeconfig, &kubeconfig(&addresses.kubernetes))?;
        let developer = Developer {
            client: client.clone(),
            registry: addresses.registry.clone(),
            faults: faults.clone(),
        };
        let hand = Git::new(folder.sub("hand")?, "demo-person");
        let mut world = Self {
            engine: options.engine,
            addresses,
            faults,
            truth,
            client,
            developer,
            push_every: options.push_every,
            first_app,
            hand: hand.into(),
            tasks,
            folder,
        };
        world.lay_the_ground(&options).await?;
        world.bring_in_the_actors(&options, &cluster).await?;
        Ok(world)
    }

    /// Where everything is.
    #[must_use]
    pub fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// What has happened so far.
    #[must_use]
    pub fn truth(&self) -> Vec<Entry> {
        // Each part writes as of its own act and may be a moment late with it.
        let mut entries = self.truth.entries();
        entries.sort_by_key(|entry| entry.at);
        entries
    }

    /// The first entry of the truth that fits, as soon as there is one. Wrap it in a timeout.
    pub async fn happened(&self, fits: impl Fn(&Entry) -> bool) -> Entry {
        self.truth.first(fits).await
    }

    /// Switches a fault on.
    pub fn inject(&self, fault: Fault) {
        self.faults.set(fault);
    }

    /// Switches a fault off.
    pub fn clear(&self, fault: Fault) {
        self.faults.clear(fault);
    }

    /// From now on images are pushed in turn, as with [`Options::autopush`]: for who wants to see the world before
    /// anything happens in it. To be called once.
    pub fn begin_pushing(&mut self) {
        let developer = self.developer.clone();
        self.tasks.spawn(developer.run(apps(self.engine), self.push_every, self.first_app, FIRST_NUMBER + 1));
    }

    /// Ends everything and waits until it has ended.
    pub async fn stop(mut self) {
        self.tasks.shutdown().await;
    }

    /// First images, first commit.
    async fn lay_the_ground(&self, options: &Options) -> Result<(), Error> {
        let tag = gitops::version(FIRST_NUMBER);
        let setup = Setup {
            engine: self.engine,
            intervals: options.intervals,
            progress_deadline_seconds: options.progress_deadline_seconds,
        };
        let hand = self.hand.lock().await;
        hand.run(&["init", "--quiet", "--initial-branch", git::BRANCH]).await?;
        hand.run(&["remote", "add", "origin", self.addresses.git.as_str()]).await?;
        for app in apps(self.engine) {
            self.developer.push(&app.repository(), &tag).await?;
            if app.is_released() {
                let archive = flux::packed(release::chart(app, &self.addresses.registry))
                    .map_err(|source| Error::Host { doing: "pack a chart", source })?;
                let (repository, version) = (release::CHART_REPOSITORY, release::CHART_VERSION);
                self.developer.push_chart(repository, version, archive).await?;
            }
            for environment in ENVIRONMENTS {
                let registry = &self.addresses.registry;
                let text = app.manifest(environment, registry, &tag, setup);
                let folder = hand.folder().join(environment);
                std::fs::create_dir_all(&folder)
                    .map_err(|source| Error::File { path: folder.clone(), source })?;
                write_file(&folder.join(format!("{}.yaml", app.name)), &text)?;
                let settings = folder.join(format!("{}-settings.yaml", app.name));
                write_file(&settings, &app.settings(environment))?;
            }
        }
        if self.engine == Engine::Flux {
            let folder = hand.folder().join(flux::INFRASTRUCTURE);
            std::fs::create_dir_all(&folder)
                .map_err(|source| Error::File { path: folder.clone(), source })?;
            write_file(&folder.join("settings.yaml"), gitops::INFRASTRUCTURE)?;
        }
        hand.commit_and_push("run the first version of everything").await.map(drop)
    }

    async fn bring_in_the_actors(&mut self, options: &Options, cluster: &Cluster) -> Result<(), Error> {
        let updater = match self.engine {
            Engine::Plain => Some(self.bring_in_the_plain_engine(options).await?),
            Engine::Flux => {
                self.bring_in_flux(options).await?;
                None
            }
        };
        tokio::time::timeout(SETTLE_TIME_MAX, self.everything_live()).await.map_err(|_| Error::NotSettled)?;

        cluster.slow_down();
        for fault in &options.faults {
            self.faults.set(*fault);
        }
        let meddler = Meddler {
            client: self.client.clone(),
            api: self.addresses.kubernetes.clone(),
            git: self.clone_as("demo-meddler", "demo-meddler").await?,
            faults: self.faults.clone(),
            progress_deadline_seconds: options.progress_deadline_seconds,
        };
        self.tasks.spawn(meddler.run());
        if let Some(updater) = updater {
            self.tasks.spawn(updater.run(options.updater_every));
        }
        if options.autopush {
            self.begin_pushing();
        }
        Ok(())
    }

    /// Starts the applier; the updater begins when everything runs.
    async fn bring_in_the_plain_engine(&mut self, options: &Options) -> Result<Updater, Error> {
        let (updater, applier) = (
            self.clone_as("demo-updater", "demo-updater").await?,
            self.clone_as("demo-applier", "demo-applier").await?,
        );
        let kubernetes = self.addresses.kubernetes.clone();
        let applier = Applier::new(self.client.clone(), kubernetes, applier, self.faults.clone());
        self.tasks.spawn(applier.run(options.applier_every));
        let registry = self.addresses.registry.clone();
        Ok(Updater::new(self.client.clone(), registry, updater, self.faults.clone()))
    }

    async fn bring_in_flux(&mut self, options: &Options) -> Result<(), Error> {
        let (listener, host) = listen().await?;
        let (storage, durations, router) = flux::storage(&host);
        self.tasks.spawn(serve::serve(listener, router));
        self.addresses.controllers = Some(format!("http://{host}/metrics"));
        let flux = Flux {
            client: self.client.clone(),
            kubernetes: self.addresses.kubernetes.clone(),
            registry: self.addresses.registry.clone(),
            repository: self.addresses.git.clone(),
            automation: self.clone_as(flux::AUTOMATION_AGENT, flux::AUTOMATION_AUTHOR).await?,
            source: self.clone_as(flux::SOURCE_AGENT, flux::SOURCE_AGENT).await?,
            storage,
            durations,
            faults: self.faults.clone(),
            truth: self.truth.clone(),
            intervals: options.intervals,
        };
        flux.set_up().await?;
        self.tasks.spawn(flux.run());
        Ok(())
    }

    /// A clone of the repository in a folder of its own, for a program and the name under which it commits.
    async fn clone_as(&self, agent: &'static str, author: &'static str) -> Result<Git, Error> {
        let git = Git::of_program(self.folder.sub(agent)?, agent, author);
        git.clone_from(&self.addresses.git).await?;
        Ok(git)
    }

    async fn everything_live(&self) {
        for environment in ENVIRONMENTS {
            for app in apps(self.engine) {
                let is_it = |entry: &Entry| {
                    matches!(&entry.what, Happened::Live { namespace, name, .. }
                        if namespace == environment && name == app.name)
                };
                self.truth.first(is_it).await;
            }
        }
    }
}

async fn listen() -> Result<(TcpListener, String), Error> {
    listen_at((std::net::Ipv4Addr::LOCALHOST, 0).into()).await
}

async fn listen_at(address: std::net::SocketAddr) -> Result<(TcpListener, String), Error> {
    let failed = |source| Error::Host { doing: "listen on loopback", source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?.to_string();
    Ok((listener, address))
}

fn write_file(path: &Path, text: &str) -> Result<(), Error> {
    std::fs::write(path, text).map_err(|source| Error::File { path: path.to_owned(), source })
}

fn kubeconfig(server: &str) -> String {
    format!(
        "apiVersion: v1
kind: Config
clusters:
  - name: {CLUSTER}
    cluster:
      server: {server}
users:
  - name: {CLUSTER}
    user: {{}}
contexts:
  - name: {CLUSTER}
    context:
      cluster: {CLUSTER}
      user: {CLUSTER}
current-context: {CLUSTER}
"
    )
}

/// The parameters of a query, decoded; none where it is malformed.
fn query_pairs(query: &str) -> Vec<(String, String)> {
    let uri: Result<Uri, _> = format!("/?{query}").parse();
    let pairs = uri.ok().and_then(|uri| Query::<Vec<(String, String)>>::try_from_uri(&uri).ok());
    pairs.map(|Query(pairs)| pairs).unwrap_or_default()
}
