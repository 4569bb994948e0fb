//! A restart from a checkpoint changes nothing, and bytes that are no checkpoint do no harm.

use std::sync::OnceLock;

use knotmeter::tracker::{RestoreError, Tracker};
use proptest::prelude::{ProptestConfig, any, prop, prop_assert, proptest};

use super::drive::SCENARIOS;
use super::replay::{Recording, play, play_until};

/// Mark, version and checksum, four bytes each.
const HEAD: usize = 12;

#[test]
fn a_recording_with_restarts_gives_the_same_journeys_and_events() {
    for scenario in SCENARIOS {
        let plain = play(scenario);
        // Prime, so that restarts fall between any two kinds of line.
        let restored = Recording::read(scenario).play_restored(17);
        assert_eq!(plain.lines(), restored.lines(), "{scenario}");
        assert_eq!(plain.events, restored.events, "{scenario}");
        assert!(plain.tracker.checkpoint() == restored.tracker.checkpoint(), "{scenario}: another state");
    }
}

/// A state with pods, revisions, a hold and an open journey.
fn written() -> &'static [u8] {
    static BYTES: OnceLock<Vec<u8>> = OnceLock::new();
    BYTES.get_or_init(|| play_until("06-statefulset-daemonset", "23:58:00").tracker.checkpoint())
}

/// The same with a right checksum, as no accident but an attacker makes it.
fn sealed(mut bytes: Vec<u8>) -> Vec<u8> {
    let sum = crc32fast::hash(&bytes[HEAD..]);
    bytes[HEAD - 4..HEAD].copy_from_slice(&sum.to_le_bytes());
    bytes
}

#[test]
fn what_cannot_be_used_says_why() {
    let error = |bytes: &[u8]| Tracker::restore(bytes).expect_err("not usable");
    assert_eq!(error(b""), RestoreError::Foreign { length: 0 });
    assert_eq!(error(b"{\"schema\":1,\"source\":"), RestoreError::Foreign { length: 21 });
    let mut newer = written().to_vec();
    newer[4] += 1;
    assert!(matches!(error(&newer), RestoreError::Version { found, known } if found == known + 1));
    let mut flipped = written().to_vec();
    flipped[HEAD + 100] ^= 1;
    assert!(matches!(error(&flipped), RestoreError::Damaged { .. }));
    let longer = sealed([written(), &[0]].concat());
    assert_eq!(error(&longer), RestoreError::Damaged { why: "it goes on after its end".into() });
    assert!(error(&longer).to_string().ends_with("replay the observations instead"));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn a_checkpoint_cut_short_is_refused(at in any::<prop::sample::Index>()) {
        let cut = &written()[..at.index(written().len())];
        prop_assert!(Tracker::restore(cut).is_err());
        if cut.len() >= HEAD {
            prop_assert!(Tracker::restore(&sealed(cut.to_vec())).is_err());
        }
    }

    #[test]
    fn bytes_changed_on_purpose_do_not_panic(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let mut bytes = written().to_vec();
        for (at, byte) in changes {
            bytes[HEAD + at.index(written().len() - HEAD)] = byte;
        }
        if let Ok(tracker) = Tracker::restore(&sealed(bytes)) {
            prop_assert!(Tracker::restore(&tracker.checkpoint()).is_ok());
        }
    }

    #[test]
    fn noise_behind_a_right_head_is_refused(noise in prop::collection::vec(any::<u8>(), 0..2000)) {
        let bytes = [&written()[..HEAD], &noise].concat();
        // Only bytes that are nearly all zero are a state: an empty one.
        prop_assert!(noise.iter().all(|byte| *byte < 2) || Tracker::restore(&sealed(bytes)).is_err());
    }
}
