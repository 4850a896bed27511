//! The model: compiles, loads, predicts, keeps state.

use crate::arrays::{FakeArray, batch, elements, features, input};
use crate::descriptions::{FakeDescription, code_of};
use crate::knobs::{Alive, Fault, knobs, on_queue, stall};
use crate::package::{Failure, Program, compile};
use crate::settings::{FakeConfiguration, error, ml_error};
use crate::shim::{note_call, throw};
use ballast_backend::{DType, Pulse, Tensor, TensorMap};
use ballast_tensor::Executor;
use ballast_tensor::package::{Feature, FeatureKind};
use block2::{DynBlock, RcBlock};
use objc2::rc::{Retained, autoreleasepool};
use objc2::runtime::{AnyObject, ProtocolObject};
use objc2::{AnyThread, ClassType, DefinedClass, Message, define_class, msg_send};
use objc2_core_ml::{MLBatchProvider, MLFeatureProvider, MLMultiArray};
use objc2_foundation::{NSError, NSObject, NSString, NSURL};
use std::path::PathBuf;
use std::ptr::{self, NonNull};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

type Provider = ProtocolObject<dyn MLFeatureProvider>;
type Handler<T> = DynBlock<dyn Fn(*mut T, *mut NSError)>;

/// What a call of the framework takes along to another thread.
struct Carried<T>(T);

// SAFETY: the framework's objects may be used by one thread after the other, and references are counted atomically.
unsafe impl<T> Send for Carried<T> {}

impl<T> Carried<T> {
    fn take(self) -> T {
        self.0
    }
}

/// Does `work`, or what the knob says, on a thread of the framework, and tells the handler.
pub(crate) fn answer<T: Message + 'static>(
    fault: Fault,
    handler: &Handler<T>,
    work: impl FnOnce() -> Result<Retained<T>, Failure> + 'static,
) {
    before(fault);
    let carried = Carried((handler.copy(), work));
    on_queue(move || {
        let (handler, work) = carried.take();
        match fault {
            Fault::Stall => stall(),
            Fault::Kill => std::process::abort(),
            Fault::None
            | Fault::Error(_)
            | Fault::Silence
            | Fault::Dropped
            | Fault::Twice
            | Fault::Freeze
            | Fault::Throw => {}
        }
        if fault == Fault::Dropped {
            return;
        }
        // The framework's own pool ends before the handler is called: the handler must bring one.
        let result = autoreleasepool(|_| match fault {
            Fault::Error(code) => Err(told(code)),
            Fault::None
            | Fault::Stall
            | Fault::Twice
            | Fault::Silence
            | Fault::Dropped
            | Fault::Kill
            | Fault::Freeze
            | Fault::Throw => work(),
        });
        tell(fault, &handler, result);
    });
}

/// What a call does on the caller's thread.
fn before(fault: Fault) {
    match fault {
        Fault::Freeze => stall(),
        Fault::Throw => throw(),
        Fault::None | Fault::Error(_) | Fault::Silence | Fault::Dropped | Fault::Twice | Fault::Stall | Fault::Kill => {
        }
    }
}

fn told(code: isize) -> Failure {
    Failure::new(code, "the knob says so")
}

fn tell<T: Message>(
    fault: Fault,
    handler: &RcBlock<dyn Fn(*mut T, *mut NSError)>,
    result: Result<Retained<T>, Failure>,
) {
    match (fault, result) {
        (Fault::Silence, _) => handler.call((ptr::null_mut(), ptr::null_mut())),
        (_, Ok(object)) => {
            let object = Retained::as_ptr(&object).cast_mut();
            handler.call((object, ptr::null_mut()));
            if fault == Fault::Twice {
                handler.call((object, ptr::null_mut()));
            }
        }
        (_, Err(failure)) => {
            let error = ml_error(&failure);
            handler.call((ptr::null_mut(), Retained::as_ptr(&error).cast_mut()));
        }
    }
}

/// The folder that a caller names.
pub(crate) fn folder(url: &NSURL) -> PathBuf {
    PathBuf::from(url.path().expect("a path").to_string())
}

pub(crate) struct ModelParts {
    program: Arc<Program>,
    executor: Mutex<Executor>,
    _alive: Alive,
}

define_class!(
    // SAFETY: NSObject has no requirements.
    #[unsafe(super(NSObject))]
    #[name = "MLModel"]
    #[ivars = ModelParts]
    pub(crate) struct FakeModel;

    impl FakeModel {
        // SAFETY: selector and types are those of the header.
        #[unsafe(method(compileModelAtURL:completionHandler:))]
        fn compile(url: &NSURL, handler: &Handler<NSURL>) {
            note_call();
            let package = folder(url);
            answer(knobs().compile, handler, move || {
                let made = compile(&package)?;
                let made = NSString::from_str(made.to_str().expect("UTF-8"));
                Ok(NSURL::fileURLWithPath_isDirectory(&made, true))
            });
        }

        // SAFETY: selector and types are those of the header.
        #[unsafe(method(loadContentsOfURL:configuration:completionHandler:))]
        fn load(url: &NSURL, configuration: &FakeConfiguration, handler: &Handler<FakeModel>) {
            note_call();
            let (bundle, settings, knobs) = (folder(url), configuration.settings(), knobs());
            answer(knobs.load, handler, move || {
                Program::load(&bundle, &settings, knobs.accelerator).map(FakeModel::of)
            });
        }

        // SAFETY: selector and types are those of the header.
        #[unsafe(method_id(modelDescription))]
        fn description(&self) -> Retained<FakeDescription> {
            note_call();
            FakeDescription::of(&self.ivars().program)
        }

        // SAFETY: selector and types are those of the header.
        #[unsafe(method(predictionFromFeatures:options:completionHandler:))]
        fn predict_async(&self, inputs: &Provider, _options: &AnyObject, handler: &Handler<Provider>) {
            note_call();
            self.answer(inputs, None, handler);
        }

        // SAFETY: selector and types are those of the header.
        #[unsafe(method(predictionFromFeatures:usingState:options:completionHandler:))]
        fn predict_state_async(
            &self,
            inputs: &Provider,
            state: &FakeState,
            _options: &AnyObject,
            handler: &Handler<Provider>,
        ) {
            note_call();
            self.answer(inputs, Some(state), handler);
        }

        // SAFETY: selector and types are those of the header.
        #[unsafe(method_id(predictionFromFeatures:options:error:))]
        fn predict(
            &self,
            inputs: &Provider,
            _options: &AnyObject,
            out: *mut *mut NSError,
        ) -> Option<Retained<Provider>> {
            note_call();
            self.blocking(out, |model| model.compute(inputs, None))
        }

        // SAFETY: selector and types are those of the header.
        #[unsafe(method_id(predictionFromFeatures:usingState:options:error:))]
        fn predict_state(
            &self,
            inputs: &Provider,
            state: &FakeState,
            _options: &AnyObject,
            out: *mut *mut NSError,
        ) -> Option<Retained<Provider>> {
            note_call();
            self.blocking(out, |model| model.compute(inputs, Some(state)))
        }

        // SAFETY: selector and types are those of the header.
        #[unsafe(method_id(predictionsFromBatch:options:error:))]
        fn predict_batch(
            &self,
            items: &ProtocolObject<dyn MLBatchProvider>,
            _options: &AnyObject,
            out: *mut *mut NSError,
        ) -> Option<Retained<crate::arrays::FakeBatch>> {
            note_call();
            self.blocking(out, |model| {
                // SAFETY: the batch has this many items.
                let inputs = unsafe { (0..items.count()).map(|idx| items.featuresAtIndex(idx)) };
                let outputs = inputs.map(|inputs| model.compute(&inputs, None)).collect::<Result<Vec<_>, _>>()?;
                Ok(batch(&outputs))
            })
        }

        // SAFETY: selector and types are those of the header.
        #[unsafe(method_id(newState))]
        fn new_state(&self) -> Retained<FakeState> {
            note_call();
            FakeState::of(&self.ivars().program)
        }
    }
);

impl FakeModel {
    fn of(program: Program) -> Retained<Self> {
        let executor = Mutex::new(Executor::of(Arc::clone(&program.planned), program.options));
        let this = Self::alloc().set_ivars(ModelParts { program: Arc::new(program), executor, _alive: Alive::new() });
        // SAFETY: NSObject's initialiser.
        unsafe { msg_send![super(this), init] }
    }

    fn answer(&self, inputs: &Provider, state: Option<&FakeState>, handler: &Handler<Provider>) {
        let (model, inputs, state) = (self.retain(), inputs.retain(), state.map(Message::retain));
        answer(knobs().predict, handler, move || model.compute(&inputs, state.as_deref()));
    }

    fn blocking<T>(
        &self,
        out: *mut *mut NSError,
        work: impl FnOnce(&Self) -> Result<Retained<T>, Failure>,
    ) -> Option<Retained<T>> {
        match knobs().predict {
            Fault::Error(code) => return error(out, &told(code)),
            Fault::Silence | Fault::Dropped => return None,
            Fault::Stall => stall(),
            Fault::Kill => std::process::abort(),
            fault @ (Fault::None | Fault::Twice | Fault::Freeze | Fault::Throw) => before(fault),
        }
        work(self).map_or_else(|failure| error(out, &failure), Some)
    }

    /// Runs the package. Without a state, a model that keeps something begins anew.
    fn compute(&self, inputs: &Provider, state: Option<&FakeState>) -> Result<Retained<Provider>, Failure> {
        let ModelParts { program, executor, .. } = self.ivars();
        let given = program.described.inputs.iter().map(|feature| Ok((feature.name.clone(), given(inputs, feature)?)));
        let given = given.collect::<Result<TensorMap, Failure>>()?;
        let mut executor = lock(state.map_or(executor, |state| &state.ivars().executor));
        if state.is_none() {
            executor.reset_states();
        }
        let mut computed = executor.run(given, &Pulse::new(), None)?;
        drop(executor);
        let skipped = usize::from(knobs().missing_output);
        let outputs = program.described.outputs.iter().skip(skipped);
        let outputs =
            outputs.map(|feature| Ok((feature.name.clone(), array(feature, computed.remove(&feature.name))?)));
        Ok(features(&outputs.collect::<Result<Vec<_>, Failure>>()?))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The tensor of one input.
fn given(inputs: &Provider, feature: &Feature) -> Result<Tensor, Failure> {
    let tensor = input(inputs, &feature.name).and_then(|array| array.tensor());
    tensor.ok_or_else(|| Failure::new(Failure::FEATURES, format!("the input {:?} is no array", feature.name)))
}

/// The array of one output, with what the knobs make of it.
fn array(feature: &Feature, computed: Option<Tensor>) -> Result<Retained<FakeArray>, Failure> {
    let knobs = knobs();
    let of = |tensor: Tensor| {
        let values: Vec<f64> = elements(&tensor)?.into_iter().map(|value| value + knobs.error).collect();
        let code = code_of(if knobs.other_type { DType::F64 } else { tensor.dtype() });
        Some(FakeArray::of(code, tensor.shape(), knobs.row_padding, &values))
    };
    let computed = computed.filter(|_| matches!(feature.kind, FeatureKind::Array { .. }));
    let missing = || Failure::new(Failure::GENERIC, format!("the output {:?} is no array", feature.name));
    computed.and_then(of).ok_or_else(missing)
}

pub(crate) struct StateParts {
    program: Arc<Program>,
    /// With what is kept.
    executor: Mutex<Executor>,
    _alive: Alive,
}

define_class!(
    // SAFETY: NSObject has no requirements.
    #[unsafe(super(NSObject))]
    #[name = "MLState"]
    #[ivars = StateParts]
    pub(crate) struct FakeState;

    impl FakeState {
        /// Lends a copy: what is written to it is lost.
        // SAFETY: selector and types are those of the header.
        #[unsafe(method(getMultiArrayForStateNamed:handler:))]
        fn array(&self, name: &NSString, handler: &DynBlock<dyn Fn(NonNull<MLMultiArray>)>) {
            note_call();
            let kept = lock(&self.ivars().executor).state(&name.to_string());
            if let Some(kept) = kept.as_ref().and_then(|kept| Some((kept.shape(), elements(kept)?))) {
                let array = FakeArray::of(self.code(&name.to_string()), kept.0, 0, &kept.1);
                handler.call((NonNull::from(array.as_array()),));
            }
        }
    }
);

impl FakeState {
    fn of(program: &Arc<Program>) -> Retained<Self> {
        let executor = Mutex::new(Executor::of(Arc::clone(&program.planned), program.options));
        let parts = StateParts { program: Arc::clone(program), executor, _alive: Alive::new() };
        let this = Self::alloc().set_ivars(parts);
        // SAFETY: NSObject's initialiser.
        unsafe { msg_send![super(this), init] }
    }

    /// Core ML's number of the type that a state is described with; the executor may keep it in another.
    fn code(&self, name: &str) -> isize {
        let states = &self.ivars().program.described.states;
        states.iter().find(|feature| feature.name == name).map_or(0, |feature| match feature.kind {
            FeatureKind::State { dtype, .. } | FeatureKind::Array { dtype, .. } => code_of(dtype),
            FeatureKind::Image { .. }
            | FeatureKind::Integer
            | FeatureKind::Double
            | FeatureKind::Text
            | FeatureKind::Dictionary
            | FeatureKind::Sequence
            | FeatureKind::Other => 0,
        })
    }
}

pub(crate) fn register() {
    let _classes = [FakeModel::class(), FakeState::class()];
}
