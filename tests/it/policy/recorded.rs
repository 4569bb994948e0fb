//! What the real Flux selected while it was recorded, against what we select of the tags that were there.

use std::collections::BTreeMap;

use knotmeter::image::Tag;
use knotmeter::observation::{EngineKind, Fact, Observation, Role, Time};
use knotmeter::policy::Selector;
use serde_json::Value;

use crate::recordings::{drive, engine_objects};

const SCENARIOS: [&str; 7] = [
    "01-deliveries",
    "02-held",
    "03-outages",
    "04-broken",
    "05-revisions",
    "06-helm-and-oci",
    "07-config-forgotten",
];
/// A selection is written some time after the scan that it is made of, and its status after that.
const LATE_MILLIS: i64 = 1_000;

/// Every push of a scenario: repository, tag, when.
fn pushes(folder: &str) -> Vec<(String, Tag, Time)> {
    let images: Value = serde_json::from_str(&drive::text(folder, "images.json")).expect("JSON");
    let images = images["images"].as_array().expect("a list").clone();
    let read = |image: &Value| {
        let text = |key: &str| image[key].as_str().expect("text").to_owned();
        let repository = crate::recordings::repository(image).to_string();
        (repository, text("tag").parse().expect("a tag"), drive::time(&image["pushed_at"]))
    };
    images.iter().map(read).collect()
}

#[test]
fn every_recorded_selection_is_ours() {
    let mut agreed: BTreeMap<&str, usize> = BTreeMap::new();
    let mut wrong = Vec::new();
    for scenario in SCENARIOS {
        let folder = format!("flux-2.9.0/{scenario}");
        let pushes = pushes(&folder);
        // Of each ImageRepository: its image, and when its last scan ended.
        let mut scans: BTreeMap<(String, String), (String, Option<Time>)> = BTreeMap::new();
        let mut selected: BTreeMap<String, String> = BTreeMap::new();
        for Observation { observed_at, fact, .. } in engine_objects(&folder) {
            let Fact::EngineIs(object) = fact else { continue };
            let key = (object.key.namespace.to_string(), object.key.name.to_string());
            match &object.role {
                Role::Scan(role) if object.key.kind == EngineKind::ImageRepository => {
                    let image = role.image.as_ref().expect("an image").to_string();
                    scans.insert(key, (image, role.last.as_ref().map(|last| last.at)));
                }
                Role::Policy(role) => {
                    let Some(chosen) = &role.selected else { continue };
                    let before = selected.insert(key.1.clone(), chosen.to_string());
                    if before.as_ref() == Some(&chosen.to_string()) {
                        continue;
                    }
                    let repository = (role.repository.0.to_string(), role.repository.1.to_string());
                    let Some((image, last)) = scans.get(&repository) else { continue };
                    let policy = role.policy.as_ref().expect("a form that is known");
                    let selector = Selector::new(role.filter.as_ref(), policy).expect("a policy");
                    let there = |until: Time| {
                        let of_it = pushes.iter().filter(|(of, _, at)| of == image && *at <= until);
                        of_it.map(|(_, tag, _)| tag).collect::<Vec<_>>()
                    };
                    // A scan under way may have listed a tag or not: one of its two ends tells.
                    let ends = [
                        last.unwrap_or(observed_at),
                        last.map_or(observed_at, |at| at + LATE_MILLIS),
                        observed_at,
                    ];
                    let ours: Vec<_> = ends.iter().map(|until| selector.select(there(*until))).collect();
                    if ours.contains(&chosen.tag.as_ref()) {
                        *agreed.entry(scenario).or_default() += 1;
                    } else {
                        wrong.push(format!(
                            "{scenario} {observed_at} {}: {chosen}, ours {ours:?}",
                            object.key
                        ));
                    }
                }
                _ => {}
            }
        }
    }
    assert!(wrong.is_empty(), "{agreed:?}\n{}", wrong.join("\n"));
    // So many were recorded.
    assert_eq!(agreed.values().sum::<usize>(), 100, "{agreed:?}");
}
