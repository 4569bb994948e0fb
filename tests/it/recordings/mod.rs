//! Recorded watch streams of a real cluster, replayed into the tracker: every recording must give its truth.

mod replay;
