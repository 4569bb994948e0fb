//! One test crate. A module per part of the program; what several need is a module of its own.

mod exports;
mod fleet;
mod http;
