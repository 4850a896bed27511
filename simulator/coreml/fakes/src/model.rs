//! The model: compiles, loads, predicts, keeps state.

use crate::arrays::{FakeArray, batch, features, input};
use crate::knobs::{Alive, Fault, knobs, on_queue, stall};
use crate::package::{Array, Package, compile};
use crate::settings::{FakeDescription, error, ml_error};
use crate::shim::note_call;
use block2::{DynBlock, RcBlock};
use objc2::rc::{Retained, autoreleasepool};
use objc2::runtime::{AnyObject, ProtocolObject};
use objc2::{AnyThread, ClassType, DefinedClass, Message, define_class, msg_send};
use objc2_core_ml::{MLBatchProvider, MLFeatureProvider, MLMultiArray};
use objc2_foundation::{NSError, NSObject, NSString, NSURL};
use std::path::PathBuf;
use std::ptr::{self, NonNull};

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
    work: impl FnOnce() -> Result<Retained<T>, isize> + 'static,
) {
    let carried = Carried((handler.copy(), work));
    on_queue(move || {
        let (handler, work) = carried.take();
        match fault {
            Fault::Stall => stall(),
            Fault::Kill => std::process::abort(),
            Fault::None | Fault::Error(_) | Fault::Silence | Fault::Dropped | Fault::Twice => {}
        }
        if fault == Fault::Dropped {
            return;
        }
        // The framework's own pool ends before the handler is called: the handler must bring one.
        let result = autoreleasepool(|_| match fault {
            Fault::Error(code) => Err(code),
            Fault::None | Fault::Stall | Fault::Twice | Fault::Silence | Fault::Dropped | Fault::Kill => work(),
        });
        tell(fault, &handler, result);
    });
}

fn tell<T: Message>(fault: Fault, handler: &RcBlock<dyn Fn(*mut T, *mut NSError)>, result: Result<Retained<T>, isize>) {
    match (fault, result) {
        (Fault::Silence, _) => handler.call((ptr::null_mut(), ptr::null_mut())),
        (_, Ok(object)) => {
            let object = Retained::as_ptr(&object).cast_mut();
            handler.call((object, ptr::null_mut()));
            if fault == Fault::Twice {
                handler.call((object, ptr::null_mut()));
            }
        }
        (_, Err(code)) => {
            let error = ml_error(code);
            handler.call((ptr::null_mut(), Retained::as_ptr(&error).cast_mut()));
        }
    }
}

fn folder(url: &NSURL) -> PathBuf {
    PathBuf::from(url.path().expect("a path").to_string())
}

pub(crate) struct ModelParts {
    package: Package,
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
                let made = compile(&package).map_err(|_| 3_isize)?;
                let made = NSString::from_str(made.to_str().expect("UTF-8"));
                Ok(NSURL::fileURLWithPath_isDirectory(&made, true))
            });
        }

        // SAFETY: selector and types are those of the header.
        #[unsafe(method(loadContentsOfURL:configuration:completionHandler:))]
        fn load(url: &NSURL, _configuration: &AnyObject, handler: &Handler<FakeModel>) {
            note_call();
            let bundle = folder(url);
            answer(knobs().load, handler, move || Package::read(&bundle).map(FakeModel::of).ok_or(3));
        }

        // SAFETY: selector and types are those of the header.
        #[unsafe(method_id(modelDescription))]
        fn description(&self) -> Retained<FakeDescription> {
            note_call();
            FakeDescription::of(&self.ivars().package)
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
            FakeState::of(&self.ivars().package)
        }
    }
);

impl FakeModel {
    fn of(package: Package) -> Retained<Self> {
        let this = Self::alloc().set_ivars(ModelParts { package, _alive: Alive::new() });
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
        work: impl FnOnce(&Self) -> Result<Retained<T>, isize>,
    ) -> Option<Retained<T>> {
        match knobs().predict {
            Fault::Error(code) => return error(out, code),
            Fault::Silence | Fault::Dropped => return None,
            Fault::Stall => stall(),
            Fault::Kill => std::process::abort(),
            Fault::None | Fault::Twice => {}
        }
        work(self).map_or_else(|code| error(out, code), Some)
    }

    fn compute(&self, inputs: &Provider, state: Option<&FakeState>) -> Result<Retained<Provider>, isize> {
        let (package, knobs) = (&self.ivars().package, knobs());
        let lent: Vec<_> =
            package.role("input").map(|array| input(inputs, &array.name).ok_or(1)).collect::<Result<_, isize>>()?;
        let kept = state.map_or(0.0, FakeState::step);
        let output = |array: &Array| {
            let n_elements: usize = array.shape.iter().product();
            let sum = |idx: usize| lent.iter().map(|array| array.element(idx % array.n_elements())).sum::<f64>();
            let values: Vec<f64> = (0..n_elements).map(|idx| 2.0 * sum(idx) + 1.0 + kept + knobs.error).collect();
            let code = if knobs.other_type { 0x10040 } else { array.code };
            (array.name.clone(), FakeArray::of(code, &array.shape, knobs.row_padding, &values))
        };
        let skipped = usize::from(knobs.missing_output);
        Ok(features(&package.role("output").skip(skipped).map(output).collect::<Vec<_>>()))
    }
}

pub(crate) struct StateParts {
    arrays: Vec<(String, Retained<FakeArray>)>,
    _alive: Alive,
}

define_class!(
    // SAFETY: NSObject has no requirements.
    #[unsafe(super(NSObject))]
    #[name = "MLState"]
    #[ivars = StateParts]
    pub(crate) struct FakeState;

    impl FakeState {
        // SAFETY: selector and types are those of the header.
        #[unsafe(method(getMultiArrayForStateNamed:handler:))]
        fn array(&self, name: &NSString, handler: &DynBlock<dyn Fn(NonNull<MLMultiArray>)>) {
            note_call();
            let name = name.to_string();
            if let Some((_, array)) = self.ivars().arrays.iter().find(|(known, _)| *known == name) {
                handler.call((NonNull::from(array.as_array()),));
            }
        }
    }
);

impl FakeState {
    fn of(package: &Package) -> Retained<Self> {
        let array = |array: &Array| {
            (array.name.clone(), FakeArray::of(array.code, &array.shape, 0, &vec![0.0; array.shape.iter().product()]))
        };
        let arrays = package.role("state").map(array).collect();
        let this = Self::alloc().set_ivars(StateParts { arrays, _alive: Alive::new() });
        // SAFETY: NSObject's initialiser.
        unsafe { msg_send![super(this), init] }
    }

    /// What the first element holds; it then holds one more. Calls with a state must not overlap, and nothing here
    /// keeps them from it.
    fn step(&self) -> f64 {
        let Some((_, array)) = self.ivars().arrays.first() else { return 0.0 };
        let held = array.element(0);
        array.put(0, held + 1.0);
        held
    }
}

pub(crate) fn register() {
    let _classes = [FakeModel::class(), FakeState::class()];
}
