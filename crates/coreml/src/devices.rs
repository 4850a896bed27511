//! What the machine has for Core ML.

use crate::platform;
use serde::Serialize;

/// A kind of unit that computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DeviceKind {
    /// CPU.
    Cpu,
    /// GPU.
    Gpu,
    /// Neural engine.
    NeuralEngine,
    /// One that this version does not know.
    Unknown,
}

/// One of the machine's units.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ComputeDevice {
    /// What it is.
    pub kind: DeviceKind,
    /// Its cores; `None`: Core ML does not say, as for CPU and GPU.
    pub n_cores: Option<usize>,
}

/// The machine, as a row of a matrix of devices. What the system does not say is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct MachineFacts {
    /// Apple's name of the model, such as `Mac15,3`.
    pub mac_model: Option<String>,
    /// Apple's name of the chip, such as `Apple M3`.
    pub chip: Option<String>,
    /// Version and build of the system, in its own words.
    pub os_version: Option<String>,
    /// Build of the system alone, such as `24A335`.
    pub os_build: Option<String>,
    /// Logical CPUs.
    pub n_cpus: Option<usize>,
    /// Bytes of memory.
    pub memory_bytes: Option<u64>,
    /// `nominal`, `fair`, `serious` or `critical`, as the system says.
    pub thermal_state: Option<String>,
    /// Units that Core ML can use.
    pub devices: Vec<ComputeDevice>,
}

impl MachineFacts {
    /// GPUs among the units.
    #[must_use]
    pub fn n_gpus(&self) -> usize {
        self.devices.iter().filter(|device| device.kind == DeviceKind::Gpu).count()
    }

    /// Whether there is a neural engine.
    #[must_use]
    pub fn has_neural_engine(&self) -> bool {
        self.devices.iter().any(|device| device.kind == DeviceKind::NeuralEngine)
    }
}

/// The units that Core ML can use here; none where there is no Core ML, or where it is too old to say (macOS 13).
#[must_use]
pub fn devices() -> Vec<ComputeDevice> {
    platform::devices()
}

/// What this machine is.
#[must_use]
pub fn machine_facts() -> MachineFacts {
    platform::machine_facts()
}

/// The build in the system's words, such as `24A335` in `Version 15.0 (Build 24A335)`; else all words.
pub(crate) fn build_in(os_version: &str) -> &str {
    let build = os_version.split_once("(Build ").and_then(|(_, rest)| rest.split_once(')'));
    build.map_or(os_version, |(build, _)| build)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_build_is_found_in_the_systems_words() {
        assert_eq!(build_in("Version 15.0 (Build 24A335)"), "24A335");
        assert_eq!(build_in("Version 15.0"), "Version 15.0");
    }

    #[test]
    fn a_machine_tells_what_it_has() {
        let device = |kind| ComputeDevice { kind, n_cores: None };
        let facts = MachineFacts { devices: vec![device(DeviceKind::Cpu)], ..MachineFacts::default() };
        assert!(!facts.has_neural_engine() && facts.n_gpus() == 0);
        let devices = vec![device(DeviceKind::Gpu), device(DeviceKind::NeuralEngine)];
        let facts = MachineFacts { devices, ..MachineFacts::default() };
        assert!(facts.has_neural_engine() && facts.n_gpus() == 1);
    }
}
