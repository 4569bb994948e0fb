//! Keeps a bundle as a recording, with what truly happened beside it:
//!
//!     KNOTMETER_KEEP_BUNDLE=tests/recorded/bundles/NAME cargo test --test it a_bundle_gives

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use knotmeter::demo::{Happened, World};
use knotmeter::observation::Time;
use serde_json::{Value, json};

/// If somebody asks for it. What was pushed is live in both environments by now.
pub fn bundle(lines: &Path, world: &World, repository: &str, tag: &str) {
    let Ok(prefix) = std::env::var("KNOTMETER_KEEP_BUNDLE") else { return };
    let file = std::fs::File::create(format!("{prefix}.jsonl.gz")).expect("a file");
    let mut packed = GzEncoder::new(file, Compression::best());
    packed.write_all(&std::fs::read(lines).expect("the bundle")).expect("write");
    packed.finish().expect("write");
    let truth = serde_json::to_string_pretty(&truth(world, repository, tag)).expect("JSON");
    std::fs::write(format!("{prefix}.truth.json"), truth + "\n").expect("write");
}

fn truth(world: &World, repository: &str, tag: &str) -> Value {
    let entries = world.truth();
    let short = format!("{repository}:{tag}");
    let is = |image: &str| image.ends_with(&format!("/{short}"));
    let first = |fits: &dyn Fn(&Happened) -> bool| {
        let entry = entries.iter().find(|entry| fits(&entry.what));
        entry.map(|entry| Time::from(entry.at)).expect("it happened")
    };
    let pushed = first(&|what| {
        matches!(what, Happened::Pushed { repository: of, tag: by, .. }
            if of.as_str().ends_with(&format!("/{repository}")) && by.to_string() == tag)
    });
    let journeys = ["staging", "prod"].map(|environment| {
        let applied = first(&|what| {
            matches!(what, Happened::Applied { namespace, image, .. } if namespace == environment && is(image))
        });
        let ready = first(&|what| {
            matches!(what, Happened::PodReady { namespace, image, .. } if namespace == environment && is(image))
        });
        let live = first(&|what| {
            matches!(what, Happened::Live { namespace, image, .. } if namespace == environment && is(image))
        });
        json!({
            "environment": environment,
            "image": short,
            // It was pushed, and the updater took it from there.
            "trigger": "push",
            "outcome": "live",
            "stages": {"pushed": pushed, "applied": applied, "ready": ready, "live": live},
        })
    });
    let commits: BTreeMap<&str, Time> = entries
        .iter()
        .filter_map(|entry| match &entry.what {
            Happened::Committed { commit } => Some((commit.as_str(), Time::from(entry.at))),
            _ => None,
        })
        .collect();
    json!({"journeys": journeys, "commits": commits})
}
