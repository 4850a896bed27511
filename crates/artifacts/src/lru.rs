//! Which entries go when the cache is over its bound. Pure: numbers in, a choice out.

/// An entry as eviction sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Candidate {
    /// Count of uses of the whole cache when it was last used.
    pub(crate) last_use: u64,
    /// What it takes on disk; `None`: its manifest cannot be read, so it can never be loaded.
    pub(crate) bytes: Option<u64>,
}

/// Indices of the entries to remove so that at most `bytes_max` are left: all that can never be loaded, then the least
/// recently used. `take` is asked for each in that order, and says whether it could be had: one in use stays.
pub(crate) fn choose(
    candidates: &[Candidate],
    bytes_max: u64,
    mut take: impl FnMut(usize) -> bool,
) -> (Vec<usize>, u64) {
    let mut order: Vec<usize> = (0..candidates.len()).collect();
    order.sort_by_key(|&idx| (candidates[idx].bytes.is_some(), candidates[idx].last_use, idx));
    let mut bytes_left = candidates.iter().fold(0_u64, |sum, c| sum.saturating_add(c.bytes.unwrap_or(0)));
    let mut chosen = Vec::new();
    for idx in order {
        let Candidate { bytes, .. } = candidates[idx];
        if (bytes.is_none() || bytes_left > bytes_max) && take(idx) {
            bytes_left = bytes_left.saturating_sub(bytes.unwrap_or(0));
            chosen.push(idx);
        }
    }
    (chosen, bytes_left)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_least_recently_used_goes_first_and_no_more_than_needed() {
        let candidates = [(3, 10), (1, 10), (2, 10)].map(|(last_use, n)| Candidate { last_use, bytes: Some(n) });
        assert_eq!(choose(&candidates, 30, |_| true), (vec![], 30));
        assert_eq!(choose(&candidates, 29, |_| true), (vec![1], 20));
        assert_eq!(choose(&candidates, 10, |_| true), (vec![1, 2], 10));
        assert_eq!(choose(&candidates, 10, |idx| idx != 1), (vec![2, 0], 10));
        assert_eq!(choose(&candidates, 0, |_| false), (vec![], 30));
    }

    #[test]
    fn what_can_never_be_loaded_goes_at_once() {
        let candidates = [Candidate { last_use: 9, bytes: None }, Candidate { last_use: 1, bytes: Some(5) }];
        assert_eq!(choose(&candidates, 100, |_| true), (vec![0], 5));
    }

    proptest! {
        #[test]
        fn what_is_left_fits_or_is_in_use(
            entries in proptest::collection::vec((0_u64..20, 0_u64..100, any::<bool>()), 0..20),
            bytes_max in 0_u64..600,
        ) {
            let candidates: Vec<_> =
                entries.iter().map(|&(last_use, n, _)| Candidate { last_use, bytes: Some(n) }).collect();
            let (chosen, left) = choose(&candidates, bytes_max, |idx| !entries[idx].2);
            let kept: Vec<usize> = (0..entries.len()).filter(|idx| !chosen.contains(idx)).collect();
            prop_assert_eq!(left, kept.iter().map(|&idx| entries[idx].1).sum::<u64>());
            prop_assert!(chosen.iter().all(|&idx| !entries[idx].2));
            prop_assert!(left <= bytes_max || kept.iter().all(|&idx| entries[idx].2));
            for &gone in &chosen {
                // Nothing free that was used earlier is kept.
                prop_assert!(kept.iter().all(|&idx| entries[idx].2 || entries[idx].0 >= entries[gone].0));
            }
        }
    }
}
