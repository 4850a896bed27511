//! What each gate does.

use super::GateOptions;
use super::rows::{DELTA_L_INF, DELTA_RMSE, GateRow};
use crate::machine::resident_bytes;
use crate::soak::Limit;
use crate::tensor_model::{ComputeUnits, LinkPhase, PredictOptions, StartMode, TensorLoadOptions, TensorModel};
use crate::{Error, ErrorKind, SystemClock};
use ballast_backend::{Clock, TensorMap};
use ballast_runtime::buffer_pool::BufferPoolOptions;
use ballast_runtime::instance_pool::PoolOptions;
use ballast_runtime::parity::{EngineLabel, InputsLabel, ParityTally, Precision, ReportHead};
use ballast_tensor::Rounding;
use std::path::Path;
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Samples below which a 99th percentile is none.
const P99_SAMPLES_MIN: usize = 100;
/// Samples of which answers are compared.
const PARITY_SAMPLES_MAX: usize = 32;
/// Deadlines that are tried.
const DEADLINES: usize = 10;
/// Instances that answer at a time.
const INSTANCES: usize = 4;
/// Times that all callers come together so that every instance opens.
const OPENING_ROUNDS_MAX: usize = 256;
/// Predictions of each caller then.
const OPENING_CALLS: usize = 4;
/// Predictions of one caller by which the rate is measured, and those without a pool.
const ALONE_MAX: usize = 1000;
/// Share of a run after which growth counts: what comes first fills caches and pools.
const WARM_PERCENT: usize = 10;
const NO_MEMORY: &str = "the system does not tell the memory of a process";
const NO_ACCELERATOR: &str = "no engine for an accelerator answers here";

/// How long things took.
#[derive(Debug, Default)]
struct Times(Vec<Duration>);

impl Times {
    /// The median in milliseconds.
    fn p50_ms(&mut self) -> Result<f64, &'static str> {
        self.0.sort_unstable();
        self.0.get(self.0.len() / 2).map(|time| time.as_secs_f64() * 1e3).ok_or("there was none")
    }

    /// The 99th percentile in milliseconds, by nearest rank.
    fn p99_ms(&mut self) -> Result<f64, &'static str> {
        if self.0.len() < P99_SAMPLES_MIN {
            return Err("fewer than 100 samples");
        }
        self.0.sort_unstable();
        let rank = (self.0.len() * 99).div_ceil(100);
        Ok(self.0[rank - 1].as_secs_f64() * 1e3)
    }
}

/// The memory of this process, from when it was warm on.
#[derive(Debug, Default)]
struct Growth {
    warm: Option<u64>,
}

impl Growth {
    /// To be told after each of `n`.
    fn note(&mut self, done: usize, n: usize) {
        if self.warm.is_none() && done * 100 >= n * WARM_PERCENT {
            self.warm = resident_bytes();
        }
    }

    /// Growth since then in units of 2^20 bytes; what became smaller did not grow.
    fn mb(&self) -> Result<f64, &'static str> {
        let (warm, now) = self.warm.zip(resident_bytes()).ok_or(NO_MEMORY)?;
        Ok(mb(now.saturating_sub(warm)))
    }
}

fn mb(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

fn percent(part: u64, whole: u64) -> Result<f64, &'static str> {
    if whole == 0 { Err("there was none") } else { Ok(part as f64 * 100.0 / whole as f64) }
}

/// Gate A: opened again and again, one prediction each.
pub(super) fn openings(
    path: &Path,
    options: &GateOptions,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Vec<GateRow>, Error> {
    let (clock, n) = (SystemClock::start(), options.n());
    let inputs = options.inputs(&TensorModel::open(path, &options.load)?, 0)?;
    let (mut times, mut growth, mut n_failed) = (Times::default(), Growth::default(), 0_u32);
    for done in 1..=n {
        let start = clock.now();
        let opened = TensorModel::open(path, &options.load);
        times.0.push(clock.now().saturating_sub(start));
        if opened.and_then(|model| model.predict(inputs.clone())).is_err() {
            n_failed += 1;
        }
        growth.note(done, n);
        progress(done, n);
    }
    Ok(vec![
        GateRow::new("opened, with a prediction each", None, n as f64),
        GateRow::new("that failed", Some(Limit::Is(0.0)), f64::from(n_failed)),
        GateRow::of("opening p99, ms", Some(Limit::AtMost(5000.0)), times.p99_ms()),
        GateRow::of("growth, MB", Some(Limit::Below(10.0)), growth.mb()),
        GateRow::unmeasured(
            "compile cache hits, %",
            Some(Limit::AtLeast(90.0)),
            "the CPU engine compiles nothing that it keeps on disk",
        ),
    ])
}

/// Gate B: in time, as the reference, deadlines kept.
pub(super) fn answers(
    path: &Path,
    options: &GateOptions,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Vec<GateRow>, Error> {
    let (model, n) = (TensorModel::open(path, &options.load)?, options.n());
    let mut times = Times::default();
    for done in 1..=n {
        times.0.push(model.predict(options.inputs(&model, done)?)?.latency.run);
        progress(done, n);
    }
    let sla_ms = options.sla.as_secs_f64() * 1e3;
    let mut rows = vec![
        GateRow::new("predictions", None, n as f64),
        GateRow::of("p99, ms", Some(Limit::AtMost(sla_ms)), times.p99_ms()),
    ];
    rows.extend(parity(path, &model, options)?);
    rows.extend(deadlines(&model, options)?);
    Ok(rows)
}

/// Compares the model with its reference.
fn parity(path: &Path, model: &TensorModel, options: &GateOptions) -> Result<Vec<GateRow>, Error> {
    let rounded = TensorLoadOptions { rounding: Rounding::ToF16, ..options.load.clone() };
    let (reference, candidate, default) = match &options.reference {
        Some(reference) => (TensorModel::open(reference, &options.load)?, model.clone(), Precision::F32),
        None => (model.clone(), TensorModel::open(path, &rounded)?, Precision::F16),
    };
    let precision = model.manifest().precision.map_or(default, Into::into);
    let tolerances = precision.tolerances();
    let mut tally = ParityTally::new(tolerances)?;
    let n_samples = options.n().min(PARITY_SAMPLES_MAX);
    for sample in 0..n_samples {
        let inputs = options.inputs(&reference, sample)?;
        let expected = reference.predict(inputs.clone())?.outputs.into_tensors();
        let got = candidate.predict(inputs)?.outputs.into_tensors();
        tally.add_outputs(&expected, &got)?;
    }
    let report = tally.finish(ReportHead {
        reference: label(&reference),
        candidate: label(&candidate),
        inputs: InputsLabel::Given("the gate's".to_owned()),
        precision,
        tolerances,
        machine: String::new(),
    })?;
    let worst = |figure: fn(&ballast_runtime::parity::OutputParity) -> f64| {
        report.outputs.iter().map(figure).fold(0.0, f64::max)
    };
    let (l_inf, rmse) = match options.reference {
        Some(_) => (DELTA_L_INF, DELTA_RMSE),
        None => ("difference when floats are rounded to f16, L-inf", "difference when floats are rounded to f16, RMSE"),
    };
    Ok(vec![
        GateRow::new("samples compared", None, n_samples as f64),
        GateRow::new(l_inf, Some(Limit::AtMost(tolerances.l_inf_max)), worst(|output| output.l_inf)),
        GateRow::new(rmse, Some(Limit::AtMost(tolerances.rmse_max)), worst(|output| output.rmse)),
        GateRow::new("bounds that were not kept", Some(Limit::Is(0.0)), report.exceeded.len() as f64),
    ])
}

fn label(model: &TensorModel) -> EngineLabel {
    let engine = model.health().links.first().map_or("", |link| link.engine);
    EngineLabel {
        engine: engine.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        model_sha256: String::new(),
        cache_key: None,
    }
}

/// Asks for answers at once, which nobody can give.
fn deadlines(model: &TensorModel, options: &GateOptions) -> Result<Vec<GateRow>, Error> {
    let (clock, inputs) = (SystemClock::start(), options.inputs(model, 0)?);
    let (mut n_refused, mut longest) = (0_u32, Duration::ZERO);
    for _ in 0..DEADLINES {
        let start = clock.now();
        let asked = PredictOptions { deadline: Duration::from_nanos(1), ..PredictOptions::default() };
        let answer = model.engine().predict_blocking(inputs.clone(), asked);
        n_refused += u32::from(answer.is_err_and(|error| error.kind() == ErrorKind::Cancelled));
        longest = longest.max(clock.now().saturating_sub(start));
    }
    Ok(vec![
        GateRow::new("deadlines of 1 ns kept, of 10", Some(Limit::Is(DEADLINES as f64)), f64::from(n_refused)),
        GateRow::new("longest until told so, ms", Some(Limit::AtMost(250.0)), longest.as_secs_f64() * 1e3),
    ])
}

/// What a row of an accelerator is filled from.
#[derive(Debug)]
struct Side {
    times: Times,
    ane_share: Option<f32>,
}

/// Gate C: what an accelerator gains over the CPU on the same file. Without one, what the CPU does.
pub(super) fn accelerator(
    path: &Path,
    options: &GateOptions,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Vec<GateRow>, Error> {
    // Nobody waits for answers here: what is slow to prepare is waited for.
    let load = TensorLoadOptions { start: StartMode::Wait, ..options.load.clone() };
    let (model, n) = (TensorModel::open(path, &load)?, options.n());
    let health = model.health();
    let accelerated = match &health.links[..] {
        [first, _, ..] if first.phase == LinkPhase::Ready => Ok(first.engine),
        [first, _, ..] => Err(format!("{NO_ACCELERATOR}: {}: {}", first.engine, phase_text(&first.phase))),
        [] | [_] => Err(NO_ACCELERATOR.to_owned()),
    };
    let accelerated = match accelerated {
        Ok(engine) => Ok(side(&model, options, engine, &mut |_| ())?),
        Err(why) => Err(why),
    };
    let cpu = match &accelerated {
        Ok(_) => TensorModel::open(path, &TensorLoadOptions { compute_units: Some(ComputeUnits::CpuOnly), ..load })?,
        Err(_) => model.clone(),
    };
    let mut growth = Growth::default();
    let mut on_cpu = side(&cpu, options, "tensor-cpu", &mut |done| {
        growth.note(done, n);
        progress(done, n);
    })?;
    let metrics = model.metrics();
    let per_thousand = growth.mb().map(|mb| mb * 1000.0 / n as f64);
    let dispatch = cpu.metrics().cpu_dispatch_pct.map(f64::from).ok_or("the engine cannot tell");
    let mut rows = gained(accelerated, &mut on_cpu);
    rows.extend([
        GateRow::of("p99 on the CPU, ms", None, on_cpu.times.p99_ms()),
        GateRow::of("work on the CPU, %", None, dispatch),
        GateRow::of("memory now, MB", Some(Limit::Below(2048.0)), metrics.memory_current_mb.ok_or(NO_MEMORY)),
        GateRow::of("growth in 1000 predictions, MB", Some(Limit::Below(100.0)), per_thousand),
    ]);
    Ok(rows)
}

fn phase_text(phase: &LinkPhase) -> &str {
    match phase {
        LinkPhase::Preparing => "it is being prepared",
        LinkPhase::Ready => "it is ready",
        LinkPhase::Failed(why) => why,
    }
}

/// Times of one model, as far as this engine answers.
fn side(model: &TensorModel, options: &GateOptions, engine: &str, done: &mut dyn FnMut(usize)) -> Result<Side, Error> {
    let mut side = Side { times: Times::default(), ane_share: None };
    for nth in 1..=options.n() {
        let prediction = model.predict(options.inputs(model, nth)?)?;
        if prediction.engine == engine {
            side.times.0.push(prediction.latency.run);
            side.ane_share = prediction.dispatch.map(|dispatch| dispatch.ane).or(side.ane_share);
        }
        done(nth);
    }
    Ok(side)
}

/// What the accelerator gains.
fn gained(accelerated: Result<Side, String>, on_cpu: &mut Side) -> Vec<GateRow> {
    const SPEED_UP: (&str, Limit) = ("speed-up over the CPU", Limit::AtLeast(2.8));
    const SHARE: (&str, Limit) = ("work on the neural engine, %", Limit::AtLeast(70.0));
    const P99: (&str, Limit) = ("p99 over the CPU's", Limit::AtMost(0.7));
    let mut side = match accelerated {
        Ok(side) => side,
        Err(why) => {
            let unmeasured = |(name, limit)| GateRow::unmeasured(name, Some(limit), why.as_str());
            return [SPEED_UP, SHARE, P99].map(unmeasured).into();
        }
    };
    let pair = |figure: fn(&mut Times) -> Result<f64, &'static str>, on_cpu: &mut Side, side: &mut Side| {
        Ok::<_, &'static str>((figure(&mut on_cpu.times)?, figure(&mut side.times)?))
    };
    let (p50s, p99s) = (pair(Times::p50_ms, on_cpu, &mut side), pair(Times::p99_ms, on_cpu, &mut side));
    let share = side.ane_share.map(|share| f64::from(share) * 100.0).ok_or("the engine cannot tell");
    vec![
        GateRow::of(SPEED_UP.0, Some(SPEED_UP.1), p50s.map(|(cpu, accelerated)| cpu / accelerated)),
        GateRow::of(SHARE.0, Some(SHARE.1), share),
        GateRow::of(P99.0, Some(P99.1), p99s.map(|(cpu, accelerated)| accelerated / cpu)),
    ]
}

/// Gate D: for long, on several instances.
pub(super) fn endurance(
    path: &Path,
    options: &GateOptions,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Vec<GateRow>, Error> {
    let pool = PoolOptions { n_instances: INSTANCES, ..options.load.pool };
    let model = TensorModel::open(path, &TensorLoadOptions { pool, ..options.load.clone() })?;
    let (n, inputs) = (options.n(), options.inputs(&model, 0)?);
    let (one_caller, output_bytes) = alone(&model, &inputs, n.min(ALONE_MAX))?;
    open_instances(&model, &inputs);
    let (before, clock) = (model.engine().buffers(), SystemClock::start());
    let (mut times, growth, n_failed) = crowd(&model, &inputs, n, progress);
    let four_callers = n as f64 / clock.now().as_secs_f64().max(f64::EPSILON);
    let health = model.health();
    let trips: u64 = health.links.iter().map(|link| link.breaker_counters.trips()).sum();
    let buffers = model.engine().buffers();
    let hits = buffers.cache_hits - before.cache_hits;
    let calls = hits + buffers.cache_misses - before.cache_misses;
    let allocated = buffers.total_allocations - before.total_allocations;
    let bytes_per_call = output_bytes as f64 * (n - n_failed) as f64 / calls.max(1) as f64;
    let succeeded = (n - n_failed) as u64;
    Ok(vec![
        GateRow::new("predictions", None, n as f64),
        GateRow::of("that succeeded, %", Some(Limit::Above(99.0)), percent(succeeded, n as u64)),
        GateRow::of("p99, ms", Some(Limit::Below(25.0)), times.p99_ms()),
        GateRow::of("growth, MB", Some(Limit::Below(10.0)), growth.mb()),
        GateRow::new("breaker trips", Some(Limit::Is(0.0)), trips as f64),
        GateRow::of("buffers used again, %", Some(Limit::Above(80.0)), percent(hits, calls)),
        GateRow::of(
            "allocations of outputs avoided, %",
            Some(Limit::Above(90.0)),
            percent(calls.saturating_sub(allocated), calls),
        ),
        GateRow::new("bytes of outputs allocated", None, allocated as f64 * bytes_per_call),
        unpooled(path, options, &inputs, n)?,
        GateRow::new("predictions a second, one caller", None, one_caller),
        GateRow::new("predictions a second, four callers", None, four_callers),
        GateRow::of("memory at its most, MB", None, model.metrics().memory_peak_mb.ok_or(NO_MEMORY)),
        GateRow::new("instances open", Some(Limit::Is(INSTANCES as f64)), n_open(&model) as f64),
    ])
}

/// Predictions a second of one caller, and the bytes of one prediction's outputs.
fn alone(model: &TensorModel, inputs: &TensorMap, n: usize) -> Result<(f64, usize), Error> {
    let first = model.predict(inputs.clone())?;
    let output_bytes = first.outputs.iter().map(|(_, tensor)| tensor.size_bytes()).sum();
    drop(first);
    let clock = SystemClock::start();
    for _ in 0..n {
        drop(model.predict(inputs.clone())?);
    }
    Ok((n as f64 / clock.now().as_secs_f64().max(f64::EPSILON), output_bytes))
}

/// What the same predictions allocate for their outputs where no buffer is kept: counted on some of them.
fn unpooled(path: &Path, options: &GateOptions, inputs: &TensorMap, n: usize) -> Result<GateRow, Error> {
    let buffers = BufferPoolOptions { buffers_max: 0, ..options.load.buffers };
    let model = TensorModel::open(path, &TensorLoadOptions { buffers, ..options.load.clone() })?;
    // The first tells the shapes that the model leaves open.
    let (_, output_bytes) = alone(&model, inputs, 0)?;
    let before = model.engine().buffers();
    alone(&model, inputs, n.min(ALONE_MAX) - 1)?;
    let after = model.engine().buffers();
    let calls = after.cache_hits + after.cache_misses - before.cache_hits - before.cache_misses;
    let share = (after.total_allocations - before.total_allocations) as f64 / calls.max(1) as f64;
    Ok(GateRow::new("bytes of outputs allocated without the pool", None, share * output_bytes as f64 * n as f64))
}

/// Predictions that come together until every instance is open: an instance opens when all others are busy. They are no
/// part of the run.
fn open_instances(model: &TensorModel, inputs: &TensorMap) {
    for _ in 0..OPENING_ROUNDS_MAX {
        if n_open(model) >= INSTANCES {
            return;
        }
        let together = Barrier::new(INSTANCES);
        let caller = || {
            together.wait();
            // Whether one fails is for the run to find out.
            (0..OPENING_CALLS).for_each(|_| drop(model.predict(inputs.clone())));
        };
        std::thread::scope(|scope| (0..INSTANCES).for_each(|_| drop(scope.spawn(caller))));
    }
}

/// Instances that are open in the link that has most.
fn n_open(model: &TensorModel) -> usize {
    let health = model.health();
    health.links.iter().filter_map(|link| link.pool.as_ref()).map(|pool| pool.instances).max().unwrap_or(0)
}

/// Callers who ask one after the other, as many as there are instances, until `n` were asked together.
fn crowd(
    model: &TensorModel,
    inputs: &TensorMap,
    n: usize,
    progress: &mut dyn FnMut(usize, usize),
) -> (Times, Growth, usize) {
    let (asked, n_failed) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let mut growth = Growth::default();
    let caller = || {
        let mut times = Vec::new();
        while asked.fetch_add(1, Ordering::Relaxed) < n {
            // The outputs return to their pool at once.
            match model.predict(inputs.clone()) {
                Ok(prediction) => times.push(prediction.latency.run),
                Err(_) => drop(n_failed.fetch_add(1, Ordering::Relaxed)),
            }
        }
        times
    };
    let times = std::thread::scope(|scope| {
        let callers: Vec<_> = (1..INSTANCES).map(|_| scope.spawn(caller)).collect();
        let mut times = Vec::new();
        loop {
            let number = asked.fetch_add(1, Ordering::Relaxed);
            if number >= n {
                break;
            }
            match model.predict(inputs.clone()) {
                Ok(prediction) => times.push(prediction.latency.run),
                Err(_) => drop(n_failed.fetch_add(1, Ordering::Relaxed)),
            }
            growth.note(number, n);
            progress(number + 1, n);
        }
        for caller in callers {
            times.extend(caller.join().unwrap_or_default());
        }
        times
    });
    (Times(times), growth, n_failed.into_inner())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_of_few_samples_is_none() {
        let mut times = Times((1..=99).map(Duration::from_millis).collect());
        assert!(times.p99_ms().is_err());
        times.0.insert(0, Duration::from_millis(100));
        assert!(times.p99_ms().is_ok_and(|ms| (ms - 99.0).abs() < 1e-9));
    }

    #[test]
    fn growth_counts_from_when_the_run_is_warm() {
        let mut growth = Growth::default();
        growth.note(9, 100);
        assert!(growth.warm.is_none() && growth.mb().is_err());
        growth.note(10, 100);
        let grown = Growth { warm: growth.warm.map(|_| 0) };
        assert!(growth.warm.is_none() || grown.mb().is_ok_and(|mb| mb > 1.0));
        let shrunk = Growth { warm: growth.warm.map(|_| u64::MAX) };
        assert!(growth.warm.is_none() || shrunk.mb() == Ok(0.0));
    }

    #[test]
    fn a_share_of_nothing_is_none() {
        assert!(percent(0, 0).is_err());
        assert_eq!(percent(1, 4), Ok(25.0));
    }

    #[test]
    fn what_an_accelerator_gains_is_measured_against_the_cpu() {
        let side = |ms: u64, ane_share| Side { times: Times(vec![Duration::from_millis(ms); 100]), ane_share };
        let values = |accelerated| {
            let rows: [GateRow; 3] = gained(accelerated, &mut side(8, None)).try_into().unwrap();
            rows.map(|row| row.figure.value)
        };
        assert_eq!(values(Ok(side(2, Some(0.75)))), [Some(4.0), Some(75.0), Some(0.25)]);
        assert_eq!(values(Ok(side(2, None))), [Some(4.0), None, Some(0.25)]);
        assert_eq!(values(Ok(Side { times: Times::default(), ane_share: None })), [None; 3]);
        assert_eq!(values(Err("none".to_owned())), [None; 3]);
    }
}
