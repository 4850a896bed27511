//! What the machine is and has.

use super::raw::{self, pooled};
use crate::devices::build_in;
use crate::{ComputeDevice, MachineFacts};
use objc2_foundation::NSProcessInfo;

/// The units that Core ML can use.
pub(crate) fn devices() -> Vec<ComputeDevice> {
    pooled(raw::devices)
}

/// What this machine is.
pub(crate) fn machine_facts() -> MachineFacts {
    pooled(|| {
        let info = NSProcessInfo::processInfo();
        let os_version = info.operatingSystemVersionString().to_string();
        MachineFacts {
            mac_model: kernel_text(c"hw.model"),
            chip: kernel_text(c"machdep.cpu.brand_string"),
            os_build: Some(kernel_text(c"kern.osversion").unwrap_or_else(|| build_in(&os_version).to_owned())),
            os_version: Some(os_version),
            n_cpus: Some(info.processorCount()),
            memory_bytes: Some(info.physicalMemory()),
            thermal_state: thermal_state(&info),
            devices: raw::devices(),
        }
    })
}

#[cfg(target_vendor = "apple")]
fn kernel_text(name: &std::ffi::CStr) -> Option<String> {
    raw::kernel_text(name)
}

#[cfg(target_vendor = "apple")]
fn thermal_state(info: &NSProcessInfo) -> Option<String> {
    use objc2_foundation::NSProcessInfoThermalState as State;
    let words = [
        (State::Nominal, "nominal"),
        (State::Fair, "fair"),
        (State::Serious, "serious"),
        (State::Critical, "critical"),
    ];
    let now = info.thermalState();
    words.into_iter().find(|(state, _)| *state == now).map(|(_, word)| word.to_owned())
}

/// Bytes of memory that the process has in use.
#[cfg(target_vendor = "apple")]
pub(crate) fn resident_bytes() -> Option<u64> {
    raw::resident_bytes()
}

/// The simulator's kernel is another.
#[cfg(not(target_vendor = "apple"))]
fn kernel_text(_name: &std::ffi::CStr) -> Option<String> {
    None
}

#[cfg(not(target_vendor = "apple"))]
fn thermal_state(_info: &NSProcessInfo) -> Option<String> {
    None
}

/// Bytes of memory that the process has in use: the second number of `/proc/self/statm`, in pages of 4 KiB.
#[cfg(not(target_vendor = "apple"))]
pub(crate) fn resident_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/statm").ok()?;
    Some(text.split(' ').nth(1)?.parse::<u64>().ok()? * 4096)
}
