//! Reading a configuration file: every complaint names file, line and what is allowed.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::{Config, Git, HookKind, LiveWhen, Ownership, Policy, Tls, public_url};
use crate::image::Repository;

/// A configuration is a page or two; anything far above is a wrong file.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Aliases are for a repeated list of namespaces or two. Repeated inside each other they would multiply a small
/// file into gigabytes.
const ALIASES_MAX: usize = 64;
/// What aliases may repeat altogether, in YAML events.
const REPEATED_EVENTS_MAX: usize = 256;
/// All texts of a configuration together, in bytes. With the limit above, what aliases make of them stays below
/// 64 MiB.
const TEXT_BYTES_MAX: usize = 256 << 10;

/// Characters of one complaint.
const COMPLAINT_LENGTH_MAX: usize = 1000;

/// Why a configuration was refused. Always names the file, and the line where one is to blame.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file is missing, unreadable or too large.
    #[error("{}: {why}", file.display())]
    Unreadable { file: PathBuf, why: String },
    /// Not YAML, an unknown key, or a value of the wrong form. The message begins with line and column.
    #[error("{}: {message}", file.display())]
    Refused { file: PathBuf, message: String },
    /// Well-formed, but it contradicts itself or cannot be used.
    #[error("{}: {place}{key}: {message}", file.display())]
    Contradiction { file: PathBuf, place: String, key: String, message: String },
}

/// Reads and checks a file. Relative paths in it are made relative to its folder.
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
    let mut config = parse(&text, file)?;
    let folder = file.parent().unwrap_or(Path::new(""));
    for path in paths(&mut config) {
        // An absolute path replaces the folder: that is what `join` does with one.
        *path = folder.join(&*path);
    }
    for registry in &mut config.registries {
        registry.docker_config = registry.docker_config.take().or_else(|| config.docker_config.clone());
    }
    for cluster in &mut config.clusters {
        cluster.ownership.get_or_insert_with(|| config.ownership.clone());
    }
    Ok(config)
}

/// Every path that a configuration may hold.
fn paths(config: &mut Config) -> impl Iterator<Item = &mut PathBuf> {
    fn tls(tls: &mut Tls) -> [&mut Option<PathBuf>; 3] {
        [&mut tls.ca_file, &mut tls.certificate_file, &mut tls.key_file]
    }
    let registries = config.registries.iter_mut().flat_map(|registry| {
        let [ca, certificate, key] = tls(&mut registry.tls);
        [&mut registry.docker_config, ca, certificate, key]
    });
    let git = config.git.iter_mut().flat_map(|git| {
        let [ca, certificate, key] = tls(&mut git.tls);
        [&mut git.token_file, &mut git.ssh_key_file, &mut git.known_hosts_file, ca, certificate, key]
    });
    let clusters = config.clusters.iter_mut().map(|cluster| &mut cluster.kubeconfig);
    let own = [&mut config.docker_config, &mut config.journal.path];
    let secrets = config.hooks.iter_mut().map(|hook| &mut hook.secret_file);
    let scrape = config.scrape.iter_mut().flat_map(|scrape| {
        let [ca, certificate, key] = tls(&mut scrape.tls);
        [&mut scrape.token_file, ca, certificate, key]
    });
    own.into_iter().chain(registries).chain(git).chain(clusters).chain(secrets).chain(scrape).flatten()
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
    let config: Config = serde_saphyr::from_str_with_options(text, yaml_options())
        .map_err(|error| Error::Refused { file: file.into(), message: one_line(&error) })?;
    check(&config).map_err(|(key, message)| {
        let message = short(&message);
        let place = super::locate::locate(text, &key)
            .map_or_else(String::new, |at| format!("line {} column {}: ", at.line(), at.column()));
        Error::Contradiction { file: file.into(), place, key, message }
    })?;
    Ok(config)
}

/// How YAML is read here: with limits that a configuration never meets.
pub(super) fn yaml_options() -> serde_saphyr::Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_aliases: ALIASES_MAX,
            max_anchors: ALIASES_MAX,
            max_total_scalar_bytes: TEXT_BYTES_MAX,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: REPEATED_EVENTS_MAX,
        },
        with_snippet: false,
    }
}

/// The library's message as one line of a log: the place first, and nothing about its own functions.
fn one_line(error: &serde_saphyr::Error) -> String {
    let message = error.without_snippet().to_string();
    let (place, message) = match error.location() {
        None => (String::new(), message.as_str()),
        Some(at) => {
            let told = format!(" at line {}, column {}", at.line(), at.column());
            let place = format!("line {} column {}: ", at.line(), at.column());
            (place, message.strip_suffix(&told).unwrap_or(&message))
        }
    };
    let message = message.split("; use from_str").next().unwrap_or(message);
    let message = message.split(", set DuplicateKeyPolicy").next().unwrap_or(message);
    let message = message.replace("expected mapping start", "expected keys and values (`key: value`)");
    place + &short(&message.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// A complaint quotes what it is about, however long that is.
fn short(message: &str) -> String {
    match message.char_indices().nth(COMPLAINT_LENGTH_MAX) {
        Some((end, _)) => format!("{}…", &message[..end]),
        None => message.to_owned(),
    }
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
    unique("environments", "name", config.environments.iter().map(|e| e.name.as_str()))?;
    unique("registries", "host", config.registries.iter().map(|r| r.host.as_str()))?;
    unique("git", "url", config.git.iter().map(|g| g.url.as_str()))?;
    unique("clusters", "name", config.clusters.iter().map(|c| c.name.as_str()))?;
    for (at, registry) in config.registries.iter().enumerate() {
        if format!("{}/x", registry.host).parse::<Repository>().is_err() || registry.host.contains('/') {
            let message =
                format!("{:?} is not a host; write it as images name it, without scheme", registry.host);
            return Err((format!("registries[{at}].host"), message));
        }
        if registry.interval.0 < 0.1 {
            return Err((format!("registries[{at}].interval"), "must be at least 100ms".into()));
        }
        check_tls(&registry.tls)
            .map_err(|(key, message)| (format!("registries[{at}].tls.{key}"), message))?;
    }
    let environments: BTreeSet<&str> = config.environments.iter().map(|e| e.name.as_str()).collect();
    let known = |name: &str| environments.is_empty() || environments.contains(name);
    let unknown = |name: &str| {
        let allowed: Vec<_> = environments.iter().copied().collect();
        format!("no environment {name:?}; there are {}", allowed.join(", "))
    };
    for (at, git) in config.git.iter().enumerate() {
        check_git(git).map_err(|(key, message)| (format!("git[{at}].{key}"), message))?;
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
        for (c, name) in environment.clusters.iter().enumerate() {
            if !clusters.is_empty() && !clusters.contains(name.as_str()) {
                let allowed: Vec<_> = clusters.iter().copied().collect();
                let message = format!("no cluster {name:?}; there are {}", allowed.join(", "));
                return Err((format!("environments[{at}].clusters[{c}]"), message));
            }
        }
    }
    config.ownership.check().map_err(|(key, message)| (format!("ownership.{key}"), message))?;
    for (at, cluster) in config.clusters.iter().enumerate() {
        let own = cluster.ownership.as_ref().map_or(Ok(()), Ownership::check);
        own.map_err(|(key, message)| (format!("clusters[{at}].ownership.{key}"), message))?;
    }
    check_scrape(config)?;
    check_hooks(config, &known, &unknown)?;
    check_expect(config, &known, &unknown)?;
    if let LiveWhen::Share(share) = config.live_when
        && !(share > 0.0 && share <= 1.0)
    {
        return Err(("live_when.share".into(), format!("{share} is not above 0 and up to 1")));
    }
    Ok(())
}

/// How a repository is reached, and with what.
fn check_git(git: &Git) -> Result<(), (String, String)> {
    let shown = public_url(&git.url);
    let is = |scheme: &str| git.url.starts_with(scheme);
    let is_ssh = is("ssh://") || !git.url.contains("://") && git.url.contains('@') && git.url.contains(':');
    if !(is("https://") || is("http://") || is("file://") || is_ssh) {
        let message =
            format!("{shown:?} must start with https://, http://, ssh:// or file://, or be git@host:path");
        return Err(("url".into(), message));
    }
    if git.token_file.is_some() && !is("https://") {
        let message = format!("a token is sent over https only, and {shown:?} is not");
        return Err(("token_file".into(), message));
    }
    for (key, file) in [("ssh_key_file", &git.ssh_key_file), ("known_hosts_file", &git.known_hosts_file)] {
        if file.is_some() && !is_ssh {
            return Err((key.into(), format!("is for ssh, and {shown:?} is not")));
        }
    }
    check_tls(&git.tls).map_err(|(key, message)| (format!("tls.{key}"), message))
}

fn check_tls(tls: &Tls) -> Result<(), (&'static str, String)> {
    match (&tls.certificate_file, &tls.key_file) {
        (Some(_), None) => Err(("certificate_file", "needs `key_file` beside it".into())),
        (None, Some(_)) => Err(("key_file", "needs `certificate_file` beside it".into())),
        _ => Ok(()),
    }
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
        if let Policy::Digest { tag } = &expect.policy
            && let Err(error) = tag.parse::<crate::image::Tag>()
        {
            return Err((key("policy.digest.tag"), error.to_string()));
        }
    }
    Ok(())
}

fn check_scrape(config: &Config) -> Result<(), (String, String)> {
    unique("scrape", "name", config.scrape.iter().map(|scrape| scrape.name.as_str()))?;
    let clusters: Vec<&str> = config.clusters.iter().map(|cluster| cluster.name.as_str()).collect();
    for (at, scrape) in config.scrape.iter().enumerate() {
        let key = |(key, message): (String, String)| (format!("scrape[{at}].{key}"), message);
        scrape.check().map_err(key)?;
        check_tls(&scrape.tls).map_err(|(name, message)| key((format!("tls.{name}"), message)))?;
        match &scrape.cluster {
            Some(named) if !clusters.is_empty() && !clusters.contains(&named.as_str()) => {
                let message = format!("no cluster {named:?}; there are {}", clusters.join(", "));
                return Err(key(("cluster".into(), message)));
            }
            None if clusters.len() > 1 => {
                let message = format!("write whose controllers these are: {}", clusters.join(", "));
                return Err(key(("cluster".into(), message)));
            }
            _ => {}
        }
    }
    Ok(())
}

fn check_hooks(
    config: &Config,
    known: &dyn Fn(&str) -> bool,
    unknown: &dyn Fn(&str) -> String,
) -> Result<(), (String, String)> {
    unique("hooks", "name", config.hooks.iter().map(|hook| hook.name.as_str()))?;
    for (at, hook) in config.hooks.iter().enumerate() {
        let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
        if !hook.name.bytes().all(fits) {
            let message = format!("{:?} is part of an address: letters, digits, - and _ only", hook.name);
            return Err((format!("hooks[{at}].name"), message));
        }
        hook.check_proof().map_err(|(key, message)| (format!("hooks[{at}].{key}"), message))?;
        if let Some(host) = &hook.registry
            && (host.contains('/') || format!("{host}/x").parse::<Repository>().is_err())
        {
            let message = format!("{host:?} is not a host; write it as images name it, without scheme");
            return Err((format!("hooks[{at}].registry"), message));
        }
        if hook.kind != HookKind::Hint && !hook.expect_in.is_empty() {
            let message = "only hooks of the kind `hint` can say what is to go live".into();
            return Err((format!("hooks[{at}].expect_in"), message));
        }
        if let Some((e, name)) = hook.expect_in.iter().enumerate().find(|(_, name)| !known(name)) {
            return Err((format!("hooks[{at}].expect_in[{e}]"), unknown(name)));
        }
    }
    Ok(())
}

fn unique<'a>(list: &str, key: &str, names: impl Iterator<Item = &'a str>) -> Result<(), (String, String)> {
    let mut seen = BTreeSet::new();
    for (at, name) in names.enumerate() {
        if name.is_empty() {
            return Err((format!("{list}[{at}].{key}"), "must not be empty".into()));
        }
        if !seen.insert(name) {
            return Err((format!("{list}[{at}].{key}"), format!("{:?} is there twice", public_url(name))));
        }
    }
    Ok(())
}
