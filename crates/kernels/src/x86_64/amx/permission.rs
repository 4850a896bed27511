//! Whether this process may use tiles of int8: by the CPU, by the system, and by the system's leave.

#![expect(unsafe_code, reason = "instructions and a system call without safe wrappers")]

use std::arch::x86_64::{__cpuid_count, _xgetbv, CpuidResult};

/// Proof that the CPU has AMX-TILE and AMX-INT8 with the palette that we configure, that the system keeps tiles when it
/// switches threads, and that this process may use them. Threads have it from their process.
#[derive(Clone, Copy, Debug)]
pub(super) struct Permission {
    _proof: (),
}

impl Permission {
    /// Asks for it. The process keeps what it was granted, so asking again changes nothing.
    pub(super) fn ask() -> Option<Self> {
        (has_tiles() && is_granted()).then_some(Self { _proof: () })
    }
}

/// Whether the CPU has them and the system keeps them.
fn has_tiles() -> bool {
    const LAST_LEAF: u32 = 0x1d;
    if __cpuid_count(0, 0).eax < LAST_LEAF || !is_x86_feature_detected!("xsave") {
        return false;
    }
    // SAFETY: the CPU has XSAVE, and that the feature is detected says that the system has enabled it.
    let kept = unsafe { _xgetbv(0) };
    names_tiles(&__cpuid_count(7, 0), kept) && fits(&__cpuid_count(LAST_LEAF, 1))
}

/// By the leaf of extended features, and by the states that the system has enabled (Intel SDM, volume 1, 13.1 and
/// 18.1).
fn names_tiles(features: &CpuidResult, kept: u64) -> bool {
    const AMX_TILE: u32 = 1 << 24;
    const AMX_INT8: u32 = 1 << 25;
    const TILE_CONFIG: u64 = 1 << 17;
    const TILE_DATA: u64 = 1 << 18;
    features.edx & (AMX_TILE | AMX_INT8) == AMX_TILE | AMX_INT8
        && kept & (TILE_CONFIG | TILE_DATA) == TILE_CONFIG | TILE_DATA
}

/// By the leaf of palette 1: eight tiles of sixteen rows of 64 bytes (Intel SDM, volume 2, CPUID leaf 1DH).
fn fits(palette: &CpuidResult) -> bool {
    let (tile_bytes, row_bytes, n_tiles) = (palette.eax >> 16, palette.ebx & 0xffff, palette.ebx >> 16);
    tile_bytes == 1024 && row_bytes == 64 && n_tiles == 8 && palette.ecx & 0xffff == 16
}

/// Asks Linux, which gives a process tiles only when it wants them (Documentation/arch/x86/xstate.rst).
#[cfg(target_os = "linux")]
fn is_granted() -> bool {
    const SYS_ARCH_PRCTL: u64 = 158;
    const ARCH_REQ_XCOMP_PERM: u64 = 0x1023;
    const TILE_DATA: u64 = 18;
    let result: u64;
    // SAFETY: the call takes two numbers and touches no memory of ours; it gives 0 or an error, and the instruction
    // overwrites rcx and r11.
    unsafe {
        std::arch::asm!(
            "syscall",
            inlateout("rax") SYS_ARCH_PRCTL => result,
            in("rdi") ARCH_REQ_XCOMP_PERM,
            in("rsi") TILE_DATA,
            out("rcx") _,
            out("r11") _,
            options(nostack)
        );
    }
    result == 0
}

/// No other system is known to give them.
#[cfg(not(target_os = "linux"))]
fn is_granted() -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::{Permission, fits, has_tiles, is_granted, names_tiles};
    use std::arch::x86_64::CpuidResult;

    #[test]
    fn tiles_are_there_when_the_cpu_names_both_and_the_system_keeps_both() {
        let names = |edx, kept| names_tiles(&CpuidResult { eax: 0, ebx: 0, ecx: 0, edx }, kept);
        assert!(names(0x0300_0000, 0x6_0000) && names(u32::MAX, u64::MAX));
        for (edx, kept) in [(0x0100_0000, 0x6_0000), (0x0200_0000, 0x6_0000), (0x0040_0000, 0x6_0000), (0, 0x6_0000)] {
            assert!(!names(edx, kept), "features {edx:#x}");
        }
        for kept in [0, 0x2_0000, 0x4_0000, 0xe7] {
            assert!(!names(0x0300_0000, kept), "kept {kept:#x}");
        }
    }

    #[test]
    fn a_palette_fits_if_it_is_the_one_we_configure() {
        // The leaf as Intel's manual gives it.
        let first = CpuidResult { eax: 0x0400_2000, ebx: 0x0008_0040, ecx: 16, edx: 0 };
        assert!(fits(&first));
        for other in [
            CpuidResult { eax: 0x0200_2000, ..first },
            CpuidResult { ebx: 0x0004_0040, ..first },
            CpuidResult { ebx: 0x0008_0020, ..first },
            CpuidResult { ecx: 8, ..first },
        ] {
            assert!(!fits(&other), "{other:?}");
        }
    }

    #[test]
    fn permission_is_granted_only_where_there_are_tiles() {
        assert_eq!(Permission::ask().is_some(), has_tiles() && is_granted());
        #[cfg(target_os = "linux")]
        assert!(has_tiles() || !is_granted(), "Linux grants no state that the CPU lacks");
    }
}
