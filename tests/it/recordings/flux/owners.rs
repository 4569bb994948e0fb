//! To whom what Flux delivers belongs, by the labels of namespaces that it applied itself.

use std::collections::BTreeMap;

use serde_json::Value;

use super::super::drive::text;
use super::play::play;

#[test]
fn team_and_tier_are_those_that_the_manifest_of_the_namespace_says() {
    let scenario = "07-config-forgotten";
    let commits = text(&format!("flux-2.9.0/{scenario}"), "commits.jsonl.gz");
    let first: Value = serde_json::from_str(commits.lines().next().expect("the tree")).expect("JSON");
    let manifest = first["tree"]["infra/namespaces.yaml"].as_str().expect("a manifest");
    let namespaces: Vec<Value> = serde_saphyr::from_multiple(manifest).expect("YAML");
    let labels: BTreeMap<&str, &Value> = namespaces
        .iter()
        .map(|namespace| {
            let metadata = &namespace["metadata"];
            (metadata["name"].as_str().expect("a name"), &metadata["labels"])
        })
        .collect();
    let fleet = play(scenario);
    let destinations = fleet.played.tracker.destinations(fleet.played.until);
    let mut checked = 0;
    for status in &destinations {
        let Some(labels) = labels.get(&*status.destination.workload.namespace) else { continue };
        assert_eq!(status.owner.team.as_deref(), labels["team"].as_str(), "{}", status.destination);
        assert_eq!(status.owner.tier.as_deref(), labels["tier"].as_str(), "{}", status.destination);
        checked += 1;
    }
    assert!(checked >= 4, "{checked} of {}", destinations.len());
}
