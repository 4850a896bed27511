//! Rules about what may not stand in the code: unfinished work, and locks that everybody holds.

use super::Finding;
use super::house::{House, TextFile};

/// Marks of unfinished work, put together so that this file does not hold them.
const MARKS: &[&str] = &[concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X")];

/// Macros that stand for code that was not written.
const MACROS: &[&str] = &["todo", "unimplemented"];

/// Files that are written by hand as code. Documents may speak of such marks.
const CODE_ENDINGS: &[&str] = &[".rs", ".py", ".sh", ".toml", ".yml", "justfile", ".ci/run"];

pub(crate) fn nothing_is_left_unfinished(house: &House) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in house.files.iter().filter(|f| CODE_ENDINGS.iter().any(|end| f.path.ends_with(end))) {
        findings.extend(marks(file));
    }
    for (file, facts) in house.rust_files() {
        let calls = facts.macro_calls.iter().filter(|(name, _)| MACROS.contains(&name.as_str()));
        findings.extend(calls.map(|(name, line)| Finding::new(&file.path, *line, format!("{name}! is left"))));
    }
    findings
}

fn marks(file: &TextFile) -> impl Iterator<Item = Finding> {
    file.lines().filter_map(|(number, line)| {
        let mark = line.split(|c: char| !c.is_ascii_alphanumeric()).find(|word| MARKS.contains(word))?;
        Some(Finding::new(&file.path, number, format!("{mark} is left")))
    })
}

pub(crate) fn no_signature_shares_a_mutex(house: &House) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (file, facts) in house.rust_files() {
        let lines = facts.shared_locks.iter().filter(|line| !facts.in_test(**line));
        findings.extend(lines.map(|l| Finding::new(&file.path, *l, "a lock behind an Arc; give the state one owner")));
    }
    findings
}

#[cfg(test)]
mod tests {
    use crate::tidy::findings_of;

    #[test]
    fn marks_and_stand_ins_are_found() {
        for mark in super::MARKS {
            assert_eq!(findings_of("unfinished", &[("a.rs", &format!("//! A.\n// {mark}: more"))]).len(), 1, "{mark}");
            assert_eq!(findings_of("unfinished", &[("a.py", &format!("# {mark}"))]).len(), 1, "{mark}");
        }
        for name in super::MACROS {
            let text = format!("//! A.\nfn f() {{ {name}!() }}");
            assert_eq!(findings_of("unfinished", &[("a.rs", &text)]).len(), 1, "{name}");
        }
    }

    #[test]
    fn longer_words_are_no_marks() {
        assert!(findings_of("unfinished", &[("a.rs", "//! A.\nconst MASTODON: u8 = 1;")]).is_empty());
    }

    #[test]
    fn a_shared_mutex_is_found_outside_of_tests() {
        let bad = "//! A.\nfn f(x: std::sync::Arc<std::sync::Mutex<u8>>) {}";
        assert_eq!(findings_of("shared-mutex", &[("a.rs", bad)]).len(), 1);
        let fine = "//! A.\n#[cfg(test)]\nmod tests { fn f(x: Arc<Mutex<u8>>) {} }\nfn g(x: Arc<u8>) {}";
        assert!(findings_of("shared-mutex", &[("a.rs", fine)]).is_empty());
    }
}
