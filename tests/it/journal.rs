//! The journal on a real disk: what is appended comes back, whatever happened to the process or the file.

mod compaction;
mod damage;
mod facts;
pub mod slow_disk;
mod store;
mod writer;
