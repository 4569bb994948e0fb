//! Our shallow bare copy of a repository: asks for the tips, fetches what moved.
//!
//! A look is one `ls-refs` for the followed branches; where a tip moved, it is asked for again with a handshake,
//! and the same connection fetches. gix never packs what it fetched, so the copy is made anew after a number of
//! fetches.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use gix::ObjectId;
use gix::bstr::BString;
use gix::odb::store::init::Slots;
use gix::progress::Discard;
use gix::protocol::transport::client::AuthenticationRequired;
use gix::protocol::transport::client::blocking_io::Transport;
use gix::remote::Direction;
use gix::remote::fetch::{Shallow, Tags};

use super::line::Line;
use super::{Address, Error};
use crate::image::Digest;
use crate::observation::Time;
use crate::observers::now;

/// History of the first fetch. Enough that merging a usual branch brings only its own commits; the server
/// sends everything behind a commit that is older than what we hold.
const FIRST_DEPTH: NonZeroU32 = NonZeroU32::new(50).expect("50 is not zero");
/// Every fetch leaves a small pack, and reading slows with their number.
pub const FETCHES_MAX: u32 = 200;
/// Packs that a copy can hold: gix counts them when it opens a copy, which is when ours is empty, and then has room for
/// 32. A copy that cannot be renewed is thrown away before its room is used up.
const PACKS_MAX: u16 = 1024;
/// The largest single object that is held in memory while a pack is read: a bomb must not end the process.
const OBJECT_BYTES_MAX: u64 = 256 << 20;

/// What is read of the complaints of `ssh`: a banner and the line that tells.
const COMPLAINT_BYTES_MAX: u64 = 16 << 10;

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
    /// In the present copy.
    packs: u32,
    /// The tips that an earlier process fetched last.
    left: Tips,
    line: Option<Line>,
    /// The last look was answered. Who refuses to answer is not asked twice in one look.
    answers: bool,
}

impl Mirror {
    pub fn new(address: Address, branches: Vec<Arc<str>>, directory: PathBuf, fetches_max: u32) -> Self {
        Self {
            address,
            branches,
            directory,
            current: None,
            generation: 0,
            fetches: 0,
            fetches_max,
            packs: 0,
            left: Tips::new(),
            line: None,
            answers: false,
        }
    }

    /// The copy, once something was asked.
    pub fn repository(&self) -> Option<&gix::Repository> {
        self.current.as_ref()
    }

    /// The tip that an earlier process fetched last of a branch, whether or not it was told.
    pub fn left(&self, branch: &Arc<str>) -> Option<ObjectId> {
        self.left.get(branch).copied()
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
        if let Some(answer) = self.ask_again(known)? {
            return Ok(answer);
        }
        let repository = self.take_or_make()?;
        let shallow = if self.fetches == 0 { Shallow::DepthAtRemote(FIRST_DEPTH) } else { Shallow::NoChange };
        let answer = self.exchange(&repository, &Goal::Fetch { known, shallow }, stop);
        self.current = Some(repository);
        self.answers = answer.is_ok();
        let answer = answer?;
        self.fetches += u32::from(answer.fetch_seconds.is_some());
        self.packs += u32::from(answer.fetch_seconds.is_some());
        Ok(answer)
    }

    /// The short question. `None` where something moved, or anything is not as it was: then the whole way is
    /// gone, which tells errors apart. Only whoever asks for fewer requests is not asked once more for that.
    fn ask_again(&mut self, known: &Tips) -> Result<Option<Answer>, Error> {
        if self.address.program().is_some() || known.is_empty() || self.current.is_none() || !self.answers {
            return Ok(None);
        }
        let started = Instant::now();
        let tips = match self.ask_on_line() {
            Ok(tips) => tips,
            Err(error) => match Error::remote(&self.address, &error, "") {
                throttled @ Error::Throttled { .. } => return Err(throttled),
                _ => return Ok(None),
            },
        };
        Ok((tips.as_ref() == Some(known)).then(|| Answer {
            answered: now(),
            tips: known.clone(),
            poll_seconds: started.elapsed().as_secs_f64(),
            fetch_seconds: None,
            fetch_failed: None,
        }))
    }

    /// The tips; `None` from a server with which no line can be kept. After an error the line is gone.
    fn ask_on_line(&mut self) -> gix::Result<Option<Tips>> {
        let line = match self.line.take().filter(Line::is_good) {
            Some(line) => Some(line),
            None => Line::open(&self.address)?,
        };
        let Some(mut line) = line else { return Ok(None) };
        let tips = self.tips(&line.ask(&self.branches)?);
        self.line = Some(line);
        Ok(Some(tips))
    }

    /// Whether so many packs piled up that [`Mirror::renew`] pays.
    pub fn is_worn(&self) -> bool {
        self.fetches >= self.fetches_max
    }

    /// Whether the next fetch may find no room.
    pub fn is_full(&self) -> bool {
        self.packs.saturating_add(1) >= u32::from(PACKS_MAX)
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
            (self.fetches, self.packs) = (1, 1);
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
        (self.fetches, self.packs) = (0, 0);
    }

    fn take_or_make(&mut self) -> Result<gix::Repository, Error> {
        if let Some(repository) = self.current.take() {
            return Ok(repository);
        }
        if self.generation == 0
            && let Some(repository) = self.reopen()
        {
            return Ok(repository);
        }
        self.make()
    }

    /// The copy that an earlier process left, where it can be opened. A process may have been killed while it
    /// wrote: a copy that then cannot be read is made anew after a few looks, like any other.
    fn reopen(&mut self) -> Option<gix::Repository> {
        let copies = std::fs::read_dir(&self.directory).ok()?.flatten();
        let numbered = copies.filter_map(|copy| {
            let name = copy.file_name();
            let number: u32 = name.to_str()?.strip_suffix(".git")?.parse().ok()?;
            Some((number, copy.path()))
        });
        let (number, newest) = numbered.max_by_key(|(number, _)| *number)?;
        let repository =
            gix::ThreadSafeRepository::open_opts(&newest, self.options()).ok()?.to_thread_local();
        // Whoever held these locks is gone: nobody else uses this directory.
        let files = |folder: PathBuf| std::fs::read_dir(folder).into_iter().flatten().flatten();
        for file in files(newest.clone()).chain(files(newest.join("refs").join("knotmeter"))) {
            if file.path().extension().is_some_and(|extension| extension == "lock") {
                let _ = std::fs::remove_file(file.path());
            }
        }
        let packs = files(newest.join("objects").join("pack"));
        let packs = packs.filter(|file| file.path().extension().is_some_and(|extension| extension == "pack"));
        self.packs = u32::try_from(packs.count()).unwrap_or(u32::MAX);
        self.fetches = self.packs;
        if self.packs == 0 || self.is_full() {
            (self.fetches, self.packs) = (0, 0);
            return None;
        }
        self.generation = number.checked_add(1)?;
        for branch in &self.branches {
            let reference = repository.try_find_reference(&*kept_as(branch)).ok().flatten();
            if let Some(tip) = reference.and_then(|reference| reference.try_id().map(gix::Id::detach)) {
                self.left.insert(branch.clone(), tip);
            }
        }
        Some(repository)
    }

    fn make(&mut self) -> Result<gix::Repository, Error> {
        let cache = |why: String| Error::Cache { url: self.address.url().clone(), why };
        if self.generation == 0 && self.directory.exists() {
            // Left by an earlier process, and of no use.
            std::fs::remove_dir_all(&self.directory).map_err(|error| cache(error.to_string()))?;
        }
        let directory = self.directory.join(format!("{}.git", self.generation));
        std::fs::create_dir_all(&directory).map_err(|error| cache(error.to_string()))?;
        let create = gix::create::Options { destination_must_be_empty: Some(true), ..Default::default() };
        let kind = gix::create::Kind::Bare;
        let made = gix::ThreadSafeRepository::init_opts(&directory, kind, create, self.options())
            .map_err(|error| cache(error.to_string()))?;
        self.generation += 1;
        Ok(made.to_thread_local())
    }

    fn complaints(&self) -> PathBuf {
        self.directory.join("ssh.err")
    }

    /// What `ssh` complained of at the last connection, if it was one.
    fn complained(&self) -> String {
        use std::io::Read as _;
        let mut text = Vec::new();
        if let Ok(file) = std::fs::File::open(self.complaints()) {
            // What was read before an error is what there is.
            let _ = file.take(COMPLAINT_BYTES_MAX).read_to_end(&mut text);
        }
        String::from_utf8_lossy(&text).into_owned()
    }

    /// The person's own git configuration (rewrites, helpers, hooks) has no say here.
    fn options(&self) -> gix::open::Options {
        let ssh = self.address.ssh_command(&self.complaints());
        let ssh =
            ssh.into_iter().flat_map(|ssh| [format!("core.sshCommand={ssh}"), "ssh.variant=ssh".into()]);
        let overrides = [
            format!("gitoxide.objects.allocLimit={OBJECT_BYTES_MAX}"),
            format!("gitoxide.userAgent=knotmeter/{}", env!("CARGO_PKG_VERSION")),
        ];
        gix::open::Options::isolated()
            .object_store_slots(Slots::Given(PACKS_MAX))
            .config_overrides(overrides.into_iter().chain(ssh))
    }

    fn exchange(
        &self,
        repository: &gix::Repository,
        goal: &Goal<'_>,
        stop: &AtomicBool,
    ) -> Result<Answer, Error> {
        let failed = |error: gix::Error| Error::remote(&self.address, &error, &self.complained());
        let spec = |branch| BString::from(format!("+refs/heads/{branch}:{}", kept_as(branch)));
        let specs = self.branches.iter().map(spec);
        let remote = repository
            .remote_at_without_url_rewrite(self.address.connect_to())
            .map_err(failed)?
            .with_fetch_tags(Tags::None)
            .with_refspecs(specs, Direction::Fetch)
            .map_err(failed)?;
        let started = Instant::now();
        let mut connection = match self.address.http()? {
            Some(http) => remote.to_connection_with_transport(Box::new(http) as Box<dyn Transport + Send>),
            None => remote.connect(Direction::Fetch).map_err(failed)?,
        };
        // Whoever is asked for a password here has been refused: no terminal and no helper is asked.
        connection.set_credentials(|_| Err(gix::Error::from_error(AuthenticationRequired::default())));
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

/// Where the copy keeps the tip of a branch. Named by a hash, so that `a` deleted and `a/b` made never collide as
/// files, and that it means the same branch in the next process.
fn kept_as(branch: &Arc<str>) -> String {
    format!("refs/knotmeter/{}", Digest::of(branch.as_bytes()).short().replace(':', "-"))
}
