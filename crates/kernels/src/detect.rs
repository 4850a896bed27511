//! Which kernel sets this CPU has. Nothing is cached here: a caller detects once and passes the set down.
//!
//! Sets are looked for one after another, and no further than is asked for. The last of x86-64 is `x86_64-amx-int8`: it
//! was never measured, so `detect()` does not choose it where another set runs, and looking for it asks the system for
//! tiles and tries them, which whoever has no use for them should be spared. `by_name` forces it.

use crate::Kernels;
use crate::generic::Generic;

/// Finds a set, if this CPU has it.
type Detect = fn() -> Option<&'static dyn Kernels>;

/// The sets this CPU can run, best first, behind them one that was never measured; `generic` is always the last.
pub fn available() -> impl Iterator<Item = &'static dyn Kernels> {
    NATIVE.iter().filter_map(|detect| detect()).chain([Generic::set()])
}

/// The best set of this CPU.
#[must_use]
pub fn detect() -> &'static dyn Kernels {
    available().next().expect("generic runs everywhere")
}

/// The set called `name`, if this CPU has it.
#[must_use]
pub fn by_name(name: &str) -> Option<&'static dyn Kernels> {
    available().find(|set| set.name() == name)
}

#[cfg(target_arch = "x86_64")]
const NATIVE: [Detect; 4] = {
    use crate::x86_64::{amx::Amx, avx512::Avx512, ymm};
    [Avx512::detect, ymm::AvxVnni::detect, ymm::Avx2::detect, Amx::detect]
};

#[cfg(target_arch = "aarch64")]
const NATIVE: [Detect; 3] = {
    use crate::aarch64::neon;
    [neon::NeonI8mm::detect, neon::NeonDotprod::detect, neon::NeonBase::detect]
};

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
const NATIVE: [Detect; 0] = [];

#[cfg(test)]
mod tests {
    #[cfg(target_arch = "x86_64")]
    use super::{Detect, NATIVE};
    use super::{available, by_name, detect};
    #[cfg(target_arch = "x86_64")]
    use crate::x86_64::amx::Amx;

    #[test]
    fn finds_every_available_set_by_its_name() {
        for set in available() {
            assert_eq!(by_name(set.name()).map(|found| found.name()), Some(set.name()));
        }
    }

    #[test]
    fn prefers_the_first_and_keeps_generic_last() {
        assert_eq!(available().next().map(|set| set.name()), Some(detect().name()));
        assert_eq!(available().last().map(|set| set.name()), Some("generic"));
    }

    #[test]
    fn knows_no_set_of_another_name() {
        assert!(by_name("x86_64").is_none() && by_name("").is_none());
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn has_the_sets_of_the_extensions_that_are_present() {
        assert_eq!(by_name("x86_64-avx2").is_some(), is_x86_feature_detected!("avx2"));
        assert_eq!(by_name("x86_64-avx-vnni").is_some(), is_x86_feature_detected!("avxvnni"));
        assert_eq!(by_name("x86_64-avx512-vnni").is_some(), is_x86_feature_detected!("avx512vnni"));
        // Only the system knows whether there are tiles; where there are, there is AVX-512, too.
        assert!(by_name("x86_64-amx-int8").is_none() || is_x86_feature_detected!("avx512vnni"));
    }

    /// By the functions, so that a CPU without the set can tell, too.
    #[test]
    #[cfg(target_arch = "x86_64")]
    fn a_set_that_was_never_measured_is_looked_for_last() {
        let is_unmeasured = |detect: &Detect| std::ptr::fn_addr_eq(*detect, Amx::detect as Detect);
        assert_eq!(NATIVE.iter().position(is_unmeasured), Some(NATIVE.len() - 1));
        assert_ne!(detect().name(), "x86_64-amx-int8");
    }

    #[test]
    #[cfg(target_arch = "aarch64")]
    fn has_the_sets_of_the_extensions_that_are_present() {
        use std::arch::is_aarch64_feature_detected;
        assert_eq!(by_name("aarch64-neon").is_some(), is_aarch64_feature_detected!("neon"));
        assert_eq!(by_name("aarch64-neon-dotprod").is_some(), is_aarch64_feature_detected!("dotprod"));
        assert_eq!(by_name("aarch64-neon-i8mm").is_some(), is_aarch64_feature_detected!("i8mm"));
    }
}
