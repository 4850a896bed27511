//! The worker's side of the tests: engines that do what their payload says.

use ballast_backend::{
    DType, Dim, Dispatch, EngineError, ErrorKind, Generator, GeneratorShape, Instance, IoSchema, Logits, Predictor,
    Pulse, SequenceStep, Tensor, TensorData, TensorMap, TensorSpec, TokenId,
};
use ballast_testkit::Script;
use std::io::{Read, Write};

/// Size of the vocabulary of all engines here.
pub(crate) const VOCAB_SIZE: usize = 64;

/// Entered by its name when this executable is started as a worker; otherwise nothing happens.
#[test]
fn __ballast_worker() {
    if ballast_worker::is_worker(std::env::args_os()) {
        ballast_worker::serve(open).unwrap();
    }
}

/// Says the number after the last one.
pub(crate) fn successor() -> Script {
    Script::new(VOCAB_SIZE, |tokens| TokenId((tokens.last().unwrap().0 + 1) % 64))
}

fn open(payload: &str) -> Result<Instance, EngineError> {
    Ok(match payload {
        "successor" => Instance::Generator(Box::new(successor().engine().0)),
        "fails second" => Instance::Generator(Box::new(Script { fail_at: Some(1), ..successor() }.engine().0)),
        "panics" => Instance::Generator(Box::new(Script { panic_at: Some(0), ..successor() }.engine().0)),
        "abort" | "hang" | "beat" | "blow up" | "read" | "few logits" => {
            Instance::Generator(Box::new(Wild { deed: payload.to_owned(), shape: successor().shape }))
        }
        "large" => {
            let bytes = std::hint::black_box(vec![1_u8; 64 << 20]);
            assert_eq!(bytes[0], 1);
            Instance::Generator(Box::new(successor().engine().0))
        }
        "doubles" => Instance::Predictor(Box::new(Doubles::new())),
        "panics while it opens" => panic!("it panics while it opens"),
        "hangs while it opens" => hang(),
        other => return Err(EngineError::new(ErrorKind::Denied, NoSuch(other.to_owned()))),
    })
}

#[derive(Debug, thiserror::Error)]
#[error("no engine {0:?}")]
struct NoSuch(String);

fn hang() -> ! {
    loop {
        std::thread::park();
    }
}

/// Does one thing in every step.
struct Wild {
    deed: String,
    shape: GeneratorShape,
}

impl Generator for Wild {
    fn shape(&self) -> &GeneratorShape {
        &self.shape
    }

    fn step(&mut self, _: &[SequenceStep<'_>], logits: &mut Logits, pulse: &Pulse) -> Result<(), EngineError> {
        logits.reset(1, VOCAB_SIZE);
        match self.deed.as_str() {
            "abort" => std::process::abort(),
            "hang" => {
                pulse.beat().map_err(|asked| EngineError::new(ErrorKind::Cancelled, asked))?;
                hang()
            }
            "beat" => loop {
                pulse.beat().map_err(|asked| EngineError::new(ErrorKind::Cancelled, asked))?;
                std::thread::yield_now();
            },
            "few logits" => {
                logits.reset(1, VOCAB_SIZE - 1);
                Ok(())
            }
            "read" => {
                let mut bytes = Vec::new();
                std::io::stdin().read_to_end(&mut bytes).unwrap();
                std::io::stdout().write_all(&[7; 9]).unwrap();
                Ok(())
            }
            _ => {
                let mut taken: Vec<Vec<u8>> = Vec::new();
                loop {
                    taken.push(vec![1; 16 << 20]);
                }
            }
        }
    }
}

/// Gives its input twice as large, and whether each element is negative.
struct Doubles {
    schema: IoSchema,
}

impl Doubles {
    fn new() -> Self {
        let spec =
            |name: &str, dtype| TensorSpec { name: name.to_owned(), dtype, shape: vec![Dim::Any], batch_capable: true };
        let schema = IoSchema {
            inputs: vec![spec("x", DType::F32)],
            outputs: vec![spec("twice", DType::F32), spec("negative", DType::Bool)],
        };
        Self { schema }
    }
}

impl Predictor for Doubles {
    fn io_schema(&self) -> &IoSchema {
        &self.schema
    }

    fn predict(&mut self, inputs: &TensorMap, outputs: &mut TensorMap, _: &Pulse) -> Result<(), EngineError> {
        let x = inputs["x"].as_f32().unwrap();
        let tensor = |data: TensorData| Tensor::new(vec![x.len()], data).unwrap();
        outputs.insert("twice".to_owned(), tensor(TensorData::F32(x.iter().map(|v| v * 2.0).collect())));
        outputs.insert("negative".to_owned(), tensor(TensorData::Bool(x.iter().map(|v| *v < 0.0).collect())));
        Ok(())
    }

    fn dispatch(&self) -> Option<Dispatch> {
        Some(Dispatch::CPU)
    }
}
