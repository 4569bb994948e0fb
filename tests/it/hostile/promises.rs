//! What parsers of outside text promise for any text that is right, and for some that is not.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use knotmeter::config::Seconds;
use knotmeter::image::Digest;
use knotmeter::journal::import_lines;
use knotmeter::observation::Time;
use knotmeter::observers::cluster::{Line, Lines, go_duration_seconds};
use knotmeter::observers::registry::challenge::{self, Challenge};
use knotmeter::observers::registry::credentials::Login;
use knotmeter::observers::registry::credentials::docker::DockerConfig;
use knotmeter::observers::registry::manifest::{self, Manifest, PLATFORMS_MAX};
use knotmeter::observers::registry::{link, page};
use knotmeter::observers::schedule::retry_after::retry_after;
use proptest::prelude::*;
use reqwest::header::{HeaderMap, HeaderValue, WWW_AUTHENTICATE};
use serde_json::json;

use crate::journal::facts::observation;

/// 2026-11-21T10:00:05Z.
const NOW: i64 = 1_795_255_205_000;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_page_gives_every_tag_once_in_order(tags in prop::collection::vec("[A-Za-z0-9_][A-Za-z0-9._-]{0,30}", 0..60)) {
        let body = json!({"name": "a", "tags": tags, "manifest": {"x": tags}}).to_string();
        let (names, invalid) = page::parse(body.as_bytes(), 100).unwrap();
        let mut expected: Vec<&str> = tags.iter().map(String::as_str).collect();
        expected.sort_unstable();
        expected.dedup();
        prop_assert_eq!((names.iter().collect::<Vec<_>>(), invalid), (expected, 0));
        prop_assert!(page::parse(body.as_bytes(), tags.len().saturating_sub(1)).is_err() || tags.is_empty());
    }

    #[test]
    fn a_page_cut_short_is_no_page(tags in prop::collection::vec("[a-z0-9]{1,10}", 0..20), cut in any::<prop::sample::Index>()) {
        let body = json!({"name": "a", "tags": tags}).to_string();
        prop_assert!(page::parse(&body.as_bytes()[..cut.index(body.len())], 100).is_err());
    }

    #[test]
    fn the_next_page_is_found_among_other_links(
        target in "[^<>\\pC]{1,40}", other in "[^<>\\pC]{1,20}", title in "[^\"\\\\\\pC]{0,20}", quoted in any::<bool>(),
    ) {
        let rel = if quoted { "\"last next\"" } else { "next" };
        let header = format!("<{other}>; rel=\"prev\"; title=\"{title}\", <{target}>; title=\"{title}\"; rel={rel}");
        prop_assert_eq!(link::next(&header), Some(&*target));
        let only_in_a_title = format!("<{other}>; title=\"{title}; rel=next\"");
        prop_assert_eq!(link::next(&only_in_a_title), None);
    }

    #[test]
    fn a_bearer_challenge_is_read_as_it_was_quoted(
        path in "[a-z0-9/?=&]{0,30}", service in "[ -~]{0,30}", basic_first in any::<bool>(),
    ) {
        let realm = format!("https://auth.example/{path}");
        let quoted = service.replace('\\', "\\\\").replace('"', "\\\"");
        let bearer = format!("Bearer realm=\"{realm}\",service=\"{quoted}\"");
        let header = if basic_first { format!("Basic realm=\"x, y\", {bearer}") } else { bearer };
        let mut headers = HeaderMap::new();
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_str(&header).unwrap());
        let expected = Challenge::Bearer { realm: realm.parse().unwrap(), service: Some(service) };
        prop_assert_eq!(challenge::parse(&headers, false), Ok(expected));
    }

    #[test]
    fn every_wait_is_between_a_second_and_a_quarter_of_an_hour(text in "\\PC{0,40}", seconds in any::<u64>(), off in -1_000_000i64..1_000_000) {
        let date = Time(NOW + off * 1000).to_chrono().unwrap().format("%a, %d %b %Y %H:%M:%S GMT").to_string();
        for (text, expected) in [
            (text, None::<u64>),
            (seconds.to_string(), Some(seconds.clamp(1, 900))),
            (date, Some(off.clamp(1, 900).unsigned_abs())),
        ] {
            let wait = retry_after(&text, Time(NOW)).map(|wait| wait.as_secs());
            prop_assert!(wait.is_none_or(|wait| (1..=900).contains(&wait)), "{}: {:?}", text, wait);
            prop_assert!(expected.is_none() || wait == expected, "{}: {:?}", text, wait);
        }
    }

    #[test]
    fn a_login_is_found_as_it_was_written(user in "[^:\\pC]{1,20}", password in "\\PC{0,30}", host in "[a-z]{1,10}\\.example") {
        let auth = STANDARD.encode(format!("{user}:{password}"));
        let file = json!({"auths": {"other.test": {"auth": "x"}, format!("https://{host}/v2/"): {"auth": auth}}}).to_string();
        let config = DockerConfig::parse(file.as_bytes()).unwrap();
        let found = config.login(&host, "team/web");
        let Ok(Some((_, Login::Password { user: named, password: secret }))) = &found else {
            return Err(TestCaseError::fail("no login"));
        };
        prop_assert_eq!((named, secret.reveal()), (&user, &*password));
        // What is told of it holds no secret.
        let told = format!("{found:?}");
        prop_assert!(password.len() < 12 || !told.contains(&password));
        prop_assert!(matches!(config.login("third.example", "team/web"), Ok(None)) || host == "third.example");
    }

    #[test]
    fn an_index_has_its_platforms_and_no_more_than_we_follow(count in 0usize..200) {
        let digests: Vec<Digest> = (0..count).map(|number| Digest::of(&number.to_le_bytes())).collect();
        let entries: Vec<_> = digests.iter().map(|digest| json!({"digest": digest})).collect();
        let body = json!({"schemaVersion": 2, "manifests": entries}).to_string();
        let Manifest::Index { children, .. } = manifest::parse(body.as_bytes()) else {
            return Err(TestCaseError::fail("no index"));
        };
        let found: Vec<Digest> = children.into_iter().map(|child| child.digest).collect();
        prop_assert_eq!(&found[..], &digests[..count.min(PLATFORMS_MAX)]);
    }

    #[test]
    fn lines_are_the_same_however_they_are_cut(
        lines in prop::collection::vec("[^\\n]{0,40}", 0..20), pieces in prop::collection::vec(1usize..50, 1..40),
    ) {
        let text = lines.iter().map(|line| format!("{line}\n")).collect::<String>();
        let (mut rest, mut found, mut read) = (text.as_bytes(), Vec::new(), Lines::default());
        for piece in pieces.into_iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (now, later) = rest.split_at(piece.min(rest.len()));
            rest = later;
            read.push(Bytes::copy_from_slice(now));
            while let Some(line) = read.next_line() {
                let Line::Whole(line) = line else { return Err(TestCaseError::fail("too long")) };
                found.push(String::from_utf8(line.to_vec()).unwrap());
            }
        }
        let expected: Vec<String> = lines.into_iter().filter(|line| !line.is_empty()).collect();
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn a_time_survives_being_written(millis in -62_135_596_800_000i64..253_402_300_800_000) {
        let time = Time(millis);
        prop_assert_eq!(Time::from_rfc3339(&time.to_string()), Some(time));
        prop_assert_eq!(serde_json::from_str::<Time>(&serde_json::to_string(&time).unwrap()).unwrap(), time);
    }

    #[test]
    fn a_duration_is_the_sum_of_its_parts(hours in 0u32..100, minutes in 0u32..60, seconds in 0u32..60) {
        let total = f64::from(hours * 3600 + minutes * 60 + seconds);
        prop_assert_eq!(go_duration_seconds(&format!("{hours}h{minutes}m{seconds}s")), Some(total));
        prop_assert_eq!(Seconds::parse(&format!("{seconds}s")).map(|read| read.0), Some(f64::from(seconds)));
    }

    #[test]
    fn an_import_gives_the_lines_before_the_broken_one(good in 0u64..20, broken in "[^\\n\\s]{1,30}") {
        let mut text = (0..good).map(|number| serde_json::to_string(&observation(number)).unwrap() + "\n\n").collect::<String>();
        text += &broken;
        let read: Vec<bool> = import_lines(text.as_bytes()).map(|line| line.is_ok()).collect();
        let mut expected = vec![true; usize::try_from(good).unwrap()];
        expected.push(false);
        prop_assert_eq!(read, expected);
    }
}
