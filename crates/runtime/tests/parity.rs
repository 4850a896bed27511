//! Differences between engines: measured against a plain oracle, judged, reported, and sampled while serving.
#![expect(clippy::unwrap_used, reason = "a test may fail where it stands")]

#[path = "parity/driving.rs"]
mod driving;
#[path = "parity/inputs.rs"]
mod inputs;
#[path = "parity/live.rs"]
mod live;
#[path = "parity/measuring.rs"]
mod measuring;
