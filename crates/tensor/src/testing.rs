//! What tests of operators share.

use crate::array::{Array, Value};
use crate::error::GraphError;
use crate::executor::ExecutorOptions;
use crate::graph::{Attribute, Captures, Graph, Node, Port, ValueKind};
use crate::plan::{Opsets, Plan};
use crate::run::Context;
use ballast_backend::Pulse;
use ballast_threads::ComputePool;
use std::num::NonZeroUsize;

/// A sequence of random numbers. (SplitMix64)
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// Uniform in -1..1.
    pub(crate) fn floats(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| (self.bits() >> 40) as f32 / (1 << 23) as f32 - 1.0).collect()
    }
}

/// Computes with the best kernels and so many threads.
pub(crate) fn with_context<T>(n_threads: usize, run: impl FnOnce(&mut Context<'_>) -> T) -> T {
    let options = ExecutorOptions::default();
    let (mut pool, pulse) = (ComputePool::new(NonZeroUsize::new(n_threads).expect("a thread")), Pulse::new());
    let (kernels, limits, rounding) = (options.kernels, options.limits, options.rounding);
    run(&mut Context {
        kernels,
        pool: &mut pool,
        pulse: &pulse,
        limits,
        rounding,
        tracing: None,
        depth: 0,
        held_bytes: 0,
        folded_bytes: 0,
        text_bytes: 0,
    })
}

/// Runs one operator: its name and version, attributes, inputs (`None` is left out) and number of outputs.
pub(crate) fn run_op(
    (op, version): (&str, i64),
    attributes: &[(&str, Attribute)],
    inputs: Vec<Option<Value>>,
    n_outputs: usize,
) -> Result<Vec<Value>, GraphError> {
    let name = |kind: &str, idx: usize| format!("{kind}{idx}");
    let given = |idx: usize| if inputs[idx].is_some() { name("x", idx) } else { String::new() };
    let node = Node {
        op: op.to_owned(),
        inputs: (0..inputs.len()).map(given).collect(),
        outputs: (0..n_outputs).map(|idx| name("y", idx)).collect(),
        attributes: attributes.iter().map(|(name, attribute)| ((*name).to_owned(), attribute.clone())).collect(),
        ..Node::default()
    };
    let port = |name: String| Port { name, spec: None, kind: ValueKind::Tensor };
    let graph = Graph {
        inputs: (0..inputs.len()).map(|idx| port(name("x", idx))).collect(),
        outputs: (0..n_outputs).map(|idx| port(name("y", idx))).collect(),
        nodes: vec![node],
        ..Graph::default()
    };
    let opsets = Opsets::from([(String::new(), version)]);
    with_context(2, |context| Plan::new(&graph, &Captures::default(), &opsets, context)?.run(inputs, context))
}

/// As [`run_op`], from arrays to one array.
pub(crate) fn run_arrays(
    op: (&str, i64),
    attributes: &[(&str, Attribute)],
    inputs: &[Array],
) -> Result<Array, GraphError> {
    let inputs = inputs.iter().map(|array| Some(array.clone().into())).collect();
    match run_op(op, attributes, inputs, 1)?.pop() {
        Some(Value::Array(array)) => Ok(array),
        other => panic!("expected an array, got {other:?}"),
    }
}
