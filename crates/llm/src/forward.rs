//! The llama forward pass: tokens in, logits out. (Llama, arXiv:2302.13971; grouped heads, arXiv:2305.13245)

use crate::LlamaConfig;
use crate::compute::{AttendAt, Compute};
use crate::kv::KvCache;
use crate::rope::Rope;
use crate::scratch::Scratch;
use crate::step::StepPlan;
use crate::weights::{Weight, Weights};
use ballast_backend::{Interrupted, Pulse};
use ballast_gguf::Gguf;

/// Everything about a model that a step only reads.
#[derive(Debug)]
pub(crate) struct Model {
    pub(crate) gguf: std::sync::Arc<Gguf>,
    pub(crate) config: LlamaConfig,
    pub(crate) weights: Weights,
    pub(crate) rope: Rope,
}

/// What a step writes.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) kv: KvCache,
    pub(crate) scratch: Scratch,
    pub(crate) compute: Compute,
}

/// Runs the tokens of `plan` and writes `logits`, `[plan.logit_rows.len(), vocab_size]`. Beats `pulse` once a layer.
///
/// # Errors
/// If the watcher asked for the end; `logits` are then undefined.
pub(crate) fn forward(
    model: &Model,
    state: &mut State,
    plan: &StepPlan,
    logits: &mut [f32],
    pulse: &Pulse,
) -> Result<(), Interrupted> {
    let State { kv, scratch: s, compute } = state;
    let config = &model.config;
    let (dim, eps) = (config.embed_dim, config.rms_norm_eps);
    let matrix = |weight: &Weight| weight.matrix(&model.gguf);

    compute.embed(&matrix(&model.weights.token_embd), &plan.tokens, &mut s.x);
    for (row, &position) in plan.positions.iter().enumerate() {
        let n = model.rope.n_pairs();
        model.rope.angles(position, &mut s.cos[row * n..][..n], &mut s.sin[row * n..][..n]);
    }

    for (idx, layer) in model.weights.layers.iter().enumerate() {
        pulse.beat()?;
        compute.rms_norm(&s.x, &layer.attn_norm, eps, &mut s.normed);
        let qkv = [
            (matrix(&layer.wq), s.q.as_mut_slice()),
            (matrix(&layer.wk), s.k.as_mut_slice()),
            (matrix(&layer.wv), s.v.as_mut_slice()),
        ];
        compute.linear(&s.normed, dim, &mut s.activations, qkv);
        compute.rope(&mut s.q, config.q_dim(), config.head_dim, &s.cos, &s.sin);
        compute.rope(&mut s.k, config.kv_dim(), config.head_dim, &s.cos, &s.sin);
        for row in 0..plan.tokens.len() {
            let (key, value) = (&s.k[row * config.kv_dim()..], &s.v[row * config.kv_dim()..]);
            kv.write(compute.kernels, idx, plan.slot(row), key, value);
        }
        let at = AttendAt { config, kv, layer: idx, plan };
        compute.attend(&at, &s.q, &mut s.scores, &mut s.attended);
        let wo = [(matrix(&layer.wo), s.out.as_mut_slice())];
        compute.linear(&s.attended, config.q_dim(), &mut s.activations, wo);
        compute.add(&mut s.x, &s.out, dim);

        compute.rms_norm(&s.x, &layer.ffn_norm, eps, &mut s.normed);
        let gate_up = [(matrix(&layer.gate), s.gate.as_mut_slice()), (matrix(&layer.up), s.up.as_mut_slice())];
        compute.linear(&s.normed, dim, &mut s.activations, gate_up);
        compute.silu_mul(&mut s.gate, &s.up, config.ffn_dim);
        let down = [(matrix(&layer.down), s.out.as_mut_slice())];
        compute.linear(&s.gate, config.ffn_dim, &mut s.activations, down);
        compute.add(&mut s.x, &s.out, dim);
    }

    pulse.beat()?;
    if plan.logit_rows.is_empty() {
        return Ok(());
    }
    for (to, &from) in plan.logit_rows.iter().enumerate() {
        s.out[to * dim..][..dim].copy_from_slice(&s.x[from * dim..][..dim]);
    }
    let n = plan.logit_rows.len() * dim;
    compute.rms_norm(&s.out[..n], &model.weights.output_norm, eps, &mut s.normed[..n]);
    let output = [(matrix(model.weights.output()), logits)];
    compute.linear(&s.normed[..n], dim, &mut s.activations, output);
    Ok(())
}
