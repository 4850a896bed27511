//! Which kernel sets this CPU has. Nothing is cached here: a caller detects once and passes the set down.

use crate::Kernels;
use crate::generic::Generic;

/// The sets this CPU can run, best first; `generic` is always the last.
pub fn available() -> impl Iterator<Item = &'static dyn Kernels> {
    native().into_iter().flatten().chain([Generic::set()])
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
fn native() -> [Option<&'static dyn Kernels>; 3] {
    use crate::x86_64::{avx512::Avx512, ymm};
    [Avx512::detect(), ymm::AvxVnni::detect(), ymm::Avx2::detect()]
}

#[cfg(target_arch = "aarch64")]
fn native() -> [Option<&'static dyn Kernels>; 3] {
    use crate::aarch64::neon;
    [neon::NeonI8mm::detect(), neon::NeonDotprod::detect(), neon::NeonBase::detect()]
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn native() -> [Option<&'static dyn Kernels>; 0] {
    []
}

#[cfg(test)]
mod tests {
    use super::{available, by_name, detect};

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
