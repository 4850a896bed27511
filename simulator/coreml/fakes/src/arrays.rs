//! Arrays, values of features, and what provides them.

use crate::knobs::{Alive, Fault, knobs};
use crate::package::Failure;
use crate::settings::error;
use crate::shim::note_call;
use ballast_backend::{Tensor, TensorData};
use block2::{DynBlock, RcBlock};
use half::f16;
use objc2::rc::{Allocated, Retained};
use objc2::runtime::{AnyObject, ProtocolObject};
use objc2::{AnyThread, ClassType, DefinedClass, Message, define_class, msg_send};
use objc2_core_ml::{MLFeatureProvider, MLFeatureValue, MLMultiArray};
use objc2_foundation::{NSArray, NSDictionary, NSError, NSInteger, NSNumber, NSObject, NSSet, NSString};
use std::ffi::c_void;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicIsize, AtomicU64, Ordering};

static DEALLOCATIONS: AtomicU64 = AtomicU64::new(0);
static LIVE_ARRAYS: AtomicIsize = AtomicIsize::new(0);

/// Calls of deallocators so far.
#[must_use]
pub fn deallocator_calls() -> u64 {
    DEALLOCATIONS.load(Ordering::SeqCst)
}

/// Arrays that are alive.
#[must_use]
pub fn live_arrays() -> isize {
    LIVE_ARRAYS.load(Ordering::SeqCst)
}

/// Bytes of an element.
pub(crate) fn element_bytes(code: isize) -> usize {
    usize::try_from((code & 0xff) / 8).expect("a width")
}

/// Where an array's elements are.
pub(crate) enum Storage {
    /// Its own, with more room than needed where rows are padded; u64 so that every type is aligned.
    Own(Vec<u64>),
    /// Somebody else's, who wants to be told when they are not needed any more.
    Lent { pointer: NonNull<c_void>, deallocator: Option<RcBlock<dyn Fn(NonNull<c_void>)>> },
}

pub(crate) struct ArrayParts {
    storage: Storage,
    code: isize,
    shape: Vec<usize>,
    strides: Vec<usize>,
    _alive: Alive,
}

impl Drop for ArrayParts {
    fn drop(&mut self) {
        LIVE_ARRAYS.fetch_sub(1, Ordering::SeqCst);
        if let Storage::Lent { pointer, deallocator: Some(deallocator) } = &self.storage {
            DEALLOCATIONS.fetch_add(1, Ordering::SeqCst);
            deallocator.call((*pointer,));
        }
    }
}

define_class!(
    // SAFETY: NSObject has no requirements.
    #[unsafe(super(NSObject))]
    #[name = "MLMultiArray"]
    #[ivars = ArrayParts]
    pub(crate) struct FakeArray;

    impl FakeArray {
        // SAFETY: selector and types are those of the header.
        #[unsafe(method_id(initWithDataPointer:shape:dataType:strides:deallocator:error:))]
        fn init_lent(
            this: Allocated<Self>,
            pointer: NonNull<c_void>,
            shape: &NSArray<NSNumber>,
            code: NSInteger,
            strides: &NSArray<NSNumber>,
            deallocator: Option<&DynBlock<dyn Fn(NonNull<c_void>)>>,
            out: *mut *mut NSError,
        ) -> Option<Retained<Self>> {
            note_call();
            if let Fault::Error(code) = knobs().wrap {
                error(out, &Failure::new(code, "the knob says so"))
            } else {
                let deallocator = deallocator.map(|block| block.copy());
                let storage = Storage::Lent { pointer, deallocator };
                Some(Self::init(this, ArrayParts::new(storage, code, values(shape), values(strides))))
            }
        }

        // SAFETY: selector and types are those of the header.
        #[unsafe(method(dataType))]
        fn data_type(&self) -> NSInteger {
            note_call();
            self.ivars().code
        }

        // SAFETY: selector and types are those of the header.
        #[unsafe(method_id(shape))]
        fn shape(&self) -> Retained<NSArray<NSNumber>> {
            note_call();
            numbers(&self.ivars().shape)
        }

        // SAFETY: selector and types are those of the header.
        #[unsafe(method_id(strides))]
        fn strides(&self) -> Retained<NSArray<NSNumber>> {
            note_call();
            let scale = if knobs().lying_strides { 1000 } else { 1 };
            numbers(&self.ivars().strides.iter().map(|stride| stride * scale).collect::<Vec<_>>())
        }

        // SAFETY: selector and types are those of the header.
        #[unsafe(method(getBytesWithHandler:))]
        fn bytes(&self, handler: &DynBlock<dyn Fn(NonNull<c_void>, NSInteger)>) {
            note_call();
            let n_bytes = self.end() * element_bytes(self.ivars().code);
            handler.call((self.pointer(), NSInteger::try_from(n_bytes).expect("small")));
        }
    }
);

impl ArrayParts {
    fn new(storage: Storage, code: isize, shape: Vec<usize>, strides: Vec<usize>) -> Self {
        LIVE_ARRAYS.fetch_add(1, Ordering::SeqCst);
        Self { storage, code, shape, strides, _alive: Alive::new() }
    }
}

impl FakeArray {
    fn init(this: Allocated<Self>, parts: ArrayParts) -> Retained<Self> {
        let this = this.set_ivars(parts);
        // SAFETY: NSObject's initialiser.
        unsafe { msg_send![super(this), init] }
    }

    /// An array of its own with these elements, each row padded.
    pub(crate) fn of(code: isize, shape: &[usize], row_padding: usize, elements: &[f64]) -> Retained<Self> {
        let mut strides = vec![1; shape.len()];
        for dim in (1..shape.len()).rev() {
            let padding = if dim + 1 == shape.len() { row_padding } else { 0 };
            strides[dim - 1] = strides[dim] * shape[dim] + padding;
        }
        let n_elements = shape.first().map_or(1, |extent| extent * strides[0]).max(1);
        let own = vec![0x7ff8_7ff8_7ff8_7ff8; (n_elements * element_bytes(code)).div_ceil(8)];
        let array = Self::init(Self::alloc(), ArrayParts::new(Storage::Own(own), code, shape.to_vec(), strides));
        elements.iter().enumerate().for_each(|(idx, value)| array.put(idx, *value));
        array
    }

    pub(crate) fn as_array(&self) -> &MLMultiArray {
        // SAFETY: it is registered as this class.
        unsafe { &*std::ptr::from_ref(self).cast() }
    }

    fn pointer(&self) -> NonNull<c_void> {
        match &self.ivars().storage {
            Storage::Own(own) => NonNull::from(own.as_slice()).cast(),
            Storage::Lent { pointer, .. } => *pointer,
        }
    }

    fn end(&self) -> usize {
        let parts = self.ivars();
        parts.shape.iter().zip(&parts.strides).map(|(extent, stride)| (extent - 1) * stride).sum::<usize>() + 1
    }

    fn offset(&self, mut idx: usize) -> usize {
        let parts = self.ivars();
        let mut offset = 0;
        for (extent, stride) in parts.shape.iter().zip(&parts.strides).rev() {
            offset += idx % extent * stride;
            idx /= extent;
        }
        offset
    }

    /// What it holds, read by its strides; `None` for a type that Core ML's arrays do not have.
    #[expect(clippy::cast_possible_truncation, reason = "the type of the elements says so")]
    pub(crate) fn tensor(&self) -> Option<Tensor> {
        let elements = (0..self.n_elements()).map(|idx| self.element(idx));
        let data = match self.ivars().code {
            0x10040 => TensorData::F64(elements.collect()),
            0x10020 => TensorData::F32(elements.map(|value| value as f32).collect()),
            0x10010 => TensorData::F16(elements.map(|value| f16::from_f64(value).to_bits()).collect()),
            0x20020 => TensorData::I32(elements.map(|value| value as i32).collect()),
            0x20008 => TensorData::I8(elements.map(|value| value as i8).collect()),
            _ => return None,
        };
        Tensor::new(self.ivars().shape.clone(), data).ok()
    }

    /// Element `idx`, row-major.
    fn element(&self, idx: usize) -> f64 {
        let (pointer, at) = (self.pointer().as_ptr(), self.offset(idx));
        // SAFETY: the storage has this element, of this type.
        unsafe {
            match self.ivars().code {
                0x10040 => *pointer.cast::<f64>().add(at),
                0x10020 => f64::from(*pointer.cast::<f32>().add(at)),
                0x10010 => f64::from(*pointer.cast::<f16>().add(at)),
                0x20020 => f64::from(*pointer.cast::<i32>().add(at)),
                0x20008 => f64::from(*pointer.cast::<i8>().add(at)),
                _ => 0.0,
            }
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "the type of the elements says so")]
    fn put(&self, idx: usize, value: f64) {
        let (pointer, at) = (self.pointer().as_ptr(), self.offset(idx));
        // SAFETY: the storage has this element, of this type; nobody else has the array yet.
        unsafe {
            match self.ivars().code {
                0x10040 => *pointer.cast::<f64>().add(at) = value,
                0x10020 => *pointer.cast::<f32>().add(at) = value as f32,
                0x10010 => *pointer.cast::<f16>().add(at) = f16::from_f64(value),
                0x20020 => *pointer.cast::<i32>().add(at) = value as i32,
                0x20008 => *pointer.cast::<i8>().add(at) = value as i8,
                _ => {}
            }
        }
    }

    fn n_elements(&self) -> usize {
        self.ivars().shape.iter().product()
    }
}

/// A tensor's elements; `None` for types that Core ML's arrays do not have. Every one of theirs is exact as f64.
pub(crate) fn elements(tensor: &Tensor) -> Option<Vec<f64>> {
    Some(match tensor.data() {
        TensorData::F64(values) => values.clone(),
        TensorData::F32(values) => values.iter().map(|&value| f64::from(value)).collect(),
        TensorData::F16(bits) => bits.iter().map(|&bits| f16::from_bits(bits).to_f64()).collect(),
        TensorData::I32(values) => values.iter().map(|&value| f64::from(value)).collect(),
        TensorData::I8(values) => values.iter().map(|&value| f64::from(value)).collect(),
        TensorData::Bf16(_)
        | TensorData::I64(_)
        | TensorData::I16(_)
        | TensorData::U64(_)
        | TensorData::U32(_)
        | TensorData::U16(_)
        | TensorData::U8(_)
        | TensorData::Bool(_)
        | TensorData::Str(_) => return None,
    })
}

pub(crate) fn numbers(values: &[usize]) -> Retained<NSArray<NSNumber>> {
    let numbers: Vec<_> = values.iter().map(|&value| NSNumber::new_usize(value)).collect();
    NSArray::from_retained_slice(&numbers)
}

fn values(numbers: &NSArray<NSNumber>) -> Vec<usize> {
    numbers.to_vec().iter().map(|number| number.as_usize()).collect()
}

define_class!(
    // SAFETY: NSObject has no requirements.
    #[unsafe(super(NSObject))]
    #[name = "MLFeatureValue"]
    #[ivars = (Retained<MLMultiArray>, Alive)]
    pub(crate) struct FakeValue;

    impl FakeValue {
        // SAFETY: selector and types are those of the header.
        #[unsafe(method_id(featureValueWithMultiArray:))]
        fn with_array(array: &MLMultiArray) -> Retained<Self> {
            note_call();
            Self::of(array)
        }

        // SAFETY: selector and types are those of the header.
        #[unsafe(method_id(multiArrayValue))]
        fn array(&self) -> Option<Retained<MLMultiArray>> {
            note_call();
            Some(self.ivars().0.clone())
        }
    }
);

impl FakeValue {
    fn of(array: &MLMultiArray) -> Retained<Self> {
        let this = Self::alloc().set_ivars((array.retain(), Alive::new()));
        // SAFETY: NSObject's initialiser.
        unsafe { msg_send![super(this), init] }
    }
}

define_class!(
    // SAFETY: NSObject has no requirements.
    #[unsafe(super(NSObject))]
    #[name = "MLDictionaryFeatureProvider"]
    #[ivars = (Retained<NSDictionary<NSString, AnyObject>>, Alive)]
    pub(crate) struct FakeFeatures;

    impl FakeFeatures {
        // SAFETY: selector and types are those of the header.
        #[unsafe(method_id(initWithDictionary:error:))]
        fn init_with(
            this: Allocated<Self>,
            dictionary: &NSDictionary<NSString, AnyObject>,
            _error: *mut *mut NSError,
        ) -> Option<Retained<Self>> {
            note_call();
            let this = this.set_ivars((dictionary.retain(), Alive::new()));
            // SAFETY: NSObject's initialiser.
            unsafe { msg_send![super(this), init] }
        }

        // SAFETY: selector and types are those of the header.
        #[unsafe(method_id(featureNames))]
        fn names(&self) -> Retained<NSSet<NSString>> {
            note_call();
            NSSet::from_retained_slice(&self.ivars().0.to_vecs().0)
        }

        // SAFETY: selector and types are those of the header.
        #[unsafe(method_id(featureValueForName:))]
        fn value(&self, name: &NSString) -> Option<Retained<AnyObject>> {
            note_call();
            self.ivars().0.objectForKey(name)
        }
    }
);

/// Arrays by name, as a prediction gives them.
pub(crate) fn features(arrays: &[(String, Retained<FakeArray>)]) -> Retained<ProtocolObject<dyn MLFeatureProvider>> {
    let names: Vec<_> = arrays.iter().map(|(name, _)| NSString::from_str(name)).collect();
    let values: Vec<_> = arrays.iter().map(|(_, array)| FakeValue::of(array.as_array())).collect();
    let names: Vec<&NSString> = names.iter().map(|name| &**name).collect();
    // SAFETY: every object is one.
    let values: Vec<&AnyObject> = values.iter().map(|value| unsafe { &*Retained::as_ptr(value).cast() }).collect();
    let this = FakeFeatures::alloc().set_ivars((NSDictionary::from_slices(&names, &values), Alive::new()));
    // SAFETY: NSObject's initialiser.
    let features: Retained<FakeFeatures> = unsafe { msg_send![super(this), init] };
    // SAFETY: it has the protocol's methods.
    unsafe { Retained::cast_unchecked(features) }
}

/// The array of one input.
pub(crate) fn input(inputs: &ProtocolObject<dyn MLFeatureProvider>, name: &str) -> Option<Retained<FakeArray>> {
    // SAFETY: the values are of the classes above.
    unsafe {
        let value: Retained<MLFeatureValue> = inputs.featureValueForName(&NSString::from_str(name))?;
        Some(Retained::cast_unchecked(value.multiArrayValue()?))
    }
}

define_class!(
    // SAFETY: NSObject has no requirements.
    #[unsafe(super(NSObject))]
    #[name = "MLArrayBatchProvider"]
    #[ivars = (Retained<NSArray<ProtocolObject<dyn MLFeatureProvider>>>, Alive)]
    pub(crate) struct FakeBatch;

    impl FakeBatch {
        // SAFETY: selector and types are those of the header.
        #[unsafe(method_id(initWithFeatureProviderArray:))]
        fn init_with(
            this: Allocated<Self>,
            array: &NSArray<ProtocolObject<dyn MLFeatureProvider>>,
        ) -> Option<Retained<Self>> {
            note_call();
            let this = this.set_ivars((array.retain(), Alive::new()));
            // SAFETY: NSObject's initialiser.
            unsafe { msg_send![super(this), init] }
        }

        // SAFETY: selector and types are those of the header.
        #[unsafe(method(count))]
        fn count(&self) -> NSInteger {
            note_call();
            NSInteger::try_from(self.ivars().0.len()).expect("small")
        }

        // SAFETY: selector and types are those of the header.
        #[unsafe(method_id(featuresAtIndex:))]
        fn features_at(&self, idx: NSInteger) -> Retained<ProtocolObject<dyn MLFeatureProvider>> {
            note_call();
            self.ivars().0.objectAtIndex(usize::try_from(idx).expect("an index"))
        }
    }
);

/// Several predictions' outputs.
pub(crate) fn batch(items: &[Retained<ProtocolObject<dyn MLFeatureProvider>>]) -> Retained<FakeBatch> {
    let this = FakeBatch::alloc().set_ivars((NSArray::from_retained_slice(items), Alive::new()));
    // SAFETY: NSObject's initialiser.
    unsafe { msg_send![super(this), init] }
}

pub(crate) fn register() {
    let _classes = [FakeArray::class(), FakeValue::class(), FakeFeatures::class(), FakeBatch::class()];
}
