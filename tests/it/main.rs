//! One test crate; each module says what belongs there.

mod demo;
