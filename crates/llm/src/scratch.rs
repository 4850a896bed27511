//! The buffers of a forward pass, kept between steps.

use crate::LlamaConfig;
use crate::attention::AttentionPlan;
use crate::inputs::Inputs;
use ballast_backend::GeneratorShape;
use ballast_kernels::{Partial, QUERIES_MAX, SPAN};

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
    /// The left-hand side of the products at hand.
    pub(crate) inputs: Inputs,
    /// How attention is divided.
    pub(crate) attention: AttentionPlan,
    /// Its partial results.
    pub(crate) partials: Vec<f32>,
    /// What each thread needs while it attends, `[n_threads, attend_len]`.
    pub(crate) attend: Vec<f32>,
}

impl Scratch {
    /// Sizes every buffer for a step of `n_tokens` whose attention is planned.
    pub(crate) fn resize(&mut self, config: &LlamaConfig, n_tokens: usize, n_threads: usize) {
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
        self.partials.resize(self.attention.data_len, 0.0);
        self.attend.resize(n_threads * attend_len(config), 0.0);
    }

    /// Bytes of all buffers at the largest step, logits not counted.
    pub(crate) fn bytes(config: &LlamaConfig, shape: &GeneratorShape, n_threads: usize) -> u64 {
        let widest = config.ffn_dim.max(config.embed_dim).max(config.q_dim());
        let rows = 3 * config.embed_dim + 2 * config.q_dim() + 2 * config.kv_dim() + 2 * config.ffn_dim;
        // Activations in both forms; a block of 32 takes 52 bytes.
        let per_token = (rows + config.rope_dim + widest) as u64 * 4 + widest as u64 * 52 / 32;
        let partial = Partial::len_of(config.n_heads, config.head_dim) as u64 * 4;
        // Only as few units as there are for some rows are divided by spans.
        let spans = (QUERIES_MAX * shape.context_len.div_ceil(SPAN)) as u64;
        let attend = (n_threads * attend_len(config)) as u64 * 4;
        shape.max_batch_tokens as u64 * (per_token + partial) + spans * partial + attend
    }
}

/// Entries that a thread needs while it attends: scores, and a span's partial result.
pub(crate) fn attend_len(config: &LlamaConfig) -> usize {
    QUERIES_MAX * SPAN + Partial::len_of(QUERIES_MAX, config.head_dim)
}
