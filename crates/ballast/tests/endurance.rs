//! The library over many requests: what is cancelled frees what it held, what is too much is refused, what is known is
//! not computed again, and a soak of seconds accounts for all.
#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a test may fail where it stands")]

#[path = "endurance/cancels.rs"]
mod cancels;
#[path = "endurance/overload.rs"]
mod overload;
#[path = "endurance/prefixes.rs"]
mod prefixes;
#[path = "endurance/seconds.rs"]
mod seconds;
#[path = "endurance/support.rs"]
mod support;
