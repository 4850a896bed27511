//! What the pool of tensors saves of the work of allocating them.

use crate::SystemClock;
use crate::table::{N_CALLS, Table};
use ballast_backend::{DType, Tensor, TensorData};
use ballast_runtime::buffer_pool::{BufferPool, BufferPoolOptions, Contents};
use std::hint::black_box;
use std::sync::Arc;

const CLAIM: &str = "70 %";

pub(crate) fn measure(table: &mut Table, clock: &SystemClock) {
    for (name, shape) in [("1x3x256x256", &[1, 3, 256, 256][..]), ("8x49152", &[8, 49152])] {
        measure_shape(table, clock, name, shape);
    }
}

/// Every way writes all elements, as a model's caller does: pages that are never touched cost nothing. What is beyond
/// the writing is the work of allocating.
fn measure_shape(table: &mut Table, clock: &SystemClock, name: &str, shape: &[usize]) {
    let new = || Tensor::zeros(shape.to_vec(), DType::F32).expect("a shape");
    let mut own = new();
    let write = table.time(clock, &format!("f32 {name}: written, no allocation"), "", || fill(&mut own));
    let without = table.time(clock, &format!("f32 {name}: allocated and written"), "", || fill(&mut new()));
    let pool = BufferPool::new(BufferPoolOptions::default(), Arc::new(*clock));
    let mut pooled = |what: &str, contents| {
        let acquire = || pool.acquire(shape, DType::F32, contents).expect("a shape");
        table.time(clock, &format!("f32 {name}: from the pool{what}, written"), "", || fill(&mut acquire()))
    };
    let (leftover, _zeroed) = (pooled("", Contents::Leftover), pooled(" zeroed", Contents::Zeroed));
    let beyond = |time: u64| time.saturating_sub(write) as f64;
    table.share(
        &format!("f32 {name}: time of allocating saved"),
        CLAIM,
        100.0 * (1.0 - beyond(leftover) / beyond(without)),
    );
    let calls = 2.0 * (N_CALLS + N_CALLS / 10) as f64;
    let allocated = pool.stats().total_allocations as f64;
    table.share(&format!("f32 {name}: bytes of allocating saved"), CLAIM, 100.0 * (1.0 - allocated / calls));
}

fn fill(tensor: &mut Tensor) {
    if let TensorData::F32(values) = black_box(tensor).data_mut() {
        values.fill(1.0);
    }
}
