//! What a model says of itself: the description of the package that it is compiled from.

use crate::arrays::numbers;
use crate::knobs::Alive;
use crate::package::Program;
use crate::shim::note_call;
use ballast_backend::DType;
use ballast_tensor::package::{Extents, Feature, FeatureKind};
use objc2::rc::Retained;
use objc2::runtime::AnyObject;
use objc2::{AnyThread, ClassType, DefinedClass, define_class, msg_send};
use objc2_foundation::{NSArray, NSDictionary, NSInteger, NSNumber, NSObject, NSRange, NSString, NSValue};
use std::sync::Arc;

/// Core ML's number of a type; 0 for types that its arrays do not have.
pub(crate) fn code_of(dtype: DType) -> isize {
    match dtype {
        DType::F64 => 0x1_0000 | 64,
        DType::F32 => 0x1_0000 | 32,
        DType::F16 => 0x1_0000 | 16,
        DType::I32 => 0x2_0000 | 32,
        DType::I8 => 0x2_0000 | 8,
        DType::Bf16
        | DType::I64
        | DType::I16
        | DType::U64
        | DType::U32
        | DType::U16
        | DType::U8
        | DType::Bool
        | DType::Str => 0,
    }
}

define_class!(
    // SAFETY: NSObject has no requirements.
    #[unsafe(super(NSObject))]
    #[name = "MLModelDescription"]
    #[ivars = (Arc<Program>, Alive)]
    pub(crate) struct FakeDescription;

    impl FakeDescription {
        // SAFETY: selector and types are those of the header.
        #[unsafe(method_id(inputDescriptionsByName))]
        fn inputs(&self) -> Retained<NSDictionary<NSString, AnyObject>> {
            by_name(&self.ivars().0.described.inputs)
        }

        // SAFETY: selector and types are those of the header.
        #[unsafe(method_id(outputDescriptionsByName))]
        fn outputs(&self) -> Retained<NSDictionary<NSString, AnyObject>> {
            by_name(&self.ivars().0.described.outputs)
        }

        // SAFETY: selector and types are those of the header.
        #[unsafe(method_id(stateDescriptionsByName))]
        fn states(&self) -> Retained<NSDictionary<NSString, AnyObject>> {
            by_name(&self.ivars().0.described.states)
        }
    }
);

impl FakeDescription {
    pub(crate) fn of(program: &Arc<Program>) -> Retained<Self> {
        let this = Self::alloc().set_ivars((Arc::clone(program), Alive::new()));
        // SAFETY: NSObject's initialiser.
        unsafe { msg_send![super(this), init] }
    }
}

fn by_name(features: &[Feature]) -> Retained<NSDictionary<NSString, AnyObject>> {
    note_call();
    let names: Vec<_> = features.iter().map(|feature| NSString::from_str(&feature.name)).collect();
    let names: Vec<&NSString> = names.iter().map(|name| &**name).collect();
    let features: Vec<Retained<FakeFeature>> = features.iter().map(FakeFeature::of).collect();
    // SAFETY: every object is one.
    let features: Vec<&AnyObject> = features.iter().map(|f| unsafe { &*Retained::as_ptr(f).cast() }).collect();
    NSDictionary::from_slices(&names, &features)
}

define_class!(
    // SAFETY: NSObject has no requirements.
    #[unsafe(super(NSObject))]
    #[name = "MLFeatureDescription"]
    #[ivars = (Feature, Alive)]
    struct FakeFeature;

    impl FakeFeature {
        // SAFETY: selector and types are those of the header.
        #[unsafe(method(type))]
        fn feature_type(&self) -> NSInteger {
            note_call();
            match self.ivars().0.kind {
                FeatureKind::Other => 0,
                FeatureKind::Integer => 1,
                FeatureKind::Double => 2,
                FeatureKind::Text => 3,
                FeatureKind::Image { .. } => 4,
                FeatureKind::Array { .. } => 5,
                FeatureKind::Dictionary => 6,
                FeatureKind::Sequence => 7,
                FeatureKind::State { .. } => 8,
            }
        }

        // SAFETY: selector and types are those of the header.
        #[unsafe(method(isOptional))]
        fn is_optional(&self) -> bool {
            note_call();
            self.ivars().0.is_optional
        }

        // SAFETY: selector and types are those of the header.
        #[unsafe(method_id(multiArrayConstraint))]
        fn constraint(&self) -> Option<Retained<FakeConstraint>> {
            note_call();
            let kind = &self.ivars().0.kind;
            matches!(kind, FeatureKind::Array { .. }).then(|| FakeConstraint::of(kind)).flatten()
        }

        // SAFETY: selector and types are those of the header.
        #[unsafe(method_id(stateConstraint))]
        fn state(&self) -> Option<Retained<FakeConstraint>> {
            note_call();
            let kind = &self.ivars().0.kind;
            matches!(kind, FeatureKind::State { .. }).then(|| FakeConstraint::of(kind)).flatten()
        }
    }
);

impl FakeFeature {
    fn of(feature: &Feature) -> Retained<Self> {
        let this = Self::alloc().set_ivars((feature.clone(), Alive::new()));
        // SAFETY: NSObject's initialiser.
        unsafe { msg_send![super(this), init] }
    }
}

/// What an array must look like.
#[derive(Clone, Debug)]
struct ArrayRule {
    code: isize,
    shape: Vec<usize>,
    extents: Extents,
}

define_class!(
    // SAFETY: NSObject has no requirements.
    #[unsafe(super(NSObject))]
    #[name = "MLMultiArrayConstraint"]
    #[ivars = (ArrayRule, Alive)]
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
            let ArrayRule { shape, extents, .. } = &self.ivars().0;
            let this = FakeShapes::alloc().set_ivars((shape.clone(), extents.clone(), Alive::new()));
            // SAFETY: NSObject's initialiser.
            unsafe { msg_send![super(this), init] }
        }
    }
);

impl FakeConstraint {
    /// Of an array or a state.
    fn of(kind: &FeatureKind) -> Option<Retained<Self>> {
        let rule = match kind {
            FeatureKind::Array { dtype, shape, extents } => {
                ArrayRule { code: code_of(*dtype), shape: shape.clone(), extents: extents.clone() }
            }
            FeatureKind::State { dtype, shape } => {
                ArrayRule { code: code_of(*dtype), shape: shape.clone(), extents: Extents::Fixed }
            }
            FeatureKind::Image { .. }
            | FeatureKind::Integer
            | FeatureKind::Double
            | FeatureKind::Text
            | FeatureKind::Dictionary
            | FeatureKind::Sequence
            | FeatureKind::Other => return None,
        };
        let this = Self::alloc().set_ivars((rule, Alive::new()));
        // SAFETY: NSObject's initialiser.
        Some(unsafe { msg_send![super(this), init] })
    }
}

define_class!(
    // SAFETY: NSObject has no requirements.
    #[unsafe(super(NSObject))]
    #[name = "MLMultiArrayShapeConstraint"]
    #[ivars = (Vec<usize>, Extents, Alive)]
    struct FakeShapes;

    impl FakeShapes {
        // SAFETY: selector and types are those of the header.
        #[unsafe(method(type))]
        fn rule(&self) -> NSInteger {
            note_call();
            match self.ivars().1 {
                Extents::Fixed | Extents::OneOf(_) => 2,
                Extents::Ranges(_) => 3,
            }
        }

        // SAFETY: selector and types are those of the header.
        #[unsafe(method_id(enumeratedShapes))]
        fn shapes(&self) -> Retained<NSArray<NSArray<NSNumber>>> {
            note_call();
            let (shape, extents, _) = self.ivars();
            let shapes: Vec<_> = match extents {
                Extents::Fixed => vec![numbers(shape)],
                Extents::OneOf(shapes) => shapes.iter().map(|shape| numbers(shape)).collect(),
                Extents::Ranges(_) => Vec::new(),
            };
            NSArray::from_retained_slice(&shapes)
        }

        /// A range has its least extent and how many extents it allows, so that a fixed one has the length 1.
        // SAFETY: selector and types are those of the header.
        #[unsafe(method_id(sizeRangeForDimension))]
        fn ranges(&self) -> Retained<NSArray<NSValue>> {
            note_call();
            let range = |&(least, most): &(usize, Option<usize>)| {
                let length = most.map_or(isize::MAX.unsigned_abs() - least, |most| most - least + 1);
                NSValue::new(NSRange { location: least, length })
            };
            let ranges: Vec<_> = match &self.ivars().1 {
                Extents::Fixed | Extents::OneOf(_) => Vec::new(),
                Extents::Ranges(ranges) => ranges.iter().map(range).collect(),
            };
            NSArray::from_retained_slice(&ranges)
        }
    }
);

pub(crate) fn register() {
    let _classes = [FakeDescription::class(), FakeFeature::class(), FakeConstraint::class(), FakeShapes::class()];
}
