//! Selecting a tag by semantic version among many.

use knotmeter::image::Tag;
use knotmeter::observation::Policy;
use knotmeter::policy::Selector;
use semver::Version;

use super::Bench;

const TAGS: usize = 10_000;

/// Against reading every tag as a version and keeping the greatest.
pub fn bench() -> Bench {
    let tags: Vec<Tag> =
        (0..TAGS).map(|n| format!("v{}.{}.{}", n % 5, n % 97, n % 31).parse().expect("a tag")).collect();
    let same = tags.clone();
    let policy = Policy::Semver { range: ">=1.0.0 <4.0.0".into() };
    let selector = Selector::new(None, &policy).expect("a policy");
    Bench {
        unit: "ns/tag",
        items: TAGS,
        ours: Box::new(move || selector.select(&tags).map_or(0, |tag| tag.as_str().len())),
        floor: Box::new(move || {
            let versions = same.iter().filter_map(|tag| Version::parse(&tag.as_str()[1..]).ok());
            versions.max().map_or(0, |version| version.patch as usize)
        }),
    }
}
