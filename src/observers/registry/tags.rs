//! Listing the tags of a repository: page by page, each page known by its hash before it is parsed.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use reqwest::header::LINK;
use reqwest::{Method, Url};
use serde::Deserialize;
use serde::de::{self, DeserializeSeed, Deserializer, IgnoredAny, SeqAccess, Visitor};
use sha2::{Digest as _, Sha256};

use super::client::{Answer, Ask, Client, same_origin};
use super::error::Problem;
use super::link;
use crate::image::{Repository, Tag};
use crate::observation::{CacheResult, Measure, Time};
use crate::observers::now;

/// Tags asked for in one page: the most that common registries give. They may give fewer.
const PAGE_TAGS: usize = 1000;
/// At most so many skipped names of one page are counted one by one.
const DROPPED_COUNTED_MAX: usize = 100;

/// One page of a listing, kept until the next.
#[derive(Debug, Clone)]
pub struct Page {
    hash: [u8; 32],
    /// Sorted, each once.
    pub tags: Arc<[Tag]>,
    /// When the page was there, on our clock.
    pub answered: Time,
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
        self.pages.iter().map(|page| page.tags.len()).sum()
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
    let hash: [u8; 32] = Sha256::digest(&answer.body).into();
    let known = before.get(listing.pages.len()).filter(|page| page.hash == hash);
    let result = if known.is_some() { CacheResult::Hit } else { CacheResult::Miss };
    client.measure(Measure::CacheLookup { cluster: "".into(), cache: "tag_list", result, caller: "sweep" });
    let tags = match known {
        Some(page) => page.tags.clone(),
        None => {
            listing.unchanged = false;
            let (tags, invalid) = parse(&answer.body, client.limits().tags)?;
            listing.invalid += invalid;
            for _ in 0..invalid.min(DROPPED_COUNTED_MAX) {
                client.measure(Measure::Dropped { source: client.host().clone(), reason: "invalid_tag" });
            }
            tags.into()
        }
    };
    listing.pages.push(Page { hash, tags, answered: answer.answered });
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

/// Reads the `tags` of a page and passes over everything else (GCR adds a map of manifests). Returns them
/// sorted, each once, and how many names were no tags.
///
/// # Errors
/// No JSON object, or more than `limit` tags.
pub fn parse(body: &[u8], limit: usize) -> Result<(Vec<Tag>, usize), Problem> {
    let mut tags = Tags { valid: Vec::new(), invalid: 0, limit };
    let mut reader = serde_json::Deserializer::from_slice(body);
    let read = BodySeed(&mut tags).deserialize(&mut reader).and_then(|()| reader.end());
    if tags.valid.len() + tags.invalid > limit {
        return Err(Problem::TooLarge { what: "tags", limit: limit as u64 });
    }
    read.map_err(|error| {
        let place = format!("line {}, column {}", error.line(), error.column());
        Problem::Malformed(format!("its list of tags is not the JSON it should be ({place})"))
    })?;
    tags.valid.sort_unstable();
    tags.valid.dedup();
    Ok((tags.valid, tags.invalid))
}

struct Tags {
    valid: Vec<Tag>,
    invalid: usize,
    limit: usize,
}

/// The object around the tags.
struct BodySeed<'a>(&'a mut Tags);

impl<'de> DeserializeSeed<'de> for BodySeed<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for BodySeed<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a page of tags")
    }

    fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<std::borrow::Cow<'de, str>>()? {
            if key == "tags" {
                map.next_value_seed(TagsSeed(self.0))?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }
}

/// The tags: an array, or `null` for an empty repository.
struct TagsSeed<'a>(&'a mut Tags);

impl<'de> DeserializeSeed<'de> for TagsSeed<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_option(self)
    }
}

impl<'de> Visitor<'de> for TagsSeed<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of tags or null")
    }

    fn visit_none<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_some<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_seq(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
        while let Some(Element(tag)) = elements.next_element()? {
            match tag {
                Some(tag) => self.0.valid.push(tag),
                None => self.0.invalid += 1,
            }
            if self.0.valid.len() + self.0.invalid > self.0.limit {
                return Err(de::Error::custom("too many tags"));
            }
        }
        Ok(())
    }
}

/// A tag, or `None` for whatever else stands in its place.
struct Element(Option<Tag>);

impl<'de> Deserialize<'de> for Element {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(ElementVisitor)
    }
}

struct ElementVisitor;

impl<'de> Visitor<'de> for ElementVisitor {
    type Value = Element;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a tag")
    }

    fn visit_str<E>(self, text: &str) -> Result<Element, E> {
        Ok(Element(text.parse().ok()))
    }

    fn visit_unit<E>(self) -> Result<Element, E> {
        Ok(Element(None))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Element, E> {
        Ok(Element(None))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Element, E> {
        Ok(Element(None))
    }

    fn visit_u64<E>(self, _: u64) -> Result<Element, E> {
        Ok(Element(None))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Element, E> {
        Ok(Element(None))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Element, A::Error> {
        IgnoredAny.visit_seq(seq).map(|_| Element(None))
    }

    fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Element, A::Error> {
        IgnoredAny.visit_map(map).map(|_| Element(None))
    }
}
