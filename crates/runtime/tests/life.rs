//! The life of a request, with an engine that follows a script: how it ends, whatever happens.
#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "in tests an unwrap is an assertion")]

#[path = "life/constrained.rs"]
mod constrained;
#[path = "life/ends.rs"]
mod ends;
#[path = "life/faults.rs"]
mod faults;
#[path = "life/house.rs"]
mod house;
#[path = "life/lasts.rs"]
mod lasts;
#[path = "life/phases.rs"]
mod phases;
#[path = "life/sharing.rs"]
mod sharing;
#[path = "life/thinking.rs"]
mod thinking;
