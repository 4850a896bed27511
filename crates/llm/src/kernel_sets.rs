//! The kernel sets of this CPU, for those who choose one by name.

use ballast_kernels::Kernels;

/// Names of the sets this CPU can run, best first.
#[must_use]
pub fn kernel_sets() -> Vec<&'static str> {
    ballast_kernels::available().map(Kernels::name).collect()
}

/// The set called `name`, if this CPU can run it.
#[must_use]
pub fn kernel_set(name: &str) -> Option<&'static dyn Kernels> {
    ballast_kernels::by_name(name)
}
