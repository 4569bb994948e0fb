//! Why a tag is not selected: the explanation and the choice never contradict each other.

use knotmeter::image::Tag;
use knotmeter::observation::{FilterTags, Order, Policy};
use knotmeter::policy::{Cause, Selector};
use proptest::prelude::*;

use super::tags;

fn selector(filter: Option<(&str, Option<&str>)>, policy: Policy) -> Selector {
    let filter = filter
        .map(|(pattern, extract)| FilterTags { pattern: pattern.into(), extract: extract.map(Into::into) });
    Selector::new(filter.as_ref(), &policy).expect("a policy")
}

#[test]
fn each_cause_is_told_for_what_it_is() {
    let range = |range: &str| Policy::Semver { range: range.into() };
    let number = || Policy::Numerical { order: Order::Asc };
    for (selector, tag, all, cause, selected) in [
        (selector(None, range("1.x")), "1.5.0", "1.5.0 1.4.0", Cause::Selected, "1.5.0"),
        (
            selector(Some(("^v", None)), range("1.x")),
            "1.5.0-rc1",
            "1.5.0-rc1 v1.0.0",
            Cause::Pattern,
            "v1.0.0",
        ),
        (selector(None, range("1.x")), "latest", "latest 1.4.0", Cause::NotAVersion, "1.4.0"),
        (selector(None, range("1.x")), "1.5", "1.5 1.4.0", Cause::NotAVersion, "1.4.0"),
        (selector(None, range("1.x")), "1.5.0-rc1", "1.5.0-rc1 1.4.0", Cause::PreRelease, "1.4.0"),
        (selector(None, range(">=1.0.0")), "1.0.0-rc1", "1.0.0-rc1", Cause::PreRelease, "-"),
        (selector(None, range("1.x")), "2.0.0-rc1", "2.0.0-rc1 1.4.0", Cause::OutOfRange, "1.4.0"),
        (selector(None, range(">=1.0.0-0 <2.0.0")), "2.1.0-rc1", "2.1.0-rc1", Cause::OutOfRange, "-"),
        (selector(None, range("1.x")), "2.0.0", "2.0.0 1.4.0", Cause::OutOfRange, "1.4.0"),
        (selector(None, range("1.x")), "1.4.0", "1.5.0 1.4.0", Cause::Lower, "1.5.0"),
        (selector(None, range("1.x")), "1.6.0", "1.5.0", Cause::NotListed, "1.5.0"),
        (selector(None, range("1.x")), "1.6.0", "2.0.0", Cause::NotListed, "-"),
        (selector(None, number()), "main", "main 7", Cause::NotANumber, "7"),
        (selector(Some(("^b-(.*)$", Some("$1"))), number()), "b-x", "b-x b-7", Cause::NotANumber, "b-7"),
        (selector(None, Policy::Alphabetical { order: Order::Desc }), "b", "a b", Cause::Lower, "a"),
        (
            selector(None, Policy::Digest { tag: "stable".into() }),
            "edge",
            "edge stable",
            Cause::OtherTag,
            "stable",
        ),
    ] {
        let all = tags(all);
        let (found, chosen) = selector.explain(&tag.parse().expect("a tag"), &all);
        assert_eq!((found, chosen.map_or("-", Tag::as_str)), (cause, selected), "{tag}");
    }
    let words: std::collections::BTreeSet<&str> = Cause::ALL.iter().map(|cause| cause.as_str()).collect();
    assert_eq!(words.len(), Cause::ALL.len(), "a word for each");
}

#[test]
fn a_pattern_that_only_go_reads_is_refused_here_and_the_other_way_round_is_known() {
    let read = |pattern: &str| {
        let filter = FilterTags { pattern: pattern.into(), extract: None };
        Selector::new(Some(&filter), &Policy::Alphabetical { order: Order::Asc }).is_ok()
    };
    assert!(!read(r"\Qa.b\E"));
    for pattern in ["(?x) a", "(?R)a", "a**", "[a--b]", "[a&&b]"] {
        assert!(read(pattern), "{pattern}");
    }
}

proptest! {
    #[test]
    fn what_is_said_to_be_selected_is_and_what_takes_no_part_alone_is_told_why(
        words in prop::collection::vec("v?[0-2]\\.[0-3]\\.[0-2](-(rc|beta)\\.[0-3])?|[0-9]{1,3}|[a-c]{1,3}", 1..12),
        asked in "v?[0-2]\\.[0-3]\\.[0-2](-(rc|beta)\\.[0-3])?|[0-9]{1,3}|[a-c]{1,3}",
        which in 0..8usize,
    ) {
        let policies = [
            (None, Policy::Semver { range: ">=0.1.0-0".into() }),
            (None, Policy::Semver { range: "1.x || 2.1".into() }),
            (None, Policy::Semver { range: "<1.2.0 || >=2.0.0-0".into() }),
            (Some(("^v(?P<v>.*)$", Some("$v"))), Policy::Semver { range: "*".into() }),
            (Some(("^[0-9]", None)), Policy::Numerical { order: Order::Desc }),
            (None, Policy::Alphabetical { order: Order::Asc }),
            (Some(("[ab]", None)), Policy::Alphabetical { order: Order::Desc }),
            (None, Policy::Digest { tag: "a".into() }),
        ];
        let (filter, policy) = policies[which].clone();
        let selector = selector(filter, policy);
        let mut all = tags(&words.join(" "));
        let asked: Tag = asked.parse().expect("a tag");
        for present in [false, true] {
            if present {
                all.push(asked.clone());
            }
            let (cause, selected) = selector.explain(&asked, &all);
            prop_assert_eq!(selected, selector.select(&all));
            prop_assert_eq!(cause == Cause::Selected, selected == Some(&asked));
            let takes_part = selector.select([&asked]).is_some();
            let excluded = !matches!(cause, Cause::Selected | Cause::Lower | Cause::NotListed);
            prop_assert_eq!(excluded, !takes_part, "{:?}", cause);
            if cause == Cause::Lower {
                let chosen = selected.expect("another one");
                prop_assert_ne!(selector.order(chosen, &asked), Some(std::cmp::Ordering::Less));
            }
        }
    }
}
