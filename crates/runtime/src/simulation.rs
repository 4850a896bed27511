//! A request's life, simulated: the whole runtime from `Runtime::submit` to the last event of its stream, without a
//! thread and in virtual time. Only the engines are played, and the threads' loops are turned by hand.
//!
//! A seed decides everything: options, engines and their faults, requests, readers, and when it is drained. A seed that
//! fails says how to live it again:
//!
//! ```text
//! BALLAST_SEED=7 cargo test -p ballast-runtime --lib simulation::tests::replays_a_seed -- --nocapture
//! ```
//!
//! `BALLAST_REQUESTS` sets how many requests the long tests make, all together. `house.rs` simulates the house of models and the pools of
//! instances in the same way.

mod calls;
mod checks;
mod dice;
mod engine;
mod house;
mod lived;
mod reader;
mod requests;
mod scenario;
mod station;
mod story;
mod tally;
mod tests;
mod trace;
mod woken;
mod world;
