//! Persistent compute threads: fork and join over disjoint parts, spinning briefly before they park.
//!
//! A [`ComputePool`] owns `n - 1` threads; the caller is the first of the `n`. [`ComputePool::run`] hands part `i` of
//! a slice to thread `i % n` and returns when all are done. The partition is static: which thread does what never
//! depends on timing, so neither do the results.
//!
//! ```
//! let mut pool = ballast_threads::ComputePool::new(std::num::NonZeroUsize::new(2).expect("two is not zero"));
//! let mut data = [1, 2, 3, 4];
//! let (left, right) = data.split_at_mut(2);
//! pool.run(&mut [left, right], |part| part.iter_mut().for_each(|x| *x *= 10));
//! assert_eq!(data, [10, 20, 30, 40]);
//! ```

mod partition;
mod pool;

pub use partition::{part_range, usable_cpus};
pub use pool::ComputePool;
