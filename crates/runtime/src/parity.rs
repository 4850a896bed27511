//! How far two engines differ on the same inputs.
//!
//! - [`compare_rows`], [`compare_tensors`]: largest difference, root mean square and cosine of two outputs.
//! - [`ParityTally`]: the same over many samples and outputs; ends in a [`ParityReport`] with its verdict.
//! - [`compare_predictors`]: drives two predictors over seeded or given inputs; [`seeded_inputs`] makes them.
//! - [`LiveSampler`]: which requests to run on a second engine while serving, and whether what was seen is too much.
//!
//! Everything here is a function of its arguments: no clock, no lock, no thread. Numbers are compared as f64, integers
//! exactly. Two NaNs in the same place agree, and so do two infinities of one sign; they are counted and left out of the
//! sums. A NaN or an infinity against anything else is a failure by itself, whatever the tolerances.

mod compare;
mod drive;
mod error;
mod inputs;
mod live;
mod report;
mod tally;
mod tolerance;

pub use compare::{Difference, Value, Worst, compare_rows, compare_tensors};
pub use drive::{ParityInputs, ParityPlan, SAMPLES_MAX, Side, compare_predictors};
pub use error::ParityError;
pub use inputs::{Distribution, InputOptions, seeded_inputs};
pub use live::{LiveOptions, LiveSampler, LiveStats, LiveVerdict, Shadow, ShadowOutcome};
pub use report::{EngineLabel, Exceeded, InputsLabel, Measure, OutputParity, ParityReport, ReportHead, WorstElement};
pub use tally::ParityTally;
pub use tolerance::{Precision, Tolerances};
