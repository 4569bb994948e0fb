//! Every limit on what a registry may send, in one place. A test passes smaller ones.

use std::time::Duration;

/// How much of a registry's answers we take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// One request, its body included: a page of 1000 tags from a slow registry takes seconds, not minutes.
    pub request: Duration,
    /// One listing of one repository: 40,000 tags in pages of 50 are 800 requests.
    pub listing: Duration,
    /// Pages of one listing. Quay gives 50 tags a page, so this is 100,000 tags there.
    pub pages: usize,
    /// Bytes of one page after decompression. GCR sends a whole repository as one page, about 500 bytes a tag.
    pub page_bytes: usize,
    /// Tags of one repository. The largest we know of hold about 100,000.
    pub tags: usize,
    /// Tags of one repository that came or went and wait for an answer. A mass push of the largest shops fits.
    pub waiting_tags: usize,
    /// Bytes that the names of all tags take in memory, over all registries that somebody listed, and again over
    /// all that nobody listed. A million tags take about 30 MB.
    pub names_bytes: usize,
    /// Bytes of a manifest: the distribution specification's own recommendation.
    pub manifest_bytes: usize,
    /// Bytes of a config: they hold the build history, rarely above 100 KiB.
    pub config_bytes: usize,
    /// Bytes of a token answer: a token with many claims stays below 16 KiB.
    pub token_bytes: usize,
    /// Redirects of one request. Registries use one, mirrors two.
    pub redirects: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            request: Duration::from_secs(30),
            listing: Duration::from_secs(300),
            pages: 2000,
            page_bytes: 64 << 20,
            tags: 250_000,
            waiting_tags: 20_000,
            names_bytes: 1 << 30,
            manifest_bytes: 4 << 20,
            config_bytes: 4 << 20,
            token_bytes: 64 << 10,
            redirects: 5,
        }
    }
}

impl Limits {
    /// For a host that only a workload named, and that may be anybody's: the busiest public images have some
    /// ten thousand tags.
    #[must_use]
    pub fn for_unlisted(self) -> Self {
        Self {
            listing: self.listing.min(Duration::from_secs(120)),
            pages: self.pages.min(1000),
            page_bytes: self.page_bytes.min(16 << 20),
            tags: self.tags.min(50_000),
            waiting_tags: self.waiting_tags.min(5000),
            names_bytes: self.names_bytes.min(128 << 20),
            ..self
        }
    }
}
