//! Where logins are written down: one file, or a folder of mounted pull secrets.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use super::Login;
use super::docker::DockerConfig;
use super::program::Helper;

/// A docker config holds a few hosts; one that is larger than this is another file.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// A namespace has a handful of pull secrets.
const FILES_MAX: usize = 200;

/// What the files have for a repository.
#[derive(Debug)]
pub enum Asked {
    Login(Login),
    /// A program knows.
    Helper(Helper),
    Nothing,
}

/// The files, read again when they have changed.
#[derive(Debug)]
pub struct Files {
    configured: Option<PathBuf>,
    read: Arc<Mutex<Option<Read>>>,
}

/// What the files said when they were read.
#[derive(Debug)]
struct Read {
    stamp: Vec<Stamp>,
    files: Vec<(PathBuf, Result<DockerConfig, String>)>,
}

/// What tells a changed file: a mounted secret changes by another file taking its place.
type Stamp = (PathBuf, u64, u64, Option<SystemTime>);

impl Files {
    /// A configured file or folder must be there; without one the user's own docker config is read, and it may be
    /// absent.
    #[must_use]
    pub fn new(configured: Option<PathBuf>) -> Self {
        Self { configured, read: Arc::default() }
    }

    /// Looks up a repository's path at a host.
    ///
    /// # Errors
    /// A sentence naming the file that is broken, where no other has what is wanted.
    pub async fn ask(&self, host: &str, path: &str) -> Result<Asked, String> {
        let (configured, read) = (self.configured.clone(), self.read.clone());
        let (host, path) = (host.to_owned(), path.to_owned());
        let work = move || {
            let mut read = read.lock().unwrap_or_else(PoisonError::into_inner);
            refresh(&mut read, configured.as_deref())?;
            read.as_ref().map_or(Ok(Asked::Nothing), |read| read.ask(&host, &path))
        };
        let outcome = tokio::task::spawn_blocking(work).await;
        outcome.unwrap_or_else(|_| Err("reading it failed inside".into()))
    }
}

impl Read {
    fn ask(&self, host: &str, path: &str) -> Result<Asked, String> {
        let mut best = None;
        let mut broken = None;
        for (file, config) in &self.files {
            let told = |why: &String| format!("{}: {why}", file.display());
            match config.as_ref().map_err(told).and_then(|c| c.login(host, path).map_err(|why| told(&why))) {
                // Of two that fit alike the first counts.
                Ok(Some((fit, login))) if best.as_ref().is_none_or(|(other, _)| fit > *other) => {
                    best = Some((fit, login));
                }
                Ok(_) => {}
                Err(why) => broken = broken.or(Some(why)),
            }
        }
        if let Some((_, login)) = best {
            return Ok(Asked::Login(login));
        }
        let good = || self.files.iter().filter_map(|(file, config)| Some((file, config.as_ref().ok()?)));
        if let Some((file, name)) = good().find_map(|(file, config)| Some((file, config.helper(host)?))) {
            return Helper::named(name, file).map(Asked::Helper);
        }
        if let Some((file, name)) = good().find_map(|(file, config)| Some((file, config.store()?))) {
            // A config that was copied from a desktop names a store that a container does not have.
            return Ok(Helper::named(name, file).map_or(Asked::Nothing, Asked::Helper));
        }
        broken.map_or(Ok(Asked::Nothing), Err)
    }
}

/// Reads everything again, if anything has changed.
fn refresh(read: &mut Option<Read>, configured: Option<&Path>) -> Result<(), String> {
    let found = match configured {
        Some(path) => find(path)?,
        None => default_path().filter(|path| path.exists()).into_iter().collect(),
    };
    let stamp = found.iter().map(|file| stamped(file)).collect::<Result<Vec<_>, _>>()?;
    if read.as_ref().is_some_and(|read| read.stamp == stamp) {
        return Ok(());
    }
    let files = stamp.iter().map(|(file, size, ..)| (file.clone(), parse(file, *size))).collect();
    *read = Some(Read { stamp, files });
    Ok(())
}

/// The files of a folder: pull secrets mounted into it, or each into a folder of its own.
fn find(path: &Path) -> Result<Vec<PathBuf>, String> {
    let about = std::fs::metadata(path).map_err(|error| format!("{}: {error}", path.display()))?;
    if !about.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut found = Vec::new();
    for entry in listed(path)? {
        if entry.is_dir() {
            found.extend(listed(&entry)?.into_iter().filter(|file| is_config(file)));
        } else if is_config(&entry) {
            found.push(entry);
        }
    }
    if found.len() > FILES_MAX {
        return Err(format!("{} holds more than {FILES_MAX} docker configs", path.display()));
    }
    Ok(found)
}

/// In order of names. What begins with two dots is how Kubernetes keeps the versions of a mounted secret.
fn listed(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let wrong = |error: std::io::Error| format!("{}: {error}", folder.display());
    let mut entries = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(wrong)? {
        let entry = entry.map_err(wrong)?;
        if !entry.file_name().to_string_lossy().starts_with("..") {
            entries.push(entry.path());
        }
    }
    entries.sort();
    Ok(entries)
}

fn is_config(file: &Path) -> bool {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let ends = [".dockerconfigjson", ".dockercfg", ".json"];
    ends.iter().any(|end| name.ends_with(end)) && file.is_file()
}

fn stamped(file: &Path) -> Result<Stamp, String> {
    use std::os::unix::fs::MetadataExt as _;
    let about = std::fs::metadata(file).map_err(|error| format!("{}: {error}", file.display()))?;
    Ok((file.to_owned(), about.len(), about.ino(), about.modified().ok()))
}

fn parse(file: &Path, size: u64) -> Result<DockerConfig, String> {
    if size > FILE_BYTES_MAX {
        return Err(format!("larger than {FILE_BYTES_MAX} bytes"));
    }
    let text = std::fs::read(file).map_err(|error| error.to_string())?;
    if file.to_string_lossy().ends_with(".dockercfg") {
        DockerConfig::parse_entries(&text)
    } else {
        DockerConfig::parse(&text)
    }
}

fn default_path() -> Option<PathBuf> {
    if let Some(folder) = std::env::var_os("DOCKER_CONFIG") {
        return Some(PathBuf::from(folder).join("config.json"));
    }
    std::env::home_dir().map(|home| home.join(".docker/config.json"))
}
