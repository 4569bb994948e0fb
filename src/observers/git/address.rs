//! A repository's address in two parts: what everybody may read, and the credentials in it.

use std::fmt;
use std::sync::Arc;

use gix::sec::identity::Account;

use super::Error;
pub use crate::config::public_url;

/// Where a repository is. Its `Debug` and `Display` never show credentials.
#[derive(Clone)]
pub struct Address {
    url: Arc<str>,
    account: Option<Account>,
}

impl Address {
    /// Reads a configured address.
    ///
    /// # Errors
    /// Where it is no address, or would send a password over plain http.
    pub fn parse(configured: &str) -> Result<Self, Error> {
        let url = public_url(configured);
        let unusable = |why: &str| Error::Address { url: url.clone(), why: why.into() };
        let parsed = gix::url::parse(configured).map_err(|_| unusable("this is no address"))?;
        let scheme_fits = ["http://", "https://", "file://"].iter().any(|scheme| url.starts_with(scheme));
        if !scheme_fits {
            return Err(unusable("only https://, http:// and file:// can be read"));
        }
        let account = parsed.user().map(|user| Account {
            username: user.into(),
            password: parsed.password().unwrap_or_default().into(),
            oauth_refresh_token: None,
        });
        if account.is_some() && !url.starts_with("https://") {
            return Err(unusable("credentials are sent over https only; remove them from `git[].url`"));
        }
        Ok(Self { url, account })
    }

    /// The address without credentials: what facts, labels and messages carry.
    #[must_use]
    pub fn url(&self) -> &Arc<str> {
        &self.url
    }

    pub(super) fn account(&self) -> Option<&Account> {
        self.account.as_ref()
    }

    /// Reading `file://` starts the `git` program.
    pub(super) fn is_file(&self) -> bool {
        self.url.starts_with("file://")
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.url)
    }
}
