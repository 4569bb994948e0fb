//! A sender's time narrows what our looks allow, and nothing more.

use knotmeter::config::HookKind;
use knotmeter::image::Digest;
use knotmeter::observation::{Interval, Time};
use knotmeter::observers::hooks::{STAMPED_WITHIN_MILLIS, Stamps, Trigger};

use super::{RECEIVED, deliver};

const SECOND: i64 = 1000;

fn hint(body: &str) -> Trigger {
    deliver(HookKind::Hint, &[], body).unwrap().remove(0)
}

fn commit(digit: &str) -> String {
    digit.repeat(40)
}

fn pushed(at: &str, to: &str) -> Trigger {
    hint(&format!(
        r#"{{"git": "https://git.example/fleet.git", "branch": "main", "commit": "{}", "time": "{at}"}}"#,
        commit(to)
    ))
}

fn seen(from: i64, to: i64) -> Interval {
    Interval::new(Time(RECEIVED + from), Time(RECEIVED + to))
}

#[test]
fn a_stamp_narrows_a_poll() {
    let poll = seen(-20 * SECOND, SECOND / 10);
    let trigger = pushed("2026-11-21T10:00:04.980Z", "a");
    let narrow = trigger.happened(poll).unwrap();
    assert_eq!(narrow, Interval::new(Time(RECEIVED - 20 - STAMPED_WITHIN_MILLIS), Time(RECEIVED)));
    // Whole seconds are cut off, so it was in that second or, by a clock that is behind, after it.
    let whole = pushed("2026-11-21T10:00:04Z", "a").happened(poll).unwrap();
    assert_eq!(
        (whole.not_before.0, whole.not_after.0),
        (RECEIVED - SECOND - STAMPED_WITHIN_MILLIS, RECEIVED)
    );
}

#[test]
fn a_stamp_that_contradicts_says_nothing() {
    let poll = seen(-20 * SECOND, SECOND / 10);
    for (wrong, why) in [
        ("2026-11-21T10:00:05.100Z", "after it was here"),
        ("2026-11-21T09:59:00Z", "before a look that did not see it"),
        ("2036-11-21T10:00:04Z", "ten years ahead"),
    ] {
        assert_eq!(pushed(wrong, "a").happened(poll), None, "{why}");
    }
    // An unknown beginning becomes known: that is what narrowing is.
    let first = Interval::until(Time(RECEIVED));
    assert!(pushed("2026-11-21T10:00:04.5Z", "a").happened(first).is_some());
}

#[test]
fn a_stamp_belongs_to_one_commit_of_one_branch() {
    let stamps = Stamps::default();
    stamps.note(&pushed("2026-11-21T10:00:04.5Z", "a"));
    let poll = seen(-20 * SECOND, SECOND);
    let of =
        |url: &str, branch: &str, digit: &str| stamps.of_push(url, branch, None, &commit(digit), true, poll);
    assert!(of("http://127.0.0.1:8080/fleet.git", "main", "a").is_some());
    assert!(of("http://127.0.0.1:8080/git/fleet", "main", "a").is_some());
    assert_eq!(of("http://127.0.0.1:8080/other.git", "main", "a"), None);
    assert_eq!(of("http://127.0.0.1:8080/notfleet.git", "main", "a"), None);
    assert_eq!(of("http://127.0.0.1:8080/fleet.git", "staging", "a"), None);
    assert_eq!(of("http://127.0.0.1:8080/fleet.git", "main", "b"), None);
}

#[test]
fn a_stamp_of_the_last_push_is_not_that_of_the_one_before() {
    let stamps = Stamps::default();
    let hint = |before: &str| {
        hint(&format!(
            r#"{{"git": "https://git.example/fleet.git", "branch": "main", "before": "{}", "commit": "{}",
            "time": "2026-11-21T10:00:04.5Z"}}"#,
            commit(before),
            commit("c")
        ))
    };
    stamps.note(&hint("b"));
    let poll = seen(-20 * SECOND, SECOND);
    let of = |before: Option<&str>, alone: bool| {
        let before = before.map(commit);
        stamps.of_push("https://git.example/fleet", "main", before.as_deref(), &commit("c"), alone, poll)
    };
    assert!(of(Some("b"), false).is_some());
    // What came from `a` to `b` was pushed earlier, and nobody said when.
    assert_eq!(of(Some("a"), false), None);
    assert_eq!(of(Some("a"), true), None);
    assert_eq!(of(None, false), None);
    assert!(of(None, true).is_some());
}

#[test]
fn a_stamp_belongs_to_one_digest_of_one_tag() {
    let stamps = Stamps::default();
    let (first, second) = (Digest::of(b"first"), Digest::of(b"second"));
    let image = |digest: &Digest, at: &str| {
        format!(r#"{{"image": "r.example/team/web:1.0.0@{digest}", "time": "2026-11-21T10:00:{at}Z"}}"#)
    };
    stamps.note(&hint(&image(&first, "01.5")));
    stamps.note(&hint(&image(&second, "04.5")));
    let poll = seen(-20 * SECOND, SECOND);
    let of = |tag: &str, digest: &Digest| {
        stamps.of_tag(&"r.example/team/web".parse().unwrap(), &tag.parse().unwrap(), digest, poll)
    };
    let since = |digest| of("1.0.0", digest).unwrap().not_before.0 + STAMPED_WITHIN_MILLIS;
    assert_eq!((since(&first), since(&second)), (RECEIVED - 3500, RECEIVED - 500));
    assert_eq!(of("1.0.0", &Digest::of(b"third")), None);
    assert_eq!(of("1.0.1", &first), None);
}

#[test]
fn stamps_are_bounded() {
    let stamps = Stamps::default();
    let trigger = |at: usize| {
        hint(&format!(r#"{{"image": "r.example/team/web:{at}", "time": "2026-11-21T10:00:04.5Z"}}"#))
    };
    let known = |at: usize| {
        let (repository, tag) = ("r.example/team/web".parse().unwrap(), at.to_string().parse().unwrap());
        stamps.of_tag(&repository, &tag, &Digest::of(b"any"), seen(-20 * SECOND, SECOND)).is_some()
    };
    (0..5000).for_each(|at| stamps.note(&trigger(at)));
    assert!(!known(0) && !known(800) && known(4999));
    // Many of one tag do not drive out the others before their time.
    (0..100).for_each(|_| stamps.note(&trigger(4999)));
    assert!(known(4998) && known(4999));
}
