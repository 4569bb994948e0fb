//! When everything that is polled is looked at next: registries and git repositories, by the same rules.
//!
//! [`Plan`] decides who is next, from the time and from how earlier looks ended; `wait` says how long after which
//! end. Both are pure and know no clock, so that tests run hours in milliseconds. [`Looks`] does what the plan
//! says: it starts the looks of one host, so that a host that stalls holds up nobody else. [`LookNow`] is the way
//! in for whoever heard that something changed. The next kind of thing that is polled gets a memory and an
//! [`Interest`] of its own and no timing of its own.

mod look_now;
mod looks;
mod plan;
mod wait;

pub use look_now::{Asked, Desk, LookNow};
pub use looks::{Begun, Crashed, Ended, Looks};
pub use plan::{Due, Interest, Outcome, Plan};
pub use wait::{
    COOL_DOWN, HOT_FOR, Pace, jittered, not_even_asked, together, wait_after_failure, wait_after_first,
    wait_after_success, wait_while_hot,
};
