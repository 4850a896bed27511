//! Plans and devices: a machine with a CPU, a GPU and a neural engine of 16 cores, and a program of the operations that
//! the package has. Where the plan puts them is made up, so that every unit has some: it predicts nothing.

use crate::knobs::{Alive, knobs};
use crate::model::{answer, folder};
use crate::package::open;
use crate::settings::FakeConfiguration;
use crate::shim::note_call;
use ballast_tensor::package::FunctionSurvey;
use block2::DynBlock;
use objc2::rc::Retained;
use objc2::runtime::AnyObject;
use objc2::{AnyThread, ClassType, DefinedClass, Message, define_class, msg_send};
use objc2_foundation::{NSArray, NSDictionary, NSError, NSInteger, NSObject, NSString, NSURL};
use std::sync::Arc;

/// Products: for the neural engine, at a cost of 8.
const PRODUCTS: &[&str] = &["conv", "conv_transpose", "linear", "matmul"];

/// For the CPU, whose cost is 1 as that of all others, which are for the GPU.
const LOOK_UPS: &[&str] = &["gather", "gather_along_axis", "gather_nd", "lstm", "gru", "rnn", "topk"];

/// An operation of a plan: its name, the unit for it (1 CPU, 2 GPU, 3 neural engine; `None` for constants), its share of
/// the cost.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Planned {
    operator: String,
    unit: Option<u8>,
    cost: f64,
}

/// The plan of a function, on the units that the configuration allows.
fn plan(function: &FunctionSurvey, units: isize) -> Vec<Planned> {
    let version = function.opset.strip_prefix("CoreML").and_then(|version| version.parse::<u8>().ok()).unwrap_or(5);
    let placed = |kind: &String| {
        let (unit, cost) = match kind.as_str() {
            kind if PRODUCTS.contains(&kind) => (3, 8.0),
            kind if LOOK_UPS.contains(&kind) => (1, 1.0),
            _ => (2, 1.0),
        };
        let unit = match (units, unit) {
            (0, _) => 1,
            (1, 3) => 2,
            (3, 2) => 3,
            (_, unit) => unit,
        };
        Planned { operator: format!("ios{}.{kind}", version + 10), unit: Some(unit), cost }
    };
    let kinds = function.operations.iter().flat_map(|(kind, seen)| std::iter::repeat_n(kind, seen.count));
    let mut operations: Vec<Planned> = kinds.map(placed).collect();
    let whole: f64 = operations.iter().map(|operation| operation.cost).sum();
    operations.iter_mut().for_each(|operation| operation.cost /= whole);
    let n_weights: usize = function.weights.values().map(|weights| weights.n_tensors).sum();
    let constant = Planned { operator: "const".to_owned(), unit: None, cost: 0.0 };
    operations.extend(std::iter::repeat_n(constant, n_weights));
    operations
}

type Plan = Arc<Vec<Planned>>;

macro_rules! plain_class {
    ($name:literal, $type:ident, $ivar:ty, { $($methods:tt)* }) => {
        define_class!(
            // SAFETY: NSObject has no requirements.
            #[unsafe(super(NSObject))]
            #[name = $name]
            #[ivars = ($ivar, Alive)]
            pub(crate) struct $type;

            impl $type { $($methods)* }
        );

        impl $type {
            fn of(value: $ivar) -> Retained<Self> {
                let this = Self::alloc().set_ivars((value, Alive::new()));
                // SAFETY: NSObject's initialiser.
                unsafe { msg_send![super(this), init] }
            }
        }
    };
}

plain_class!("MLCPUComputeDevice", FakeCpu, (), {});
plain_class!("MLGPUComputeDevice", FakeGpu, (), {});
plain_class!("MLNeuralEngineComputeDevice", FakeEngine, (), {
    // SAFETY: selector and types are those of the header.
    #[unsafe(method(totalCoreCount))]
    fn cores(&self) -> NSInteger {
        note_call();
        16
    }
});

fn device(unit: u8) -> Retained<AnyObject> {
    match unit {
        1 => any(FakeCpu::of(())),
        2 => any(FakeGpu::of(())),
        _ => any(FakeEngine::of(())),
    }
}

fn any<T: Message>(object: Retained<T>) -> Retained<AnyObject> {
    // SAFETY: every object is one.
    unsafe { Retained::cast_unchecked(object) }
}

// SAFETY: the framework's function, with its type: it gives an array away.
#[unsafe(no_mangle)]
extern "C-unwind" fn MLAllComputeDevices() -> *mut NSArray<AnyObject> {
    note_call();
    Retained::autorelease_return(NSArray::from_retained_slice(&[device(1), device(2), device(3)]))
}

plain_class!("MLComputePlan", FakePlan, Plan, {
    // SAFETY: selector and types are those of the header.
    #[unsafe(method(loadContentsOfURL:configuration:completionHandler:))]
    fn load(url: &NSURL, configuration: &FakeConfiguration, handler: &DynBlock<dyn Fn(*mut FakePlan, *mut NSError)>) {
        note_call();
        let (bundle, settings) = (folder(url), configuration.settings());
        answer(knobs().plan, handler, move || {
            let (_, function) = open(&bundle, settings.function.as_deref())?;
            Ok(FakePlan::of(Arc::new(plan(&function, settings.units))))
        });
    }

    // SAFETY: selector and types are those of the header.
    #[unsafe(method_id(modelStructure))]
    fn structure(&self) -> Retained<FakeStructure> {
        note_call();
        FakeStructure::of(Arc::clone(&self.ivars().0))
    }

    // SAFETY: selector and types are those of the header.
    #[unsafe(method_id(computeDeviceUsageForMLProgramOperation:))]
    fn usage(&self, operation: &FakeOperation) -> Option<Retained<FakeUsage>> {
        note_call();
        operation.ivars().0.unit.map(FakeUsage::of)
    }

    // SAFETY: selector and types are those of the header.
    #[unsafe(method_id(estimatedCostOfMLProgramOperation:))]
    fn cost(&self, operation: &FakeOperation) -> Option<Retained<FakeCost>> {
        note_call();
        let Planned { unit, cost, .. } = &operation.ivars().0;
        unit.map(|_| FakeCost::of(*cost))
    }
});
plain_class!("MLModelStructure", FakeStructure, Plan, {
    // SAFETY: selector and types are those of the header.
    #[unsafe(method_id(program))]
    fn program(&self) -> Option<Retained<FakeProgram>> {
        note_call();
        Some(FakeProgram::of(Arc::clone(&self.ivars().0)))
    }
});
plain_class!("MLModelStructureProgram", FakeProgram, Plan, {
    // SAFETY: selector and types are those of the header.
    #[unsafe(method_id(functions))]
    fn functions(&self) -> Retained<NSDictionary<NSString, AnyObject>> {
        note_call();
        let function = any(FakeFunction::of(Arc::clone(&self.ivars().0)));
        NSDictionary::from_slices(&[&*NSString::from_str("main")], &[&*function])
    }
});
plain_class!("MLModelStructureProgramFunction", FakeFunction, Plan, {
    // SAFETY: selector and types are those of the header.
    #[unsafe(method_id(block))]
    fn block(&self) -> Retained<FakeBlock> {
        note_call();
        FakeBlock::of(Arc::clone(&self.ivars().0))
    }
});
plain_class!("MLModelStructureProgramBlock", FakeBlock, Plan, {
    // SAFETY: selector and types are those of the header.
    #[unsafe(method_id(operations))]
    fn operations(&self) -> Retained<NSArray<AnyObject>> {
        note_call();
        let operations: Vec<_> = self.ivars().0.iter().map(|planned| any(FakeOperation::of(planned.clone()))).collect();
        NSArray::from_retained_slice(&operations)
    }
});
plain_class!("MLModelStructureProgramOperation", FakeOperation, Planned, {
    // SAFETY: selector and types are those of the header.
    #[unsafe(method_id(operatorName))]
    fn operator(&self) -> Retained<NSString> {
        note_call();
        NSString::from_str(&self.ivars().0.operator)
    }

    // SAFETY: selector and types are those of the header.
    #[unsafe(method_id(blocks))]
    fn blocks(&self) -> Retained<NSArray<AnyObject>> {
        note_call();
        NSArray::new()
    }
});
plain_class!("MLComputePlanDeviceUsage", FakeUsage, u8, {
    // SAFETY: selector and types are those of the header.
    #[unsafe(method_id(preferredComputeDevice))]
    fn preferred(&self) -> Retained<AnyObject> {
        note_call();
        device(self.ivars().0)
    }

    // SAFETY: selector and types are those of the header.
    #[unsafe(method_id(supportedComputeDevices))]
    fn supported(&self) -> Retained<NSArray<AnyObject>> {
        note_call();
        NSArray::from_retained_slice(&[device(1), device(self.ivars().0)])
    }
});
plain_class!("MLComputePlanCost", FakeCost, f64, {
    // SAFETY: selector and types are those of the header.
    #[unsafe(method(weight))]
    fn weight(&self) -> f64 {
        note_call();
        self.ivars().0
    }
});

pub(crate) fn register() {
    let _classes = [FakeCpu::class(), FakeGpu::class(), FakeEngine::class(), FakePlan::class(), FakeStructure::class()];
    let _program = [FakeProgram::class(), FakeFunction::class(), FakeBlock::class(), FakeOperation::class()];
    let _usage = [FakeUsage::class(), FakeCost::class()];
}
