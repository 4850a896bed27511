//! The pure machine: single cases, every short script, long random ones.

mod cases;
mod scripts;

use super::*;

/// A plan of `bytes` bytes without keep-alive and stand-in.
fn plan(version: u64, bytes: u64) -> ModelPlan {
    ModelPlan { version, bytes, keep_alive: None, provisional: None }
}

fn id(name: &str) -> ModelId {
    ModelId::new(name)
}
