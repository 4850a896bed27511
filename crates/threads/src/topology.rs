//! Which CPUs are worth a compute thread: one of each physical core, performance cores only where there are two kinds.
//!
//! Two threads of one core share its vector units and its caches, so the second gains nothing for compute; and a static
//! partition is as slow as its slowest core. What Linux tells is read below a root folder; where it tells nothing, or
//! nonsense, nothing is known and every CPU counts. macOS and Windows are not asked.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// Where Linux describes its devices.
pub(crate) const SYSFS_ROOT: &str = "/sys";
/// Where Linux tells a process about itself.
pub(crate) const PROC_SELF: &str = "/proc/self";
/// Bytes of a CPU list that are read at most: a list of every second of `CPUS_MAX` CPUs fits.
const LIST_BYTES_MAX: usize = 65_536;
/// CPUs that are told apart at most. A machine with more counts as unknown.
const CPUS_MAX: usize = 8_192;

/// Physical performance cores among `allowed` CPUs, or `None` where sysfs at `root` does not tell. Without `allowed`,
/// of all that are online.
pub(crate) fn performance_cores(root: &Path, allowed: Option<&BTreeSet<usize>>) -> Option<usize> {
    let cpus = root.join("devices/system/cpu");
    let online = read_list(&cpus.join("online"))?;
    let mut usable: BTreeSet<usize> = allowed.map_or_else(|| online.clone(), |cpus| &online & cpus);
    if let Some(fast) = read_list(&root.join("devices/cpu_core/cpus")) {
        let fast = &usable & &fast;
        // An affinity of slow cores only is the user's wish.
        if !fast.is_empty() {
            usable = fast;
        }
    }
    let mut cores = BTreeSet::new();
    for cpu in usable {
        let siblings = read_list(&cpus.join(format!("cpu{cpu}/topology/thread_siblings_list")))?;
        if !siblings.contains(&cpu) {
            return None;
        }
        cores.insert(siblings.first().copied()?);
    }
    (!cores.is_empty()).then_some(cores.len())
}

/// The CPUs that this process may run on, as Linux tells below `proc_self`.
pub(crate) fn allowed_cpus(proc_self: &Path) -> Option<BTreeSet<usize>> {
    let status = read_bounded(&proc_self.join("status"))?;
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?;
    parse_list(list)
}

fn read_list(path: &Path) -> Option<BTreeSet<usize>> {
    parse_list(&read_bounded(path)?)
}

fn read_bounded(path: &Path) -> Option<String> {
    let mut text = String::new();
    let n_bytes = File::open(path).ok()?.take(LIST_BYTES_MAX as u64 + 1).read_to_string(&mut text).ok()?;
    (n_bytes <= LIST_BYTES_MAX).then_some(text)
}

/// Parses a list as of Linux, such as `0-3,8`; `None` for what is not one, is empty or names a CPU past `CPUS_MAX`.
fn parse_list(text: &str) -> Option<BTreeSet<usize>> {
    let mut cpus = BTreeSet::new();
    for piece in text.trim().split(',') {
        let (first, last) = piece.split_once('-').unwrap_or((piece, piece));
        let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
        if first > last || last >= CPUS_MAX {
            return None;
        }
        cpus.extend(first..=last);
    }
    Some(cpus)
}

#[cfg(test)]
mod tests {
    use super::{CPUS_MAX, LIST_BYTES_MAX, allowed_cpus, parse_list, performance_cores};
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::Path;

    /// A tree with the given siblings of each CPU, and performance cores if any.
    fn tree(online: &str, siblings: &[&str], fast: Option<&str>) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), "devices/system/cpu/online", online);
        for (cpu, list) in siblings.iter().enumerate() {
            write(dir.path(), &format!("devices/system/cpu/cpu{cpu}/topology/thread_siblings_list"), list);
        }
        if let Some(fast) = fast {
            write(dir.path(), "devices/cpu_core/cpus", fast);
        }
        dir
    }

    fn write(root: &Path, path: &str, text: &str) {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, format!("{text}\n")).unwrap();
    }

    #[test]
    fn counts_physical_performance_cores_among_the_allowed() {
        type Case<'a> = (&'a str, &'a [&'a str], Option<&'a str>, Option<&'a [usize]>, Option<usize>);
        let smt: &[&str] = &["0,2", "1,3", "0,2", "1,3"];
        let hybrid: &[&str] = &["0-1", "0-1", "2-3", "2-3", "4", "5"];
        let cases: &[Case<'_>] = &[
            ("0-1", &["0", "1"], None, None, Some(2)),
            ("0-3", smt, None, None, Some(2)),
            ("0-3", smt, None, Some(&[0, 2]), Some(1)),
            ("0-3", smt, None, Some(&[2, 3]), Some(2)),
            ("0-5", hybrid, Some("0-3"), None, Some(2)),
            ("0-5", hybrid, Some("0-3"), Some(&[1, 4]), Some(1)),
            ("0-5", hybrid, Some("0-3"), Some(&[4, 5]), Some(2)),
            ("0-5", hybrid, Some("rubbish"), None, Some(4)),
            ("0-1", &["1", "1"], None, None, None), // not a sibling of itself
            ("0-1", &["0", "x"], None, None, None),
            ("0-1", &["0"], None, None, None), // a file is missing
            ("", &["0"], None, None, None),
            ("0-1", &["0", "1"], None, Some(&[7]), None),
        ];
        for (online, siblings, fast, allowed, expected) in cases {
            let dir = tree(online, siblings, *fast);
            let allowed = allowed.map(|cpus| cpus.iter().copied().collect::<BTreeSet<_>>());
            let case = format!("{online} {siblings:?} {fast:?} {allowed:?}");
            assert_eq!(performance_cores(dir.path(), allowed.as_ref()), *expected, "{case}");
        }
        assert_eq!(performance_cores(Path::new("nowhere"), None), None);
    }

    #[test]
    fn lists_are_parsed_within_bounds() {
        assert_eq!(parse_list(" 0-2,5\n"), Some([0, 1, 2, 5].into()));
        assert!(parse_list(&format!("{}", CPUS_MAX - 1)).is_some());
        for bad in ["", ",", "3-1", "a", "1-", "-1", &format!("0-{CPUS_MAX}"), "0-18446744073709551615"] {
            assert_eq!(parse_list(bad), None, "{bad}");
        }
        let too_long = vec!["1"; LIST_BYTES_MAX].join(",");
        assert_eq!(performance_cores(tree(&too_long, &["0", "1"], None).path(), None), None);
    }

    #[test]
    fn the_allowed_cpus_are_found_in_the_status() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(allowed_cpus(dir.path()), None);
        write(dir.path(), "status", "Name:\tx\nCpus_allowed:\t5\nCpus_allowed_list:\t0,2\nThreads:\t1");
        assert_eq!(allowed_cpus(dir.path()), Some([0, 2].into()));
    }
}
