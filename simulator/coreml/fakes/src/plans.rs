//! Plans and devices: a machine with a CPU, a GPU and a neural engine of 16 cores, and a program of four operations.

use crate::knobs::{Alive, knobs};
use crate::model::answer;
use crate::shim::note_call;
use block2::DynBlock;
use objc2::rc::Retained;
use objc2::runtime::AnyObject;
use objc2::{AnyThread, ClassType, DefinedClass, Message, define_class, msg_send};
use objc2_foundation::{NSArray, NSDictionary, NSError, NSInteger, NSObject, NSString, NSURL};

/// Operations: name, preferred unit (0 none, 1 CPU, 2 GPU, 3 neural engine), cost.
const OPERATIONS: [(&str, u8, f64); 4] =
    [("const", 0, 0.0), ("ios17.conv", 3, 0.9), ("ios17.relu", 2, 0.06), ("ios17.gather", 1, 0.04)];

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

plain_class!("MLComputePlan", FakePlan, (), {
    // SAFETY: selector and types are those of the header.
    #[unsafe(method(loadContentsOfURL:configuration:completionHandler:))]
    fn load(_url: &NSURL, _configuration: &AnyObject, handler: &DynBlock<dyn Fn(*mut FakePlan, *mut NSError)>) {
        note_call();
        answer(knobs().plan, handler, || Ok(FakePlan::of(())));
    }

    // SAFETY: selector and types are those of the header.
    #[unsafe(method_id(modelStructure))]
    fn structure(&self) -> Retained<FakeStructure> {
        note_call();
        FakeStructure::of(())
    }

    // SAFETY: selector and types are those of the header.
    #[unsafe(method_id(computeDeviceUsageForMLProgramOperation:))]
    fn usage(&self, operation: &FakeOperation) -> Option<Retained<FakeUsage>> {
        note_call();
        let unit = OPERATIONS[operation.ivars().0].1;
        (unit > 0).then(|| FakeUsage::of(unit))
    }

    // SAFETY: selector and types are those of the header.
    #[unsafe(method_id(estimatedCostOfMLProgramOperation:))]
    fn cost(&self, operation: &FakeOperation) -> Option<Retained<FakeCost>> {
        note_call();
        let (_, unit, cost) = OPERATIONS[operation.ivars().0];
        (unit > 0).then(|| FakeCost::of(cost))
    }
});
plain_class!("MLModelStructure", FakeStructure, (), {
    // SAFETY: selector and types are those of the header.
    #[unsafe(method_id(program))]
    fn program(&self) -> Option<Retained<FakeProgram>> {
        note_call();
        Some(FakeProgram::of(()))
    }
});
plain_class!("MLModelStructureProgram", FakeProgram, (), {
    // SAFETY: selector and types are those of the header.
    #[unsafe(method_id(functions))]
    fn functions(&self) -> Retained<NSDictionary<NSString, AnyObject>> {
        note_call();
        let function = any(FakeFunction::of(()));
        NSDictionary::from_slices(&[&*NSString::from_str("main")], &[&*function])
    }
});
plain_class!("MLModelStructureProgramFunction", FakeFunction, (), {
    // SAFETY: selector and types are those of the header.
    #[unsafe(method_id(block))]
    fn block(&self) -> Retained<FakeBlock> {
        note_call();
        FakeBlock::of(())
    }
});
plain_class!("MLModelStructureProgramBlock", FakeBlock, (), {
    // SAFETY: selector and types are those of the header.
    #[unsafe(method_id(operations))]
    fn operations(&self) -> Retained<NSArray<AnyObject>> {
        note_call();
        let operations: Vec<_> = (0..OPERATIONS.len()).map(|idx| any(FakeOperation::of(idx))).collect();
        NSArray::from_retained_slice(&operations)
    }
});
plain_class!("MLModelStructureProgramOperation", FakeOperation, usize, {
    // SAFETY: selector and types are those of the header.
    #[unsafe(method_id(operatorName))]
    fn operator(&self) -> Retained<NSString> {
        note_call();
        NSString::from_str(OPERATIONS[self.ivars().0].0)
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
