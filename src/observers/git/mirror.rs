//! Our shallow bare copy of a repository: asks for the tips, fetches what moved.
//!
//! A look is one handshake and one `ls-refs` for the followed branches; the same connection fetches where a
//! tip moved. gix never packs what it fetched, so the copy is made anew after a number of fetches.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use gix::ObjectId;
use gix::bstr::BString;
use gix::progress::Discard;
use gix::protocol::transport::client::blocking_io::http;
use gix::protocol::transport::client::{AuthenticationRequired, TransportWithoutIO};
use gix::remote::Direction;
use gix::remote::fetch::{Shallow, Tags};

use super::{Address, Error};
use crate::observation::Time;
use crate::observers::now;

/// History of the first fetch. Enough that merging a usual branch brings only its own commits; the server
/// sends everything behind a commit that is older than what we hold.
const FIRST_DEPTH: NonZeroU32 = NonZeroU32::new(50).expect("50 is not zero");
/// Every fetch leaves a small pack, and reading slows with their number.
pub const FETCHES_MAX: u32 = 200;
/// The largest single object that is held in memory while a pack is read: a bomb must not end the process.
const OBJECT_BYTES_MAX: u64 = 256 << 20;

/// Commits at the tips of branches.
pub type Tips = BTreeMap<Arc<str>, ObjectId>;

/// What the server answered.
pub struct Answer {
    /// When the tips were known.
    pub answered: Time,
    /// The followed branches that exist.
    pub tips: Tips,
    pub poll_seconds: f64,
    /// How long the fetch took, where one was needed.
    pub fetch_seconds: Option<f64>,
    /// Set where the tips are known and their objects could not be fetched.
    pub fetch_failed: Option<Error>,
}

/// What to do with the answer.
enum Goal<'a> {
    List,
    /// Fetch where a tip is not one of these.
    Fetch {
        known: &'a Tips,
        shallow: Shallow,
    },
}

/// A copy in a directory of its own, which nobody else uses.
pub struct Mirror {
    address: Address,
    branches: Vec<Arc<str>>,
    directory: PathBuf,
    current: Option<gix::Repository>,
    /// Numbers the copies, so that a new one never meets the files of an old one.
    generation: u32,
    fetches: u32,
    fetches_max: u32,
}

impl Mirror {
    pub fn new(address: Address, branches: Vec<Arc<str>>, directory: PathBuf, fetches_max: u32) -> Self {
        Self { address, branches, directory, current: None, generation: 0, fetches: 0, fetches_max }
    }

    /// The copy, once something was asked.
    pub fn repository(&self) -> Option<&gix::Repository> {
        self.current.as_ref()
    }

    /// Asks for the tips only.
    pub fn list(&mut self) -> Result<Answer, Error> {
        let repository = self.take_or_make()?;
        let answer = self.exchange(&repository, &Goal::List, &AtomicBool::new(false));
        self.current = Some(repository);
        answer
    }

    /// Asks for the tips, and fetches where one is not what is `known`.
    pub fn look(&mut self, known: &Tips, stop: &AtomicBool) -> Result<Answer, Error> {
        let repository = self.take_or_make()?;
        let shallow = if self.fetches == 0 { Shallow::DepthAtRemote(FIRST_DEPTH) } else { Shallow::NoChange };
        let answer = self.exchange(&repository, &Goal::Fetch { known, shallow }, stop);
        self.current = Some(repository);
        let answer = answer?;
        self.fetches += u32::from(answer.fetch_seconds.is_some());
        Ok(answer)
    }

    /// Whether so many packs piled up that [`Mirror::renew`] pays.
    pub fn is_worn(&self) -> bool {
        self.fetches >= self.fetches_max
    }

    /// Replaces a worn copy by a fresh one, unless the fresh one lacks a tip that will be compared with.
    pub fn renew(&mut self, compared: &Tips, stop: &AtomicBool) -> Result<(), Error> {
        // Where it fails, half of the fetches pass before it is tried again: it costs as much as a first look.
        self.fetches = (self.fetches_max / 2).max(1);
        let fresh = self.make()?;
        let directory = fresh.path().to_owned();
        let shallow = Shallow::DepthAtRemote(FIRST_DEPTH);
        let answer = self.exchange(&fresh, &Goal::Fetch { known: &Tips::new(), shallow }, stop);
        let fetched = matches!(&answer, Ok(Answer { fetch_failed: None, .. }));
        let complete = fetched && compared.values().all(|tip| fresh.has_object(tip));
        let old = if complete {
            self.fetches = 1;
            self.current.replace(fresh).map(|old| old.path().to_owned())
        } else {
            Some(directory)
        };
        if let Some(old) = old {
            // What stays behind is removed with the whole directory at the next start.
            let _ = std::fs::remove_dir_all(old);
        }
        answer.and_then(|answer| answer.fetch_failed.map_or(Ok(()), Err))
    }

    /// Forgets the copy: the next look starts over. For a copy that cannot be read.
    pub fn reset(&mut self) {
        if let Some(old) = self.current.take() {
            let _ = std::fs::remove_dir_all(old.path());
        }
        self.fetches = 0;
    }

    fn take_or_make(&mut self) -> Result<gix::Repository, Error> {
        match self.current.take() {
            Some(repository) => Ok(repository),
            None => self.make(),
        }
    }

    fn make(&mut self) -> Result<gix::Repository, Error> {
        let cache = |why: String| Error::Cache { url: self.address.url().clone(), why };
        if self.generation == 0 && self.directory.exists() {
            // Left by an earlier process. Its tips are forgotten, so its objects are of no use.
            std::fs::remove_dir_all(&self.directory).map_err(|error| cache(error.to_string()))?;
        }
        let directory = self.directory.join(format!("{}.git", self.generation));
        std::fs::create_dir_all(&directory).map_err(|error| cache(error.to_string()))?;
        // The person's own git configuration (rewrites, helpers, hooks) has no say here.
        let options = gix::open::Options::isolated().config_overrides([
            format!("gitoxide.objects.allocLimit={OBJECT_BYTES_MAX}"),
            format!("gitoxide.userAgent=knotmeter/{}", env!("CARGO_PKG_VERSION")),
        ]);
        let create = gix::create::Options { destination_must_be_empty: Some(true), ..Default::default() };
        let made = gix::ThreadSafeRepository::init_opts(&directory, gix::create::Kind::Bare, create, options)
            .map_err(|error| cache(error.to_string()))?;
        self.generation += 1;
        Ok(made.to_thread_local())
    }

    fn exchange(
        &self,
        repository: &gix::Repository,
        goal: &Goal<'_>,
        stop: &AtomicBool,
    ) -> Result<Answer, Error> {
        let failed = |error: gix::Error| Error::remote(&self.address, &error);
        // Named by number, so that `a` deleted and `a/b` made never collide as files.
        let specs = self
            .branches
            .iter()
            .enumerate()
            .map(|(at, branch)| BString::from(format!("+refs/heads/{branch}:refs/knotmeter/{at}")));
        let remote = repository
            .remote_at_without_url_rewrite(&**self.address.url())
            .map_err(failed)?
            .with_fetch_tags(Tags::None)
            .with_refspecs(specs, Direction::Fetch)
            .map_err(failed)?;
        let started = Instant::now();
        let mut connection = remote.connect(Direction::Fetch).map_err(failed)?;
        if let Some(account) = self.address.account() {
            connection.transport_mut().set_identity(account.clone()).map_err(|_| self.plain())?;
        }
        // Whoever is asked for a password here has been refused: no terminal and no helper is asked.
        connection.set_credentials(|_| Err(gix::Error::from_error(AuthenticationRequired::default())));
        if !self.address.is_file() {
            connection.set_transport_options(Box::new(http_options()));
        }
        let prepared = connection.prepare_fetch(Discard, Default::default()).map_err(failed)?;
        let mut answer = Answer {
            answered: now(),
            tips: self.tips(&prepared.ref_map().remote_refs),
            poll_seconds: started.elapsed().as_secs_f64(),
            fetch_seconds: None,
            fetch_failed: None,
        };
        if let Goal::Fetch { known, shallow } = goal
            && answer.tips.iter().any(|(branch, tip)| known.get(branch) != Some(tip))
        {
            let started = Instant::now();
            match prepared.with_shallow(shallow.clone()).receive(Discard, stop) {
                Ok(_) => answer.fetch_seconds = Some(started.elapsed().as_secs_f64()),
                Err(error) => answer.fetch_failed = Some(failed(error)),
            }
        }
        Ok(answer)
    }

    /// The address was checked when it was read; this says so again instead of sending a password in the clear.
    fn plain(&self) -> Error {
        let why = "this way of reading takes no credentials; remove them from `git[].url`".into();
        Error::Address { url: self.address.url().clone(), why }
    }

    /// A server may answer with more than was asked for, such as `main2` for the prefix `main`.
    fn tips(&self, remote: &[gix::protocol::handshake::Ref]) -> Tips {
        let mut tips = Tips::new();
        for (name, target, peeled) in remote.iter().map(gix::protocol::handshake::Ref::unpack) {
            let branch = name.strip_prefix(b"refs/heads/").and_then(|name| std::str::from_utf8(name).ok());
            let followed = self.branches.iter().find(|followed| Some(&***followed) == branch);
            if let (Some(branch), Some(tip)) = (followed, peeled.or(target)) {
                tips.insert(branch.clone(), tip.to_owned());
            }
        }
        tips
    }
}

/// No redirect is followed: credentials and requests go to the host that the operator named, and nowhere else.
/// A read that is silent for 30 seconds ends (the client's own default).
fn http_options() -> http::Options {
    http::Options {
        follow_redirects: http::options::FollowRedirects::None,
        user_agent: Some(concat!("knotmeter/", env!("CARGO_PKG_VERSION")).into()),
        ..Default::default()
    }
}
