//! The llama forward pass: tokens in, logits out. (Llama, arXiv:2302.13971; grouped heads, arXiv:2305.13245)

use crate::LlamaConfig;
use crate::compute::{AttendAt, Compute, Norm};
use crate::inputs::Formats;
use crate::kv::KvCache;
use crate::packing::PackedBytes;
use crate::rope::Rope;
use crate::scratch::Scratch;
use crate::step::StepPlan;
use crate::weights::{Weight, Weights};
use ballast_backend::{Interrupted, Pulse};

/// Everything about a model that a step only reads.
#[derive(Debug)]
pub(crate) struct Model {
    pub(crate) config: LlamaConfig,
    pub(crate) weights: Weights,
    pub(crate) packed: PackedBytes,
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
    let norm = |weight| Norm { weight, eps: config.rms_norm_eps };
    let matrix = |weight: &Weight| weight.matrix(model.packed.bytes());

    compute.embed(&matrix(&model.weights.token_embd), &plan.tokens, &mut s.x);
    for (row, &position) in plan.positions.iter().enumerate() {
        let n = model.rope.n_pairs();
        model.rope.angles(position, &mut s.cos[row * n..][..n], &mut s.sin[row * n..][..n]);
    }

    for (idx, layer) in model.weights.layers.iter().enumerate() {
        pulse.beat()?;
        let before = (idx > 0).then_some(s.out.as_slice());
        let formats = Formats::of(&[&layer.wq, &layer.wk, &layer.wv]);
        compute.norm(&mut s.x, before, &norm(&layer.attn_norm), &mut s.normed, (&mut s.inputs, formats));
        let qkv = [
            (matrix(&layer.wq), s.q.as_mut_slice()),
            (matrix(&layer.wk), s.k.as_mut_slice()),
            (matrix(&layer.wv), s.v.as_mut_slice()),
        ];
        compute.products(&s.inputs, qkv);
        compute.rope(config, [&mut s.q, &mut s.k], &s.cos, &s.sin);
        for row in 0..plan.tokens.len() {
            kv.write(idx, plan.slot(row), &s.k[row * config.kv_dim()..], &s.v[row * config.kv_dim()..]);
        }
        let at = AttendAt { config, kv, layer: idx, plan, attention: &s.attention };
        compute.attend(&at, &s.q, &mut s.attend, &mut s.partials);
        let formats = Formats::of(&[&layer.wo]);
        compute.gather(&at, &mut s.partials, &mut s.attended, (&mut s.inputs, formats));
        compute.products(&s.inputs, [(matrix(&layer.wo), s.out.as_mut_slice())]);

        let formats = Formats::of(&[&layer.gate, &layer.up]);
        compute.norm(&mut s.x, Some(&s.out), &norm(&layer.ffn_norm), &mut s.normed, (&mut s.inputs, formats));
        let gate_up = [(matrix(&layer.gate), s.gate.as_mut_slice()), (matrix(&layer.up), s.up.as_mut_slice())];
        compute.products(&s.inputs, gate_up);
        let formats = Formats::of(&[&layer.down]);
        compute.silu_mul(&mut s.gate, &s.up, config.ffn_dim, (&mut s.inputs, formats));
        compute.products(&s.inputs, [(matrix(&layer.down), s.out.as_mut_slice())]);
    }

    pulse.beat()?;
    if !plan.logit_rows.is_empty() {
        output(model, state, plan, logits);
    }
    Ok(())
}

/// The logits of the rows that want them.
fn output(model: &Model, state: &mut State, plan: &StepPlan, logits: &mut [f32]) {
    let State { scratch: s, compute, .. } = state;
    let dim = model.config.embed_dim;
    // Rows only move up, so none is overwritten before it has moved.
    for (to, &from) in plan.logit_rows.iter().enumerate() {
        s.x.copy_within(from * dim..(from + 1) * dim, to * dim);
        s.out.copy_within(from * dim..(from + 1) * dim, to * dim);
    }
    let n = plan.logit_rows.len() * dim;
    let output = model.weights.output();
    let norm = Norm { weight: &model.weights.output_norm, eps: model.config.rms_norm_eps };
    let inputs = (&mut s.inputs, Formats::of(&[output]));
    let added = (!model.weights.layers.is_empty()).then_some(&s.out[..n]);
    compute.norm(&mut s.x[..n], added, &norm, &mut s.normed[..n], inputs);
    compute.products(&s.inputs, [(output.matrix(model.packed.bytes()), logits)]);
}
