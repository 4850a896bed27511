//! What a model's figures could be at most on this machine: bytes over measured bandwidth, operations over measured
//! peak, whichever takes longer (Williams, Waterman, Patterson: "Roofline", CACM 52(4), 2009).

use super::figure::Figure;
use super::meter::{Limit, Meter, readable};
use crate::failure::Failure;
use ballast::gguf::{Gguf, TensorInfo, TensorType};
use ballast::{LoadOptions, wiring};
use ballast_kernels::limits::Peak;
use serde_json::{Value, json};
use std::num::NonZeroUsize;
use std::time::Duration;

/// Most bytes that are read to measure a bandwidth: far past every cache, and no burden for a machine that holds the
/// model.
pub(super) const READ_BYTES_MAX: u64 = 1 << 30;

/// How long one sample of a limit takes at least, in every round.
pub(super) const SAMPLE_MIN: Duration = Duration::from_millis(10);

/// What a model's token costs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct ModelCost {
    /// Weights that every decoded token needs; the embedding only where it serves as output.
    pub(super) weights_bytes: u64,
    /// Weights of the linear layers.
    pub(super) n_linear: u64,
    /// Weights of the output matrix, which a prompt needs for its last token only.
    pub(super) n_output: u64,
    /// Widths of the queries of all layers together: a query meets a key and weighs a value in each.
    pub(super) query_widths: u64,
    /// Keys and values of one position.
    pub(super) kv_bytes_per_position: u64,
    /// Whether most weights are multiplied as int8.
    pub(super) is_quantised: bool,
}

/// What one step of the engine moves and computes, for how many tokens.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct StepCost {
    pub(super) bytes: f64,
    pub(super) operations: f64,
    pub(super) n_tokens: f64,
}

impl ModelCost {
    pub(super) fn of(gguf: &Gguf, options: &LoadOptions) -> Result<Self, Failure> {
        let (shape, plan) = wiring::model_plan(gguf, options)?;
        let n_positions = (shape.n_blocks * shape.block_len) as u64;
        Ok(Self::of_tensors(gguf.tensors(), plan.kv_bytes / n_positions.max(1)))
    }

    fn of_tensors(tensors: &[TensorInfo], kv_bytes_per_position: u64) -> Self {
        let output =
            if tensors.iter().any(|t| t.name == "output.weight") { "output.weight" } else { "token_embd.weight" };
        let is_read = |t: &&TensorInfo| t.name == output || t.name != "token_embd.weight";
        let is_linear = |t: &&TensorInfo| t.name.starts_with("blk.") && t.shape.len() >= 2;
        let is_float = |t: &&TensorInfo| {
            matches!(t.tensor_type, TensorType::F32 | TensorType::F16 | TensorType::BF16 | TensorType::F64)
        };
        let weights_bytes = tensors.iter().filter(is_read).map(|t| t.n_bytes).sum();
        let float_bytes: u64 = tensors.iter().filter(is_read).filter(is_float).map(|t| t.n_bytes).sum();
        let queries = tensors.iter().filter(|t| t.name.ends_with(".attn_q.weight"));
        Self {
            weights_bytes,
            n_linear: tensors.iter().filter(is_linear).map(TensorInfo::n_elements).sum(),
            n_output: tensors.iter().filter(|t| t.name == output).map(TensorInfo::n_elements).sum(),
            query_widths: queries.filter_map(|t| t.shape.get(1)).sum(),
            kv_bytes_per_position,
            is_quantised: 2 * float_bytes < weights_bytes,
        }
    }

    /// The cost of the step behind a figure, averaged over its tokens; `None` for figures that are no step.
    pub(super) fn step(&self, figure: Figure) -> Option<StepCost> {
        let per_pair = 4.0 * self.query_widths as f64;
        let (weights, kv) = (self.weights_bytes as f64, self.kv_bytes_per_position as f64);
        let (linear, output) = (2.0 * self.n_linear as f64, 2.0 * self.n_output as f64);
        if let Figure::Prefill { depth, tokens } = figure {
            let (depth, n) = (depth as f64, tokens as f64);
            let n_pairs = n * depth + n * (n + 1.0) / 2.0;
            let operations = n * linear + output + n_pairs * per_pair;
            return Some(StepCost { bytes: weights + kv * (depth + n), operations, n_tokens: n });
        }
        let Figure::Decode { sequences, depth, tokens } = figure else { return None };
        let n_positions = depth as f64 + (tokens as f64 + 1.0) / 2.0;
        let n = sequences as f64;
        let operations = n * (linear + output + n_positions * per_pair);
        Some(StepCost { bytes: weights + n * kv * n_positions, operations, n_tokens: n })
    }
}

/// The machine's limits as they bear on one model, measured again in every round; the best of them counts.
#[derive(Debug)]
pub(super) struct Roofline {
    meter: Meter,
    data: Vec<u64>,
    is_quantised: bool,
    bandwidth: Option<Limit>,
    peak: Option<(&'static str, Limit)>,
}

/// What a figure could be at most.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Roof {
    pub(super) tokens_per_second: f64,
    /// Whether memory is what bounds it.
    pub(super) is_memory: bool,
}

impl Roofline {
    pub(super) fn new(cost: &ModelCost, n_threads: NonZeroUsize) -> Self {
        let n_bytes = cost.weights_bytes.min(READ_BYTES_MAX);
        let data = readable(usize::try_from(n_bytes).expect("a gigabyte can be addressed"));
        let meter = Meter::new(n_threads, SAMPLE_MIN);
        Self { meter, data, is_quantised: cost.is_quantised, bandwidth: None, peak: None }
    }

    /// Measures the limits once more.
    pub(super) fn measure(&mut self) {
        let bandwidth = self.meter.read(&self.data);
        self.bandwidth = Some(self.bandwidth.filter(|known| known.best >= bandwidth.best).unwrap_or(bandwidth));
        let kinds: &[Peak] = if self.is_quantised { &[Peak::Int8] } else { &[Peak::F32, Peak::Bf16] };
        for &kind in kinds {
            let Some(peak) = self.meter.best_peak(kind) else { continue };
            self.peak = Some(self.peak.filter(|(_, known)| known.best >= peak.1.best).unwrap_or(peak));
        }
    }

    /// `None` before the first measurement, or on a CPU without a loop for the peak.
    pub(super) fn roof(&self, step: StepCost) -> Option<Roof> {
        Some(roof(step, self.bandwidth?.best, self.peak?.1.best))
    }

    /// The measured limits in words.
    pub(super) fn words(&self) -> Option<String> {
        let ((instruction, peak), bandwidth) = (self.peak?, self.bandwidth?);
        let mib = size_of_val(self.data.as_slice()) >> 20;
        let (gigabytes, giga) = (bandwidth.best * 1e-9, peak.best * 1e-9);
        Some(format!("{gigabytes:.1} GB/s read from {mib} MiB, {giga:.0} GOP/s of {instruction}"))
    }

    pub(super) fn to_json(&self, n_threads: usize) -> Value {
        json!({
            "threads": n_threads,
            "read_bytes": size_of_val(self.data.as_slice()),
            "bytes_per_second": self.bandwidth.map(Limit::to_json),
            "instruction": self.peak.map(|(instruction, _)| instruction),
            "operations_per_second": self.peak.map(|(_, limit)| limit.to_json()),
        })
    }
}

fn roof(step: StepCost, bytes_per_second: f64, operations_per_second: f64) -> Roof {
    let (memory, compute) = (step.bytes / bytes_per_second, step.operations / operations_per_second);
    Roof { tokens_per_second: step.n_tokens / memory.max(compute), is_memory: memory >= compute }
}

#[cfg(test)]
mod tests {
    use super::{Figure, ModelCost, Roof, TensorInfo, TensorType, roof};

    fn tensor(name: &str, shape: &[u64], tensor_type: TensorType) -> TensorInfo {
        let n_bytes = tensor_type.row_bytes(shape.iter().product()).unwrap();
        TensorInfo { name: name.to_owned(), shape: shape.to_vec(), tensor_type, offset: 0, n_bytes, shard_idx: 0 }
    }

    fn tensors(tensor_type: TensorType) -> Vec<TensorInfo> {
        vec![
            tensor("token_embd.weight", &[64, 1000], tensor_type),
            tensor("blk.0.attn_q.weight", &[64, 96], tensor_type),
            tensor("blk.1.attn_q.weight", &[64, 96], tensor_type),
            tensor("blk.0.ffn_up.weight", &[64, 128], tensor_type),
            tensor("blk.0.attn_norm.weight", &[64], TensorType::F32),
        ]
    }

    #[test]
    fn a_tied_embedding_is_read_and_another_is_not() {
        let tied = ModelCost::of_tensors(&tensors(TensorType::Q8_0), 256);
        let n_linear = 64 * (96 + 96 + 128);
        assert_eq!((tied.n_linear, tied.n_output, tied.query_widths), (n_linear, 64_000, 192));
        assert_eq!(tied.weights_bytes, (n_linear + 64_000) / 32 * 34 + 256);
        assert!(tied.is_quantised);
        let mut untied = tensors(TensorType::F16);
        untied.push(tensor("output.weight", &[64, 500], TensorType::F16));
        let untied = ModelCost::of_tensors(&untied, 256);
        assert_eq!(untied.weights_bytes, (n_linear + 32_000) * 2 + 256);
        assert_eq!((untied.n_output, untied.is_quantised), (32_000, false));
    }

    #[test]
    fn steps_count_weights_keys_and_pairs() {
        let cost = ModelCost {
            weights_bytes: 1000,
            n_linear: 100,
            n_output: 10,
            query_widths: 5,
            kv_bytes_per_position: 2,
            is_quantised: true,
        };
        let prefill = cost.step(Figure::Prefill { depth: 0, tokens: 3 }).unwrap();
        assert_eq!(prefill.operations, 3.0 * 200.0 + 20.0 + 6.0 * 20.0);
        assert_eq!((prefill.bytes, prefill.n_tokens), (1006.0, 3.0));
        let behind = cost.step(Figure::Prefill { depth: 10, tokens: 3 }).unwrap();
        assert_eq!(behind.operations - prefill.operations, 30.0 * 20.0);
        let decode = cost.step(Figure::Decode { sequences: 4, depth: 10, tokens: 3 }).unwrap();
        assert_eq!(decode.operations, 4.0 * (220.0 + 12.0 * 20.0));
        assert_eq!((decode.bytes, decode.n_tokens), (1000.0 + 4.0 * 2.0 * 12.0, 4.0));
        assert_eq!(cost.step(Figure::Load), None);
        let bound = roof(decode, 1096.0, 1840.0 / 2.0);
        assert_eq!(bound, Roof { tokens_per_second: 2.0, is_memory: false });
        assert_eq!(roof(decode, 1096.0 / 4.0, 1840.0), Roof { tokens_per_second: 1.0, is_memory: true });
    }
}
