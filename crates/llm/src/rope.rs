//! Rotary position embedding: cosines and sines of a position's angles. (arXiv:2104.09864)

use crate::LlamaConfig;

/// The inverse frequencies of a model, one per rotated pair.
#[derive(Debug)]
pub(crate) struct Rope {
    inv_freqs: Vec<f64>,
}

impl Rope {
    /// `factors` divide the frequencies pair by pair (Llama 3.1's long-context table), if the model has them.
    pub(crate) fn new(config: &LlamaConfig, factors: Option<&[f32]>) -> Self {
        let inv_freqs = (0..config.rope_dim / 2)
            .map(|i| {
                let exponent = 2.0 * i as f64 / config.rope_dim as f64;
                let freq = f64::from(config.rope_freq_base).powf(-exponent) / f64::from(config.rope_linear_factor);
                freq / factors.map_or(1.0, |f| f64::from(f[i]))
            })
            .collect();
        Self { inv_freqs }
    }

    /// Pairs that are rotated.
    pub(crate) fn n_pairs(&self) -> usize {
        self.inv_freqs.len()
    }

    /// Fills `cos` and `sin` (`[n_pairs]`) for one position.
    #[expect(clippy::cast_possible_truncation, reason = "the kernels rotate in f32")]
    pub(crate) fn angles(&self, position: usize, cos: &mut [f32], sin: &mut [f32]) {
        for ((inv_freq, cos), sin) in self.inv_freqs.iter().zip(cos).zip(sin) {
            let (s, c) = (position as f64 * inv_freq).sin_cos();
            (*cos, *sin) = (c as f32, s as f32);
        }
    }
}
