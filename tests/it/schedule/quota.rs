//! What hosts say about their limits, in every way that is in use, and in ways that nobody should.

use std::time::Duration;

use knotmeter::observation::Time;
use knotmeter::observers::schedule::{Quota, retry_after};
use proptest::prelude::{prop_assert, proptest};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};

use super::seconds;

const NAMES: [&str; 8] = [
    "ratelimit-policy",
    "ratelimit",
    "ratelimit-limit",
    "ratelimit-remaining",
    "ratelimit-reset",
    "x-ratelimit-limit",
    "x-ratelimit-remaining",
    "x-ratelimit-reset",
];

fn noon() -> Time {
    Time::from_rfc3339("2026-11-05T12:00:00Z").unwrap()
}

fn read(headers: &[(&str, &str)]) -> Option<Quota> {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.insert(HeaderName::try_from(*name).unwrap(), HeaderValue::from_str(value).unwrap());
    }
    Quota::read(&map, noon())
}

#[test]
fn limits_are_read_as_hosts_write_them() {
    let quota = |limit, window: Option<u64>, remaining, reset: Option<u64>| {
        Some(Quota { limit, window: window.map(seconds), remaining, reset: reset.map(seconds) })
    };
    for (headers, expected) in [
        // Docker Hub, about pulls.
        (
            vec![("ratelimit-limit", "100;w=21600"), ("ratelimit-remaining", "76;w=21600")],
            quota(Some(100), Some(21_600), Some(76), None),
        ),
        // The IETF's drafts, oldest first.
        (
            vec![
                ("ratelimit-limit", "10, 10;w=1, 1000;w=3600;burst=2000"),
                ("ratelimit-remaining", "3"),
                ("ratelimit-reset", "50"),
            ],
            quota(Some(1000), Some(3600), Some(3), Some(50)),
        ),
        (vec![("ratelimit", "limit=100, remaining=9, reset=5")], quota(Some(100), None, Some(9), Some(5))),
        (
            vec![
                ("ratelimit-policy", r#""burst";q=100;w=60,"day";q=1000;w=86400"#),
                ("ratelimit", r#""day";r=50;t=30"#),
            ],
            quota(Some(1000), Some(86_400), Some(50), Some(30)),
        ),
        // GitHub's reset is a Unix time: here 90 seconds ahead, and one that has passed.
        (
            vec![
                ("x-ratelimit-limit", "5000"),
                ("x-ratelimit-remaining", "0"),
                ("x-ratelimit-reset", "1793880090"),
            ],
            quota(Some(5000), None, Some(0), Some(90)),
        ),
        (
            vec![("x-ratelimit-remaining", "1"), ("x-ratelimit-reset", "1793880000")],
            quota(None, None, Some(1), Some(0)),
        ),
        // What says nothing.
        (vec![], None),
        (vec![("ratelimit-reset", "5")], None),
        (vec![("ratelimit-limit", "unlimited"), ("ratelimit-remaining", "-1")], None),
        // Numbers that no host means.
        (vec![("ratelimit-limit", "99999999999999999999;w=0")], quota(Some(u32::MAX), Some(1), None, None)),
        (
            vec![("ratelimit-limit", "5;w=1e300"), ("ratelimit-reset", "1e9")],
            quota(Some(5), Some(604_800), None, Some(0)),
        ),
        (vec![("ratelimit-limit", "NaN;w=inf")], None),
    ] {
        assert_eq!(read(&headers), expected, "{headers:?}");
    }
}

#[test]
fn a_wait_is_seconds_or_a_date_and_has_its_limits() {
    for (text, expected) in [
        ("7", Some(7)),
        (" 120 ", Some(120)),
        ("0", Some(1)),
        ("86400", Some(900)),
        ("999999999999999999999999", Some(900)),
        ("Thu, 05 Nov 2026 12:00:30 GMT", Some(30)),
        ("Thu, 05 Nov 2026 11:00:00 GMT", Some(1)),
        ("Fri, 05 Nov 2999 12:00:00 GMT", None),
        ("Tue, 05 Nov 2999 12:00:00 GMT", Some(900)),
        ("-1", None),
        ("soon", None),
        ("", None),
    ] {
        assert_eq!(retry_after::retry_after(text, noon()), expected.map(seconds), "{text}");
    }
    let unnamed: Vec<u64> =
        (1..9).map(|refusals| retry_after::wait(&HeaderMap::new(), refusals, noon()).as_secs()).collect();
    assert_eq!(unnamed, [1, 2, 4, 8, 16, 32, 32, 32], "it doubles while a host says no time");
}

proptest! {
    /// Whatever stands in the headers, what is read of them is bounded.
    #[test]
    fn any_text_is_read_or_left(texts in proptest::collection::vec("[ -~]{0,40}", 8)) {
        let headers: Vec<(&str, &str)> = NAMES.into_iter().zip(texts.iter().map(String::as_str)).collect();
        if let Some(quota) = read(&headers) {
            let week = Duration::from_secs(7 * 86_400);
            prop_assert!(quota.limit.is_some() || quota.remaining.is_some());
            prop_assert!(quota.window.is_none_or(|window| window >= seconds(1) && window <= week));
            prop_assert!(quota.reset.is_none_or(|reset| reset <= week));
        }
        let wait = retry_after::retry_after(&texts[0], noon());
        prop_assert!(wait.is_none_or(|wait| wait >= seconds(1) && wait <= seconds(900)));
    }
}
