//! Lines that `journal import` and `replay` take from a file.

use knotmeter::journal::import_lines;
use knotmeter::observation::{Basis, Fact, Interval, Observation, SCHEMA, SourceId, SourceKind, Time};
use knotmeter::observers::cluster::{Place, Replay, Said};

use super::{Parser, cluster, told};

const AT: Time = Time(1_795_255_205_000);
const EXAMPLES_MAX: usize = 60;

/// What the recorded cluster said, as an export writes it.
fn lines() -> Vec<String> {
    let mut replay = Replay::new(Place { uid: "11111111-lab".into(), name: "lab".into() });
    let mut facts = vec![Fact::ClusterNamed { name: "lab".into() }];
    for (resource, events) in cluster::recorded() {
        for event in events.iter().take(8) {
            let said = replay.event(AT, &resource, event.as_bytes()).unwrap();
            facts.extend(said.into_iter().filter_map(|said| match said {
                Said::Fact { fact, .. } => Some(fact),
                Said::Measure(_) => None,
            }));
        }
    }
    let observation = |(seq, fact): (usize, Fact)| Observation {
        schema: SCHEMA,
        source: SourceId::new(SourceKind::Cluster, "lab"),
        source_epoch: 1,
        seq: seq as u64,
        cluster: Some("11111111-lab".into()),
        observed_at: AT,
        happened: Interval::new(AT - 1000, AT),
        basis: Basis::Watch,
        fact,
    };
    let step = facts.len().div_ceil(EXAMPLES_MAX).max(1);
    let some = facts.into_iter().enumerate().step_by(step).map(observation);
    some.map(|observation| serde_json::to_string(&observation).unwrap() + "\n").collect()
}

pub fn all() -> Vec<Parser> {
    let lines = lines();
    vec![
        Parser::new("import", 1 << 20, lines.clone(), |text| {
            let mut count = 0;
            for line in import_lines(text) {
                count += 1;
                told(line);
            }
            assert!(count <= text.iter().filter(|byte| **byte == b'\n').count() + 1);
        }),
        Parser::new("observation", 256 << 10, lines, |text| {
            if let Ok(observation) = serde_json::from_slice::<Observation>(text) {
                let again = serde_json::to_string(&observation).unwrap();
                assert_eq!(serde_json::from_str::<Observation>(&again).ok(), Some(observation));
            }
        }),
    ]
}
