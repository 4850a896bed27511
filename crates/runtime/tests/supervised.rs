//! Supervised engines over real threads: whatever the engines do, each prediction ends once, with the right answer or a
//! typed error, and in time.
#![expect(clippy::unwrap_used, reason = "a test may fail where it stands")]

#[path = "supervised/answers.rs"]
mod answers;
#[path = "supervised/breakers.rs"]
mod breakers;
#[path = "supervised/chain.rs"]
mod chain;
#[path = "supervised/hangs.rs"]
mod hangs;
#[path = "supervised/parity.rs"]
mod parity;
#[path = "supervised/start.rs"]
mod start;
#[path = "supervised/stress.rs"]
mod stress;
