//! Which tag a policy selects, held against what Flux selects (`image-reflector-controller` with
//! `Masterminds/semver` 3.4).

mod explained;
mod recorded;
mod table;

use knotmeter::image::Tag;
use knotmeter::observation::{FilterTags, Order, Policy};
use knotmeter::policy::{Range, Selector};
use proptest::prelude::*;

pub fn tags(words: &str) -> Vec<Tag> {
    words.split_whitespace().map(|word| word.parse().expect("a tag")).collect()
}

pub fn select(selector: &Selector, tags: &[Tag]) -> Option<String> {
    selector.select(tags).map(ToString::to_string)
}

fn semver(range: &str) -> Selector {
    Selector::new(None, &Policy::Semver { range: range.into() }).expect("a range")
}

/// Of these tags the range selects that one; `-` for none.
#[track_caller]
fn check(range: &str, words: &str, selected: &str) {
    let found = select(&semver(range), &tags(words));
    assert_eq!(found.as_deref().unwrap_or("-"), selected, "{range} of {words}");
}

#[test]
fn comparators_bound_a_version() {
    check(">=1.0.0", "0.9.9 1.0.0 1.2.0 1.10.0", "1.10.0");
    check(">=1.0.0 <2.0.0", "1.9.9 2.0.0 2.1.0", "1.9.9");
    check(">=1.0.0, <2.0.0", "1.9.9 2.0.0 2.1.0", "1.9.9");
    check(">= 1.0.0,<2.0.0", "1.9.9 2.0.0 2.1.0", "1.9.9");
    check("=>1.0.0 =<1.5.0", "1.4.0 1.5.0 1.6.0", "1.5.0");
    check(">1.0.0", "1.0.0", "-");
    check("<1.0.0", "1.0.0 0.1.0", "0.1.0");
    check("!=1.2.3", "1.2.2 1.2.3", "1.2.2");
    check("!=1.2", "1.1.9 1.2.0 1.2.7", "1.1.9");
}

#[test]
fn a_full_version_is_exact() {
    check("1.2.3", "1.2.3 1.2.4 1.3.0", "1.2.3");
    check("=v1.2.3", "1.2.3 1.2.4", "1.2.3");
}

#[test]
fn a_missing_or_wild_number_means_the_series() {
    check("1.x", "0.9.0 1.0.0 1.9.9 2.0.0", "1.9.9");
    check("1", "1.0.0 1.9.9 2.0.0", "1.9.9");
    check("1.2", "1.2.0 1.2.9 1.3.0", "1.2.9");
    check("1.2.x", "1.2.0 1.2.9 1.3.0", "1.2.9");
    check("1.*", "1.2.0 1.9.9 2.0.0", "1.9.9");
    check("*", "0.0.1 3.2.1", "3.2.1");
    check("x", "0.0.1 3.2.1", "3.2.1");
    check("1.x.5", "1.2.3 2.0.0", "1.2.3");
    check(">11", "11.9.9 12.0.0", "12.0.0");
    check(">11", "11.0.1 11.9.9", "-");
    check(">11.1", "11.1.9", "-");
    check("<=11", "11.9.9 12.0.0", "11.9.9");
    check("<=1.2", "1.2.9 1.3.0", "1.2.9");
    check("<11", "10.9.9 11.0.0", "10.9.9");
}

#[test]
fn tilde_keeps_the_minor_and_caret_the_first_number_that_counts() {
    check("~1.2.3", "1.2.2 1.2.9 1.3.0", "1.2.9");
    check("~>1.2.3", "1.2.9 1.3.0", "1.2.9");
    check("~1", "1.9.9 2.0.0", "1.9.9");
    check("~0.0.0", "0.1.0 3.0.0", "3.0.0");
    check("^1.2.3", "1.2.2 1.9.9 2.0.0", "1.9.9");
    check("^0.2.3", "0.2.9 0.3.0", "0.2.9");
    check("^0.0.3", "0.0.3 0.0.4", "0.0.3");
    check("^0.0", "0.0.9 0.1.0", "0.0.9");
    check("^0", "0.9.9 1.0.0", "0.9.9");
}

#[test]
fn a_hyphen_range_includes_both_ends() {
    check("1.2 - 2.0", "1.1.9 1.2.0 1.9.0", "1.9.0");
    check("1.2 - 2.0", "2.0.5 2.1.0", "2.0.5");
    check("1.2.0 - 2.0.0", "2.0.0 2.0.1", "2.0.0");
    check("1.0.0 - 1.5.0 || 3.x", "1.5.0 2.0.0", "1.5.0");
}

#[test]
fn alternatives_are_joined_by_two_bars() {
    check("1.x || >=3.0.0 <4.0.0", "1.5.0 2.5.0 3.5.0 4.5.0", "3.5.0");
    check("1.x||2.x", "1.5.0 2.5.0 3.5.0", "2.5.0");
}

#[test]
fn pre_releases_take_part_only_where_the_range_names_one() {
    check(">=1.0.0", "1.0.0 1.1.0-rc.1", "1.0.0");
    check(">=1.0.0-0", "1.0.0 1.1.0-rc.1", "1.1.0-rc.1");
    check(">=1.0.0-0 <2.0.0", "1.5.0-rc.1 2.0.0", "1.5.0-rc.1");
    // As Go's library has it: 2.0.0-rc.1 is below 2.0.0.
    check(">=1.0.0-0 <2.0.0", "1.5.0 2.0.0-rc.1", "2.0.0-rc.1");
    check(">=1.0.0-0 <2.0.0-0", "1.5.0 2.0.0-rc.1", "1.5.0");
    check("^1.0.0-0", "1.5.0-beta.2 1.5.0-beta.11", "1.5.0-beta.11");
    check("1.2.3-rc.1", "1.2.3 1.2.3-rc.1", "1.2.3-rc.1");
    check(">=1.0.0-rc.2", "1.0.0-rc.1 1.0.0-rc.3", "1.0.0-rc.3");
    check("*-0", "1.0.0 2.0.0-alpha", "2.0.0-alpha");
    check("<1.0.0 || >=2.0.0-0", "0.9.0-rc.1 0.8.0", "0.8.0");
}

#[test]
fn a_tag_is_a_version_with_three_numbers_and_perhaps_a_v() {
    check(">=1.0.0", "v1.2.3 1.0.0", "v1.2.3");
    check("*", "1 1.0 latest main V1.0.0 01.2.3 1.2.3.4", "-");
    check("*", "vv1.0.0", "-");
}

#[test]
fn ranges_that_mean_nothing_are_refused() {
    for text in [
        "",
        " ",
        "newest",
        ">=",
        "1.2.3.4",
        ">=1.0.0<2.0.0",
        "1.x || ",
        ">>1.0.0",
        "1..2",
        "1.2.3-",
        "1 -2",
        "a - b",
    ] {
        let error = Range::parse(text).expect_err(text);
        assert!(error.starts_with(&format!("{text:?} is not a version range")), "{error}");
    }
}

#[test]
fn numerical_takes_the_highest_or_the_lowest_number() {
    let by = |order| Selector::new(None, &Policy::Numerical { order }).expect("a policy");
    assert_eq!(select(&by(Order::Asc), &tags("9 10 2")).as_deref(), Some("10"));
    assert_eq!(select(&by(Order::Desc), &tags("9 10 2")).as_deref(), Some("2"));
    assert_eq!(select(&by(Order::Asc), &tags("9 NaN inf infinity latest")).as_deref(), Some("9"));
    assert_eq!(select(&by(Order::Asc), &tags("20250101.1 20250101.2")).as_deref(), Some("20250101.2"));
}

#[test]
fn alphabetical_takes_the_last_or_the_first_word() {
    let by = |order| Selector::new(None, &Policy::Alphabetical { order }).expect("a policy");
    assert_eq!(select(&by(Order::Asc), &tags("banana apple cherry")).as_deref(), Some("cherry"));
    assert_eq!(select(&by(Order::Desc), &tags("banana apple cherry")).as_deref(), Some("apple"));
    assert_eq!(select(&by(Order::Asc), &tags("a B")).as_deref(), Some("a"));
}

#[test]
fn digest_takes_one_tag_whatever_it_points_to() {
    let stable = Selector::new(None, &Policy::Digest { tag: "stable".into() }).expect("a policy");
    assert_eq!(select(&stable, &tags("1.0.0 stable latest")).as_deref(), Some("stable"));
    assert_eq!(select(&stable, &tags("1.0.0 latest")), None);
}

#[test]
fn a_filter_chooses_tags_and_what_of_them_is_compared() {
    let filtered = |pattern: &str, extract: Option<&str>, policy| {
        let filter = FilterTags { pattern: pattern.into(), extract: extract.map(Into::into) };
        Selector::new(Some(&filter), &policy).expect("a policy")
    };
    let number = || Policy::Numerical { order: Order::Asc };
    let builds = filtered(r"^main-[a-f0-9]+-(?P<ts>\d+)$", Some("$ts"), number());
    assert_eq!(
        select(&builds, &tags("main-abc-9 main-0ff-10 dev-abc-99 10")).as_deref(),
        Some("main-0ff-10")
    );
    let braces = filtered(r"^v(?<n>\d+)-(?<m>\d+)$", Some("${n}.${m}"), number());
    assert_eq!(select(&braces, &tags("v1-5 v1-25 v0-9")).as_deref(), Some("v1-5"));
    let plain = filtered("^1", None, Policy::Semver { range: "*".into() });
    assert_eq!(select(&plain, &tags("1.0.0 2.0.0")).as_deref(), Some("1.0.0"));
    let empty = filtered("^1", Some(""), Policy::Semver { range: "*".into() });
    assert_eq!(select(&empty, &tags("1.0.0 2.0.0")).as_deref(), Some("1.0.0"));
    let versions = filtered(r"^release-(?P<v>.*)$", Some("$v"), Policy::Semver { range: "1.x".into() });
    assert_eq!(
        select(&versions, &tags("release-1.2.0 release-1.10.0 1.99.0")).as_deref(),
        Some("release-1.10.0")
    );
}

#[test]
fn a_bad_pattern_is_named() {
    let filter = FilterTags { pattern: "(".into(), extract: None };
    let error =
        Selector::new(Some(&filter), &Policy::Numerical { order: Order::Asc }).expect_err("a bad pattern");
    assert!(error.to_string().starts_with("filter_tags.pattern \"(\": "), "{error}");
    let filter = FilterTags { pattern: "(a{1000}){1000}".into(), extract: None };
    assert!(
        Selector::new(Some(&filter), &Policy::Numerical { order: Order::Asc }).is_err(),
        "too large to compile"
    );
}

#[test]
fn order_tells_which_tag_is_newer() {
    let newer = |left: &str, right: &str| semver("*").order(&tags(left)[0], &tags(right)[0]);
    assert_eq!(newer("1.10.0", "1.9.0"), Some(std::cmp::Ordering::Greater));
    assert_eq!(newer("v1.0.0", "1.0.0"), Some(std::cmp::Ordering::Equal));
    assert_eq!(newer("1.0.0", "latest"), None);
}

proptest! {
    #[test]
    fn input_order_never_matters(
        words in prop::collection::vec("v?[0-2]\\.[0-3]\\.[0-2](-(rc|beta)\\.[0-3])?|[0-9]{1,3}|[a-c]{1,3}", 1..12),
        seed in any::<prop::sample::Index>(),
        which in 0..5usize,
    ) {
        let policy = [
            Policy::Semver { range: ">=0.1.0-0".into() },
            Policy::Semver { range: "1.x || 2.1".into() },
            Policy::Numerical { order: Order::Desc },
            Policy::Alphabetical { order: Order::Asc },
            Policy::Alphabetical { order: Order::Desc },
        ][which].clone();
        let selector = Selector::new(None, &policy).expect("a policy");
        let one = tags(&words.join(" "));
        let mut other = one.clone();
        other.reverse();
        let middle = seed.index(other.len());
        other.rotate_left(middle);
        prop_assert_eq!(select(&selector, &one), select(&selector, &other));
    }

    #[test]
    fn what_is_selected_is_inside_the_range_and_nothing_inside_is_newer(
        words in prop::collection::vec("[0-2]\\.[0-3]\\.[0-2](-rc\\.[0-3])?", 1..12),
        range in "(>=|<=|>|<|~|\\^|=|!=)?[0-2](\\.[0-3](\\.[0-2](-rc\\.1)?)?)?",
    ) {
        let inside = Range::parse(&range).expect("a range");
        let versions: Vec<semver::Version> = words.iter().map(|word| word.parse().expect("a version")).collect();
        let newest = versions.iter().filter(|version| inside.matches(version)).max();
        let selected = select(&semver(&range), &tags(&words.join(" ")));
        prop_assert_eq!(selected, newest.map(ToString::to_string));
    }

    #[test]
    fn any_text_is_read_or_refused(text in "\\PC{0,30}") {
        let _ = Range::parse(&text);
    }
}
