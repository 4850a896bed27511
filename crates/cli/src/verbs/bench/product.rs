//! A square product of f32, as the best kernel set of this machine computes it.

use ballast_kernels::{Activations, Kernels, PackedMatrix, PanelMut, WeightType, detect};
use ballast_threads::{ComputePool, part_range};

/// Rows of weights that a thread's part begins at a multiple of.
const PART_ROWS: usize = 64;

/// `[n, n]` times `[n, n]`, the weights' rows divided among threads.
pub(super) struct Product {
    set: &'static dyn Kernels,
    n: usize,
    x: Activations,
    parts: Vec<Part>,
}

/// What one thread multiplies by, and its results.
struct Part {
    n_rows: usize,
    weights: Vec<u8>,
    y: Vec<f32>,
}

impl Product {
    /// One of numbers that are neither 0 nor too small.
    pub(super) fn new(n: usize, n_threads: usize) -> Self {
        let set = detect();
        let values: Vec<f32> = (0..n * n).map(|i| (i % 17) as f32 - 8.5).collect();
        let mut x = Activations::default();
        x.fill(set, WeightType::F32.activation_format(), &values, n);
        let parts = (0..n_threads).map(|idx| Part::new(part_range(n, PART_ROWS, n_threads, idx).len(), n)).collect();
        Self { set, n, x, parts }
    }

    /// Multiplications and additions of one.
    pub(super) fn operations(&self) -> f64 {
        2.0 * (self.n as f64).powi(3)
    }

    /// Computes it.
    pub(super) fn run(&mut self, pool: &mut ComputePool) {
        let Self { set, n, x, parts } = self;
        pool.run(parts, |part| part.run(*set, *n, x));
    }
}

impl Part {
    fn new(n_rows: usize, n: usize) -> Self {
        let n_bytes = PackedMatrix::bytes_of(WeightType::F32, n_rows, n).expect("any number of f32 is whole blocks");
        let weights = 1.5_f32.to_le_bytes().into_iter().cycle().take(n_bytes).collect();
        Self { n_rows, weights, y: vec![0.0; n_rows * n] }
    }

    fn run(&mut self, set: &dyn Kernels, n: usize, x: &Activations) {
        if self.n_rows > 0 {
            let weights = PackedMatrix::new(WeightType::F32, self.n_rows, n, &self.weights);
            set.matmul(&weights.expect("the bytes were counted"), x, &mut PanelMut::new(&mut self.y, self.n_rows));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Product;
    use ballast_threads::ComputePool;
    use std::num::NonZeroUsize;

    #[test]
    fn every_part_of_a_product_is_computed() {
        for n_threads in [1, 3] {
            let mut product = Product::new(80, n_threads);
            product.run(&mut ComputePool::new(NonZeroUsize::new(n_threads).unwrap()));
            let expected: f32 = (0..80).map(|i| 1.5 * ((i % 17) as f32 - 8.5)).sum();
            for part in &product.parts {
                let firsts = &part.y[..part.n_rows];
                assert!(firsts.iter().all(|y| (y - expected).abs() < 1e-3), "{firsts:?}, expected {expected}");
            }
        }
    }
}
