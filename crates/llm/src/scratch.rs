//! The buffers of a forward pass, kept between steps.

use crate::LlamaConfig;
use ballast_kernels::Activations;

/// Intermediate values, one row per token of the step. Each grows to its largest use and stays.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    /// The residual stream, `[n_tokens, embed_dim]`.
    pub(crate) x: Vec<f32>,
    /// The normalised residual, `[n_tokens, embed_dim]`.
    pub(crate) normed: Vec<f32>,
    /// Queries, `[n_tokens, n_heads, head_dim]`.
    pub(crate) q: Vec<f32>,
    /// Keys, `[n_tokens, n_kv_heads, head_dim]`.
    pub(crate) k: Vec<f32>,
    /// Values, `[n_tokens, n_kv_heads, head_dim]`.
    pub(crate) v: Vec<f32>,
    /// What attention gathered, `[n_tokens, n_heads, head_dim]`.
    pub(crate) attended: Vec<f32>,
    /// A layer's output before it is added to the residual, `[n_tokens, embed_dim]`.
    pub(crate) out: Vec<f32>,
    /// Feed-forward gate, `[n_tokens, ffn_dim]`.
    pub(crate) gate: Vec<f32>,
    /// Feed-forward up-projection, `[n_tokens, ffn_dim]`.
    pub(crate) up: Vec<f32>,
    /// Rope's cosines and sines, `[n_tokens, rope_dim / 2]` each.
    pub(crate) cos: Vec<f32>,
    pub(crate) sin: Vec<f32>,
    /// The left-hand side of the product at hand.
    pub(crate) activations: Activations,
    /// Attention scores, `[n_threads, context_len]`.
    pub(crate) scores: Vec<f32>,
}

impl Scratch {
    /// Sizes every buffer for a step of `n_tokens`.
    pub(crate) fn resize(&mut self, config: &LlamaConfig, n_tokens: usize, n_threads: usize, context_len: usize) {
        self.x.resize(n_tokens * config.embed_dim, 0.0);
        self.normed.resize(n_tokens * config.embed_dim, 0.0);
        self.out.resize(n_tokens * config.embed_dim, 0.0);
        self.q.resize(n_tokens * config.q_dim(), 0.0);
        self.attended.resize(n_tokens * config.q_dim(), 0.0);
        self.k.resize(n_tokens * config.kv_dim(), 0.0);
        self.v.resize(n_tokens * config.kv_dim(), 0.0);
        self.gate.resize(n_tokens * config.ffn_dim, 0.0);
        self.up.resize(n_tokens * config.ffn_dim, 0.0);
        self.cos.resize(n_tokens * (config.rope_dim / 2), 0.0);
        self.sin.resize(n_tokens * (config.rope_dim / 2), 0.0);
        self.scores.resize(n_threads * context_len, 0.0);
    }

    /// Bytes of all buffers for a step of `n_tokens`, logits not counted.
    pub(crate) fn bytes(config: &LlamaConfig, n_tokens: usize, n_threads: usize, context_len: usize) -> u64 {
        let widest = config.ffn_dim.max(config.embed_dim).max(config.q_dim());
        let rows = 3 * config.embed_dim + 2 * config.q_dim() + 2 * config.kv_dim() + 2 * config.ffn_dim;
        let per_token = (rows + config.rope_dim + 2 * widest) as u64 * 4;
        n_tokens as u64 * per_token + (n_threads * context_len) as u64 * 4
    }
}
