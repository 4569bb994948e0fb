//! The git observer against real git: what it reports of pushes, merges, force-pushes and broken servers.

mod extract;
mod follower;
mod origin;
