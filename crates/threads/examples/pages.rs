//! What large pages are worth: two threads read 100 MiB, on ordinary pages and on large ones, in turns.
//!
//! ```text
//! cargo run --release -p ballast-threads --example pages
//! ```
#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, reason = "it prints what it measured")]
#![expect(clippy::disallowed_methods, reason = "it measures time")]

use ballast_threads::{ComputePool, LargePages};
use std::error::Error;
use std::hint::black_box;
use std::num::NonZeroUsize;
use std::time::Instant;

const N_BYTES: usize = 100 << 20;
const ROUNDS: usize = 11;
const PASSES: usize = 8;

fn main() -> Result<(), Box<dyn Error>> {
    let mut pool = ComputePool::new(NonZeroUsize::new(2).ok_or("two is not zero")?);
    let mut ordinary = vec![0_u8; N_BYTES];
    let mut large = LargePages::zeroed(N_BYTES)?;
    for bytes in [&mut ordinary[..], &mut large[..]] {
        bytes.iter_mut().zip((0..=u8::MAX).cycle()).for_each(|(byte, value)| *byte = value);
    }
    let mut results = [Vec::new(), Vec::new()];
    for _ in 0..ROUNDS {
        for (bytes, results) in [&ordinary[..], &large[..]].into_iter().zip(&mut results) {
            results.push(read(&mut pool, bytes));
        }
    }
    for (name, mut results) in ["ordinary pages", "large pages"].into_iter().zip(results) {
        results.sort_by(f64::total_cmp);
        println!("{name:>16}: {:.1} GB/s ({:.1} to {:.1})", results[ROUNDS / 2], results[0], results[ROUNDS - 1]);
    }
    Ok(())
}

/// Gigabytes a second.
fn read(pool: &mut ComputePool, bytes: &[u8]) -> f64 {
    let (left, right) = bytes.split_at(bytes.len() / 2);
    let start = Instant::now();
    for _ in 0..PASSES {
        pool.run(&mut [left, right], |part| {
            black_box(part.iter().fold(0_u8, |x, byte| x ^ byte));
        });
    }
    (PASSES * bytes.len()) as f64 / start.elapsed().as_secs_f64() / 1e9
}
