//! Users and passwords from a docker `config.json`. Only its `auths` are read: a credential helper would be a
//! program that somebody else chose, and the image has none.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use serde::Deserialize;

/// A docker config holds a few hosts; one that is larger than this is another file.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// A text that is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, for the one header or form it is meant for.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

/// How to log in at one host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Login {
    Password {
        user: String,
        password: Secret,
    },
    /// An OAuth2 refresh token, good only at a token service.
    Identity(Secret),
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct DockerConfig {
    auths: Option<BTreeMap<String, Entry>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Entry {
    auth: Option<String>,
    username: Option<String>,
    password: Option<String>,
    identitytoken: Option<String>,
}

/// The login for a host, if the file has one. Without a configured file the user's own is read, and it may be
/// absent; a configured file must be there.
///
/// # Errors
/// A sentence naming the file.
pub async fn find(host: &str, configured: Option<&Path>) -> Result<Option<Login>, String> {
    let Some(path) = configured.map(Path::to_owned).or_else(default_path) else { return Ok(None) };
    let shown = path.display();
    let size = match tokio::fs::metadata(&path).await {
        Ok(about) => about.len(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && configured.is_none() => {
            return Ok(None);
        }
        Err(error) => return Err(format!("{shown}: {error}")),
    };
    if size > FILE_BYTES_MAX {
        return Err(format!("{shown} is larger than {FILE_BYTES_MAX} bytes"));
    }
    let text = tokio::fs::read(&path).await.map_err(|error| format!("{shown}: {error}"))?;
    parse(&text, host).map_err(|why| format!("{shown}: {why}"))
}

/// The login for a host in the text of a docker config.
///
/// # Errors
/// What is wrong with the text, without any of it.
pub fn parse(text: &[u8], host: &str) -> Result<Option<Login>, String> {
    let config: DockerConfig = serde_json::from_slice(text)
        .map_err(|error| format!("not a docker config (line {}, column {})", error.line(), error.column()))?;
    let entries = config.auths.unwrap_or_default();
    let Some(entry) = entries.iter().find(|(key, _)| is_for(key, host)).map(|(_, entry)| entry) else {
        return Ok(None);
    };
    let filled = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    if let Some(token) = filled(&entry.identitytoken) {
        return Ok(Some(Login::Identity(Secret(token))));
    }
    if let (Some(user), Some(password)) = (filled(&entry.username), filled(&entry.password)) {
        return Ok(Some(Login::Password { user, password: Secret(password) }));
    }
    let Some(auth) = filled(&entry.auth) else { return Ok(None) };
    let broken = || format!("`auth` of {host} is not the base64 of user:password");
    let auth = auth.trim();
    let bytes = STANDARD.decode(auth).or_else(|_| STANDARD_NO_PAD.decode(auth)).map_err(|_| broken())?;
    let pair = String::from_utf8(bytes).map_err(|_| broken())?;
    let (user, password) = pair.split_once(':').ok_or_else(broken)?;
    Ok(Some(Login::Password { user: user.into(), password: Secret(password.into()) }))
}

/// Keys are written as a host or as the old API address; Docker Hub's has its own historical form.
fn is_for(key: &str, host: &str) -> bool {
    let bare = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
    let (key_host, path) = bare.split_once('/').unwrap_or((bare, ""));
    // A key with another path is for some repositories only (podman writes such); it must not reach others.
    if !matches!(path.trim_end_matches('/'), "" | "v1" | "v2") {
        return false;
    }
    let hub = ["docker.io", "index.docker.io", "registry-1.docker.io"];
    key_host.eq_ignore_ascii_case(host) || hub.contains(&key_host) && hub.contains(&host)
}

fn default_path() -> Option<PathBuf> {
    if let Some(folder) = std::env::var_os("DOCKER_CONFIG") {
        return Some(PathBuf::from(folder).join("config.json"));
    }
    std::env::home_dir().map(|home| home.join(".docker/config.json"))
}
