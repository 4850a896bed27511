//! Attention and what goes with it: `Attention`, `RotaryEmbedding`.

mod heads;
mod mask;
mod rotary;

use crate::array::{Array, Value};
use crate::error::OpError;
use crate::graph::NodeSpec;
use crate::operator::{Build, Inputs, Operator, Outputs};
use crate::ops::matmul::{Packed, Right, some_rows};
use crate::ops::widen;
use crate::pieces::Epilogue;
use crate::run::Context;
use ballast_backend::DType;
use ballast_kernels::{Kernels, PanelMut, Pointwise};
use heads::Heads;
use mask::{Mask, Reach};

pub(super) const OPS: &[(&str, Build)] = &[("Attention", attention), ("RotaryEmbedding", rotary::build)];

fn attention(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, OpError> {
    let heads = |name| -> Result<Option<usize>, OpError> {
        let heads = spec.int(name)?.map(|heads| usize::try_from(heads).ok().filter(|&heads| heads > 0));
        heads.map(|heads| heads.ok_or_else(|| NodeSpec::wrong(name, "a number from 1 on", "another"))).transpose()
    };
    let window = |name| -> Result<Option<i64>, OpError> {
        let size = if spec.version >= 25 { spec.int(name)?.unwrap_or(-1) } else { -1 };
        if size < -1 {
            Err(NodeSpec::wrong(name, "a number from -1 on", size))
        } else {
            Ok((size >= 0).then_some(size))
        }
    };
    let shown = match spec.int("qk_matmul_output_mode")?.unwrap_or(0) {
        0 => Shown::Products,
        1 => Shown::Capped,
        2 => Shown::Masked,
        3 => Shown::Weights,
        other => return Err(NodeSpec::wrong("qk_matmul_output_mode", "0 to 3", other)),
    };
    // It is computed in f32, which is no less than any of them asks for but double.
    let precision = spec.int("softmax_precision")?;
    if precision.is_some_and(|precision| ![1, 10, 11, 16].contains(&precision)) {
        return Err(NodeSpec::wrong("softmax_precision", "1, 10, 11 or 16", format!("{precision:?}")));
    }
    let softcap = spec.float("softcap")?.unwrap_or(0.0);
    Ok(Box::new(Attention {
        n_heads: [heads("q_num_heads")?, heads("kv_num_heads")?],
        scale: spec.float("scale")?,
        softcap: (softcap > 0.0).then_some(softcap),
        reach: Reach {
            is_causal: spec.flag("is_causal", false)?,
            left: window("left_window_size")?,
            right: window("right_window_size")?,
        },
        shown: spec.has_output(3).then_some(shown),
        is_present_wanted: spec.has_output(1) || spec.has_output(2),
    }))
}

/// What the fourth output has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shown {
    Products,
    Capped,
    Masked,
    Weights,
}

/// Values weighed by how well their keys fit queries. (ONNX `Attention`)
#[derive(Debug)]
struct Attention {
    /// Of queries, and of keys and values, where inputs have three dimensions.
    n_heads: [Option<usize>; 2],
    scale: Option<f32>,
    softcap: Option<f32>,
    reach: Reach,
    shown: Option<Shown>,
    is_present_wanted: bool,
}

/// One head of one of the batch.
struct Head<'a> {
    q: &'a [f32],
    k: &'a [f32],
    v: &'a [f32],
    place: [usize; 2],
    out: &'a mut [f32],
    shown: Option<&'a mut [f32]>,
}

impl Operator for Attention {
    fn run(&self, inputs: Inputs, context: &mut Context<'_>) -> Result<Outputs, OpError> {
        let (inputs, narrow) = widen::inputs(inputs, context)?;
        let q = Heads::read(&inputs, 0, self.n_heads[0])?;
        let (mut k, mut v) = (Heads::read(&inputs, 1, self.n_heads[1])?, Heads::read(&inputs, 2, self.n_heads[1])?);
        let n_past = if inputs.find(4)?.is_some() {
            let (past_k, past_v) = (Heads::read(&inputs, 4, None)?, Heads::read(&inputs, 5, None)?);
            (k, v) = (past_k.followed_by(&k, 4)?, past_v.followed_by(&v, 5)?);
            past_k.shape[2]
        } else {
            0
        };
        check(&q, &k, &v)?;
        let [n_batch, n_heads, n_queries, head_dim] = q.shape;
        let ([_, n_kv_heads, n_keys, _], value_dim) = (k.shape, v.shape[3]);
        let mask = Mask::new(&inputs, self.reach, [n_batch, n_heads, n_queries, n_keys], n_past)?;
        // Each head has the scores of all its queries and keys before it.
        context.len_of(&[n_queries, n_keys], DType::F32)?;
        let mut out = context.zeros::<f32>(&[n_batch, n_heads, n_queries, value_dim])?;
        let score_shape = [n_batch, n_heads, n_queries, n_keys];
        let mut shown = if self.shown.is_some() { context.zeros::<f32>(&score_shape)? } else { Vec::new() };
        let scale = self.scale.unwrap_or(1.0 / (head_dim as f32).sqrt());
        let kernels = context.kernels;
        if !out.is_empty() {
            let mut shown = shown.chunks_exact_mut((n_queries * n_keys).max(1));
            let outs = out.chunks_exact_mut(n_queries * value_dim).enumerate();
            let mut parts: Vec<Head<'_>> = outs
                .map(|(idx, out)| {
                    let (batch, head) = (idx / n_heads, idx % n_heads);
                    let kv = batch * n_kv_heads + head * n_kv_heads / n_heads;
                    Head {
                        q: q.head(idx),
                        k: k.head(kv),
                        v: v.head(kv),
                        place: [batch, head],
                        out,
                        shown: shown.next(),
                    }
                })
                .collect();
            let sizes = Sizes { head_dim, n_keys, scale, narrow };
            context.pool.run(&mut parts, |head| self.head(kernels, head, &mask, &sizes));
        }
        let y = q.like(out, value_dim);
        let mut outputs = Outputs::from_iter([Value::Array(y)]);
        if self.is_present_wanted || self.shown.is_some() {
            outputs.push(Array::new(&k.shape, k.values).into());
            outputs.push(Array::new(&v.shape, v.values).into());
        }
        if self.shown.is_some() {
            outputs.push(Array::new(&score_shape, shown).into());
        }
        widen::output(outputs, narrow, context)
    }
}

/// What all heads have in common.
struct Sizes {
    head_dim: usize,
    n_keys: usize,
    scale: f32,
    /// To what each stage is rounded.
    narrow: Option<DType>,
}

/// Shapes that go together.
fn check(q: &Heads, k: &Heads, v: &Heads) -> Result<(), OpError> {
    let [n_batch, n_heads, _, head_dim] = q.shape;
    let expected = [n_batch, k.shape[1], k.shape[2], head_dim];
    if k.shape != expected || k.shape[1] == 0 || !n_heads.is_multiple_of(k.shape[1]) {
        return Err(OpError::shape(format!("keys for queries of {:?}", q.shape), &k.shape));
    }
    if v.shape[..3] != k.shape[..3] {
        return Err(OpError::shape(format!("values for keys of {:?}", k.shape), &v.shape));
    }
    Ok(())
}

impl Attention {
    fn head(
        &self,
        kernels: &dyn Kernels,
        head: &mut Head<'_>,
        mask: &Mask<'_>,
        &Sizes { head_dim, n_keys, scale, narrow }: &Sizes,
    ) {
        if n_keys == 0 {
            return;
        }
        let n_queries = head.q.len() / head_dim.max(1);
        // Both are scaled by the root, as the standard has it, which matters where they are rounded.
        let root = scale.abs().sqrt();
        let mut q: Vec<f32> = head.q.iter().map(|q| q * root.copysign(scale)).collect();
        let mut k: Vec<f32> = head.k.iter().map(|k| k * root).collect();
        widen::round(&mut q, narrow);
        widen::round(&mut k, narrow);
        let keys = Packed::new(&k, [1, head_dim], head_dim, n_keys);
        let mut scores = vec![0.0; n_queries * n_keys];
        let none = &Epilogue::default();
        some_rows(kernels, (&q, [head_dim, 1]), &keys.view(), &mut PanelMut::new(&mut scores, n_keys), none);
        widen::round(&mut scores, narrow);
        self.show(head, Shown::Products, &scores);
        if let Some(cap) = self.softcap {
            scores.iter_mut().for_each(|score| *score /= cap);
            kernels.pointwise(Pointwise::Tanh, &mut scores);
            scores.iter_mut().for_each(|score| *score *= cap);
            widen::round(&mut scores, narrow);
        }
        self.show(head, Shown::Capped, &scores);
        for (query, scores) in scores.chunks_exact_mut(n_keys).enumerate() {
            mask.apply(head.place, query, scores);
        }
        widen::round(&mut scores, narrow);
        self.show(head, Shown::Masked, &scores);
        scores.chunks_exact_mut(n_keys).for_each(|scores| softmax(kernels, scores));
        widen::round(&mut scores, narrow);
        self.show(head, Shown::Weights, &scores);
        let n_cols = head.v.len() / n_keys;
        if n_cols > 0 {
            let values = Right::direct(head.v, n_keys, n_cols);
            some_rows(kernels, (&scores, [n_keys, 1]), &values, &mut PanelMut::new(head.out, n_cols), none);
        }
    }

    fn show(&self, head: &mut Head<'_>, stage: Shown, scores: &[f32]) {
        if self.shown == Some(stage)
            && let Some(shown) = &mut head.shown
        {
            shown.copy_from_slice(scores);
        }
    }
}

/// Weights that add up to 1; zeros where nothing may be attended to.
fn softmax(kernels: &dyn Kernels, scores: &mut [f32]) {
    let greatest = scores.iter().fold(f32::NEG_INFINITY, |max, score| if *score > max { *score } else { max });
    if greatest == f32::NEG_INFINITY && !scores.iter().any(|score| score.is_nan()) {
        return scores.fill(0.0);
    }
    scores.iter_mut().for_each(|score| *score -= greatest);
    kernels.pointwise(Pointwise::Exp, scores);
    let sum: f32 = scores.iter().sum();
    scores.iter_mut().for_each(|score| *score /= sum);
}
