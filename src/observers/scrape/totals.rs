//! What happened between two scrapes: the difference of totals that begin anew with each process.

use std::collections::BTreeMap;

use super::text::{ObjectName, Total};

/// The last totals of one endpoint.
#[derive(Debug, Default)]
pub struct Totals(Option<BTreeMap<ObjectName, Total>>);

/// An object that was reconciled since the last scrape.
#[derive(Debug, Clone, PartialEq)]
pub struct Reconciled {
    pub object: ObjectName,
    /// How long that took, together.
    pub seconds: f64,
    /// How often; never 0.
    pub count: f64,
}

impl Totals {
    /// What happened since the last scrape. Nothing after the first: how long ago that was nobody knows. A total that
    /// fell is that of a new process, and all of it happened since.
    pub fn compare(&mut self, now: BTreeMap<ObjectName, Total>) -> Vec<Reconciled> {
        let Some(last) = self.0.replace(now) else { return Vec::new() };
        let now = self.0.iter().flatten();
        now.filter_map(|(object, now)| {
            let before = last.get(object).copied().unwrap_or_default();
            let began_anew = now.count < before.count || now.seconds < before.seconds;
            let before = if began_anew { Total::default() } else { before };
            let (seconds, count) = (now.seconds - before.seconds, now.count - before.count);
            (count > 0.0).then(|| Reconciled { object: object.clone(), seconds, count })
        })
        .collect()
    }
}
