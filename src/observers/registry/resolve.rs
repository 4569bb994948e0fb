//! From a tag to its digest, and from a digest to what the image consists of.
//!
//! HEAD finds a digest and costs nothing; GET counts as a pull on some hosts, so content is read once per
//! digest and kept, and what was read must hash to its name.

use reqwest::Method;
use reqwest::header::HeaderMap;
use sha2::{Digest as _, Sha512};

use super::client::{Answer, Ask, Client};
use super::created::Claims;
use super::error::Problem;
use super::manifest::{self, Child, Manifest};
use crate::image::{Digest, Repository, Tag};
use crate::observation::{ImageDescribed, Node, NodeRole, Time};

/// A tag's digest, and when that was asked and answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolution {
    /// `None`: the registry answered 404.
    pub digest: Option<Digest>,
    pub asked: Time,
    pub answered: Time,
}

/// Why an image was not described.
#[derive(Debug)]
pub enum NotDescribed {
    Failed(Problem),
    /// The repository has no such digest.
    Missing,
    /// The host's pull budget is used up, or unknown.
    NoBudget,
}

impl From<Problem> for NotDescribed {
    fn from(problem: Problem) -> Self {
        Self::Failed(problem)
    }
}

/// Asks for a tag's digest.
pub async fn resolve(client: &Client, repository: &Repository, tag: &Tag) -> Result<Resolution, Problem> {
    look_up(client, repository, tag.as_str()).await
}

/// Whether the repository holds a digest, without reading it.
pub async fn is_present(client: &Client, repository: &Repository, digest: &Digest) -> Result<bool, Problem> {
    Ok(look_up(client, repository, &digest.to_string()).await?.digest.is_some())
}

/// Reads what an image consists of and what it claims. `first_seen` bounds the claimed time of its build.
pub async fn describe(
    client: &Client,
    repository: &Repository,
    root: &Digest,
    first_seen: Time,
) -> Result<ImageDescribed, NotDescribed> {
    let mut nodes = Vec::new();
    let mut claims = Claims::default();
    let config = match read_manifest(client, repository, root).await? {
        Manifest::Unknown => None,
        Manifest::Image { config, annotations } => {
            claims.labels.push(annotations);
            nodes.extend(config.clone().map(|digest| Node {
                digest,
                role: NodeRole::Config,
                platform: None,
            }));
            config
        }
        Manifest::Index { children, annotations } => {
            claims.labels.push(annotations);
            read_children(client, repository, children, &mut nodes, &mut claims).await?
        }
    };
    // A config is a blob: reading it is no pull. Its claims are needed only where the annotations lack them.
    let complete =
        claims.created(first_seen).is_some() && claims.revision().is_some() && claims.source().is_some();
    if let Some(config) = config.filter(|_| !complete) {
        let read = read_config(client, repository, &config).await?;
        claims.labels.push(read.labels);
        claims.config_created = read.created;
    }
    Ok(ImageDescribed {
        repository: repository.clone(),
        digest: root.clone(),
        nodes,
        created: claims.created(first_seen),
        revision: claims.revision(),
        source: claims.source(),
        synthetic: claims.synthetic(),
    })
}

/// Adds each platform's manifest and config to the nodes. Returns the config to ask for claims: that of the
/// first platform, which was built with the others.
async fn read_children(
    client: &Client,
    repository: &Repository,
    children: Vec<Child>,
    nodes: &mut Vec<Node>,
    claims: &mut Claims,
) -> Result<Option<Digest>, NotDescribed> {
    let mut first_config = None;
    for child in children {
        let platform = child.platform;
        nodes.push(Node {
            digest: child.digest.clone(),
            role: NodeRole::Manifest,
            platform: platform.clone(),
        });
        if child.is_index {
            continue;
        }
        let read = match read_manifest(client, repository, &child.digest).await {
            Ok(read) => read,
            // A mirror may hold some platforms only.
            Err(NotDescribed::Missing) => continue,
            Err(other) => return Err(other),
        };
        let Manifest::Image { config: Some(config), annotations } = read else { continue };
        nodes.push(Node { digest: config.clone(), role: NodeRole::Config, platform });
        if first_config.is_none() {
            claims.labels.push(annotations);
            first_config = Some(config);
        }
    }
    Ok(first_config)
}

async fn look_up(client: &Client, repository: &Repository, reference: &str) -> Result<Resolution, Problem> {
    let head = ask_manifest(client, repository, reference, Method::HEAD).await?;
    let (asked, answered) = (head.asked, head.answered);
    let digest = match head.status {
        404 => None,
        // Old registries leave the header out, and some proxies refuse HEAD: read the manifest and hash it.
        405 => return read_digest(client, repository, reference).await,
        _ => match named_digest(&head.headers)? {
            Some(digest) => Some(digest),
            None => return read_digest(client, repository, reference).await,
        },
    };
    Ok(Resolution { digest, asked, answered })
}

async fn read_digest(
    client: &Client,
    repository: &Repository,
    reference: &str,
) -> Result<Resolution, Problem> {
    let answer = ask_manifest(client, repository, reference, Method::GET).await?;
    let digest = match answer.status {
        404 => None,
        405 => return Err(Problem::Status(405)),
        _ => Some(match named_digest(&answer.headers)? {
            Some(named) => {
                verify(&named, &answer.body)?;
                named
            }
            None => Digest::of(&answer.body),
        }),
    };
    Ok(Resolution { digest, asked: answer.asked, answered: answer.answered })
}

async fn read_manifest(
    client: &Client,
    repository: &Repository,
    digest: &Digest,
) -> Result<Manifest, NotDescribed> {
    let answer = match ask_manifest(client, repository, &digest.to_string(), Method::GET).await {
        Err(Problem::PullsUsedUp) => return Err(NotDescribed::NoBudget),
        answer => answer?,
    };
    match answer.status {
        404 => return Err(NotDescribed::Missing),
        405 => return Err(Problem::Status(405).into()),
        _ => {}
    }
    verify(digest, &answer.body)?;
    Ok(manifest::parse(&answer.body))
}

async fn ask_manifest(
    client: &Client,
    repository: &Repository,
    reference: &str,
    method: Method,
) -> Result<Answer, Problem> {
    let operation = if method == Method::HEAD { "head_manifest" } else { "get_manifest" };
    let url = client.url(&format!("{}/manifests/{reference}", repository.path()));
    let body = ("bytes in a manifest", client.limits().manifest_bytes);
    let accept = Some(manifest::ACCEPT);
    // The one place where manifests are read is the one place where pulls are counted.
    if method == Method::GET && !client.gate().take_pull() {
        return Err(Problem::PullsUsedUp);
    }
    client.ask(Ask { operation, method, url, accept, repository: Some(repository), body }).await
}

async fn read_config(
    client: &Client,
    repository: &Repository,
    digest: &Digest,
) -> Result<manifest::Config, Problem> {
    let answer = client
        .ask(Ask {
            operation: "get_blob",
            method: Method::GET,
            url: client.url(&format!("{}/blobs/{digest}", repository.path())),
            accept: None,
            repository: Some(repository),
            body: ("bytes in an image config", client.limits().config_bytes),
        })
        .await?;
    if answer.status >= 300 {
        return Ok(manifest::Config::default());
    }
    verify(digest, &answer.body)?;
    Ok(manifest::parse_config(&answer.body))
}

fn named_digest(headers: &HeaderMap) -> Result<Option<Digest>, Problem> {
    let Some(value) = headers.get("docker-content-digest") else { return Ok(None) };
    let digest = value.to_str().ok().and_then(|text| text.parse().ok());
    digest.map(Some).ok_or_else(|| Problem::Malformed("its Docker-Content-Digest is no digest".into()))
}

/// Content must hash to the digest it was asked by.
fn verify(expected: &Digest, body: &[u8]) -> Result<(), Problem> {
    let found = match expected {
        Digest::Sha256(_) => Digest::of(body),
        Digest::Other(text) if text.starts_with("sha512:") => {
            let hex: String = Sha512::digest(body).iter().map(|byte| format!("{byte:02x}")).collect();
            format!("sha512:{hex}").parse().expect("128 hex digits are a sha512 digest")
        }
        Digest::Other(_) => {
            return Err(Problem::Malformed(format!(
                "{} uses an algorithm we cannot check",
                expected.short()
            )));
        }
    };
    if found == *expected {
        return Ok(());
    }
    Err(Problem::Mismatch { expected: expected.clone(), found })
}
