//! Several models in one process: shared, bounded, replaced and routed, with real files and real engines.
#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "in tests an unwrap is an assertion")]

#[path = "models/contract.rs"]
mod contract;
#[path = "models/crowd.rs"]
mod crowd;
#[path = "models/life.rs"]
mod life;
#[path = "models/routing.rs"]
mod routing;
#[path = "models/support.rs"]
mod support;
#[path = "models/swapping.rs"]
mod swapping;
#[path = "models/users.rs"]
mod users;
