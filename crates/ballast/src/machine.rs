//! What this machine offers: CPUs, memory, and the limits set on this process.

use std::path::Path;

/// A reading of the machine. Figures that cannot be read are `None`, never guessed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// CPUs this process may use; affinity, cpuset and cgroup quota honoured.
    pub usable_cpus: usize,
    /// Kernel sets this CPU can run, best first.
    pub kernel_sets: Vec<&'static str>,
    /// Memory that could be had without swapping, in bytes.
    pub memory_available_bytes: Option<u64>,
    /// The tightest cgroup limit on this process's memory, in bytes.
    pub memory_limit_bytes: Option<u64>,
    /// Processor name.
    pub cpu_model: Option<String>,
}

impl Machine {
    /// Reads the machine's state from `/proc` and `/sys`.
    #[must_use]
    pub fn read() -> Self {
        Self::read_under(Path::new("/"))
    }

    /// As [`Machine::read`], with the file system's root elsewhere.
    #[must_use]
    pub fn read_under(root: &Path) -> Self {
        let text = |path: &str| std::fs::read_to_string(root.join(path)).ok();
        Self {
            usable_cpus: ballast_threads::usable_cpus().get(),
            kernel_sets: ballast_llm::kernel_sets(),
            memory_available_bytes: text("proc/meminfo").as_deref().and_then(|text| bytes_of(text, "MemAvailable")),
            memory_limit_bytes: cgroup_limit(root, text("proc/self/cgroup").as_deref().unwrap_or_default()),
            cpu_model: text("proc/cpuinfo").as_deref().and_then(|t| field(t, "model name").map(str::to_owned)),
        }
    }

    /// The memory a model may take: the tighter of what is available and what is allowed.
    #[must_use]
    pub fn memory_bytes(&self) -> Option<u64> {
        match (self.memory_available_bytes, self.memory_limit_bytes) {
            (Some(available), Some(limit)) => Some(available.min(limit)),
            (available, limit) => available.or(limit),
        }
    }
}

/// Bytes of this process that are in memory now, from `/proc/self/status`; `None` where that cannot be read.
#[must_use]
pub fn resident_bytes() -> Option<u64> {
    bytes_of(&std::fs::read_to_string("/proc/self/status").ok()?, "VmRSS")
}

/// The most bytes of this process that were ever in memory, as the system keeps them in `/proc/self/status`; `None` where
/// that cannot be read.
#[must_use]
pub fn peak_resident_bytes() -> Option<u64> {
    bytes_of(&std::fs::read_to_string("/proc/self/status").ok()?, "VmHWM")
}

fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().filter_map(|line| line.split_once(':')).find(|(key, _)| key.trim() == name).map(|(_, v)| v.trim())
}

/// A figure of the kernel's, which it tells in KiB.
fn bytes_of(text: &str, name: &str) -> Option<u64> {
    let kib: u64 = field(text, name)?.strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// The least `memory.max` (v2) or `memory.limit_in_bytes` (v1) from this process's group up to the root.
fn cgroup_limit(root: &Path, cgroups: &str) -> Option<u64> {
    let limits = cgroups.lines().filter_map(|line| {
        let mut parts = line.splitn(3, ':');
        let (_, controllers, group) = (parts.next()?, parts.next()?, parts.next()?);
        match controllers {
            "" => least_limit(root, "sys/fs/cgroup", "memory.max", group),
            c if c.split(',').any(|c| c == "memory") => {
                least_limit(root, "sys/fs/cgroup/memory", "memory.limit_in_bytes", group)
            }
            _ => None,
        }
    });
    limits.min()
}

fn least_limit(root: &Path, mount: &str, file: &str, group: &str) -> Option<u64> {
    let group = Path::new(group.trim_start_matches('/'));
    let limit = |group: &Path| -> Option<u64> {
        std::fs::read_to_string(root.join(mount).join(group).join(file)).ok()?.trim().parse().ok()
    };
    // v1 says "no limit" with a number near 2^63.
    group.ancestors().filter_map(limit).filter(|&bytes| bytes < 1 << 60).min()
}

#[cfg(test)]
mod tests {
    use super::{bytes_of, cgroup_limit, peak_resident_bytes, resident_bytes};

    #[test]
    fn available_memory_is_read_in_bytes() {
        assert_eq!(bytes_of("MemTotal: 9 kB\nMemAvailable:   2048 kB\n", "MemAvailable"), Some(2 << 20));
        assert_eq!(bytes_of("MemTotal: 9 kB\n", "MemAvailable"), None);
        assert_eq!(bytes_of("MemAvailable: many kB\n", "MemAvailable"), None);
    }

    #[test]
    fn memory_that_was_given_back_stays_in_the_peak() {
        let Some(before) = peak_resident_bytes() else { return };
        let taken = vec![1_u8; 64 << 20];
        assert_eq!(std::hint::black_box(&taken).len(), 64 << 20);
        let held = resident_bytes().unwrap();
        drop(taken);
        let peak = peak_resident_bytes().unwrap();
        // The kernel's counters lag behind by some pages a thread.
        assert!(peak >= before && peak + (8 << 20) >= held, "{peak} is less than {before} or {held}");
    }

    #[test]
    fn the_tightest_limit_on_the_way_to_the_root_counts() {
        let root = std::env::temp_dir().join(format!("ballast-cgroup-{}", std::process::id()));
        let group = root.join("sys/fs/cgroup/a/b");
        std::fs::create_dir_all(&group).unwrap();
        std::fs::write(group.join("memory.max"), "max\n").unwrap();
        std::fs::write(root.join("sys/fs/cgroup/a/memory.max"), "1000\n").unwrap();
        assert_eq!(cgroup_limit(&root, "0::/a/b\n"), Some(1000));
        assert_eq!(cgroup_limit(&root, "0::/elsewhere\n"), None);
        std::fs::remove_dir_all(root).unwrap();
    }
}
