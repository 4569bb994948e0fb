//! Listing the tags of a repository: page by page, each page known by its hash before it is parsed.

use std::collections::HashSet;
use std::sync::{Arc, LazyLock};

use reqwest::header::LINK;
use reqwest::{Method, Url};
use sha2::{Digest as _, Sha256};

use super::client::{Answer, Ask, Client, same_origin};
use super::error::Problem;
use super::names::Names;
use super::{link, page};
use crate::image::Repository;
use crate::observation::{CacheResult, Measure, Time};
use crate::observers::now;

/// Tags asked for in one page: the most that common registries give. They may give fewer.
const PAGE_TAGS: usize = 1000;
/// At most so many skipped names of one page, or tags of one look, are counted one by one.
pub(super) const DROPPED_COUNTED_MAX: usize = 100;
/// The label of measures that concern no cluster, made once.
pub(super) static NO_CLUSTER: LazyLock<Arc<str>> = LazyLock::new(|| "".into());

/// One page of a listing, kept until the next.
#[derive(Debug, Clone)]
pub struct Page {
    /// Of the body; `None` where the names come from before a restart.
    hash: Option<[u8; 32]>,
    pub names: Names,
    /// When the page was there, on our clock.
    pub answered: Time,
}

impl Page {
    /// What an earlier process knew to be listed.
    #[must_use]
    pub fn remembered(names: Names, answered: Time) -> Self {
        Self { hash: None, names, answered }
    }
}

/// A complete listing.
#[derive(Debug)]
pub struct Listing {
    pub pages: Vec<Page>,
    /// Every page is byte for byte as before.
    pub unchanged: bool,
    pub bytes: u64,
    /// Names that are no tags.
    pub invalid: usize,
    pub started: Time,
    pub finished: Time,
}

impl Listing {
    /// How many tags the pages hold; one that stands on two pages counts twice.
    #[must_use]
    pub fn tag_count(&self) -> usize {
        self.pages.iter().map(|page| page.names.len()).sum()
    }

    /// The memory that the pages take, in bytes.
    #[must_use]
    pub fn names_bytes(&self) -> usize {
        self.pages.iter().map(|page| size_of::<Page>() + page.names.bytes()).sum()
    }
}

/// Lists a repository. `before` are the pages of the last listing: a page with the same bytes is taken from
/// there without parsing it.
pub async fn list(client: &Client, repository: &Repository, before: &[Page]) -> Result<Listing, Problem> {
    let limit = client.limits().listing;
    tokio::time::timeout(limit, list_pages(client, repository, before))
        .await
        .unwrap_or(Err(Problem::Timeout(limit)))
}

async fn list_pages(client: &Client, repository: &Repository, before: &[Page]) -> Result<Listing, Problem> {
    let limits = client.limits();
    let mut listing =
        Listing { pages: Vec::new(), unchanged: true, bytes: 0, invalid: 0, started: now(), finished: now() };
    let mut guard = LoopGuard::default();
    let mut next = Some(client.url(&format!("{}/tags/list?n={PAGE_TAGS}", repository.path())));
    while let Some(url) = next {
        guard.enter(&url)?;
        if listing.pages.len() == limits.pages {
            return Err(Problem::TooLarge { what: "pages of tags", limit: limits.pages as u64 });
        }
        let answer = client
            .ask(Ask {
                operation: "tags",
                method: Method::GET,
                url,
                accept: Some("application/json"),
                repository: Some(repository),
                body: ("bytes in one page of tags", limits.page_bytes),
            })
            .await?;
        match answer.status {
            404 => return Err(Problem::Missing),
            405 => return Err(Problem::Status(405)),
            _ => {}
        }
        next = next_page(&answer)?;
        listing.bytes += answer.body.len() as u64;
        take_page(client, &mut listing, &answer, before)?;
        if listing.tag_count() > limits.tags {
            return Err(Problem::TooLarge { what: "tags", limit: limits.tags as u64 });
        }
    }
    listing.unchanged &= listing.pages.len() == before.len();
    listing.finished = now();
    Ok(listing)
}

fn take_page(
    client: &Client,
    listing: &mut Listing,
    answer: &Answer,
    before: &[Page],
) -> Result<(), Problem> {
    let hash = Some(<[u8; 32]>::from(Sha256::digest(&answer.body)));
    let known = before.get(listing.pages.len()).filter(|page| page.hash == hash);
    let result = if known.is_some() { CacheResult::Hit } else { CacheResult::Miss };
    let cluster = NO_CLUSTER.clone();
    client.measure(Measure::CacheLookup { cluster, cache: "tag_list", result, caller: "sweep" });
    let names = match known {
        Some(page) => page.names.clone(),
        None => {
            listing.unchanged = false;
            let (names, invalid) = page::parse(&answer.body, client.limits().tags)?;
            listing.invalid += invalid;
            for _ in 0..invalid.min(DROPPED_COUNTED_MAX) {
                client.measure(Measure::Dropped { source: client.source(), reason: "invalid_tag" });
            }
            names
        }
    };
    listing.pages.push(Page { hash, names, answered: answer.answered });
    Ok(())
}

/// The address of the next page. It is followed as written and stays with whoever sent it.
fn next_page(answer: &Answer) -> Result<Option<Url>, Problem> {
    let mut links = answer.headers.get_all(LINK).iter().filter_map(|value| link::next(value.to_str().ok()?));
    let Some(target) = links.next() else { return Ok(None) };
    let url = answer.url.join(target).ok().filter(|url| same_origin(url, &answer.url));
    let stays = url.filter(|url| url.username().is_empty() && url.password().is_none());
    stays
        .map(Some)
        .ok_or_else(|| Problem::Malformed("its Link to the next page leads to another host".into()))
}

/// Notices a listing that goes round in circles.
#[derive(Default)]
struct LoopGuard {
    addresses: HashSet<String>,
    last: HashSet<String>,
}

impl LoopGuard {
    fn enter(&mut self, url: &Url) -> Result<(), Problem> {
        let last = url.query_pairs().find(|(name, _)| name == "last").map(|(_, value)| value.into_owned());
        if self.addresses.insert(url.to_string()) && last.is_none_or(|last| self.last.insert(last)) {
            return Ok(());
        }
        Err(Problem::Malformed("its pages of tags lead back to a page we had".into()))
    }
}
