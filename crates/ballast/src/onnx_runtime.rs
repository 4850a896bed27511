//! ONNX Runtime in front of the CPU's own engine, where it is asked for: how it is made, and what is said in a build
//! without the feature `ort`.

use crate::tensor_model::{TensorEngine, TensorLoadOptions};
use crate::{Error, Isolation, worker};
use ballast_backend::{Clock, EngineError, ErrorKind, InferenceEngine, ModelFmt};
use ballast_tensor::Rounding;
use std::sync::Arc;

/// What ONNX Runtime is asked for and does not do.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[cfg(not(feature = "ort"))]
    #[error("onnxruntime: expected a build with the feature ort, got one without it")]
    NotBuilt,
    #[error("onnxruntime: expected an ONNX file, got {}", got.as_str())]
    Format { got: ModelFmt },
    #[error("onnxruntime: expected floats as the model has them, it does not round them to 16 bits between operators")]
    Rounding,
    #[error("onnxruntime: expected our own engine to tell what each operator takes")]
    Trace,
}

impl Fault {
    fn kind(&self) -> ErrorKind {
        match self {
            #[cfg(not(feature = "ort"))]
            Self::NotBuilt => ErrorKind::Unavailable,
            Self::Format { .. } | Self::Rounding | Self::Trace => ErrorKind::Invalid,
        }
    }
}

impl From<Fault> for EngineError {
    fn from(fault: Fault) -> Self {
        Self::new(fault.kind(), fault)
    }
}

/// The engine where the options want it to run; `None`: they want none.
///
/// # Errors
/// If the build has none, its library cannot be loaded, or it does not do what the options ask for besides.
pub(crate) fn engine(
    options: &TensorLoadOptions,
    format: ModelFmt,
    clock: &Arc<dyn Clock>,
) -> Result<Option<Arc<dyn InferenceEngine>>, Error> {
    match options.engine {
        TensorEngine::Cpu => return Ok(None),
        TensorEngine::OnnxRuntime { .. } => {}
    }
    if format != ModelFmt::Onnx {
        return Err(EngineError::from(Fault::Format { got: format }).into());
    }
    match options.rounding {
        Rounding::AsTyped => {}
        Rounding::ToF16 => return Err(EngineError::from(Fault::Rounding).into()),
    }
    let engine = in_this_process(options, clock)?;
    Ok(Some(match options.isolation {
        Isolation::InProcess => engine,
        Isolation::Process => {
            Arc::new(worker::IsolatedTensors::new(engine, worker::WorkerEngine::OnnxRuntime, options.clone()))
        }
    }))
}

/// Whether our own engine answers, which is the one that can be traced.
///
/// # Errors
/// If it does not.
pub(crate) fn check_traced(options: &TensorLoadOptions) -> Result<(), EngineError> {
    match options.engine {
        TensorEngine::Cpu => Ok(()),
        TensorEngine::OnnxRuntime { .. } => Err(Fault::Trace.into()),
    }
}

/// ONNX Runtime alone, in this process.
///
/// # Errors
/// If the library cannot be loaded, or the options ask for what this machine does not have.
#[cfg(feature = "ort")]
pub(crate) fn in_this_process(
    options: &TensorLoadOptions,
    clock: &Arc<dyn Clock>,
) -> Result<Arc<dyn InferenceEngine>, Error> {
    let library = match &options.engine {
        TensorEngine::OnnxRuntime { library } => library.clone(),
        TensorEngine::Cpu => None,
    };
    let n_threads = crate::wiring::tensor_threads(options)?;
    let engine = ballast_ort::OrtEngine::new(ballast_ort::OrtOptions { library, n_threads }, Arc::clone(clock));
    let engine = engine.map_err(EngineError::from)?;
    Ok(Arc::new(match options.breaker.sla {
        Some(sla) => engine.with_sla(sla),
        None => engine,
    }))
}

/// That there is none.
#[cfg(not(feature = "ort"))]
pub(crate) fn in_this_process(
    _options: &TensorLoadOptions,
    _clock: &Arc<dyn Clock>,
) -> Result<Arc<dyn InferenceEngine>, Error> {
    Err(EngineError::from(Fault::NotBuilt).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SystemClock;

    fn refused(options: &TensorLoadOptions, format: ModelFmt) -> (ErrorKind, String) {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::start());
        let Err(error) = engine(options, format, &clock) else { panic!("expected a refusal") };
        (error.kind(), error.to_string())
    }

    fn asked() -> TensorLoadOptions {
        let library = Some("no/such/library".into());
        TensorLoadOptions { engine: TensorEngine::OnnxRuntime { library }, ..TensorLoadOptions::default() }
    }

    #[test]
    fn it_is_made_where_it_is_asked_for_only() {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::start());
        assert!(engine(&TensorLoadOptions::default(), ModelFmt::Onnx, &clock).is_ok_and(|engine| engine.is_none()));
        assert!(check_traced(&TensorLoadOptions::default()).is_ok());
        assert_eq!(check_traced(&asked()).map_err(|error| error.kind()), Err(ErrorKind::Invalid));
    }

    #[test]
    fn what_it_does_not_do_is_refused_and_not_left_out() {
        let (kind, text) = refused(&asked(), ModelFmt::MlPackage);
        assert!(kind == ErrorKind::Invalid && text.contains("mlpackage"), "{text}");
        let (kind, text) = refused(&TensorLoadOptions { rounding: Rounding::ToF16, ..asked() }, ModelFmt::Onnx);
        assert!(kind == ErrorKind::Invalid && text.contains("16 bits"), "{text}");
    }

    #[test]
    fn a_build_without_it_and_a_library_that_is_not_there_are_told() {
        let (kind, text) = refused(&asked(), ModelFmt::Onnx);
        let word = if cfg!(feature = "ort") { "no/such/library" } else { "the feature ort" };
        assert!(kind == ErrorKind::Unavailable && text.contains(word), "{text}");
    }
}
