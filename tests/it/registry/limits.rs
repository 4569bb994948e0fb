//! Limits of requests that a registry tells, and waits that it asks for, over HTTP.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use knotmeter::observation::{Interests, LookFailure, Measure};
use knotmeter::observers::registry::Limits;

use super::fake::{Fake, ok, page, with};
use super::{Watching, interest, registry};

/// Requests that a fake grants in a second.
const PER_SECOND: f64 = 40.0;

#[tokio::test]
async fn a_told_limit_is_kept_and_nobody_needs_to_refuse() {
    let bucket = Mutex::new((PER_SECOND, Instant::now()));
    let refused = Arc::new(AtomicUsize::new(0));
    let counted = refused.clone();
    let fake = Fake::start(move |_, _| {
        let mut bucket = bucket.lock().unwrap();
        let filled = bucket.0 + bucket.1.elapsed().as_secs_f64() * PER_SECOND;
        *bucket = (filled.min(PER_SECOND), Instant::now());
        if bucket.0 < 1.0 {
            counted.fetch_add(1, Ordering::SeqCst);
            return with(429, &[("retry-after", "1")], "");
        }
        bucket.0 -= 1.0;
        let (policy, left) =
            (format!("\"fake\";q={PER_SECOND};w=1"), format!("\"fake\";r={}", bucket.0 as u32));
        with(200, &[("ratelimit-policy", &policy), ("ratelimit", &left)], page(["a"]))
    })
    .await;
    // They want two and a half times as much.
    let names: Vec<String> = (0..20).map(|n| format!("shop/{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let registries = vec![registry(&fake.host, &names)];
    let mut watching = Watching::start(registries, Interests::default(), Limits::default());
    for _ in 0..160 {
        watching.look_completed().await;
    }
    assert_eq!(refused.load(Ordering::SeqCst), 0);
    let told = |measure: &&Measure| matches!(measure, Measure::Looks { .. } | Measure::RegistryPace { .. });
    assert!(watching.measures.iter().filter(told).count() >= 2, "how they keep up is said");
}

#[tokio::test]
async fn a_wait_may_be_a_date_and_the_limit_of_a_manifest_is_none_of_lists() {
    let started = Instant::now();
    let fake = Fake::start(move |at, asked| {
        if asked.target.contains("/manifests/") {
            // One list in ten seconds, if it were about lists.
            return with(404, &[("ratelimit-limit", "1;w=86400"), ("ratelimit-remaining", "0;w=86400")], "");
        }
        match at {
            0 => {
                let until = chrono::Utc::now() + Duration::from_secs(2);
                with(429, &[("retry-after", &until.format("%a, %d %b %Y %H:%M:%S GMT").to_string())], "")
            }
            _ => ok(page(["1.0.0"])),
        }
    })
    .await;
    let interests = interest(&format!("{}/shop/web", fake.host), true, &["1.0.0"], &[]);
    let mut watching = Watching::start(vec![registry(&fake.host, &[])], interests, Limits::default());
    for _ in 0..5 {
        watching.look_completed().await;
    }
    // A date has whole seconds, cut off.
    assert!(started.elapsed() >= Duration::from_secs(1));
    assert!(fake.count("/manifests/") >= 1);
    let failed = watching.facts.iter().any(|seen| {
        matches!(&seen.fact, knotmeter::observation::Fact::LookFailed { failure: LookFailure::Throttled, .. })
    });
    assert!(!failed, "a short wait is sat out");
}
