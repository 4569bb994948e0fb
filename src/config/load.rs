//! Reading a configuration file: every complaint names file, line and what is allowed.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::{Config, LiveWhen, Policy};
use crate::image::Repository;

/// A configuration is a page or two; anything far above is a wrong file.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// Why a configuration was refused. Always names the file, and the line where one is to blame.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file is missing, unreadable or too large.
    #[error("{}: {why}", file.display())]
    Unreadable { file: PathBuf, why: String },
    /// Not YAML, an unknown key, or a value of the wrong form. The message carries line and column.
    #[error("{}: {message}", file.display())]
    Refused { file: PathBuf, message: String },
    /// Well-formed, but it contradicts itself.
    #[error("{}: {key}: {message}", file.display())]
    Contradiction { file: PathBuf, key: String, message: String },
}

/// Reads and checks a file.
///
/// # Errors
/// Whatever is wrong with it, as a sentence for the person who wrote it.
pub fn load(file: &Path) -> Result<Config, Error> {
    let unreadable = |why: String| Error::Unreadable { file: file.into(), why };
    let size = std::fs::metadata(file).map_err(|error| unreadable(error.to_string()))?.len();
    if size > FILE_BYTES_MAX {
        return Err(unreadable(format!("{size} bytes, more than the {FILE_BYTES_MAX} that are read")));
    }
    let text = std::fs::read_to_string(file).map_err(|error| unreadable(error.to_string()))?;
    parse(&text, file)
}

/// Reads and checks a text; `file` is what complaints call it.
///
/// # Errors
/// See [`load`].
pub fn parse(text: &str, file: &Path) -> Result<Config, Error> {
    let only_comments = text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#'));
    if only_comments {
        return Ok(Config::default());
    }
    let config: Config = serde_saphyr::from_str(text)
        .map_err(|error| Error::Refused { file: file.into(), message: error.to_string() })?;
    check(&config).map_err(|(key, message)| Error::Contradiction { file: file.into(), key, message })?;
    Ok(config)
}

/// The JSON Schema of the file, for editors.
#[must_use]
pub fn schema() -> serde_json::Value {
    schemars::schema_for!(Config).to_value()
}

/// What the types cannot say. The error is the key's path and a sentence.
fn check(config: &Config) -> Result<(), (String, String)> {
    if config.listen.0.parse::<std::net::SocketAddr>().is_err() {
        let message = format!("{:?} is not an address and port such as 0.0.0.0:9871", config.listen.0);
        return Err(("listen".into(), message));
    }
    unique("environments", config.environments.iter().map(|e| e.name.as_str()))?;
    unique("registries", config.registries.iter().map(|r| r.host.as_str()))?;
    unique("git", config.git.iter().map(|g| g.url.as_str()))?;
    unique("clusters", config.clusters.iter().map(|c| c.name.as_str()))?;
    for (at, registry) in config.registries.iter().enumerate() {
        if format!("{}/x", registry.host).parse::<Repository>().is_err() || registry.host.contains('/') {
            let message =
                format!("{:?} is not a host; write it as images name it, without scheme", registry.host);
            return Err((format!("registries[{at}].host"), message));
        }
        if registry.interval.0 < 0.1 {
            return Err((format!("registries[{at}].interval"), "must be at least 100ms".into()));
        }
    }
    let environments: BTreeSet<&str> = config.environments.iter().map(|e| e.name.as_str()).collect();
    let known = |name: &str| environments.is_empty() || environments.contains(name);
    let unknown = |name: &str| {
        let allowed: Vec<_> = environments.iter().copied().collect();
        format!("no environment {name:?}; there are {}", allowed.join(", "))
    };
    for (at, git) in config.git.iter().enumerate() {
        let scheme_fits = ["http://", "https://", "file://"].iter().any(|s| git.url.starts_with(s));
        if !scheme_fits {
            let message = format!("{:?} must start with https://, http:// or file://", git.url);
            return Err((format!("git[{at}].url"), message));
        }
        if git.interval.0 < 0.1 {
            return Err((format!("git[{at}].interval"), "must be at least 100ms".into()));
        }
        for (p, path) in git.paths.iter().enumerate() {
            if let Some(name) = path.environment.as_deref().filter(|name| !known(name)) {
                return Err((format!("git[{at}].paths[{p}].environment"), unknown(name)));
            }
        }
    }
    let clusters: BTreeSet<&str> = config.clusters.iter().map(|c| c.name.as_str()).collect();
    for (at, environment) in config.environments.iter().enumerate() {
        for name in environment.clusters.iter().filter(|_| !clusters.is_empty()) {
            if !clusters.contains(name.as_str()) {
                let allowed: Vec<_> = clusters.iter().copied().collect();
                let message = format!("no cluster {name:?}; there are {}", allowed.join(", "));
                return Err((format!("environments[{at}].clusters"), message));
            }
        }
    }
    check_expect(config, &known, &unknown)?;
    if let LiveWhen::Share(share) = config.live_when
        && !(share > 0.0 && share <= 1.0)
    {
        return Err(("live_when.share".into(), format!("{share} is not above 0 and up to 1")));
    }
    Ok(())
}

fn check_expect(
    config: &Config,
    known: &dyn Fn(&str) -> bool,
    unknown: &dyn Fn(&str) -> String,
) -> Result<(), (String, String)> {
    for (at, expect) in config.expect.iter().enumerate() {
        let key = |name: &str| format!("expect[{at}].{name}");
        if let Err(error) = expect.image.parse::<Repository>() {
            return Err((key("image"), format!("{error}; write a repository without tag")));
        }
        if !known(&expect.environment) {
            return Err((key("environment"), unknown(&expect.environment)));
        }
        if let Some(filter) = &expect.filter_tags {
            super::Marker::new(&filter.pattern).map_err(|error| (key("filter_tags.pattern"), error))?;
        }
        if let Policy::Semver { range } = &expect.policy
            && let Err(error) = crate::policy::Range::parse(range)
        {
            return Err((key("policy.semver.range"), error));
        }
    }
    Ok(())
}

fn unique<'a>(key: &str, names: impl Iterator<Item = &'a str>) -> Result<(), (String, String)> {
    let mut seen = BTreeSet::new();
    for name in names {
        if !seen.insert(name) {
            return Err((key.into(), format!("{name:?} is there twice")));
        }
    }
    Ok(())
}
