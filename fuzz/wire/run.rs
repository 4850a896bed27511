//! Plans a model and runs it within narrow bounds: memory, and a number of steps.

use ballast_backend::{DType, Dim, Pulse, Tensor, TensorMap, TensorSpec};
use ballast_tensor::{Executor, ExecutorOptions, Model, RunLimits};
use std::sync::{Mutex, Once, PoisonError};
use std::time::Duration;

/// Beats after which a run is interrupted: loops without an end are no finding.
const BEATS_MAX: u64 = 20_000;
/// The run that is watched.
static WATCHED: Mutex<Option<Pulse>> = Mutex::new(None);
static WATCHER: Once = Once::new();

/// Anything may come of it but a panic, a hang or much memory.
pub fn plan_and_run(model: &Model) {
    let limits = RunLimits { tensor_bytes_max: 1 << 20, run_bytes_max: 16 << 20, ..RunLimits::default() };
    let options = ExecutorOptions { limits, ..ExecutorOptions::default() };
    let Ok(mut executor) = Executor::new(model, options) else { return };
    let survey = model.survey(&options);
    let inputs: Option<TensorMap> =
        survey.inputs.iter().map(|(name, spec)| Some((name.clone(), input(spec.as_ref())?))).collect();
    let Some(inputs) = inputs else { return };
    let pulse = Pulse::new();
    watch(Some(pulse.clone()));
    drop(executor.run(inputs, &pulse, None));
    watch(None);
}

/// Zeros of a small shape.
fn input(spec: Option<&TensorSpec>) -> Option<Tensor> {
    let extent = |dim: &Dim| if let Dim::Fixed(n) = dim { *n } else { 2 };
    let shape = spec.map_or(vec![2], |spec| spec.shape.iter().map(extent).collect());
    let n_elements = shape.iter().try_fold(1_usize, |n, extent| n.checked_mul(*extent))?;
    (n_elements <= 4096).then(|| Tensor::zeros(shape, spec.map_or(DType::F32, |spec| spec.dtype)).ok()).flatten()
}

fn watch(pulse: Option<Pulse>) {
    WATCHER.call_once(|| {
        std::thread::spawn(|| {
            loop {
                std::thread::sleep(Duration::from_millis(10));
                if let Some(pulse) = &*WATCHED.lock().unwrap_or_else(PoisonError::into_inner)
                    && pulse.beats() > BEATS_MAX
                {
                    pulse.interrupt();
                }
            }
        });
    });
    *WATCHED.lock().unwrap_or_else(PoisonError::into_inner) = pulse;
}
