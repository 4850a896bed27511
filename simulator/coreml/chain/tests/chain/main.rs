//! Core ML, simulated, and the CPU behind it on the same package: every request is answered right, whatever happens.
#![expect(clippy::unwrap_used, reason = "a test may fail where it stands")]

mod faults;
mod house;
mod workers;
