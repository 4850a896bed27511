//! What is told of the server and its models: metadata, configuration, statistics.

use super::datatype;
use super::question::{PRIORITY_DEFAULT, PRIORITY_LEVELS, extents};
use crate::tensors::{Counted, Figures, Served};
use ballast_backend::TensorSpec;
use serde_json::{Value, json};

/// What the server is called.
pub(super) const NAME: &str = "ballast";
/// Extensions of the protocol that are served, by Triton's names.
pub(super) const EXTENSIONS: [&str; 7] = [
    "classification",
    "model_repository",
    "schedule_policy",
    "model_configuration",
    "binary_tensor_data",
    "parameters",
    "statistics",
];

pub(super) fn server() -> Value {
    json!({ "name": NAME, "version": env!("CARGO_PKG_VERSION"), "extensions": EXTENSIONS })
}

/// `versions` are those that are ready.
pub(super) fn metadata(served: &Served, versions: &[u64]) -> Value {
    let tensor = |spec: &TensorSpec| json!({ "name": spec.name, "datatype": datatype::name(spec.dtype), "shape": extents(spec) });
    let versions: Vec<String> = versions.iter().map(u64::to_string).collect();
    json!({
        "name": served.model.name,
        "versions": versions,
        "platform": served.model.platform,
        "inputs": served.schema.inputs.iter().map(tensor).collect::<Vec<_>>(),
        "outputs": served.schema.outputs.iter().map(tensor).collect::<Vec<_>>(),
    })
}

/// The extents that a configuration tells: without that of the batch.
pub(super) fn dims(served: &Served, spec: &TensorSpec) -> Vec<i64> {
    let n_batch = usize::from(served.model.batching.max_batch > 0);
    extents(spec).into_iter().skip(n_batch).collect()
}

pub(super) fn config(served: &Served) -> Value {
    let model = &served.model;
    let tensor = |spec: &TensorSpec| json!({ "name": spec.name, "data_type": datatype::config_name(spec.dtype), "dims": dims(served, spec) });
    let mut config = json!({
        "name": model.name,
        "platform": model.platform,
        "backend": NAME,
        "max_batch_size": model.batching.max_batch,
        "input": served.schema.inputs.iter().map(tensor).collect::<Vec<_>>(),
        "output": served.schema.outputs.iter().map(tensor).collect::<Vec<_>>(),
        "instance_group": served.n_instances().map(|count| json!({ "kind": "KIND_CPU", "count": count })).as_slice(),
    });
    if model.batching.max_batch > 0 && model.batching.joins {
        config["dynamic_batching"] = json!({
            "preferred_batch_size": model.batching.preferred,
            "max_queue_delay_microseconds": u64::try_from(model.batching.max_wait.as_micros()).unwrap_or(u64::MAX),
            "priority_levels": PRIORITY_LEVELS,
            "default_priority_level": PRIORITY_DEFAULT,
            "default_queue_policy": { "max_queue_size": model.batching.queue_max },
        });
    }
    config
}

fn counted(counted: Counted) -> Value {
    json!({ "count": counted.count, "ns": counted.nanos() })
}

pub(super) fn statistics(all: &[(&Served, Figures)]) -> Value {
    let of_model = |(served, figures): &(&Served, Figures)| {
        let batches = figures.batches.iter().map(|(batch_size, batch)| {
            json!({
                "batch_size": batch_size,
                "compute_input": counted(batch.input),
                "compute_infer": counted(batch.infer),
                "compute_output": counted(batch.output),
            })
        });
        json!({
            "name": served.model.name,
            "version": served.model.version.to_string(),
            "last_inference": figures.last_inference.saturating_mul(1000),
            "inference_count": figures.n_inferences,
            "execution_count": figures.n_executions,
            "inference_stats": {
                "success": counted(figures.success),
                "fail": counted(figures.fail),
                "queue": counted(figures.queue),
                "compute_input": counted(figures.input),
                "compute_infer": counted(figures.infer),
                "compute_output": counted(figures.output),
                "cache_hit": counted(Counted::default()),
                "cache_miss": counted(Counted::default()),
            },
            "batch_stats": batches.collect::<Vec<_>>(),
        })
    };
    json!({ "model_stats": all.iter().map(of_model).collect::<Vec<_>>() })
}
