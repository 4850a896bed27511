//! The bound, and who goes first.

use crate::house::{House, assert_content, fill, key, meta};
use ballast_artifacts::{ArtifactCache, CacheOptions, Verification};
use std::fs;

/// Bytes of an entry by [`fill`]: its files and its manifest.
fn entry_bytes(house: &House) -> u64 {
    80 + fs::metadata(house.entry_dir().join("manifest")).unwrap().len()
}

/// A cache with room for `n_entries`, holding entry 1.
fn cache_for(house: &House, n_entries: u64) -> ArtifactCache {
    house.get(&house.open(), 1).unwrap();
    house.open_with(CacheOptions { bytes_max: n_entries * entry_bytes(house), ..CacheOptions::default() })
}

/// Which of the keys 1 to 5 are there. Looking counts as a use, in this order.
fn present(house: &House, cache: &ArtifactCache) -> Vec<u8> {
    (1..=5).filter(|n| cache.get(&key(*n), &house.until()).unwrap().is_some()).collect()
}

#[test]
fn the_least_recently_used_entry_goes_over_restarts() {
    let house = House::new();
    let cache = cache_for(&house, 3);
    house.get(&cache, 2).unwrap();
    house.get(&cache, 3).unwrap();
    assert_eq!(cache.stats().evictions, 0);
    house.get(&cache, 1).unwrap();
    let cache = cache_for_bytes(&house, cache.stats().bytes);
    house.get(&cache, 4).unwrap();
    assert_eq!(present(&house, &cache), [1, 3, 4]);
    assert_eq!((cache.stats().evictions, cache.stats().entries), (1, 3));
    house.assert_clean();
}

#[test]
fn the_order_of_uses_survives_a_lost_count() {
    let house = House::new();
    let cache = cache_for(&house, 2);
    house.get(&cache, 2).unwrap();
    fs::write(house.root().join("lock"), "torn").unwrap();
    let cache = house.open_with(CacheOptions { bytes_max: u64::MAX, ..CacheOptions::default() });
    house.get(&cache, 1).unwrap();
    drop(cache);
    let cache = house.open_with(CacheOptions { bytes_max: 900, ..CacheOptions::default() });
    assert_eq!(present(&house, &cache), [1], "1 was used after 2");
}

#[test]
fn an_entry_in_use_is_never_evicted_and_goes_when_it_is_free() {
    let house = House::new();
    let cache = cache_for(&house, 1);
    let held = cache.get(&key(1), &house.until()).unwrap().unwrap();
    // Another cache over the same directory stands for another process: the lock is the file's.
    let other = house.open_with(CacheOptions { bytes_max: 800, ..CacheOptions::default() });
    drop(house.get(&other, 2).unwrap());
    assert_eq!(present(&house, &other), [1, 2], "what is in use stays even past the bound");
    other.evict(&house.until()).unwrap();
    assert_content(&held, 1);
    assert_eq!(present(&house, &other), [1]);
    drop(held);
    drop(house.get(&other, 3).unwrap());
    assert_eq!(present(&house, &other), [3]);
}

#[test]
fn a_smaller_bound_is_kept_when_the_cache_is_opened() {
    let house = House::new();
    let cache = cache_for(&house, 5);
    for n in 2..=5 {
        house.get(&cache, n).unwrap();
    }
    let cache = cache_for_bytes(&house, cache.stats().bytes / 5 * 2 + 10);
    assert_eq!(present(&house, &cache), [4, 5]);
    assert_eq!(cache.stats().evictions, 3);
}

fn cache_for_bytes(house: &House, bytes_max: u64) -> ArtifactCache {
    house.open_with(CacheOptions { bytes_max, ..CacheOptions::default() })
}

#[test]
fn what_can_never_be_loaded_is_evicted_first() {
    let house = House::new();
    let cache = house.open();
    house.get(&cache, 1).unwrap();
    fs::write(house.entry_dir().join("manifest"), "torn").unwrap();
    house.get(&cache, 2).unwrap();
    assert_eq!(cache.stats().evictions, 1);
    assert_eq!(present(&house, &cache), [2]);
}

#[test]
fn random_uses_never_break_the_bound_or_an_entry() {
    let house = House::new();
    let cache = cache_for(&house, 3);
    let bytes_max = cache.stats().bytes * 3;
    let mut random = ballast_testkit::SplitMix::new(7);
    let mut held = Vec::new();
    for _ in 0..120 {
        let n = (random.next_u64() % 8) as u8;
        let entry = cache.get_or_build(&key(n), &meta(), &house.until(), |dir| fill(dir, n)).unwrap();
        assert_content(&entry, n);
        if random.next_u64().is_multiple_of(2) {
            held.push((n, entry));
        }
        if held.len() > 2 {
            held.remove(0);
        }
        for (n, entry) in &held {
            assert_content(entry, *n);
        }
        assert!(cache.stats().bytes <= bytes_max, "at most three are in use");
    }
    assert!(cache.stats().evictions > 10);
    let verifying = house.open_verifying(Verification::Always);
    for n in 0..8 {
        if let Some(entry) = verifying.get(&key(n), &house.until()).unwrap() {
            assert_content(&entry, n);
        }
    }
}
