//! A repository's address in parts: what everybody may read, and what gets us in.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use gix::protocol::transport::Protocol;
use gix::protocol::transport::client::TransportWithoutIO as _;
use gix::protocol::transport::client::blocking_io::http::Transport;
use gix::sec::identity::Account;

use super::Error;
use super::http::Client;
pub use crate::config::public_url;
use crate::config::{self, Tls};
use crate::observers::secret::Secret;
use crate::observers::tls;

/// What keeps `ssh` from asking anybody anything, from trusting a host that nobody named, and from waiting for ever.
const SSH_OPTIONS: [&str; 6] = [
    "BatchMode=yes",
    "StrictHostKeyChecking=yes",
    "UpdateHostKeys=no",
    "ConnectTimeout=10",
    "ServerAliveInterval=10",
    "ServerAliveCountMax=3",
];

/// Where a repository is, and how to get in. Its `Debug` never shows credentials.
#[derive(Clone)]
pub struct Address {
    url: Arc<str>,
    way: Way,
}

/// How a repository is reached.
#[derive(Clone)]
enum Way {
    Http {
        login: Login,
        tls: Tls,
    },
    /// Through the program `ssh`.
    Ssh {
        configured: Arc<str>,
        command: String,
    },
    /// Through the program `git`.
    File,
}

/// Where user and password are from.
#[derive(Clone)]
enum Login {
    None,
    /// They are in the address.
    Written(Account),
    /// The file is read at every connection: tokens are rotated.
    File {
        user: String,
        file: PathBuf,
    },
}

impl Address {
    /// Reads a configured address.
    ///
    /// # Errors
    /// Where it is no address, or would send a password over plain http.
    pub fn parse(config: &config::Git) -> Result<Self, Error> {
        let url = public_url(&config.url);
        let unusable = |why: &str| Error::Address { url: url.clone(), why: why.into() };
        let parsed = gix::url::parse(&*config.url).map_err(|_| unusable("this is no address"))?;
        let written = parsed.user().map(|user| Account {
            username: user.into(),
            password: parsed.password().unwrap_or_default().into(),
            oauth_refresh_token: None,
        });
        let is_https = parsed.scheme == gix::url::Scheme::Https;
        let way = match parsed.scheme {
            gix::url::Scheme::Https | gix::url::Scheme::Http => {
                let login = match (written, &config.token_file) {
                    (None, None) => Login::None,
                    (Some(account), None) => Login::Written(account),
                    (None, Some(file)) => Login::File { user: config.user.clone(), file: file.clone() },
                    (Some(_), Some(_)) => {
                        return Err(unusable(
                            "there is a login in `git[].url` and a `token_file`; remove one",
                        ));
                    }
                };
                if !matches!(login, Login::None) && !is_https {
                    return Err(unusable(
                        "credentials are sent over https only; remove them from `git[].url`",
                    ));
                }
                Way::Http { login, tls: config.tls.clone() }
            }
            gix::url::Scheme::Ssh => {
                if parsed.password().is_some() {
                    return Err(unusable("ssh takes no password; use `ssh_key_file`"));
                }
                Way::Ssh { configured: config.url.as_str().into(), command: ssh_command(config) }
            }
            gix::url::Scheme::File if written.is_none() && url.starts_with("file://") => Way::File,
            _ => {
                return Err(unusable(
                    "only https://, http://, ssh://, git@host:path and file:// can be read",
                ));
            }
        };
        Ok(Self { url, way })
    }

    /// The address without credentials: what facts, labels and messages carry.
    #[must_use]
    pub fn url(&self) -> &Arc<str> {
        &self.url
    }

    /// What is connected to: over ssh the user is part of it.
    pub(super) fn connect_to(&self) -> &str {
        match &self.way {
            Way::Ssh { configured, .. } => configured,
            Way::Http { .. } | Way::File => &self.url,
        }
    }

    /// User and password as they are now.
    fn account(&self) -> Result<Option<Account>, Error> {
        match &self.way {
            Way::Http { login: Login::Written(account), .. } => Ok(Some(account.clone())),
            Way::Http { login: Login::File { user, file }, .. } => match Secret::read(file) {
                Ok(token) => Ok(Some(Account {
                    username: user.clone(),
                    password: token.reveal().into(),
                    oauth_refresh_token: None,
                })),
                Err(why) => Err(Error::Credentials { url: self.url.clone(), why }),
            },
            Way::Http { login: Login::None, .. } | Way::Ssh { .. } | Way::File => Ok(None),
        }
    }

    /// A way to ask over http, logged in. The files that it needs are read now. `None` where it is another way.
    pub(super) fn http(&self) -> Result<Option<Transport<Client>>, Error> {
        let Way::Http { tls: files, .. } = &self.way else { return Ok(None) };
        let unusable = |why| Error::Credentials { url: self.url.clone(), why };
        let client = tls::client(files).and_then(Client::new).map_err(unusable)?;
        let parsed = gix::url::parse(&*self.url)
            .map_err(|_| Error::Address { url: self.url.clone(), why: "this is no address".into() })?;
        let mut transport = Transport::new_http(client, parsed, Protocol::V2, false);
        if let Some(account) = self.account()? {
            let taken = transport.set_identity(account);
            taken.map_err(|error| unusable(error.to_string()))?;
        }
        Ok(Some(transport))
    }

    /// How `ssh` is started, as git's own `core.sshCommand` has it. What it and the server complain of goes into a
    /// file: it is text of others and has no place in our log.
    pub(super) fn ssh_command(&self, complaints: &Path) -> Option<String> {
        match &self.way {
            Way::Ssh { command, .. } => Some(format!("{command} 2>{}", quoted(complaints))),
            Way::Http { .. } | Way::File => None,
        }
    }

    /// The program that reading starts.
    pub(super) fn program(&self) -> Option<&'static str> {
        match self.way {
            Way::Http { .. } => None,
            Way::Ssh { .. } => Some("ssh"),
            Way::File => Some("git"),
        }
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.url)
    }
}

fn ssh_command(config: &config::Git) -> String {
    let mut command = String::from("ssh");
    for option in SSH_OPTIONS {
        command.push_str(" -o ");
        command.push_str(option);
    }
    if let Some(file) = &config.known_hosts_file {
        command
            .push_str(&format!(" -o GlobalKnownHostsFile=/dev/null -o UserKnownHostsFile={}", quoted(file)));
    }
    if let Some(file) = &config.ssh_key_file {
        command.push_str(&format!(" -o IdentitiesOnly=yes -i {}", quoted(file)));
    }
    command
}

/// For a shell: git's command is one.
fn quoted(file: &Path) -> String {
    format!("'{}'", file.display().to_string().replace('\'', r"'\''"))
}
