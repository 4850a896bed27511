//! The pool of tensors: what comes back is what is given out.
#![expect(clippy::unwrap_used, reason = "a test may fail where it stands")]

use ballast_backend::{DType, TensorData};
use ballast_runtime::buffer_pool::{BufferPool, BufferPoolOptions, Contents, PooledTensor};
use ballast_testkit::{SplitMix, VirtualClock};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

fn pool() -> (BufferPool, VirtualClock) {
    let clock = VirtualClock::new();
    (BufferPool::new(BufferPoolOptions::default(), Arc::new(clock.clone())), clock)
}

fn acquire(pool: &BufferPool, shape: &[usize]) -> PooledTensor {
    pool.acquire(shape, DType::F32, Contents::Leftover).unwrap()
}

fn address(tensor: &PooledTensor) -> usize {
    tensor.as_f32().unwrap().as_ptr().addr()
}

#[test]
fn a_pool_is_empty_when_it_is_made() {
    let (pool, _) = pool();
    assert_eq!(pool.stats(), Default::default());
    assert_eq!(pool.stats().hit_rate(), None);
    let options = BufferPoolOptions::default();
    assert_eq!((options.ttl, options.buffers_per_key_max), (Duration::from_secs(300), 4));
    assert_eq!(options.pool_bytes_max, 100_000_000);
}

#[test]
fn a_new_buffer_has_its_shape_its_type_and_zeros() {
    let (pool, _) = pool();
    for dtype in DType::EVERY {
        let tensor = pool.acquire(&[2, 3], dtype, Contents::Leftover).unwrap();
        assert_eq!((tensor.shape(), tensor.data()), (&[2, 3][..], &TensorData::zeros(dtype, 6)));
    }
    assert!(pool.acquire(&[1; 9], DType::F32, Contents::Zeroed).is_err());
    assert_eq!((pool.stats().total_allocations, pool.stats().cache_misses), (14, 15));
}

#[test]
fn a_returned_buffer_is_given_out_again() {
    let (pool, _) = pool();
    let mut tensor = acquire(&pool, &[4, 4]);
    let first = address(&tensor);
    if let TensorData::F32(values) = tensor.data_mut() {
        values.fill(7.0);
    }
    drop(tensor);
    assert_eq!((pool.stats().current_buffer_count, pool.stats().current_pool_bytes), (1, 64));
    let again = acquire(&pool, &[4, 4]);
    assert_eq!((address(&again), again.as_f32().unwrap()[0]), (first, 7.0));
    assert_eq!(pool.stats().current_buffer_count, 0);
    drop(again);
    let zeroed = pool.acquire(&[4, 4], DType::F32, Contents::Zeroed).unwrap();
    assert_eq!((address(&zeroed), zeroed.as_f32().unwrap()), (first, &[0.0; 16][..]));
    assert_eq!((pool.stats().total_allocations, pool.stats().cache_hits), (1, 2));
}

#[test]
fn another_shape_or_type_is_another_buffer() {
    let (pool, _) = pool();
    drop(acquire(&pool, &[4, 4]));
    let _others = (acquire(&pool, &[16]), pool.acquire(&[4, 4], DType::I32, Contents::Leftover).unwrap());
    assert_eq!((pool.stats().cache_hits, pool.stats().total_allocations), (0, 3));
}

#[test]
fn what_is_taken_out_or_changed_does_not_come_back() {
    let (pool, _) = pool();
    let tensor = acquire(&pool, &[4]).into_tensor();
    assert_eq!(tensor.shape(), [4]);
    let mut longer = acquire(&pool, &[4]);
    *longer.data_mut() = TensorData::F32(vec![0.0; 5]);
    drop(longer);
    assert_eq!(pool.stats().current_buffer_count, 0);
    let mut other = acquire(&pool, &[4]);
    *other.data_mut() = TensorData::I32(vec![0; 4]);
    drop(other);
    assert_eq!(pool.stats().current_buffer_count, 0);
}

#[test]
fn the_hit_rate_is_that_of_the_calls() {
    let (pool, _) = pool();
    for _ in 0..10 {
        drop(acquire(&pool, &[8]));
    }
    assert_eq!(pool.stats().hit_rate(), Some(0.9));
    assert!(pool.summary().ends_with("9 hits, 1 misses, hit rate 90.0 %"), "{}", pool.summary());
}

#[test]
fn stale_buffers_are_freed_at_the_next_call_and_return() {
    let (pool, clock) = pool();
    drop(acquire(&pool, &[8]));
    let other = acquire(&pool, &[2]);
    clock.advance(Duration::from_secs(299));
    pool.purge(Duration::from_secs(299));
    assert_eq!(pool.stats().current_buffer_count, 1);
    clock.advance(Duration::from_secs(1));
    drop(other);
    assert_eq!((pool.stats().current_buffer_count, pool.stats().total_bytes_freed), (1, 32));
    clock.advance(Duration::from_secs(300));
    let _call = acquire(&pool, &[9]);
    assert_eq!(pool.stats().total_bytes_freed, 40);
}

#[test]
fn clearing_frees_what_is_kept() {
    let (pool, _) = pool();
    let used = acquire(&pool, &[8]);
    drop(acquire(&pool, &[8]));
    pool.clear();
    assert_eq!((pool.stats().current_buffer_count, pool.stats().current_pool_bytes), (0, 0));
    assert_eq!((pool.stats().total_bytes_freed, pool.stats().peak_pool_bytes), (32, 32));
    drop(used);
    assert_eq!(pool.stats().current_buffer_count, 1);
}

#[test]
fn threads_share_a_pool_and_never_a_buffer() {
    let (pool, _) = pool();
    thread::scope(|scope| {
        for seed in 0..4_u8 {
            let pool = pool.clone();
            scope.spawn(move || {
                let mut random = SplitMix::new(u64::from(seed));
                for _ in 0..300 {
                    let shape = [1 + usize::from(random.next_u8() % 4)];
                    let mut tensor = acquire(&pool, &shape);
                    if let TensorData::F32(values) = tensor.data_mut() {
                        values.fill(f32::from(seed));
                    }
                    thread::yield_now();
                    assert!(tensor.as_f32().unwrap().iter().all(|&value| value == f32::from(seed)));
                }
            });
        }
    });
    let stats = pool.stats();
    assert_eq!(stats.cache_hits + stats.cache_misses, 1200);
    assert_eq!(stats.total_allocations, stats.cache_misses);
}
