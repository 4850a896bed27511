//! Every call of Objective-C and of the system's C library: one function each, safe to call from its neighbours.
//!
//! What makes the calls sound, throughout: receivers and arguments are live objects (`Retained`, or borrowed from one);
//! types are those of the frameworks' headers, from which `objc2-core-ml` is generated; a function of a later system is
//! called behind `objc2::available!` only; what a handler is given is used while the handler runs, or retained.
#![expect(unsafe_code, reason = "Objective-C")]

use crate::call::LoadSettings;
use crate::layout::bytes_of;
use crate::schema::ShapeRule;
use crate::{Action, ComputeDevice, CoreMlError, DeviceKind, PlannedOperation, ReshapeFrequency, Specialization};
use ballast_backend::{ComputeUnits, Tensor};
use block2::RcBlock;
use objc2::rc::{Retained, autoreleasepool};
use objc2::runtime::{AnyObject, NSObjectProtocol, ProtocolObject};
use objc2::{AnyThread, ClassType, Message, available};
use objc2_core_ml::{
    MLAllComputeDevices, MLArrayBatchProvider, MLBatchProvider, MLCPUComputeDevice, MLComputeDeviceProtocol,
    MLComputePlan, MLComputeUnits, MLDictionaryFeatureProvider, MLFeatureProvider, MLFeatureValue, MLGPUComputeDevice,
    MLModel, MLModelConfiguration, MLModelStructureProgramBlock, MLMultiArray, MLMultiArrayConstraint,
    MLMultiArrayDataType, MLMultiArrayShapeConstraintType, MLNeuralEngineComputeDevice, MLOptimizationHints,
    MLPredictionOptions, MLReshapeFrequencyHint, MLSpecializationStrategy, MLState,
};
use objc2_foundation::{NSArray, NSDictionary, NSError, NSInteger, NSNumber, NSString, NSURL};
use std::cell::RefCell;
use std::ffi::c_void;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, PoisonError};

/// Runs `body` in an autorelease pool: what it makes the frameworks give away is freed when it ends.
pub(super) fn pooled<R>(body: impl FnOnce() -> R) -> R {
    autoreleasepool(|_| body())
}

/// An object that is let go in a pool, wherever that happens.
pub(super) struct Held<T: Message>(Option<Retained<T>>);

impl<T: Message> Held<T> {
    fn new(object: Retained<T>) -> Self {
        Self(Some(object))
    }

    fn get(&self) -> &T {
        self.0.as_ref().expect("it is taken by Drop alone")
    }
}

impl<T: Message> Drop for Held<T> {
    fn drop(&mut self) {
        pooled(|| drop(self.0.take()));
    }
}

/// A model of the thread that holds it.
pub(super) type Model = Held<MLModel>;
/// An array that is owned.
pub(super) type MultiArray = Retained<MLMultiArray>;
/// An array that is borrowed.
pub(super) type MultiArrayObject = MLMultiArray;
/// Named values that are borrowed.
pub(super) type FeaturesObject = ProtocolObject<dyn MLFeatureProvider>;

/// A model on its way from one thread to another.
pub(super) struct Handed(Model);

// SAFETY: references are counted atomically, and `Handed` has no method that touches the model but `take`, which ends
// it. That the giver does not use the model until the taker is done is kept by `hand_over` (the giver is a handler that
// ends) and by `lend` (the owner's calls are counted in flight, and the blocking interfaces allow one).
unsafe impl Send for Handed {}

impl Handed {
    pub(super) fn take(self) -> Model {
        self.0
    }
}

/// The model that a handler was given, for the thread that waits for it.
pub(super) fn hand_over(model: &MLModel) -> Handed {
    Handed(Held::new(model.retain()))
}

/// The model, for the thread of one blocking call.
pub(super) fn lend(model: &Model) -> Handed {
    Handed(Held::new(model.get().retain()))
}

/// A state; calls with it are made one after the other.
#[derive(Clone)]
pub(super) struct StateHandle(Arc<Held<MLState>>);

/// Named inputs.
pub(super) struct Features(Retained<MLDictionaryFeatureProvider>);

/// Named inputs of several predictions.
pub(super) struct Batch(Retained<MLArrayBatchProvider>);

/// What a completion handler is given; live while the handler runs.
pub(super) struct Reply<'a, T> {
    object: Option<&'a T>,
    error: Option<&'a NSError>,
    action: Action,
}

impl<'a, T> Reply<'a, T> {
    /// The result, or the error in our words. Called in a pool: describing an error gives objects away.
    pub(super) fn get(self) -> Result<&'a T, CoreMlError> {
        match (self.object, self.error) {
            (_, Some(error)) => Err(translated(error, self.action)),
            (Some(object), None) => Ok(object),
            (None, None) => Err(CoreMlError::NoAnswer { action: self.action }),
        }
    }
}

fn translated(error: &NSError, action: Action) -> CoreMlError {
    let (domain, description) = (error.domain().to_string(), error.localizedDescription().to_string());
    CoreMlError::Framework { action, domain, code: error.code() as i64, description }
}

/// A block that passes on what the framework gives it. `handler` runs on a thread of the framework, so it is `Send`.
fn on_completion<T: Message>(
    action: Action,
    handler: impl Fn(Reply<'_, T>) + Send + 'static,
) -> RcBlock<dyn Fn(*mut T, *mut NSError)> {
    RcBlock::new(move |object: *mut T, error: *mut NSError| {
        // SAFETY: both are live for the time of the handler or null, by the contract of completion handlers.
        let (object, error) = unsafe { (object.as_ref(), error.as_ref()) };
        handler(Reply { object, error, action });
    })
}

/// Whether predictions with a completion handler are there.
pub(super) fn has_async() -> bool {
    available!(macos = 14.0, ios = 17.0, tvos = 17.0, visionos = 1.0, ..)
}

/// Whether compute plans are there.
pub(super) fn has_plans() -> bool {
    available!(macos = 14.4, ios = 17.4, tvos = 17.4, visionos = 1.1, ..)
}

/// Whether states are there.
pub(super) fn has_states() -> bool {
    available!(macos = 15.0, ios = 18.0, tvos = 18.0, visionos = 2.0, ..)
}

fn has_hints() -> bool {
    available!(macos = 15.0, ios = 18.0, tvos = 18.0, visionos = 2.0, ..)
}

fn has_functions() -> bool {
    available!(macos = 15.0, ios = 18.0, tvos = 18.0, visionos = 2.0, ..)
}

/// A folder as the frameworks name it.
pub(super) fn url(path: &Path) -> Result<Retained<NSURL>, CoreMlError> {
    let text = path.to_str().ok_or_else(|| CoreMlError::Path { path: path.to_owned() })?;
    Ok(NSURL::fileURLWithPath_isDirectory(&NSString::from_str(text), true))
}

/// A folder that the frameworks name.
pub(super) fn path(url: Reply<'_, NSURL>) -> Result<PathBuf, CoreMlError> {
    let action = url.action;
    let path = url.get()?.path().ok_or(CoreMlError::NoAnswer { action })?;
    Ok(PathBuf::from(path.to_string()))
}

/// How a model is loaded.
pub(super) fn configuration(settings: &LoadSettings<'_>) -> Retained<MLModelConfiguration> {
    let units = match settings.units {
        ComputeUnits::All => MLComputeUnits::All,
        ComputeUnits::CpuOnly => MLComputeUnits::CPUOnly,
        ComputeUnits::CpuAndGpu => MLComputeUnits::CPUAndGPU,
        ComputeUnits::CpuAndNe => MLComputeUnits::CPUAndNeuralEngine,
    };
    // SAFETY: a new object, and setters of the types of the header.
    unsafe {
        let configuration = MLModelConfiguration::new();
        configuration.setComputeUnits(units);
        if let Some(function) = settings.function.filter(|_| has_functions()) {
            configuration.setFunctionName(Some(&NSString::from_str(function)));
        }
        if has_hints() && (settings.hints.specialization.is_some() || settings.hints.reshape.is_some()) {
            configuration.setOptimizationHints(&hints(settings));
        }
        configuration
    }
}

fn hints(settings: &LoadSettings<'_>) -> Retained<MLOptimizationHints> {
    // SAFETY: a new object, and setters of the types of the header; the caller asked whether the system has them.
    unsafe {
        let hints = MLOptimizationHints::new();
        if let Some(specialization) = settings.hints.specialization {
            hints.setSpecializationStrategy(match specialization {
                Specialization::Balanced => MLSpecializationStrategy::Default,
                Specialization::FastPrediction => MLSpecializationStrategy::FastPrediction,
            });
        }
        if let Some(reshape) = settings.hints.reshape {
            hints.setReshapeFrequency(match reshape {
                ReshapeFrequency::Frequent => MLReshapeFrequencyHint::Frequent,
                ReshapeFrequency::Infrequent => MLReshapeFrequencyHint::Infrequent,
            });
        }
        hints
    }
}

/// Compiles a package.
pub(super) fn compile(package: &NSURL, action: Action, handler: impl Fn(Reply<'_, NSURL>) + Send + 'static) {
    let block = on_completion(action, handler);
    // SAFETY: the block has the header's type; the framework copies it.
    unsafe { MLModel::compileModelAtURL_completionHandler(package, &block) }
}

/// Loads a compiled bundle.
pub(super) fn load(
    bundle: &NSURL,
    configuration: &MLModelConfiguration,
    action: Action,
    handler: impl Fn(Reply<'_, MLModel>) + Send + 'static,
) {
    let block = on_completion(action, handler);
    // SAFETY: the block has the header's type; the framework copies it.
    unsafe { MLModel::loadContentsOfURL_configuration_completionHandler(bundle, configuration, &block) }
}

/// Plans a compiled bundle.
pub(super) fn load_plan(
    bundle: &NSURL,
    configuration: &MLModelConfiguration,
    action: Action,
    handler: impl Fn(Reply<'_, MLComputePlan>) + Send + 'static,
) {
    let block = on_completion(action, handler);
    // SAFETY: the block has the header's type; the framework copies it.
    unsafe { MLComputePlan::loadContentsOfURL_configuration_completionHandler(bundle, configuration, &block) }
}

/// Every operation of a plan, those inside of others included.
pub(super) fn operations(plan: &MLComputePlan) -> Vec<PlannedOperation> {
    let mut operations = Vec::new();
    // SAFETY: getters of the header's types on live objects.
    let functions = unsafe { plan.modelStructure().program().map(|program| program.functions()) };
    for function in functions.iter().flat_map(|functions| functions.to_vecs().1) {
        // SAFETY: as above.
        let block = unsafe { function.block() };
        add_block(plan, &block, &mut operations);
    }
    operations
}

fn add_block(plan: &MLComputePlan, block: &MLModelStructureProgramBlock, operations: &mut Vec<PlannedOperation>) {
    // SAFETY: getters of the header's types on live objects.
    for operation in unsafe { block.operations() } {
        // SAFETY: as above.
        let (usage, cost, operator, blocks) = unsafe {
            let usage = plan.computeDeviceUsageForMLProgramOperation(&operation);
            let cost = plan.estimatedCostOfMLProgramOperation(&operation).map(|cost| cost.weight());
            (usage, cost, operation.operatorName().to_string(), operation.blocks())
        };
        // SAFETY: as above.
        let preferred = usage.as_ref().map(|usage| unsafe { usage.preferredComputeDevice() });
        // SAFETY: as above.
        let supported = usage.map(|usage| unsafe { usage.supportedComputeDevices() });
        let preferred = preferred.map(|device| device_kind(&device));
        let supported = supported.iter().flat_map(|devices| devices.to_vec()).map(|device| device_kind(&device));
        operations.push(PlannedOperation { operator, preferred, supported: supported.collect(), cost });
        blocks.to_vec().iter().for_each(|block| add_block(plan, block, operations));
    }
}

fn device_kind(device: &ProtocolObject<dyn MLComputeDeviceProtocol>) -> DeviceKind {
    if device.isKindOfClass(MLNeuralEngineComputeDevice::class()) {
        DeviceKind::NeuralEngine
    } else if device.isKindOfClass(MLGPUComputeDevice::class()) {
        DeviceKind::Gpu
    } else if device.isKindOfClass(MLCPUComputeDevice::class()) {
        DeviceKind::Cpu
    } else {
        DeviceKind::Unknown
    }
}

/// The machine's units; none before the system can tell (macOS 14).
pub(super) fn devices() -> Vec<ComputeDevice> {
    if !has_async() {
        return Vec::new();
    }
    // SAFETY: a function without arguments; the system has it (macOS 14, as the interface with handlers).
    let devices = unsafe { MLAllComputeDevices() };
    let device = |device: Retained<ProtocolObject<dyn MLComputeDeviceProtocol>>| {
        let engine = AsRef::<AnyObject>::as_ref(&*device).downcast_ref::<MLNeuralEngineComputeDevice>();
        // SAFETY: a getter of the header's type on a live object.
        let n_cores = engine.and_then(|engine| usize::try_from(unsafe { engine.totalCoreCount() }).ok());
        ComputeDevice { kind: device_kind(&device), n_cores }
    };
    devices.to_vec().into_iter().map(device).collect()
}

/// What a model says about itself.
pub(super) struct Described {
    pub(super) inputs: Vec<FeatureDescription>,
    pub(super) outputs: Vec<FeatureDescription>,
    pub(super) states: Vec<FeatureDescription>,
}

/// One input, output or state.
pub(super) struct FeatureDescription {
    pub(super) name: String,
    pub(super) feature_type: i64,
    pub(super) is_optional: bool,
    pub(super) array: Option<ArrayRule>,
}

/// What an array must look like.
pub(super) struct ArrayRule {
    pub(super) code: i64,
    pub(super) shape: Vec<usize>,
    pub(super) rule: ShapeRule,
}

/// What a model takes, gives and keeps.
pub(super) fn describe(model: &Model) -> Described {
    // SAFETY: getters of the header's types on live objects; the one for states behind its system.
    let (inputs, outputs, states) = unsafe {
        let description = model.get().modelDescription();
        let states = has_states().then(|| description.stateDescriptionsByName());
        (description.inputDescriptionsByName(), description.outputDescriptionsByName(), states)
    };
    let read = |features: &NSDictionary<NSString, objc2_core_ml::MLFeatureDescription>| {
        let (names, features) = features.to_vecs();
        names.iter().zip(features).map(|(name, feature)| feature_description(name, &feature)).collect()
    };
    let states = states.as_deref().map(read).unwrap_or_default();
    Described { inputs: read(&inputs), outputs: read(&outputs), states }
}

fn feature_description(name: &NSString, feature: &objc2_core_ml::MLFeatureDescription) -> FeatureDescription {
    // SAFETY: getters of the header's types on live objects; the one for states behind its system.
    let (feature_type, is_optional, array, state) = unsafe {
        let state = if has_states() { feature.stateConstraint() } else { None };
        (feature.r#type().0, feature.isOptional(), feature.multiArrayConstraint(), state)
    };
    let kept = state.map(|state| {
        // SAFETY: getters of the header's types on live objects.
        let (code, shape) = unsafe { (state.dataType().0, state.bufferShape()) };
        ArrayRule { code: code as i64, shape: extents(&shape), rule: ShapeRule::One }
    });
    let array = array.map(|constraint| array_rule(&constraint)).or(kept);
    FeatureDescription { name: name.to_string(), feature_type: feature_type as i64, is_optional, array }
}

fn array_rule(constraint: &MLMultiArrayConstraint) -> ArrayRule {
    // SAFETY: getters of the header's types on live objects.
    let (code, shape, shapes) = unsafe { (constraint.dataType().0, constraint.shape(), constraint.shapeConstraint()) };
    // SAFETY: as above.
    let (kind, enumerated, ranges) =
        unsafe { (shapes.r#type(), shapes.enumeratedShapes(), shapes.sizeRangeForDimension()) };
    let rule = if kind == MLMultiArrayShapeConstraintType::Enumerated {
        ShapeRule::Enumerated(enumerated.to_vec().iter().map(|shape| extents(shape)).collect())
    } else if kind == MLMultiArrayShapeConstraintType::Range {
        // A range has its least extent and how many extents it allows: one, where the extent is fixed.
        // SAFETY: the header says that these values hold ranges.
        let ranges = ranges.to_vec().into_iter().map(|range| unsafe { range.rangeValue() });
        ShapeRule::Ranges(ranges.map(|range| (range.location, range.length > 1)).collect())
    } else {
        ShapeRule::One
    };
    ArrayRule { code: code as i64, shape: extents(&shape), rule }
}

fn extents(numbers: &NSArray<NSNumber>) -> Vec<usize> {
    numbers.to_vec().iter().map(|number| number.as_usize()).collect()
}

fn numbers(values: &[usize]) -> Retained<NSArray<NSNumber>> {
    let numbers: Vec<_> = values.iter().map(|&value| NSNumber::new_usize(value)).collect();
    NSArray::from_retained_slice(&numbers)
}

/// A tensor as an array, without a copy: a block owns it and lets it go when Core ML says that it may, or when Core ML
/// drops the block, whichever is first; so it is let go exactly once.
pub(super) fn lend_tensor(tensor: &Arc<Tensor>, code: i64, strides: &[usize]) -> Result<MultiArray, CoreMlError> {
    let bytes = bytes_of(tensor.data()).expect("the caller looked at the type");
    let pointer = NonNull::from(bytes).cast::<c_void>();
    let owner = Mutex::new(Some(Arc::clone(tensor)));
    let deallocator = RcBlock::new(move |_pointer: NonNull<c_void>| {
        drop(owner.lock().unwrap_or_else(PoisonError::into_inner).take());
    });
    let (shape, strides) = (numbers(tensor.shape()), numbers(strides));
    let code = NSInteger::try_from(code).expect("core ml's numbers of types are small");
    // SAFETY: the bytes are those of a dense array of this shape, type and strides (`Tensor` has as many elements as its
    // shape says, which the caller checked); they stay where they are, unchanged, as long as the block has its share,
    // because a shared `Tensor` cannot be written; Core ML does not write to inputs.
    let array = unsafe {
        MLMultiArray::initWithDataPointer_shape_dataType_strides_deallocator_error(
            MLMultiArray::alloc(),
            pointer,
            &shape,
            MLMultiArrayDataType(code),
            &strides,
            Some(&deallocator),
        )
    };
    array.map_err(|error| translated(&error, Action::WrapInputs))
}

impl Features {
    /// Arrays by name.
    pub(super) fn new(arrays: Vec<(&str, MultiArray)>) -> Result<Self, CoreMlError> {
        let names: Vec<_> = arrays.iter().map(|(name, _)| NSString::from_str(name)).collect();
        // SAFETY: a new object around a live one.
        let value = |(_, array): &(&str, MultiArray)| unsafe { MLFeatureValue::featureValueWithMultiArray(array) };
        let values: Vec<_> = arrays.iter().map(value).collect();
        let (names, values): (Vec<&NSString>, Vec<&AnyObject>) = names
            .iter()
            .map(|name| &**name)
            .zip(values.iter().map(|value| AsRef::<AnyObject>::as_ref(&**value)))
            .unzip();
        let dictionary = NSDictionary::from_slices(&names, &values);
        // SAFETY: the header takes strings to values of features, which these are.
        let provider = unsafe {
            MLDictionaryFeatureProvider::initWithDictionary_error(MLDictionaryFeatureProvider::alloc(), &dictionary)
        };
        provider.map(Self).map_err(|error| translated(&error, Action::WrapInputs))
    }

    fn object(&self) -> &FeaturesObject {
        ProtocolObject::from_ref(&*self.0)
    }
}

impl Batch {
    /// Several predictions' inputs.
    pub(super) fn new(items: &[Features]) -> Self {
        let items: Vec<&FeaturesObject> = items.iter().map(Features::object).collect();
        let items = NSArray::from_slice(&items);
        // SAFETY: the header takes an array of providers, which these are.
        Self(unsafe { MLArrayBatchProvider::initWithFeatureProviderArray(MLArrayBatchProvider::alloc(), &items) })
    }
}

/// Predicts; the framework answers on a thread of its own.
pub(super) fn predict_async(
    model: &Model,
    inputs: &Features,
    state: Option<&StateHandle>,
    action: Action,
    handler: impl Fn(Reply<'_, FeaturesObject>) + Send + 'static,
) {
    let block = on_completion(action, handler);
    // SAFETY: the block has the header's type and the framework copies it; the caller asked whether the system has this
    // interface; a state is used by one call at a time, which `Flights` of the state keeps.
    unsafe {
        let options = MLPredictionOptions::new();
        let (model, inputs) = (model.get(), inputs.object());
        match state {
            None => model.predictionFromFeatures_options_completionHandler(inputs, &options, &block),
            Some(state) => model.predictionFromFeatures_usingState_options_completionHandler(
                inputs,
                state.0.get(),
                &options,
                &block,
            ),
        }
    }
}

/// Predicts on this thread.
pub(super) fn predict(
    model: &Model,
    inputs: &Features,
    state: Option<&StateHandle>,
    action: Action,
) -> Result<Retained<FeaturesObject>, CoreMlError> {
    // SAFETY: this thread is the only one that uses the model, and the state, until the call ends: `Flights` allow one.
    let answer = unsafe {
        let options = MLPredictionOptions::new();
        let (model, inputs) = (model.get(), inputs.object());
        match state {
            None => model.predictionFromFeatures_options_error(inputs, &options),
            Some(state) => model.predictionFromFeatures_usingState_options_error(inputs, state.0.get(), &options),
        }
    };
    answer.map_err(|error| translated(&error, action))
}

/// Predicts several on this thread.
pub(super) fn predict_batch(
    model: &Model,
    batch: &Batch,
    action: Action,
) -> Result<Vec<Retained<FeaturesObject>>, CoreMlError> {
    // SAFETY: this thread is the only one that uses the model until the call ends: `Flights` allow one.
    let answer = unsafe {
        let options = MLPredictionOptions::new();
        model.get().predictionsFromBatch_options_error(ProtocolObject::from_ref(&*batch.0), &options)
    };
    let results = answer.map_err(|error| translated(&error, action))?;
    // SAFETY: a getter of the header's type on a live object.
    let n_results = unsafe { results.count() };
    // SAFETY: as above, with indices below the count.
    Ok((0..n_results).map(|idx| unsafe { results.featuresAtIndex(idx) }).collect())
}

/// A new state of a model.
pub(super) fn new_state(model: &Model) -> StateHandle {
    // SAFETY: the caller asked whether the system has states.
    StateHandle(Arc::new(Held::new(unsafe { model.get().newState() })))
}

/// The array of one output.
pub(super) fn output(result: &FeaturesObject, name: &str) -> Option<MultiArray> {
    // SAFETY: getters of the header's types on live objects.
    unsafe { result.featureValueForName(&NSString::from_str(name))?.multiArrayValue() }
}

/// An array's type, extents and strides, the last two unchecked.
pub(super) fn array_facts(array: &MLMultiArray) -> (i64, Vec<i64>, Vec<i64>) {
    // SAFETY: getters of the header's types on a live object.
    let (code, shape, strides) = unsafe { (array.dataType().0, array.shape(), array.strides()) };
    let values = |numbers: &NSArray<NSNumber>| numbers.to_vec().iter().map(|number| number.as_i64()).collect();
    (code as i64, values(&shape), values(&strides))
}

/// Lends an array's bytes to `read`, which is called at most once and whose panic ends with it.
pub(super) fn with_bytes(array: &MLMultiArray, read: &mut dyn FnMut(&[u8])) {
    let read = RefCell::new(Some(read));
    let handler = |pointer: NonNull<c_void>, n_bytes: NSInteger| {
        let (Some(read), Ok(n_bytes)) = (read.take(), usize::try_from(n_bytes)) else { return };
        // SAFETY: the header lends this many bytes at this place for the time of the handler, and nobody writes them.
        let bytes = unsafe { std::slice::from_raw_parts(pointer.cast::<u8>().as_ptr(), n_bytes) };
        let ended = catch_unwind(AssertUnwindSafe(|| read(bytes)));
        ended.unwrap_or_else(|_| tracing::error!("core ml: reading an array panicked"));
    };
    let block = RcBlock::new(handler);
    // SAFETY: the block has the header's type, is called before this returns, and is not kept.
    unsafe { array.getBytesWithHandler(&block) }
}

/// Lends one array of a state to `read`, likewise.
pub(super) fn with_state_array(state: &StateHandle, name: &str, read: &mut dyn FnMut(&MLMultiArray)) {
    let read = RefCell::new(Some(read));
    let handler = |array: NonNull<MLMultiArray>| {
        let Some(read) = read.take() else { return };
        // SAFETY: the header lends a live array for the time of the handler.
        let array = unsafe { array.as_ref() };
        let ended = catch_unwind(AssertUnwindSafe(|| read(array)));
        ended.unwrap_or_else(|_| tracing::error!("core ml: reading a state panicked"));
    };
    let block = RcBlock::new(handler);
    // SAFETY: the block has the header's type, is called before this returns, and is not kept; no call with the state is
    // in flight, which the caller's `Flights` keep.
    unsafe { state.0.get().getMultiArrayForStateNamed_handler(&NSString::from_str(name), &block) }
}

/// A text that the kernel has under `name`, such as `hw.model`.
#[cfg(target_vendor = "apple")]
pub(super) fn kernel_text(name: &std::ffi::CStr) -> Option<String> {
    let mut text = [0_u8; 256];
    let mut len = text.len();
    // SAFETY: the buffer has `len` bytes, and the name ends with a zero.
    let status =
        unsafe { libc::sysctlbyname(name.as_ptr(), text.as_mut_ptr().cast(), &raw mut len, std::ptr::null_mut(), 0) };
    let text = text.get(..len).filter(|_| status == 0)?;
    Some(String::from_utf8_lossy(text).trim_end_matches('\0').to_owned())
}

/// Bytes of memory that the process has in use.
#[cfg(target_vendor = "apple")]
pub(super) fn resident_bytes() -> Option<u64> {
    let size = i32::try_from(size_of::<libc::proc_taskinfo>()).expect("it is small");
    // SAFETY: a struct of numbers may be zeros.
    let mut info: libc::proc_taskinfo = unsafe { std::mem::zeroed() };
    let pid = i32::try_from(std::process::id()).ok()?;
    // SAFETY: the kernel writes at most `size` bytes to a struct of that size.
    let written = unsafe { libc::proc_pidinfo(pid, libc::PROC_PIDTASKINFO, 0, (&raw mut info).cast(), size) };
    (written == size).then_some(info.pti_resident_size)
}
