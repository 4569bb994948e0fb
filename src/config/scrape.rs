//! Prometheus endpoints that are read.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Seconds, Tls, public_url};

/// Metrics of an engine's controllers, read for what no object says: how long the updater's scans take. For Flux this is
/// the `http-prom` port of its image-reflector-controller: `http://<pod or service>:8080/metrics`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Scrape {
    /// Name in labels and on the page.
    pub name: String,
    /// `http://` or `https://`, with its path. Behind it should stand one process: totals of several are not told apart.
    pub url: String,
    /// Name of the cluster whose objects it tells of. Default: the only one.
    #[serde(default)]
    pub cluster: Option<String>,
    /// Time between two scrapes.
    #[serde(default = "minute")]
    pub interval: Seconds,
    /// A file with a bearer token, for https only, relative to the configuration file; read at every scrape.
    #[serde(default)]
    pub token_file: Option<PathBuf>,
    /// Whom to trust, and who we are, in TLS.
    #[serde(default)]
    pub tls: Tls,
}

/// Less often than controllers are scraped as a rule: only means are made of it.
fn minute() -> Seconds {
    Seconds(60.0)
}

/// Controllers are not asked more often.
const INTERVAL_SECONDS_MIN: f64 = 1.0;

impl Scrape {
    /// What is wrong with it: the key and a sentence.
    ///
    /// # Errors
    /// An address, a token or an interval that cannot be used.
    pub fn check(&self) -> Result<(), (String, String)> {
        let shown = public_url(&self.url);
        let address = url::Url::parse(&self.url).ok();
        let address = address.filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        let Some(address) = address else {
            let message = format!("{shown:?} is no address that begins with http:// or https://");
            return Err(("url".into(), message));
        };
        if address.password().is_some() || !address.username().is_empty() {
            return Err(("url".into(), "write no login into the address: use `token_file`".into()));
        }
        if self.token_file.is_some() && address.scheme() != "https" {
            let message = format!("a token is sent over https only, and {shown:?} is not");
            return Err(("token_file".into(), message));
        }
        if self.interval.0 < INTERVAL_SECONDS_MIN {
            return Err(("interval".into(), format!("must be {INTERVAL_SECONDS_MIN}s or more")));
        }
        Ok(())
    }
}
