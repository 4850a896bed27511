//! Configurations, options, hints, errors: objects that only hold something.

use crate::knobs::Alive;
use crate::package::{Failure, Settings};
use crate::shim::note_call;
use objc2::rc::{Allocated, Retained};
use objc2::runtime::AnyObject;
use objc2::{AnyThread, ClassType, DefinedClass, define_class, msg_send};
use objc2_foundation::{NSDictionary, NSError, NSInteger, NSLocalizedDescriptionKey, NSObject, NSString};
use std::cell::{Cell, RefCell};

/// Core ML's error.
pub(crate) fn ml_error(failure: &Failure) -> Retained<NSError> {
    let (domain, text) = (NSString::from_str("com.apple.CoreML"), NSString::from_str(&failure.text));
    // SAFETY: a constant of Foundation.
    let key = unsafe { NSLocalizedDescriptionKey };
    let words = NSDictionary::from_slices(&[key], &[AsRef::<AnyObject>::as_ref(&*text)]);
    // SAFETY: the value under the key is a text, as the header wants it.
    unsafe { NSError::initWithDomain_code_userInfo(NSError::alloc(), &domain, failure.code, Some(&words)) }
}

/// Fails as methods with an error at their end do: the error is given away, nothing is returned.
pub(crate) fn error<T>(out: *mut *mut NSError, failure: &Failure) -> Option<Retained<T>> {
    if !out.is_null() {
        // SAFETY: the caller's place for an error.
        unsafe { *out = Retained::autorelease_ptr(ml_error(failure)) };
    }
    None
}

define_class!(
    // SAFETY: NSObject has no requirements.
    #[unsafe(super(NSObject))]
    #[name = "MLModelConfiguration"]
    #[ivars = (Cell<NSInteger>, RefCell<Option<String>>, Alive)]
    pub(crate) struct FakeConfiguration;

    impl FakeConfiguration {
        // SAFETY: selector and types are those of the header.
        #[unsafe(method_id(init))]
        fn init(this: Allocated<Self>) -> Option<Retained<Self>> {
            note_call();
            let this = this.set_ivars((Cell::new(2), RefCell::new(None), Alive::new()));
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
        fn set_function(&self, name: Option<&NSString>) {
            note_call();
            *self.ivars().1.borrow_mut() = name.map(NSString::to_string);
        }

        // SAFETY: selector and types are those of the header.
        #[unsafe(method(setOptimizationHints:))]
        fn set_hints(&self, _hints: &AnyObject) {
            note_call();
        }
    }
);

impl FakeConfiguration {
    pub(crate) fn settings(&self) -> Settings {
        Settings { units: self.ivars().0.get(), function: self.ivars().1.borrow().clone() }
    }
}

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

pub(crate) fn register() {
    let _classes = [FakeConfiguration::class(), FakeHints::class(), FakeOptions::class()];
}
