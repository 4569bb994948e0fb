//! Names and times, as they stand in everything else.

use knotmeter::image::{Digest, ImageRef, Repository, Tag};
use knotmeter::observation::{EngineRevision, Schedule, Time};
use knotmeter::observers::cluster::{go_duration_seconds, running_digest};
use knotmeter::observers::registry::known::looks_mutable;
use knotmeter::tracker::next_run;

use super::{Parser, told};

const DIGEST: &str = "sha256:fea8895f450959fa676bcc1df0611ea93823a735a01205fd8622846041d0c7cf";
/// A name in an object or a page; its carrier is far longer.
const LARGEST: usize = 256 << 10;

pub fn all() -> Vec<Parser> {
    let pinned = format!("ghcr.io/team/web:1.4.0@{DIGEST}");
    let images = [
        "nginx",
        "r.example:5000/team/web:1.4.0",
        "docker.io/library/nginx:latest",
        "[::1]:5000/a/b:c",
        &pinned,
    ];
    let times = [
        "2026-11-21T10:00:05Z",
        "2026-11-20T23:50:40.200123456Z",
        "2026-11-21T20:00:04+10:00",
        "1996-12-19T16:39:57-08:00",
    ];
    vec![
        Parser::of_text("reference", LARGEST, images, |text| {
            if let Ok(image) = text.parse::<ImageRef>() {
                assert_eq!(image.to_string().parse::<ImageRef>().as_ref(), Ok(&image), "{text:?}");
            }
        }),
        Parser::of_text("repository", LARGEST, images, |text| told(text.parse::<Repository>())),
        Parser::of_text("tag", LARGEST, ["1.4.0", "latest", "main-20261121-abc_def"], |text| {
            told(text.parse::<Tag>());
            let _ = looks_mutable(text);
        }),
        Parser::of_text("digest", LARGEST, [DIGEST], |text| told(text.parse::<Digest>())),
        Parser::of_text(
            "running_digest",
            LARGEST,
            [&*pinned, DIGEST, "docker-pullable://nginx@sha256:ab", &DIGEST[7..]],
            |text| drop(running_digest(text)),
        ),
        Parser::of_text("time", LARGEST, times, |text| {
            if let Some(time) = Time::from_rfc3339(text) {
                // What is kept of it is read again from the journal.
                let _ = time.to_string();
                let _ = (time + i64::MAX, time.seconds_since(Time::MIN));
            }
        }),
        Parser::of_text("go_duration", LARGEST, ["1.234s", "1h2m3.5s", "100ms", "1µs"], |text| {
            if let Some(seconds) = go_duration_seconds(text) {
                assert!(!seconds.is_nan(), "{text:?}");
            }
        }),
        Parser::of_text(
            "revision",
            LARGEST,
            [
                "main@sha1:6113728f27ae82c7b1a177c8d03f9e96e0adf246",
                "odd@branch/6113728f27ae82c7b1a177c8d03f9e96e0adf246",
                DIGEST,
                "refs/pull/7/head@sha256:ab",
                "5.2.1",
            ],
            |text| {
                let EngineRevision { pointer, hash } = EngineRevision::parse(text);
                assert!([pointer, hash].into_iter().flatten().all(|part| text.contains(part)), "{text:?}");
                assert!(
                    hash.is_none_or(|hash| hash.bytes().all(|byte| byte.is_ascii_alphanumeric())),
                    "{text:?}"
                );
            },
        ),
        Parser::of_text(
            "cron",
            LARGEST,
            ["*/5 * * * *", "0 3 1-7 * MON#1", "@daily", "59 23 L 2 *", "0 0 31 2 *", "0 0 29 2 FRI"],
            |text| {
                let now = Time(1_795_255_205_000);
                let schedule = Schedule { cron: text.into(), time_zone: None, suspended: false };
                assert!(next_run(&schedule, now).is_none_or(|next| next > now), "{text:?}");
            },
        ),
    ]
}
