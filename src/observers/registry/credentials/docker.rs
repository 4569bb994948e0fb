//! The text of a docker `config.json`, of podman's `auth.json`, or of a pull secret.
//!
//! A key names a host, or a host and the beginning of a path; the longest that fits a repository counts, as the
//! kubelet and podman have it. A key for some repositories never reaches others.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use serde::Deserialize;

use super::{Login, Secret};

/// Docker Hub's names: in references, in the old index, and of its API.
const HUB: [&str; 3] = ["docker.io", "index.docker.io", "registry-1.docker.io"];

/// What a file says of logins.
#[derive(Debug, Deserialize, Default)]
#[serde(default)]
pub struct DockerConfig {
    auths: Option<BTreeMap<String, Entry>>,
    #[serde(rename = "credHelpers")]
    helpers: Option<BTreeMap<String, String>>,
    #[serde(rename = "credsStore")]
    store: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Entry {
    auth: Option<String>,
    username: Option<String>,
    password: Option<String>,
    identitytoken: Option<String>,
}

/// An entry is all secret.
impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[secret]")
    }
}

/// How well a key fits: the parts of its path, then the letters of its host that are no star.
pub type Fit = (usize, usize);

impl DockerConfig {
    /// Reads `{"auths": {...}}`.
    ///
    /// # Errors
    /// What is wrong with the text, without any of it.
    pub fn parse(text: &[u8]) -> Result<Self, String> {
        serde_json::from_slice(text).map_err(|error| wrong(&error))
    }

    /// Reads the older form of a pull secret (`.dockercfg`): the entries alone.
    ///
    /// # Errors
    /// As [`DockerConfig::parse`].
    pub fn parse_entries(text: &[u8]) -> Result<Self, String> {
        let auths = serde_json::from_slice(text).map_err(|error| wrong(&error))?;
        Ok(Self { auths: Some(auths), ..Self::default() })
    }

    /// The login for a repository's path at a host, and how well its key fits.
    ///
    /// # Errors
    /// The entry that fits best is broken.
    pub fn login(&self, host: &str, path: &str) -> Result<Option<(Fit, Login)>, String> {
        let entries = self.auths.iter().flatten().filter(|(_, entry)| !entry.is_empty());
        let fits = entries.filter_map(|(key, entry)| Some((fit(key, host, path)?, entry)));
        let Some((fit, entry)) = fits.max_by_key(|(fit, _)| *fit) else { return Ok(None) };
        Ok(Some((fit, entry.login(host)?)))
    }

    /// The helper program that is written down for this very host.
    #[must_use]
    pub fn helper(&self, host: &str) -> Option<&str> {
        let helpers = self.helpers.iter().flatten();
        helpers.filter(|(key, _)| fit(key, host, "").is_some()).map(|(_, helper)| helper.as_str()).next()
    }

    /// The helper program for all hosts.
    #[must_use]
    pub fn store(&self) -> Option<&str> {
        self.store.as_deref().filter(|store| !store.is_empty())
    }
}

impl Entry {
    /// Docker leaves `{}` where the secret is in a store.
    fn is_empty(&self) -> bool {
        let texts = [&self.auth, &self.password, &self.identitytoken];
        texts.into_iter().flatten().all(|text| text.is_empty())
    }

    fn login(&self, host: &str) -> Result<Login, String> {
        let filled = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        if let Some(token) = filled(&self.identitytoken) {
            return Ok(Login::Identity(Secret::new(token)));
        }
        if let (Some(user), Some(password)) = (filled(&self.username), filled(&self.password)) {
            return Ok(Login::Password { user, password: Secret::new(password) });
        }
        let broken = || format!("`auth` of {host} is not the base64 of user:password");
        let auth = filled(&self.auth).ok_or_else(broken)?;
        let auth = auth.trim();
        let bytes = STANDARD.decode(auth).or_else(|_| STANDARD_NO_PAD.decode(auth)).map_err(|_| broken())?;
        let pair = String::from_utf8(bytes).map_err(|_| broken())?;
        let (user, password) = pair.split_once(':').ok_or_else(broken)?;
        // `docker login` ends an entry of its own with a zero byte.
        Ok(Login::Password { user: user.into(), password: Secret::new(password.trim_end_matches('\0')) })
    }
}

fn wrong(error: &serde_json::Error) -> String {
    format!("not a docker config (line {}, column {})", error.line(), error.column())
}

/// How well a key fits a repository; `None` where it is for another.
fn fit(key: &str, host: &str, path: &str) -> Option<Fit> {
    let bare = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
    let (key_host, key_path) = bare.split_once('/').unwrap_or((bare, ""));
    let is_hub = HUB.contains(&key_host) && HUB.contains(&host);
    if !is_hub && !host_fits(key_host, host) {
        return None;
    }
    // The address of the API, as `docker login` wrote it once, is no path.
    let mut wanted = key_path.split('/').filter(|part| !part.is_empty()).peekable();
    if matches!(wanted.peek(), Some(&("v1" | "v2"))) {
        wanted.next();
    }
    let mut parts = path.split('/');
    let mut length = 0;
    for part in wanted {
        if parts.next() != Some(part) {
            return None;
        }
        length += 1;
    }
    Some((length, key_host.bytes().filter(|byte| *byte != b'*').count()))
}

/// Label by label; a star stands for any letters of one label, as the kubelet has it. The port must be the same.
fn host_fits(key: &str, host: &str) -> bool {
    if key.eq_ignore_ascii_case(host) {
        return true;
    }
    if !key.contains('*') || key.matches('.').count() != host.matches('.').count() {
        return false;
    }
    key.split('.').zip(host.split('.')).all(|(key, label)| match key.split_once('*') {
        None => key.eq_ignore_ascii_case(label),
        Some((start, end)) => {
            label.len() >= start.len() + end.len() && label.starts_with(start) && label.ends_with(end)
        }
    })
}
