//! Rule: nothing in the repository names the machine it was made on or a registry's host.
//!
//! Such a name works for one person or leads elsewhere without notice. Paths come in as arguments, packages through
//! their ordinary clients. Absolute temporary paths may stand in tests; the registry of crates may stand where cargo
//! and cargo-deny want it.

use super::Finding;
use super::facts::RustFacts;
use super::house::{House, TextFile};

/// Folders of one machine, put together so that this file does not hold them.
const FOLDERS: &[&str] = &[concat!("/", "work"), concat!("/", "root"), concat!("/home/", "user")];
const TEMPORARY: &str = concat!("/", "tmp");
const HOSTS: &[&str] = &[concat!("pypi", ".org"), concat!("files.python", "hosted")];
const CRATES_HOST: &str = concat!("crates", ".io");

/// Files in which cargo and cargo-deny name the registry of crates.
const CRATES_HOST_FILES: &[&str] = &[
    "Cargo.lock",
    "bench/candle/Cargo.lock",
    "bench/tensors/Cargo.lock",
    "deny.toml",
    "fuzz/Cargo.lock",
    "simulator/coreml/Cargo.lock",
];

pub(crate) fn no_machine_or_registry_is_named(house: &House) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in &house.files {
        for (number, line) in file.lines() {
            if let Some(place) = place_in(line, file, number) {
                findings.push(Finding::new(&file.path, number, format!("names {place}")));
            }
        }
    }
    findings
}

fn place_in(line: &str, file: &TextFile, number: usize) -> Option<&'static str> {
    let folder = FOLDERS.iter().find(|folder| names_folder(line, folder));
    let host = HOSTS.iter().find(|host| line.contains(*host));
    let temporary = (names_folder(line, TEMPORARY) && !is_test(file, number)).then_some(&TEMPORARY);
    let crates =
        (line.contains(CRATES_HOST) && !CRATES_HOST_FILES.contains(&file.path.as_str())).then_some(&CRATES_HOST);
    folder.or(host).or(temporary).or(crates).copied()
}

/// Whether `folder` stands in the line as the beginning of an absolute path.
fn names_folder(line: &str, folder: &str) -> bool {
    line.match_indices(folder).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + folder.len()..].chars().next();
        !before.is_some_and(|c| c.is_alphanumeric() || "._-/~}*)".contains(c))
            && !after.is_some_and(|c| c.is_alphanumeric() || "_-".contains(c))
    })
}

fn is_test(file: &TextFile, number: usize) -> bool {
    let facts: Option<&RustFacts> = file.rust.as_ref().and_then(|r| r.as_ref().ok());
    facts.is_some_and(|f| f.in_test(number)) || file.path.split('/').any(|part| part == "tests")
}

#[cfg(test)]
mod tests {
    use super::{CRATES_HOST, FOLDERS, HOSTS, TEMPORARY};
    use crate::tidy::findings_of;

    fn found(path: &str, text: &str) -> usize {
        findings_of("places", &[(path, text)]).len()
    }

    #[test]
    fn folders_of_a_machine_are_found() {
        for folder in FOLDERS {
            assert_eq!(found("a.md", &format!("see `{folder}/x`")), 1, "{folder}");
            assert_eq!(found("a.md", &format!("a network{folder}er, net{folder}/x")), 0, "{folder}");
        }
    }

    #[test]
    fn hosts_of_registries_are_found() {
        for host in HOSTS {
            assert_eq!(found("a.py", &format!("get('https://{host}/simple')")), 1, "{host}");
        }
        let index = format!("source = \"registry+https://x/{CRATES_HOST}-index\"");
        assert_eq!((found("a.rs", &index), found("Cargo.lock", &index), found("deny.toml", &index)), (1, 0, 0));
    }

    #[test]
    fn temporary_paths_may_stand_in_tests_only() {
        let line = format!("const A: &str = \"{TEMPORARY}/x\";");
        assert_eq!(found("a.rs", &format!("//! A.\n{line}")), 1);
        assert_eq!(found("a.rs", &format!("//! A.\n#[cfg(test)]\nmod tests {{\n{line}\n}}")), 0);
        assert_eq!(found("crates/a/tests/b.rs", &format!("//! A.\n{line}")), 0);
    }
}
