//! Reading a page of tags: what a sweep over a large repository spends its time on.

use knotmeter::observers::registry::page;
use serde::de::IgnoredAny;

use super::Bench;

/// As many as the largest repositories have.
const TAGS: usize = 40_000;

/// Against checking that the same bytes are JSON, keeping nothing.
pub fn bench() -> Bench {
    let tags: Vec<String> =
        (0..TAGS).map(|n| format!("main-{:07x}-{}", n * 7919, 1_760_000_000 + n)).collect();
    let body = serde_json::json!({"name": "team/web", "tags": tags}).to_string().into_bytes();
    let same = body.clone();
    Bench {
        unit: "ns/tag",
        items: TAGS,
        ours: Box::new(move || page::parse(&body, TAGS).expect("a page").0.len()),
        floor: Box::new(move || usize::from(serde_json::from_slice::<IgnoredAny>(&same).is_ok())),
    }
}
