//! Samples once in each of a few ways, for a profiler that counts instructions:
//!
//! ```text
//! valgrind --tool=callgrind --callgrind-out-file=out --zero-before='*measured_case' --dump-after='*measured_case' \
//!     target/release/examples/sampling_instructions
//! ```
//!
//! leaves `out.1`, `out.2`, … in the order of the names that it prints.
#![expect(clippy::print_stdout, reason = "a program that prints")]

use ballast_backend::TokenId;
use ballast_tokens::{Sampler, SamplingError, SamplingParams, TokenMask};
use std::hint::black_box;

const VOCAB_SIZE: usize = 49_152;

/// What the profiler counts. Something follows the call, so that it is a call and not a jump.
#[inline(never)]
fn measured_case(sampler: &mut Sampler, row: &mut [f32], mask: Option<&TokenMask>) -> Result<(), SamplingError> {
    black_box(sampler.sample_masked(row, mask)?);
    Ok(())
}

/// Allows every token of which the number has no remainder.
fn mask(every: usize) -> TokenMask {
    let mut mask = TokenMask::none(VOCAB_SIZE);
    (0..).map(TokenId).take(VOCAB_SIZE).step_by(every).for_each(|id| mask.allow(id));
    mask
}

fn main() -> Result<(), SamplingError> {
    let free = SamplingParams::default();
    let params = [
        ("greedy", SamplingParams::greedy()),
        ("temperature 1", free.clone()),
        ("top-k 40", SamplingParams { top_k: 40, ..free.clone() }),
        ("top-p 0.9", SamplingParams { top_p: 0.9, ..free.clone() }),
        ("min-p 0.05", SamplingParams { min_p: 0.05, ..free }),
    ];
    let masks = [("no mask", None), ("every 2nd allowed", Some(mask(2))), ("48 allowed", Some(mask(1024)))];
    let rows: Vec<f32> = (0..VOCAB_SIZE).map(|id| ((id * 7919) % 10_007) as f32 / 1000.0).collect();
    for (params_name, params) in &params {
        for (mask_name, mask) in &masks {
            println!("{params_name}, {mask_name}");
            let mut sampler = Sampler::new(params, 7, VOCAB_SIZE)?;
            // The buffers grow with the first.
            sampler.sample_masked(&mut rows.clone(), mask.as_ref())?;
            measured_case(&mut sampler, &mut rows.clone(), mask.as_ref())?;
        }
    }
    Ok(())
}
