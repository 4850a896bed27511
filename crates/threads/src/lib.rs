//! Persistent compute threads: fork and join over disjoint parts, spinning briefly before they park.
//!
//! A [`ComputePool`] owns `n - 1` threads; the caller is the first of the `n`. [`ComputePool::run`] hands part `i` of
//! a slice to thread `i % n` and returns when all are done. The parts are what the caller cut and never depend on timing,
//! so neither do the results; who runs a part does, where a thread has no CPU just then.
//!
//! ```
//! let mut pool = ballast_threads::ComputePool::new(std::num::NonZeroUsize::new(2).expect("two is not zero"));
//! let mut data = [1, 2, 3, 4];
//! let (left, right) = data.split_at_mut(2);
//! pool.run(&mut [left, right], |part| part.iter_mut().for_each(|x| *x *= 10));
//! assert_eq!(data, [10, 20, 30, 40]);
//! ```

mod hand_off;
mod pages;
mod partition;
mod patience;
mod pool;
mod sync;
mod topology;

pub use pages::{LARGE_PAGE_BYTES, LargePages};
pub use partition::{default_threads, part_range, usable_cpus};
pub use pool::ComputePool;
