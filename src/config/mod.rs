//! Configuration: YAML, then environment, then flags; none needed in a cluster.
//!
//! What is typed is what is used: unknown keys and bad values are refused with file, line and what is
//! allowed. A new key is a field here with its doc comment, from which `docs/config.md` and the JSON Schema
//! are made. This folder does no network I/O.

mod address;
mod duration;
mod hook;
mod load;
mod locate;
mod ownership;
mod pattern;
mod scrape;

pub use address::public_url;
pub use duration::Seconds;
pub use hook::{Hook, HookKind, Oidc};
pub use load::{Error, load, parse, schema};
pub use ownership::Ownership;
pub use pattern::{Glob, Marker};
pub use scrape::Scrape;

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The whole configuration. Every key is optional.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Address of the page, the API and `/metrics`.
    pub listen: Listen,
    /// Names for groups of destinations, in promotion order. Without any, each namespace is an environment.
    pub environments: Vec<Environment>,
    /// Registries and how to reach them. Without any, the registries that the workloads' images name.
    pub registries: Vec<Registry>,
    /// Logins for every registry that has no `docker_config` of its own: a docker `config.json`, a mounted pull secret, or a folder of them, relative to the configuration file. Default: `$DOCKER_CONFIG/config.json`, else `~/.docker/config.json`.
    pub docker_config: Option<PathBuf>,
    /// Git repositories that set what runs.
    pub git: Vec<Git>,
    /// Clusters to watch. Without any, the cluster we run in, else the kubeconfig's current context.
    pub clusters: Vec<Cluster>,
    /// Which labels say to whom a workload belongs: `team` and `tier` of `knotmeter_app_info`.
    pub ownership: Ownership,
    /// Which tag should be live where: a push it selects opens a journey before anything else happens.
    pub expect: Vec<Expect>,
    /// Webhooks that hurry a look.
    pub hooks: Vec<Hook>,
    /// Prometheus endpoints of the engines' controllers that are read: how long the updater's scans take.
    pub scrape: Vec<Scrape>,
    /// How long a stage may take before its journey is stuck.
    pub budgets: Budgets,
    /// How much of a workload must run the image before it is live.
    pub live_when: LiveWhen,
    /// How long after its outcome a journey is settled and its numbers are given.
    pub settle: Settle,
    /// Where traces go.
    pub traces: Traces,
    /// What is remembered over a restart.
    pub journal: Journal,
}

/// An address to listen on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Listen(pub String);

impl Default for Listen {
    fn default() -> Self {
        Self("0.0.0.0:9871".into())
    }
}

/// A name for a group of destinations.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Environment {
    /// Name in labels and on the page.
    pub name: String,
    /// Names of clusters; all clusters where empty.
    #[serde(default)]
    pub clusters: Vec<String>,
    /// Namespaces; all namespaces where empty.
    #[serde(default)]
    pub namespaces: Vec<String>,
}

/// A registry.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Registry {
    /// Host, with its port if it has one, as image references name it.
    pub host: String,
    /// Speak http, not https. Only where written here.
    #[serde(default)]
    pub plain_http: bool,
    /// Time between two looks at a repository.
    #[serde(default = "Seconds::registry_interval")]
    pub interval: Seconds,
    /// Repositories to scan, `*` matches inside a path component, `**` over them. Default: what the workloads use.
    #[serde(default)]
    pub repositories: Vec<Glob>,
    /// A docker `config.json` with credentials, a mounted pull secret, or a folder of them, relative to the configuration file. Default: the `docker_config` above.
    #[serde(default)]
    pub docker_config: Option<PathBuf>,
    /// Whom to trust, and who we are, in TLS.
    #[serde(default)]
    pub tls: Tls,
}

impl Default for Registry {
    fn default() -> Self {
        Self {
            host: String::new(),
            plain_http: false,
            interval: Seconds::registry_interval(),
            repositories: Vec::new(),
            docker_config: None,
            tls: Tls::default(),
        }
    }
}

/// Certificates, as PEM files relative to the configuration file. A file that changes is read again.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Tls {
    /// Authorities to trust beside those of the system.
    pub ca_file: Option<PathBuf>,
    /// A client certificate with its chain, for a server that wants one; goes with `key_file`.
    pub certificate_file: Option<PathBuf>,
    /// The key of the client certificate.
    pub key_file: Option<PathBuf>,
}

/// A git repository.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Git {
    /// `https://`, `http://`, `ssh://`, `git@host:path` or `file://`.
    pub url: String,
    /// User name for `token_file` over https.
    #[serde(default = "git_user")]
    pub user: String,
    /// A file with a token or password, for https only, relative to the configuration file; read at every connection.
    #[serde(default)]
    pub token_file: Option<PathBuf>,
    /// A private key for ssh, relative to the configuration file. Default: what `ssh` itself finds.
    #[serde(default)]
    pub ssh_key_file: Option<PathBuf>,
    /// The hosts that ssh trusts, as `ssh-keyscan` prints them, relative to the configuration file. Default: those that `ssh` itself knows; a host that is not among them is refused.
    #[serde(default)]
    pub known_hosts_file: Option<PathBuf>,
    /// Whom to trust, and who we are, in TLS.
    #[serde(default)]
    pub tls: Tls,
    /// Branches to follow.
    #[serde(default = "main_branch")]
    pub branches: Vec<String>,
    /// Time between two polls.
    #[serde(default = "Seconds::git_interval")]
    pub interval: Seconds,
    /// Paths to read, and the environment that each sets. Default: the whole tree, joined by its text.
    #[serde(default)]
    pub paths: Vec<GitPath>,
    /// Keyword comments that an updater looks for, as regular expressions; the group `name` names the rule.
    #[serde(default)]
    pub markers: Vec<Marker>,
}

impl Default for Git {
    fn default() -> Self {
        Self {
            url: String::new(),
            user: git_user(),
            token_file: None,
            ssh_key_file: None,
            known_hosts_file: None,
            tls: Tls::default(),
            branches: main_branch(),
            interval: Seconds::git_interval(),
            paths: Vec::new(),
            markers: Vec::new(),
        }
    }
}

/// GitHub, GitLab and Gitea take any name beside a token.
fn git_user() -> String {
    "git".into()
}

fn main_branch() -> Vec<String> {
    vec!["main".into()]
}

/// A path of a repository.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GitPath {
    /// A prefix such as `prod/`; empty is the whole tree.
    pub path: String,
    /// The environment that an applier sets from this path.
    #[serde(default)]
    pub environment: Option<String>,
}

/// A cluster.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Cluster {
    /// Name in labels and on the page.
    pub name: String,
    /// A kubeconfig file, relative to the configuration file. Default: in-cluster, else `$KUBECONFIG` or `~/.kube/config`.
    #[serde(default)]
    pub kubeconfig: Option<PathBuf>,
    /// A context of it; the current one where absent.
    #[serde(default)]
    pub context: Option<String>,
    /// Which labels say here to whom a workload belongs. Default: the `ownership` above.
    #[serde(default)]
    pub ownership: Option<Ownership>,
}

/// Which tag should be live in an environment.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Expect {
    /// A repository, without tag.
    pub image: String,
    /// Which tags take part. Default: all.
    #[serde(default)]
    pub filter_tags: Option<FilterTags>,
    /// Which of them should be live.
    pub policy: Policy,
    /// Name of the environment where it should be live.
    pub environment: String,
}

/// Which tags take part (Flux `filterTags`).
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FilterTags {
    /// A regular expression.
    pub pattern: String,
    /// What to compare, with `$name` groups of the pattern.
    #[serde(default)]
    pub extract: Option<String>,
}

/// How the newest tag is found: exactly one of these keys (Flux `policy`).
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Policy {
    /// The highest version inside the range.
    Semver {
        /// Such as `>=1.0.0 <2.0.0`, `1.x`, `~1.4`, `1.2 - 2.0`; alternatives are joined by `||`.
        range: String,
    },
    /// The highest number (`asc`) or the lowest (`desc`).
    Numerical {
        /// `asc` takes the highest.
        #[serde(default)]
        order: Order,
    },
    /// The last in alphabetical order (`asc`) or the first (`desc`).
    Alphabetical {
        /// `asc` takes the last.
        #[serde(default)]
        order: Order,
    },
    /// One tag, whatever it points to now.
    Digest {
        /// Such as `stable`.
        tag: String,
    },
}

/// An order.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    #[default]
    Asc,
    Desc,
}

/// Budgets by the stage that they end at.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Budgets {
    /// From pushed to committed. Where it is not written and an engine tells its intervals: twice those of its scan and its updater; else 5m.
    pub committed: Option<Seconds>,
    /// From committed to applied. Where it is not written and an engine tells its intervals: twice that of its source; else 5m.
    pub applied: Option<Seconds>,
    /// From applied to live.
    pub live: Seconds,
}

impl Default for Budgets {
    fn default() -> Self {
        Self { committed: None, applied: None, live: Seconds(600.0) }
    }
}

/// How much must run the image: `all`, `first`, or `{share: 0.9}`.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LiveWhen {
    #[default]
    All,
    First,
    /// Between 0 and 1.
    Share(f64),
}

/// When a journey is settled.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settle {
    /// At least this long after its outcome.
    pub min: Seconds,
    /// At most this long, however slow the sources are.
    pub max: Seconds,
    /// What depends on a source that is blind for longer ends as `unknown`.
    pub forget_after: Seconds,
}

impl Default for Settle {
    fn default() -> Self {
        Self { min: Seconds(120.0), max: Seconds(900.0), forget_after: Seconds(14.0 * 86400.0) }
    }
}

/// Where traces go: OTLP over http/protobuf.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Traces {
    /// Full address, such as `http://127.0.0.1:4318/v1/traces`. No traces where absent.
    pub endpoint: Option<String>,
}

/// The journal: what was observed, so that a restart goes on where it ended.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Journal {
    /// The file, on a disk of its own to this process, relative to the configuration file. Made where it is missing. Without it a restart begins anew.
    pub path: Option<PathBuf>,
    /// Observations that are older and no longer needed are dropped.
    pub keep: Seconds,
    /// As many mebibytes of observations at most; the file itself may take twice that.
    pub max_mebibytes: u64,
    /// As many observations at most.
    pub max_observations: u64,
}

impl Default for Journal {
    fn default() -> Self {
        Self { path: None, keep: Seconds(14.0 * 86400.0), max_mebibytes: 1024, max_observations: 10_000_000 }
    }
}
