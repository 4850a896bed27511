//! Rules about `unsafe`: where it may be, and that each use says why it is sound.

use super::Finding;
use super::house::{House, TextFile};

/// Crates that fence unsafe code. Every other crate forbids it at its root.
const FENCED: &[&str] = &["crates/coreml/", "crates/kernels/", "crates/gguf/", "crates/threads/", "simulator/coreml/"];

/// The comment or the section of documentation that argues for an `unsafe`.
const ARGUMENTS: &[&str] = &["SAFETY:", "# Safety"];

pub(crate) fn crate_roots_forbid_unsafe(house: &House) -> Vec<Finding> {
    let roots = house.rust_files().filter(|(file, _)| is_root(&file.path));
    let lax = roots.filter(|(file, facts)| !facts.forbids_unsafe && !is_fenced(&file.path));
    lax.map(|(file, _)| Finding::new(&file.path, 1, "a crate root without #![forbid(unsafe_code)]")).collect()
}

fn is_root(path: &str) -> bool {
    path.ends_with("/src/lib.rs") || path.ends_with("/src/main.rs") || path.contains("/src/bin/")
}

fn is_fenced(path: &str) -> bool {
    FENCED.iter().any(|folder| path.starts_with(folder))
}

pub(crate) fn every_unsafe_is_argued(house: &House) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (file, facts) in house.rust_files() {
        let lines: Vec<&str> = file.text.lines().collect();
        let bare = facts.unsafe_lines.iter().filter(|line| !is_argued(&lines, **line - 1));
        findings.extend(bare.map(|line| missing_argument(file, *line)));
    }
    findings
}

fn missing_argument(file: &TextFile, line: usize) -> Finding {
    Finding::new(&file.path, line, "unsafe without a SAFETY comment or a # Safety section")
}

/// Whether the `unsafe` in line `idx` is argued for: in its line, as the first thing in its block, or above the
/// statement or item it belongs to.
fn is_argued(lines: &[&str], idx: usize) -> bool {
    let argues = |line: &&str| is_argument(line);
    if lines[idx..].iter().take(1).any(|line| line.split_once("//").is_some_and(|(_, c)| has_argument(c))) {
        return true;
    }
    lines.get(idx + 1).is_some_and(argues) || lines[..idx].iter().rev().take_while(|l| belongs(l)).any(argues)
}

/// Whether a line above belongs to the same statement or item: a comment, an attribute, or code that goes on.
fn belongs(line: &str) -> bool {
    let line = line.trim();
    is_comment(line) || line.starts_with("#[") || !(line.is_empty() || line.ends_with([';', '{', '}', ',']))
}

fn is_argument(line: &str) -> bool {
    is_comment(line.trim()) && has_argument(line)
}

fn has_argument(comment: &str) -> bool {
    ARGUMENTS.iter().any(|argument| comment.contains(argument))
}

fn is_comment(line: &str) -> bool {
    line.starts_with("//")
}

#[cfg(test)]
mod tests {
    use crate::tidy::findings_of;

    #[test]
    fn a_root_that_does_not_forbid_unsafe_is_found() {
        for path in ["crates/llm/src/lib.rs", "crates/cli/src/main.rs", "crates/cli/src/bin/x.rs"] {
            assert_eq!(findings_of("forbid", &[(path, "//! A.")]).len(), 1, "{path}");
            assert!(findings_of("forbid", &[(path, "//! A.\n#![forbid(unsafe_code)]")]).is_empty(), "{path}");
        }
        assert!(findings_of("forbid", &[("crates/kernels/src/lib.rs", "//! A.")]).is_empty());
    }

    #[test]
    fn every_form_of_bare_unsafe_is_found() {
        let bare = [
            "fn f() { unsafe { g() } }",
            "unsafe fn f() {}",
            "unsafe impl Send for X {}",
            "unsafe trait T {}",
            "unsafe extern \"C\" { fn f(); }",
            "macro_rules! m { () => {\n unsafe { g() } } }",
            "// SAFETY: of another statement.\nfn a() {}\nfn f() { unsafe { g() } }",
            "impl X {\n    unsafe fn f() {}\n}",
            "/// Says \"SAFETY\" without arguing.\nunsafe fn f() {}",
        ];
        for text in bare {
            assert_eq!(findings_of("safety", &[("a.rs", &format!("//! A.\n{text}"))]).len(), 1, "{text}");
        }
    }

    #[test]
    fn argued_unsafe_is_accepted() {
        let argued = [
            "fn f() {\n    // SAFETY: g is fine.\n    unsafe { g() }\n}",
            "fn f() {\n    // SAFETY: g is fine,\n    // always.\n    let x =\n        unsafe { g() };\n}",
            "fn f() {\n    unsafe {\n        // SAFETY: g is fine.\n        g()\n    }\n}",
            "fn f() { unsafe { g() } // SAFETY: g is fine.\n}",
            "/// F.\n///\n/// # Safety\n/// Never.\n#[inline]\npub unsafe fn f() {}",
            "// SAFETY: X holds nothing.\nunsafe impl Send for X {}",
            "// SAFETY: X forwards.\nunsafe impl T for X {\n    unsafe fn f() {}\n}",
        ];
        for text in argued {
            assert!(findings_of("safety", &[("a.rs", &format!("//! A.\n{text}"))]).is_empty(), "{text}");
        }
    }
}
