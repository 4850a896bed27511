//! The compile cache as those see it who use it, damage it, or are killed in the middle of it.
#![expect(clippy::unwrap_used, reason = "a test may fail where it stands")]

#[path = "cache/damage.rs"]
mod damage;
#[path = "cache/eviction.rs"]
mod eviction;
#[path = "cache/house.rs"]
mod house;
#[path = "cache/life.rs"]
mod life;
#[path = "cache/processes.rs"]
mod processes;
#[path = "cache/trees.rs"]
mod trees;
