//! What is kept, against a plain account of it.

use super::*;
use proptest::prelude::*;

fn tensor(n_elements: usize) -> (Key, Tensor) {
    let key = Key { dtype: DType::U8, shape: vec![n_elements] };
    (key.clone(), Tensor::zeros(key.shape, DType::U8).unwrap())
}

fn options() -> BufferPoolOptions {
    BufferPoolOptions { ttl: Duration::from_secs(10), buffers_per_key_max: 2, buffers_max: 4, pool_bytes_max: 100 }
}

fn put(shelf: &mut Shelf, n_elements: usize, at: u64) -> usize {
    let (key, tensor) = tensor(n_elements);
    shelf.put(key, tensor, Duration::from_secs(at)).len()
}

#[test]
fn the_oldest_makes_room() {
    let mut shelf = Shelf::new(options());
    assert_eq!((put(&mut shelf, 40, 0), put(&mut shelf, 30, 1), put(&mut shelf, 20, 2)), (0, 0, 0));
    assert_eq!(put(&mut shelf, 50, 3), 1, "40 goes");
    assert!(shelf.take(&tensor(40).0).is_none());
    assert_eq!(shelf.stats().current_pool_bytes, 100);
}

#[test]
fn bounds_hold_by_number_by_key_and_by_bytes() {
    let mut shelf = Shelf::new(options());
    assert_eq!([0, 1, 2].map(|at| put(&mut shelf, 1, at)), [0, 0, 1], "two of a key");
    assert_eq!([2, 3].map(|n| put(&mut shelf, n, 3)), [0, 0]);
    assert_eq!(put(&mut shelf, 4, 4), 1, "four in all");
    assert_eq!(put(&mut shelf, 101, 5), 1, "too large to be kept, and no other makes room");
    assert_eq!(shelf.stats().current_buffer_count, 4);
}

#[test]
fn what_is_stale_is_freed_and_nothing_else() {
    let mut shelf = Shelf::new(options());
    put(&mut shelf, 5, 0);
    put(&mut shelf, 5, 3);
    assert_eq!(shelf.purge(Duration::from_secs(9)).len(), 0);
    assert_eq!(shelf.purge(Duration::from_secs(10)).len(), 1);
    assert_eq!((shelf.stats().total_bytes_freed, shelf.stats().current_buffer_count), (5, 1));
    assert_eq!(shelf.clear().len(), 1);
}

proptest! {
    #[test]
    fn the_account_is_what_is_there(steps in prop::collection::vec((0..5_u8, 1..60_usize, 0..6_u64), 1..100)) {
        let mut shelf = Shelf::new(options());
        let (mut now, mut n_out, mut n_in, mut freed) = (Duration::ZERO, 0_u64, 0_u64, 0_u64);
        let bytes = |tensors: &[Tensor]| tensors.iter().map(|tensor| tensor.size_bytes() as u64).sum::<u64>();
        for (what, n_elements, seconds) in steps {
            now += Duration::from_secs(seconds);
            let (key, tensor) = tensor(n_elements / 10 * 10 + 1);
            match what {
                0..3 => {
                    n_in += tensor.size_bytes() as u64;
                    freed += bytes(&shelf.put(key, tensor, now));
                }
                3 => n_out += bytes(shelf.take(&key).as_slice()),
                _ => freed += bytes(&shelf.purge(now)),
            }
            let stats = shelf.stats();
            let kept = &shelf.kept;
            prop_assert_eq!(stats.current_buffer_count, kept.len());
            prop_assert_eq!(stats.current_pool_bytes, kept.iter().map(|kept| kept.tensor.size_bytes()).sum::<usize>());
            prop_assert_eq!(stats.total_bytes_freed, freed);
            prop_assert_eq!(n_in, n_out + freed + stats.current_pool_bytes as u64);
            prop_assert!(kept.len() <= 4 && stats.current_pool_bytes <= 100);
            prop_assert!(stats.peak_pool_bytes >= stats.current_pool_bytes);
            let of = |key: &Key| kept.iter().filter(|kept| kept.key == *key).count();
            prop_assert!(kept.iter().all(|one| of(&one.key) <= 2));
            prop_assert!(kept.iter().is_sorted_by_key(|kept| kept.since));
        }
    }
}
