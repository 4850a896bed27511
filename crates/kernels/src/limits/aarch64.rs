//! The loops for AArch64.

#![expect(unsafe_code, reason = "the dot product has no intrinsic in stable Rust")]

use super::{Body, Peak, PeakLoop};
use std::arch::aarch64::*;
use std::arch::{asm, is_aarch64_feature_detected};
use std::hint::black_box;

/// Chains that run side by side: more than latency times throughput, and few enough for the 32 registers.
const CHAINS: usize = 16;

/// The loops whose instructions this CPU has.
pub(super) fn loops() -> Vec<PeakLoop> {
    let candidate = |is_present: bool, peak, instruction, lane_operations: u64, body: unsafe fn(u64)| {
        let operations_per_round = lane_operations * CHAINS as u64;
        is_present.then_some(PeakLoop { peak, instruction, operations_per_round, body: Body::Detected(body) })
    };
    let has_neon = is_aarch64_feature_detected!("neon");
    let has_dot = has_neon && is_aarch64_feature_detected!("dotprod");
    let candidates = [
        candidate(has_neon, Peak::F32, "fmla 4s", 4 * 2, f32_128),
        candidate(has_dot, Peak::Int8, "sdot 4s", 16 * 2, int8_dot),
        candidate(has_neon, Peak::Int8, "smull, sadalp", 16 * 2, int8_128),
    ];
    candidates.into_iter().flatten().collect()
}

#[target_feature(enable = "neon")]
fn f32_128(n_rounds: u64) {
    // Adding nothing keeps the sums finite.
    let (a, b) = (vdupq_n_f32(black_box(0.5)), vdupq_n_f32(black_box(-0.0)));
    let mut chains = [vdupq_n_f32(1.0); CHAINS];
    for _ in 0..n_rounds {
        for chain in &mut chains {
            *chain = vfmaq_f32(*chain, a, b);
        }
    }
    black_box(chains);
}

#[target_feature(enable = "neon,dotprod")]
fn int8_dot(n_rounds: u64) {
    let (a, b) = (vdupq_n_s8(black_box(3)), vdupq_n_s8(black_box(-5)));
    let mut chains = [vdupq_n_s32(0); CHAINS];
    for _ in 0..n_rounds {
        for chain in &mut chains {
            // SAFETY: the instruction works on its register operands only; `dotprod` is enabled in this function.
            unsafe {
                asm!(
                    "sdot {chain:v}.4s, {a:v}.16b, {b:v}.16b",
                    chain = inout(vreg) *chain,
                    a = in(vreg) a,
                    b = in(vreg) b,
                    options(pure, nomem, nostack, preserves_flags)
                );
            }
        }
    }
    black_box(chains);
}

/// Without dot products: two widening multiplications and two pairwise additions. One factor changes from round to
/// round and the other differs from chain to chain, or the compiler would compute the products once, before the loop.
#[target_feature(enable = "neon")]
fn int8_128(n_rounds: u64) {
    let factors: [int8x16_t; CHAINS] = black_box([vdupq_n_s8(-5); CHAINS]);
    let step = vdupq_n_s8(black_box(1));
    let mut factor = vdupq_n_s8(black_box(3));
    let mut chains = [vdupq_n_s32(0); CHAINS];
    for _ in 0..n_rounds {
        for (chain, other) in chains.iter_mut().zip(&factors) {
            let low = vmull_s8(vget_low_s8(factor), vget_low_s8(*other));
            let high = vmull_high_s8(factor, *other);
            *chain = vpadalq_s16(vpadalq_s16(*chain, low), high);
        }
        factor = vaddq_s8(factor, step);
    }
    black_box(chains);
}
