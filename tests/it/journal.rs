//! The journal on a real disk: what is appended comes back, whatever happened to the process or the file.

mod compaction;
mod damage;
pub mod facts;
pub mod slow_disk;
mod store;
mod writer;
