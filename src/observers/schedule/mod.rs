//! When everything that is polled is looked at next, registries and git repositories by the same rules, and how
//! fast a host is asked.
//!
//! [`Plan`] decides who is next, from the time and from how earlier looks ended; `wait` says how long after which
//! end. [`Rate`] decides how many requests a second a host gets and [`Pulls`] how many manifests are read of one that
//! counts, from what it says ([`Quota`]) and from its refusals. All of them are pure and know no clock, so that
//! tests run hours in milliseconds. [`Looks`] does what the plan says and [`Gate`] holds requests back: each is one
//! host's, so that a host that stalls holds up nobody else. [`LookNow`] is the way in for whoever heard that
//! something changed. The next kind of thing that is polled gets a memory and an [`Interest`] of its own, and no
//! timing of its own; the next way to tell a limit goes into `quota.rs`.

mod gate;
mod look_now;
mod looks;
mod plan;
mod pulls;
mod quota;
mod rate;
pub mod retry_after;
mod tag_looks;
mod wait;

pub use gate::{Gate, PATIENCE, Told, hurrying};
pub use look_now::{Asked, Desk, LookNow, Wanted};
pub use looks::{Begun, Crashed, Ended, Looks, State};
pub use plan::{Due, Interest, Outcome, Plan, SweepCost, Wish};
pub use pulls::Pulls;
pub use quota::Quota;
pub use rate::{RATE_MIN, Rate};
pub use wait::{
    COOL_DOWN, HOT_FOR, Pace, TOLD_AGAIN, TOLD_AGAIN_MAX, WHOLE_AFTER, jittered, not_even_asked, together,
    told_again, wait_after_failure, wait_after_first, wait_after_success, wait_while_hot,
};
