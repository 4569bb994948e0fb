//! Expositions of controllers.

use knotmeter::observers::scrape::{OBJECTS_MAX, Reader, Totals};

use super::Parser;

const PLAIN: &str = r#"# HELP gotk_reconcile_duration_seconds The duration in seconds of a GitOps Toolkit resource reconciliation.
# TYPE gotk_reconcile_duration_seconds histogram
gotk_reconcile_duration_seconds_bucket{kind="ImageRepository",name="web",namespace="flux-system",le="0.01"} 0
gotk_reconcile_duration_seconds_bucket{kind="ImageRepository",name="web",namespace="flux-system",le="+Inf"} 174
gotk_reconcile_duration_seconds_sum{kind="ImageRepository",name="web",namespace="flux-system"} 11.115446914999996
gotk_reconcile_duration_seconds_count{kind="ImageRepository",name="web",namespace="flux-system"} 174
"#;
const OPEN: &str = r#"gotk_reconcile_duration_seconds_sum{kind="ImageRepository",namespace="a",name="b\\\"\n"} 1e3 1700000000.5
gotk_reconcile_duration_seconds_count{kind="ImageRepository",namespace="a",name="b\\\"\n"} 17 # {trace_id="4bf9"} 0.2 1.5
# EOF
"#;

pub fn all() -> Vec<Parser> {
    vec![Parser::new("exposition", 4 << 20, [PLAIN, OPEN], |bytes| {
        let mut whole = Reader::default();
        let goes_on = whole.push(bytes);
        let (found, left_out) = whole.end();
        assert!(found.len() <= OBJECTS_MAX);
        for (object, total) in &found {
            assert!(object.name.len() <= 253 && object.namespace.len() <= 253);
            assert!(total.seconds.is_finite() && total.count.is_finite());
            assert!(total.seconds >= 0.0 && total.count >= 0.0);
        }
        // It does not matter where the network cuts it.
        let mut cut = Reader::default();
        let together = bytes.chunks(bytes.len() / 3 + 1).all(|piece| cut.push(piece));
        assert_eq!(goes_on, together);
        if goes_on {
            let (again, _) = cut.end();
            assert_eq!(found, again);
        }
        let mut totals = Totals::default();
        assert!(totals.compare(found.clone()).is_empty());
        assert!(totals.compare(found).is_empty());
        assert!(left_out <= bytes.len());
    })]
}
