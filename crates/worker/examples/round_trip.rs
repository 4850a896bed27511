//! What a worker costs: the time of a step that computes nothing, in this process and in a worker, for 0, 1 and 8 rows
//! of 49,152 logits.
//!
//! ```text
//! cargo run --release -p ballast-worker --example round_trip
//! ```
#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, reason = "it prints what it measured")]
#![expect(clippy::disallowed_methods, reason = "it measures time")]

use ballast_backend::{
    BlockId, Clock, EngineError, Generator, GeneratorShape, Instance, LogitRows, Logits, Pulse, SequenceStep, TokenId,
};
use ballast_worker::{SharedPlace, Worker, WorkerCommand, WorkerLimits, WorkerSpec, is_worker, serve};
use std::error::Error;
use std::time::{Duration, Instant};

const VOCAB_SIZE: usize = 49_152;
const N_STEPS: usize = 4_000;

/// An engine that does nothing but make room for its logits.
struct Nothing(GeneratorShape);

impl Nothing {
    fn new() -> Self {
        Self(GeneratorShape {
            vocab_size: VOCAB_SIZE,
            context_len: 4096,
            block_len: 32,
            n_blocks: 1024,
            max_batch_tokens: 512,
            max_batch_sequences: 16,
        })
    }
}

impl Generator for Nothing {
    fn shape(&self) -> &GeneratorShape {
        &self.0
    }

    fn step(&mut self, batch: &[SequenceStep<'_>], logits: &mut Logits, _: &Pulse) -> Result<(), EngineError> {
        logits.reset(batch.iter().map(SequenceStep::n_logit_rows).sum(), VOCAB_SIZE);
        Ok(())
    }
}

/// Time since it was made.
struct Watch(Instant);

impl Clock for Watch {
    fn now(&self) -> Duration {
        self.0.elapsed()
    }
}

/// Median and 99th percentile of a decode step of `n_rows` sequences at position 2,000.
fn measure(engine: &mut dyn Generator, n_rows: usize) -> Result<(Duration, Duration), EngineError> {
    let blocks: Vec<BlockId> = (0..63).map(BlockId).collect();
    let logits = if n_rows == 0 { LogitRows::None } else { LogitRows::Last };
    let share = SequenceStep { tokens: &[TokenId(7)], start: 2000, blocks: &blocks, logits };
    let batch = vec![share; n_rows.max(1)];
    let (mut out, pulse) = (Logits::default(), Pulse::new());
    let mut times = Vec::with_capacity(N_STEPS);
    for _ in 0..N_STEPS {
        let start = Instant::now();
        engine.step(&batch, &mut out, &pulse)?;
        times.push(start.elapsed());
    }
    times.sort_unstable();
    Ok((times[N_STEPS / 2], times[N_STEPS * 99 / 100]))
}

fn main() -> Result<(), Box<dyn Error>> {
    if is_worker(std::env::args_os()) {
        return Ok(serve(|_| Ok(Instance::Generator(Box::new(Nothing::new()))))?);
    }
    let spec = WorkerSpec {
        command: WorkerCommand::marked(std::env::current_exe()?),
        payload: String::new(),
        shared: SharedPlace::Memory,
        limits: WorkerLimits::default(),
    };
    let clock = Watch(Instant::now());
    let mut starts = Vec::new();
    for _ in 0..20 {
        let before = clock.now();
        drop(Worker::spawn(&spec, &clock)?);
        starts.push(clock.now() - before);
    }
    starts.sort_unstable();
    println!("start and end of a worker: median {:.0?} of {}", starts[starts.len() / 2], starts.len());
    let mut worker = Worker::spawn(&spec, &clock)?.into_generator()?;
    for n_rows in [0, 1, 8] {
        let here = measure(&mut Nothing::new(), n_rows)?;
        let there = measure(&mut worker, n_rows)?;
        println!(
            "{n_rows} rows of {VOCAB_SIZE} logits: in process median {:.1?}; in a worker median {:.1?}, p99 {:.1?} ({N_STEPS} steps)",
            here.0, there.0, there.1
        );
    }
    Ok(())
}
