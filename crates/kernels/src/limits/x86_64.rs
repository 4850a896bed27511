//! The loops for x86-64.

use super::{Body, Peak, PeakLoop};
use std::arch::x86_64::*;
use std::hint::black_box;

/// Chains that run side by side: more than latency times throughput of any of these instructions, and few enough for
/// the 16 registers of AVX2.
const CHAINS: usize = 12;

/// The loops whose instructions this CPU has, the widest first.
pub(super) fn loops() -> Vec<PeakLoop> {
    let has_avx512 = is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bw");
    let has_avx2 = is_x86_feature_detected!("avx2");
    let candidate = |is_present: bool, peak, instruction, lane_operations: u64, body: unsafe fn(u64)| {
        let operations_per_round = lane_operations * CHAINS as u64;
        is_present.then_some(PeakLoop { peak, instruction, operations_per_round, body: Body::Detected(body) })
    };
    let has_vnni_512 = has_avx512 && is_x86_feature_detected!("avx512vnni");
    let has_vnni_256 = has_avx2 && is_x86_feature_detected!("avxvnni");
    let has_bf16 = has_avx512 && is_x86_feature_detected!("avx512bf16");
    let has_fma = is_x86_feature_detected!("fma") && is_x86_feature_detected!("avx");
    let candidates = [
        candidate(has_avx512, Peak::F32, "vfmadd zmm", 16 * 2, f32_512),
        candidate(has_fma, Peak::F32, "vfmadd ymm", 8 * 2, f32_256),
        candidate(has_vnni_512, Peak::Int8, "vpdpbusd zmm", 64 * 2, int8_vnni_512),
        candidate(has_vnni_256, Peak::Int8, "vpdpbusd ymm", 32 * 2, int8_vnni_256),
        candidate(has_avx2, Peak::Int8, "vpmaddubsw ymm", 32 * 2, int8_256),
        candidate(has_bf16, Peak::Bf16, "vdpbf16ps zmm", 32 * 2, bf16_512),
    ];
    candidates.into_iter().flatten().collect()
}

/// The loop with the widest loads.
pub(super) fn read_body() -> Option<unsafe fn(&[u64]) -> u64> {
    if is_x86_feature_detected!("avx512f") {
        return Some(read_512);
    }
    is_x86_feature_detected!("avx2").then_some(read_256)
}

#[target_feature(enable = "avx512f")]
fn read_512(data: &[u64]) -> u64 {
    super::fold::<64>(data)
}

#[target_feature(enable = "avx2")]
fn read_256(data: &[u64]) -> u64 {
    super::fold::<32>(data)
}

#[target_feature(enable = "avx512f")]
fn f32_512(n_rounds: u64) {
    let (factor, term) = (_mm512_set1_ps(black_box(0.5)), _mm512_set1_ps(black_box(1.0)));
    let mut chains = [_mm512_setzero_ps(); CHAINS];
    for _ in 0..n_rounds {
        for chain in &mut chains {
            *chain = _mm512_fmadd_ps(*chain, factor, term);
        }
    }
    black_box(chains);
}

#[target_feature(enable = "avx,fma")]
fn f32_256(n_rounds: u64) {
    let (factor, term) = (_mm256_set1_ps(black_box(0.5)), _mm256_set1_ps(black_box(1.0)));
    let mut chains = [_mm256_setzero_ps(); CHAINS];
    for _ in 0..n_rounds {
        for chain in &mut chains {
            *chain = _mm256_fmadd_ps(*chain, factor, term);
        }
    }
    black_box(chains);
}

#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn int8_vnni_512(n_rounds: u64) {
    let (a, b) = (_mm512_set1_epi8(black_box(3)), _mm512_set1_epi8(black_box(-5)));
    let mut chains = [_mm512_setzero_si512(); CHAINS];
    for _ in 0..n_rounds {
        for chain in &mut chains {
            *chain = _mm512_dpbusd_epi32(*chain, a, b);
        }
    }
    black_box(chains);
}

#[target_feature(enable = "avx2,avxvnni")]
fn int8_vnni_256(n_rounds: u64) {
    let (a, b) = (_mm256_set1_epi8(black_box(3)), _mm256_set1_epi8(black_box(-5)));
    let mut chains = [_mm256_setzero_si256(); CHAINS];
    for _ in 0..n_rounds {
        for chain in &mut chains {
            *chain = _mm256_dpbusd_avx_epi32(*chain, a, b);
        }
    }
    black_box(chains);
}

/// Three instructions make a dot product here. The unsigned factor changes from round to round and the signed ones
/// differ from chain to chain, or the compiler would compute the products once, before the loop.
#[target_feature(enable = "avx2")]
fn int8_256(n_rounds: u64) {
    let signed: [__m256i; CHAINS] = black_box([_mm256_set1_epi8(-5); CHAINS]);
    let ones = _mm256_set1_epi16(black_box(1));
    let step = _mm256_set1_epi8(black_box(1));
    let mut unsigned = _mm256_set1_epi8(black_box(3));
    let mut chains = [_mm256_setzero_si256(); CHAINS];
    for _ in 0..n_rounds {
        for (chain, signed) in chains.iter_mut().zip(&signed) {
            let products = _mm256_madd_epi16(_mm256_maddubs_epi16(unsigned, *signed), ones);
            *chain = _mm256_add_epi32(*chain, products);
        }
        unsigned = _mm256_add_epi8(unsigned, step);
    }
    black_box(chains);
}

#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
fn bf16_512(n_rounds: u64) {
    let ones = _mm512_set1_ps(black_box(1.0));
    let (a, b) = (_mm512_cvtne2ps_pbh(ones, ones), _mm512_cvtne2ps_pbh(ones, ones));
    let mut chains = [_mm512_setzero_ps(); CHAINS];
    for _ in 0..n_rounds {
        for chain in &mut chains {
            *chain = _mm512_dpbf16_ps(*chain, a, b);
        }
    }
    black_box(chains);
}
