//! Configurations, options, hints, errors, descriptions: objects that only hold something.

use crate::arrays::numbers;
use crate::knobs::Alive;
use crate::package::{Array, Package};
use crate::shim::note_call;
use objc2::rc::{Allocated, Retained};
use objc2::runtime::AnyObject;
use objc2::{AnyThread, ClassType, DefinedClass, define_class, msg_send};
use objc2_foundation::{NSArray, NSDictionary, NSError, NSInteger, NSNumber, NSObject, NSString, NSValue};
use std::cell::Cell;

/// Core ML's error with this code.
pub(crate) fn ml_error(code: isize) -> Retained<NSError> {
    NSError::new(code, &NSString::from_str("com.apple.CoreML"))
}

/// Fails as methods with an error at their end do: the error is given away, nothing is returned.
pub(crate) fn error<T>(out: *mut *mut NSError, code: isize) -> Option<Retained<T>> {
    if !out.is_null() {
        // SAFETY: the caller's place for an error.
        unsafe { *out = Retained::autorelease_ptr(ml_error(code)) };
    }
    None
}

define_class!(
    // SAFETY: NSObject has no requirements.
    #[unsafe(super(NSObject))]
    #[name = "MLModelConfiguration"]
    #[ivars = (Cell<NSInteger>, Alive)]
    struct FakeConfiguration;

    impl FakeConfiguration {
        // SAFETY: selector and types are those of the header.
        #[unsafe(method_id(init))]
        fn init(this: Allocated<Self>) -> Option<Retained<Self>> {
            note_call();
            let this = this.set_ivars((Cell::new(2), Alive::new()));
            // SAFETY: NSObject's initialiser.
            unsafe { msg_send![super(this), init] }
        }

        // SAFETY: selector and types are those of the header.
        #[unsafe(method(setComputeUnits:))]
        fn set_units(&self, units: NSInteger) {
            note_call();
            self.ivars().0.set(units);
        }

        // SAFETY: selector and types are those of the header.
        #[unsafe(method(computeUnits))]
        fn units(&self) -> NSInteger {
            self.ivars().0.get()
        }

        // SAFETY: selector and types are those of the header.
        #[unsafe(method(setFunctionName:))]
        fn set_function(&self, _name: Option<&NSString>) {
            note_call();
        }

        // SAFETY: selector and types are those of the header.
        #[unsafe(method(setOptimizationHints:))]
        fn set_hints(&self, _hints: &AnyObject) {
            note_call();
        }
    }
);

define_class!(
    // SAFETY: NSObject has no requirements.
    #[unsafe(super(NSObject))]
    #[name = "MLOptimizationHints"]
    #[ivars = Alive]
    struct FakeHints;

    impl FakeHints {
        // SAFETY: selector and types are those of the header.
        #[unsafe(method_id(init))]
        fn init(this: Allocated<Self>) -> Option<Retained<Self>> {
            note_call();
            let this = this.set_ivars(Alive::new());
            // SAFETY: NSObject's initialiser.
            unsafe { msg_send![super(this), init] }
        }

        // SAFETY: selector and types are those of the header.
        #[unsafe(method(setSpecializationStrategy:))]
        fn set_strategy(&self, _strategy: NSInteger) {
            note_call();
        }

        // SAFETY: selector and types are those of the header.
        #[unsafe(method(setReshapeFrequency:))]
        fn set_frequency(&self, _frequency: NSInteger) {
            note_call();
        }
    }
);

define_class!(
    // SAFETY: NSObject has no requirements.
    #[unsafe(super(NSObject))]
    #[name = "MLPredictionOptions"]
    #[ivars = Alive]
    struct FakeOptions;

    impl FakeOptions {
        // SAFETY: selector and types are those of the header.
        #[unsafe(method_id(init))]
        fn init(this: Allocated<Self>) -> Option<Retained<Self>> {
            note_call();
            let this = this.set_ivars(Alive::new());
            // SAFETY: NSObject's initialiser.
            unsafe { msg_send![super(this), init] }
        }
    }
);

define_class!(
    // SAFETY: NSObject has no requirements.
    #[unsafe(super(NSObject))]
    #[name = "MLModelDescription"]
    #[ivars = (Package, Alive)]
    pub(crate) struct FakeDescription;

    impl FakeDescription {
        // SAFETY: selector and types are those of the header.
        #[unsafe(method_id(inputDescriptionsByName))]
        fn inputs(&self) -> Retained<NSDictionary<NSString, AnyObject>> {
            self.by_name("input")
        }

        // SAFETY: selector and types are those of the header.
        #[unsafe(method_id(outputDescriptionsByName))]
        fn outputs(&self) -> Retained<NSDictionary<NSString, AnyObject>> {
            self.by_name("output")
        }

        // SAFETY: selector and types are those of the header.
        #[unsafe(method_id(stateDescriptionsByName))]
        fn states(&self) -> Retained<NSDictionary<NSString, AnyObject>> {
            self.by_name("state")
        }
    }
);

impl FakeDescription {
    pub(crate) fn of(package: &Package) -> Retained<Self> {
        let this = Self::alloc().set_ivars((package.clone(), Alive::new()));
        // SAFETY: NSObject's initialiser.
        unsafe { msg_send![super(this), init] }
    }

    fn by_name(&self, role: &str) -> Retained<NSDictionary<NSString, AnyObject>> {
        note_call();
        let arrays: Vec<&Array> = self.ivars().0.role(role).collect();
        let names: Vec<_> = arrays.iter().map(|array| NSString::from_str(&array.name)).collect();
        let names: Vec<&NSString> = names.iter().map(|name| &**name).collect();
        let features: Vec<Retained<FakeFeature>> = arrays.iter().map(|array| FakeFeature::of(array)).collect();
        // SAFETY: every object is one.
        let features: Vec<&AnyObject> = features.iter().map(|f| unsafe { &*Retained::as_ptr(f).cast() }).collect();
        NSDictionary::from_slices(&names, &features)
    }
}

define_class!(
    // SAFETY: NSObject has no requirements.
    #[unsafe(super(NSObject))]
    #[name = "MLFeatureDescription"]
    #[ivars = (Array, Alive)]
    struct FakeFeature;

    impl FakeFeature {
        // SAFETY: selector and types are those of the header.
        #[unsafe(method(type))]
        fn feature_type(&self) -> NSInteger {
            note_call();
            match self.ivars().0.role.as_str() {
                "state" => 8,
                _ if self.ivars().0.code == 0x7777 => 4,
                _ => 5,
            }
        }

        // SAFETY: selector and types are those of the header.
        #[unsafe(method(isOptional))]
        fn is_optional(&self) -> bool {
            note_call();
            false
        }

        // SAFETY: selector and types are those of the header.
        #[unsafe(method_id(multiArrayConstraint))]
        fn constraint(&self) -> Option<Retained<FakeConstraint>> {
            note_call();
            let array = &self.ivars().0;
            (array.role != "state" && array.code != 0x7777).then(|| FakeConstraint::of(array))
        }

        // SAFETY: selector and types are those of the header.
        #[unsafe(method_id(stateConstraint))]
        fn state(&self) -> Option<Retained<FakeConstraint>> {
            note_call();
            (self.ivars().0.role == "state").then(|| FakeConstraint::of(&self.ivars().0))
        }
    }
);

impl FakeFeature {
    fn of(array: &Array) -> Retained<Self> {
        let this = Self::alloc().set_ivars((array.clone(), Alive::new()));
        // SAFETY: NSObject's initialiser.
        unsafe { msg_send![super(this), init] }
    }
}

define_class!(
    // SAFETY: NSObject has no requirements.
    #[unsafe(super(NSObject))]
    #[name = "MLMultiArrayConstraint"]
    #[ivars = (Array, Alive)]
    struct FakeConstraint;

    /// Stands for `MLStateConstraint`, too.
    impl FakeConstraint {
        // SAFETY: selector and types are those of the header.
        #[unsafe(method(dataType))]
        fn data_type(&self) -> NSInteger {
            note_call();
            self.ivars().0.code
        }

        // SAFETY: selector and types are those of the header.
        #[unsafe(method_id(shape))]
        fn shape(&self) -> Retained<NSArray<NSNumber>> {
            note_call();
            numbers(&self.ivars().0.shape)
        }

        // SAFETY: selector and types are those of the header.
        #[unsafe(method_id(bufferShape))]
        fn buffer_shape(&self) -> Retained<NSArray<NSNumber>> {
            note_call();
            numbers(&self.ivars().0.shape)
        }

        // SAFETY: selector and types are those of the header.
        #[unsafe(method_id(shapeConstraint))]
        fn shape_constraint(&self) -> Retained<FakeShapes> {
            note_call();
            let this = FakeShapes::alloc().set_ivars((self.ivars().0.shape.clone(), Alive::new()));
            // SAFETY: NSObject's initialiser.
            unsafe { msg_send![super(this), init] }
        }
    }
);

impl FakeConstraint {
    fn of(array: &Array) -> Retained<Self> {
        let this = Self::alloc().set_ivars((array.clone(), Alive::new()));
        // SAFETY: NSObject's initialiser.
        unsafe { msg_send![super(this), init] }
    }
}

define_class!(
    // SAFETY: NSObject has no requirements.
    #[unsafe(super(NSObject))]
    #[name = "MLMultiArrayShapeConstraint"]
    #[ivars = (Vec<usize>, Alive)]
    struct FakeShapes;

    impl FakeShapes {
        // SAFETY: selector and types are those of the header.
        #[unsafe(method(type))]
        fn rule(&self) -> NSInteger {
            note_call();
            2
        }

        // SAFETY: selector and types are those of the header.
        #[unsafe(method_id(enumeratedShapes))]
        fn shapes(&self) -> Retained<NSArray<NSArray<NSNumber>>> {
            note_call();
            NSArray::from_retained_slice(&[numbers(&self.ivars().0)])
        }

        // SAFETY: selector and types are those of the header.
        #[unsafe(method_id(sizeRangeForDimension))]
        fn ranges(&self) -> Retained<NSArray<NSValue>> {
            note_call();
            NSArray::new()
        }
    }
);

pub(crate) fn register() {
    let _classes = [
        FakeConfiguration::class(),
        FakeHints::class(),
        FakeOptions::class(),
        FakeDescription::class(),
        FakeFeature::class(),
        FakeConstraint::class(),
        FakeShapes::class(),
    ];
}
