//! Loops that keep one resource of the CPU busy and do nothing else: whoever times them learns the machine's limits.
//!
//! A [`PeakLoop`] repeats one arithmetic instruction on registers, a [`ReadLoop`] reads memory. Having a value proves
//! that the CPU has the instructions. Nothing is timed here, and nothing that a model needs is computed.
#![cfg_attr(
    any(target_arch = "x86_64", target_arch = "aarch64"),
    expect(unsafe_code, reason = "calls to functions with target features, which the values prove")
)]

#[cfg(target_arch = "aarch64")]
mod aarch64;
#[cfg(target_arch = "x86_64")]
mod x86_64;

use std::hint::black_box;

/// What a [`PeakLoop`] keeps busy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Peak {
    /// Multiplication and addition of f32.
    F32,
    /// Dot products of int8 into int32.
    Int8,
    /// Dot products of bfloat16 into f32.
    Bf16,
}

impl Peak {
    /// Every one.
    pub const ALL: [Peak; 3] = [Peak::F32, Peak::Int8, Peak::Bf16];

    /// The name: `f32`, `int8`, `bf16`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Int8 => "int8",
            Self::Bf16 => "bf16",
        }
    }
}

/// A loop of independent chains of one instruction on registers. Only [`PeakLoop::available`] makes one, so that having
/// it proves that the CPU has the instruction.
#[derive(Clone, Copy, Debug)]
pub struct PeakLoop {
    peak: Peak,
    instruction: &'static str,
    operations_per_round: u64,
    body: Body,
}

/// How a loop is entered.
#[derive(Clone, Copy, Debug)]
enum Body {
    /// Any CPU of the architecture can.
    Portable(fn(u64)),
    /// A CPU with the features that were detected can.
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    Detected(unsafe fn(u64)),
}

impl PeakLoop {
    /// The loops this CPU can run, the widest of each [`Peak`] first.
    #[must_use]
    pub fn available() -> Vec<Self> {
        let portable = Self {
            peak: Peak::F32,
            instruction: "portable multiply and add",
            operations_per_round: PORTABLE_CHAINS as u64 * PORTABLE_LANES as u64 * 2,
            body: Body::Portable(portable_f32),
        };
        native().into_iter().chain([portable]).collect()
    }

    /// What it keeps busy.
    #[must_use]
    pub fn peak(&self) -> Peak {
        self.peak
    }

    /// The instruction that it repeats.
    #[must_use]
    pub fn instruction(&self) -> &'static str {
        self.instruction
    }

    /// Multiplications and additions in one round; a multiplication with addition counts as two.
    #[must_use]
    pub fn operations_per_round(&self) -> u64 {
        self.operations_per_round
    }

    /// Goes round `n_rounds` times.
    pub fn run(&self, n_rounds: u64) {
        match self.body {
            Body::Portable(body) => body(n_rounds),
            #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
            // SAFETY: `native` makes this value only where the CPU has the features of `body`.
            Body::Detected(body) => unsafe { body(n_rounds) },
        }
    }
}

#[cfg(target_arch = "x86_64")]
fn native() -> Vec<PeakLoop> {
    x86_64::loops()
}

#[cfg(target_arch = "aarch64")]
fn native() -> Vec<PeakLoop> {
    aarch64::loops()
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn native() -> Vec<PeakLoop> {
    Vec::new()
}

const PORTABLE_CHAINS: usize = 8;
const PORTABLE_LANES: usize = 4;

/// What the compiler makes of multiplications and additions for any CPU of the architecture.
fn portable_f32(n_rounds: u64) {
    let (factor, term) = (black_box([0.5_f32; PORTABLE_LANES]), black_box([1.0_f32; PORTABLE_LANES]));
    let mut chains = black_box([[0.0_f32; PORTABLE_LANES]; PORTABLE_CHAINS]);
    for _ in 0..n_rounds {
        for chain in &mut chains {
            for lane in 0..PORTABLE_LANES {
                chain[lane] = chain[lane] * factor[lane] + term[lane];
            }
        }
    }
    black_box(chains);
}

/// A loop that reads memory with the widest loads. Only [`ReadLoop::detect`] makes one, so that having it proves that
/// the CPU has them.
#[derive(Clone, Copy, Debug)]
pub struct ReadLoop {
    body: ReadBody,
}

#[derive(Clone, Copy, Debug)]
enum ReadBody {
    Portable(fn(&[u64]) -> u64),
    #[cfg(target_arch = "x86_64")]
    Detected(unsafe fn(&[u64]) -> u64),
}

impl ReadLoop {
    /// The loop with the widest loads of this CPU.
    #[must_use]
    pub fn detect() -> Self {
        #[cfg(target_arch = "x86_64")]
        if let Some(body) = x86_64::read_body() {
            return Self { body: ReadBody::Detected(body) };
        }
        Self { body: ReadBody::Portable(fold::<16>) }
    }

    /// Reads `data` once from its beginning to its end.
    pub fn run(&self, data: &[u64]) {
        black_box(match self.body {
            ReadBody::Portable(body) => body(data),
            #[cfg(target_arch = "x86_64")]
            // SAFETY: `x86_64::read_body` gives a body only where the CPU has its features.
            ReadBody::Detected(body) => unsafe { body(data) },
        });
    }
}

/// The exclusive or of all words, in `WORDS` chains: enough of them that no load waits for another.
#[inline(always)]
fn fold<const WORDS: usize>(data: &[u64]) -> u64 {
    let mut sums = [0_u64; WORDS];
    let (chunks, rest) = data.as_chunks::<WORDS>();
    for chunk in chunks {
        for (sum, word) in sums.iter_mut().zip(chunk) {
            *sum ^= word;
        }
    }
    sums.iter().chain(rest).fold(0, |sum, word| sum ^ word)
}

#[cfg(test)]
mod tests {
    use super::{Peak, PeakLoop, ReadBody, ReadLoop, fold};

    #[test]
    fn every_loop_of_this_cpu_runs_and_counts_its_operations() {
        let loops = PeakLoop::available();
        for found in &loops {
            found.run(0);
            found.run(1_000);
            assert!(found.operations_per_round() > 0, "{found:?}");
        }
        assert!(loops.iter().any(|found| found.peak() == Peak::F32));
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn a_cpu_has_the_loops_of_its_extensions_and_no_others() {
        let has = |name: &str| PeakLoop::available().iter().any(|found| found.instruction().contains(name));
        assert_eq!(has("vpdpbusd zmm"), is_x86_feature_detected!("avx512vnni"));
        assert_eq!(has("vpdpbusd ymm"), is_x86_feature_detected!("avxvnni"));
        assert_eq!(has("vdpbf16ps"), is_x86_feature_detected!("avx512bf16"));
        assert_eq!(has("vpmaddubsw ymm"), is_x86_feature_detected!("avx2"));
        assert_eq!(has("vfmadd ymm"), is_x86_feature_detected!("fma"));
    }

    #[test]
    fn reading_touches_every_word() {
        let data: Vec<u64> = (1..=1_003).collect();
        let expected = data.iter().fold(0, |sum, word| sum ^ word);
        assert_eq!(fold::<16>(&data), expected);
        let read = match ReadLoop::detect().body {
            ReadBody::Portable(body) => body(&data),
            #[cfg(target_arch = "x86_64")]
            // SAFETY: `detect` gave the body.
            ReadBody::Detected(body) => unsafe { body(&data) },
        };
        assert_eq!(read, expected);
        ReadLoop::detect().run(&[]);
    }
}
