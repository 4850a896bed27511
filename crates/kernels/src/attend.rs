//! Attention of some query heads over a span of one KV head, over any [`Isa`].
//!
//! Scores have positions in their lanes and add up over the head's entries; the weighted sum has the entries in its
//! lanes and adds up over positions. So neither adds across lanes, and several queries share each key and value that
//! is widened to f32. Types of entries differ in that widening alone.

use crate::isa::Isa;
use crate::kv::element::Element;
use crate::kv::{Partial, Queries, SCALE_LEN, SPAN, value_len};
use crate::{CacheType, KvView, lanes};
use half::{bf16, f16};

/// What a pass over keys or values goes over.
#[derive(Clone, Copy)]
struct Work<'a> {
    queries: &'a Queries<'a>,
    kv: &'a KvView<'a>,
    /// The span's first position.
    start: usize,
    /// Positions of the span that anyone sees.
    n_positions: usize,
}

#[inline(always)]
pub(crate) fn attend<S: Isa>(
    isa: S,
    queries: &Queries<'_>,
    kv: &KvView<'_>,
    span: usize,
    scores: &mut [f32],
    out: &mut Partial<'_>,
) {
    // Told again as a constant, so that the lengths of blocks are known where they are used.
    let of = |cache_type| KvView { cache_type, ..*kv };
    match kv.cache_type {
        CacheType::F16 => attend_to::<S, f16>(isa, queries, &of(CacheType::F16), span, scores, out),
        CacheType::BF16 => attend_to::<S, bf16>(isa, queries, &of(CacheType::BF16), span, scores, out),
        CacheType::Q8_0 => attend_to::<S, i8>(isa, queries, &of(CacheType::Q8_0), span, scores, out),
    }
}

#[inline(always)]
fn attend_to<S: Isa, E: Element>(
    isa: S,
    queries: &Queries<'_>,
    kv: &KvView<'_>,
    span: usize,
    scores: &mut [f32],
    out: &mut Partial<'_>,
) {
    let n_queries = queries.len();
    out.clear();
    let n_positions = queries.n_positions(n_queries - 1, span);
    let work = Work { queries, kv, start: span * SPAN, n_positions };
    let mut idx = 0;
    while idx < n_queries {
        match n_queries - idx {
            8.. if S::ROWS >= 8 => idx += score::<S, E, 8>(isa, &work, idx, scores),
            4.. => idx += score::<S, E, 4>(isa, &work, idx, scores),
            3 => idx += score::<S, E, 3>(isa, &work, idx, scores),
            2 => idx += score::<S, E, 2>(isa, &work, idx, scores),
            _ => idx += score::<S, E, 1>(isa, &work, idx, scores),
        }
    }
    for (idx, scores) in scores.chunks_exact_mut(SPAN).take(n_queries).enumerate() {
        let n_seen = queries.n_positions(idx, span);
        if n_seen > 0 {
            (out.max[idx], out.sum[idx]) = lanes::weigh(&mut scores[..n_seen]);
        }
        scores[n_seen..n_positions].fill(0.0);
    }
    let mut idx = 0;
    while idx < n_queries {
        match n_queries - idx {
            4.. => idx += gather::<S, E, 4>(isa, &work, idx, scores, out),
            3 => idx += gather::<S, E, 3>(isa, &work, idx, scores, out),
            2 => idx += gather::<S, E, 2>(isa, &work, idx, scores, out),
            _ => idx += gather::<S, E, 1>(isa, &work, idx, scores, out),
        }
    }
}

/// Scores of `R` queries from `first` on; returns `R`.
#[inline(always)]
fn score<S: Isa, E: Element, const R: usize>(isa: S, work: &Work<'_>, first: usize, scores: &mut [f32]) -> usize {
    let mut position = 0;
    while position < work.n_positions {
        // The block's places are whole vectors, whether or not there is a position in each.
        if (work.start + position) % work.kv.block_len + 32 <= work.kv.block_len && position + 16 < work.n_positions {
            score_positions::<S, E, R, 2>(isa, work, first, position, scores);
            position += 32;
        } else {
            score_positions::<S, E, R, 1>(isa, work, first, position, scores);
            position += 16;
        }
    }
    R
}

/// Scores of `R` queries at `N` times 16 positions of one block.
#[inline(always)]
fn score_positions<S: Isa, E: Element, const R: usize, const N: usize>(
    isa: S,
    work: &Work<'_>,
    first: usize,
    position: usize,
    scores: &mut [f32],
) {
    let Work { queries, kv, start, .. } = *work;
    let (block, place) = ((start + position) / kv.block_len, (start + position) % kv.block_len);
    let mut q: [&[f32]; R] = [&[]; R];
    for (r, q) in q.iter_mut().enumerate() {
        *q = queries.query(first + r, kv.head_dim);
    }
    let mut sums = [[isa.splat(0.0); N]; R];
    let (entries, key_scales) = kv.key_block(block).split_at(kv.head_dim * kv.block_len * size_of::<E>());
    let mut key_scale = [E::scales(isa, key_scales, place); N];
    for (d, keys) in entries.chunks_exact(kv.block_len * size_of::<E>()).enumerate() {
        if d % SCALE_LEN == 0 {
            for (n, scale) in key_scale.iter_mut().enumerate() {
                *scale = E::scales(isa, key_scales, d / SCALE_LEN * kv.block_len + place + 16 * n);
            }
        }
        let keys = &keys[place * size_of::<E>()..][..16 * N * size_of::<E>()];
        for n in 0..N {
            let keys = E::load(isa, &keys[16 * n * size_of::<E>()..], key_scale[n]);
            for r in 0..R {
                sums[r][n] = isa.fma(isa.splat(q[r][d]), keys, sums[r][n]);
            }
        }
    }
    let scale = isa.splat(queries.scale);
    for (r, sums) in sums.iter().enumerate() {
        for (n, sum) in sums.iter().enumerate() {
            let out = &mut scores[(first + r) * SPAN + position + 16 * n..];
            isa.store(isa.mul(*sum, scale), out.first_chunk_mut().expect("a span is whole vectors"));
        }
    }
}

/// Weighted values of `R` queries from `first` on; returns `R`.
#[inline(always)]
fn gather<S: Isa, E: Element, const R: usize>(
    isa: S,
    work: &Work<'_>,
    first: usize,
    weights: &[f32],
    out: &mut Partial<'_>,
) -> usize {
    let n_vectors = value_len(work.kv.head_dim) / 16;
    let mut vector = 0;
    while vector < n_vectors {
        // As many as there are registers for.
        match n_vectors - vector {
            4.. if S::ROWS >= 8 => vector += gather_columns::<S, E, R, 4>(isa, work, (first, vector), weights, out),
            2.. => vector += gather_columns::<S, E, R, 2>(isa, work, (first, vector), weights, out),
            _ => vector += gather_columns::<S, E, R, 1>(isa, work, (first, vector), weights, out),
        }
    }
    R
}

/// `N` vectors of the weighted values, from `vector` on, of `R` queries, from `first` on; returns `N`.
#[inline(always)]
fn gather_columns<S: Isa, E: Element, const R: usize, const N: usize>(
    isa: S,
    work: &Work<'_>,
    (first, vector): (usize, usize),
    weights: &[f32],
    out: &mut Partial<'_>,
) -> usize {
    let Work { kv, start, n_positions, .. } = *work;
    let (value_len, n_scales) = (value_len(kv.head_dim), kv.head_dim.div_ceil(SCALE_LEN));
    let mut of: [&[f32]; R] = [&[]; R];
    for (r, of) in of.iter_mut().enumerate() {
        *of = &weights[(first + r) * SPAN..][..n_positions];
    }
    let mut sums = [[isa.splat(0.0); N]; R];
    for block in 0..n_positions.div_ceil(kv.block_len) {
        let values = kv.value_block(start / kv.block_len + block);
        let (entries, scales) = values.split_at(kv.block_len * value_len * size_of::<E>());
        let rows = entries.chunks_exact(value_len * size_of::<E>()).enumerate();
        for (t, (place, row)) in (block * kv.block_len..n_positions).zip(rows) {
            let row = &row[16 * vector * size_of::<E>()..][..16 * N * size_of::<E>()];
            for n in 0..N {
                // Several vectors begin where a scale does.
                let scale = E::scale(isa, scales, place * n_scales + 16 * vector / SCALE_LEN + 16 * n / SCALE_LEN);
                let values = E::load(isa, &row[16 * n * size_of::<E>()..], scale);
                for r in 0..R {
                    sums[r][n] = isa.fma(isa.splat(of[r][t]), values, sums[r][n]);
                }
            }
        }
    }
    for (r, sums) in sums.iter().enumerate() {
        for (n, sum) in sums.iter().enumerate() {
            let out = &mut out.values[(first + r) * value_len + 16 * (vector + n)..];
            isa.store(*sum, out.first_chunk_mut().expect("value rows are whole vectors"));
        }
    }
    N
}
