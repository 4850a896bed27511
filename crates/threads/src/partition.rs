//! How work is divided: which range of items each thread takes, and how many threads there may be.

use crate::topology::{PROC_SELF, SYSFS_ROOT, allowed_cpus, performance_cores};
use std::num::NonZeroUsize;
use std::ops::Range;
use std::path::Path;

/// The `idx`-th of `n_parts` contiguous ranges over `0..n_items`, cut at multiples of `granule`. Ranges are in order,
/// cover everything, and differ in size by at most one granule; late ones may be empty.
///
/// # Panics
/// If `granule` is 0 or `idx` is not below `n_parts`.
#[must_use]
pub fn part_range(n_items: usize, granule: usize, n_parts: usize, idx: usize) -> Range<usize> {
    assert!(granule > 0 && idx < n_parts, "part {idx} of {n_parts} in granules of {granule}");
    let n_granules = n_items.div_ceil(granule);
    let edge = |i: usize| (n_granules * i / n_parts * granule).min(n_items);
    edge(idx)..edge(idx + 1)
}

/// CPUs this process may use: its affinity mask, cpuset and cgroup quota are honoured. At least one.
#[must_use]
pub fn usable_cpus() -> NonZeroUsize {
    std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
}

/// How many threads compute best: one for each physical performance core that this process may run on, and no more than
/// [`usable_cpus`]. Where the system does not tell its cores apart, that number itself.
#[must_use]
pub fn default_threads() -> NonZeroUsize {
    let allowed = allowed_cpus(Path::new(PROC_SELF));
    let cores = performance_cores(Path::new(SYSFS_ROOT), allowed.as_ref()).and_then(NonZeroUsize::new);
    cores.map_or(usable_cpus(), |cores| cores.min(usable_cpus()))
}

#[cfg(test)]
mod tests {
    use super::{default_threads, part_range, usable_cpus};

    #[test]
    fn there_are_no_more_threads_than_usable_cpus() {
        assert!(default_threads() <= usable_cpus());
    }

    #[test]
    fn parts_cover_everything_once_and_in_order() {
        for (n_items, granule, n_parts) in [(0, 1, 3), (1, 1, 2), (10, 4, 3), (576, 16, 2), (49152, 16, 7), (5, 8, 4)] {
            let mut next = 0;
            for idx in 0..n_parts {
                let range = part_range(n_items, granule, n_parts, idx);
                assert_eq!(range.start, next);
                assert!(range.start.is_multiple_of(granule) || range.is_empty());
                next = range.end;
            }
            assert_eq!(next, n_items);
        }
    }
}
