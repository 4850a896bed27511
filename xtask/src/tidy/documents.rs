//! Rules about documents: links lead somewhere, the papers are there, the code map is complete, and the checklist
//! says only what is so.

use super::Finding;
use super::house::{House, TextFile};
use std::collections::HashSet;

/// Papers that a reader of any repository looks for.
const PAPERS: &[&str] = &["README.md", "CHANGELOG.md", "LICENSE-APACHE", "LICENSE-MIT", CODE_MAP, CHECKLIST];

const CODE_MAP: &str = "docs/ARCHITECTURE.md";
const CHECKLIST: &str = "docs/CHECKLIST.md";

pub(crate) fn the_papers_are_there(house: &House) -> Vec<Finding> {
    let missing = PAPERS.iter().filter(|path| house.file(path).is_none_or(|f| f.text.trim().is_empty()));
    missing.map(|path| Finding::new(path, 1, "is missing or empty")).collect()
}

pub(crate) fn the_code_map_names_every_crate(house: &House) -> Vec<Finding> {
    let Some(map) = house.file(CODE_MAP) else { return Vec::new() };
    let manifests = house.files.iter().filter_map(|f| f.path.strip_suffix("/Cargo.toml"));
    let unnamed = manifests.filter(|folder| folder.starts_with("crates/") && !map.text.contains(*folder));
    unnamed.map(|folder| Finding::new(CODE_MAP, 1, format!("does not say what {folder} is"))).collect()
}

pub(crate) fn links_lead_somewhere(house: &House) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in house.files.iter().filter(|f| f.path.ends_with(".md")) {
        for (number, target) in links(file) {
            let path = target.split('#').next().unwrap_or_default();
            if !path.is_empty() && !path.contains(':') && !house.has(&resolve(&file.path, path)) {
                findings.push(Finding::new(&file.path, number, format!("the link to {target} leads nowhere")));
            }
        }
    }
    findings
}

/// Targets of the links in a document, outside of code blocks, with their lines.
fn links(file: &TextFile) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    let mut in_code = false;
    for (number, line) in file.lines() {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
        } else if !in_code {
            let targets = line.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
            found.extend(targets.map(|(target, _)| (number, target)));
        }
    }
    found
}

/// The path that `target`, written in the file at `from`, leads to.
fn resolve(from: &str, target: &str) -> String {
    let mut parts: Vec<&str> = from.split('/').collect();
    parts.pop();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            name => parts.push(name),
        }
    }
    parts.join("/")
}

/// Every row ends with a state that docs/CHECKLIST.md explains, and a test that is named for a done row exists.
pub(crate) fn the_checklist_is_honest(house: &House) -> Vec<Finding> {
    let Some(list) = house.file(CHECKLIST) else { return Vec::new() };
    let functions = house.rust_files().flat_map(|(_, f)| &f.functions).map(|f| f.name.as_str());
    let properties = house.rust_files().flat_map(|(_, f)| &f.property_tests).map(String::as_str);
    let tests: HashSet<&str> = functions.chain(properties).collect();
    let mut ids = HashSet::new();
    let mut findings = Vec::new();
    for (number, line) in list.lines().filter(|(_, line)| is_row(line)) {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        let (id, state) = (cells[0], cells[cells.len() - 1]);
        if !ids.insert(id) {
            findings.push(Finding::new(CHECKLIST, number, format!("{id} stands twice")));
        }
        findings.extend(fault_of(state, &tests).map(|fault| Finding::new(CHECKLIST, number, format!("{id}: {fault}"))));
    }
    findings
}

/// Rows begin with an id, which begins with the number of a seed.
fn is_row(line: &str) -> bool {
    line.strip_prefix("| ").is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
}

fn fault_of(state: &str, tests: &HashSet<&str>) -> Option<String> {
    if let Some(step) = state.strip_prefix("open: step ") {
        return (!matches!(step, "1" | "2" | "3" | "4" | "5" | "6")).then(|| format!("there is no step {step}"));
    }
    if matches!(state, "open: unplanned" | "not specified") {
        return None;
    }
    let Some(proof) = state.strip_prefix("done: ") else {
        return Some(format!("`{state}` is no state"));
    };
    let mut named = proof.split('`').skip(1).step_by(2).peekable();
    if named.peek().is_none() {
        return Some("names no test, command or document".to_owned());
    }
    named.find_map(|name| {
        let is_test = name.contains('_') && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == ':');
        let test = name.rsplit("::").next().unwrap_or(name);
        (is_test && !tests.contains(test)).then(|| format!("there is no test `{test}`"))
    })
}

#[cfg(test)]
mod tests {
    use super::{CHECKLIST, CODE_MAP, PAPERS};
    use crate::tidy::findings_of;

    #[test]
    fn missing_and_empty_papers_are_found() {
        let all: Vec<(&str, &str)> = PAPERS.iter().map(|path| (*path, "x")).collect();
        assert!(findings_of("papers", &all).is_empty());
        for idx in 0..all.len() {
            let mut files = all.clone();
            files[idx].1 = " \n";
            assert_eq!(findings_of("papers", &files).len(), 1, "{}", files[idx].0);
            files.remove(idx);
            assert_eq!(findings_of("papers", &files).len(), 1, "{idx}");
        }
    }

    #[test]
    fn a_crate_that_the_map_does_not_name_is_found() {
        let files = [("crates/llm/Cargo.toml", ""), (CODE_MAP, "- `crates/gguf`: files")];
        assert_eq!(findings_of("code-map", &files).len(), 1);
        assert!(findings_of("code-map", &[files[0], (CODE_MAP, "- `crates/llm`: engine")]).is_empty());
    }

    #[test]
    fn dead_links_are_found() {
        let links =
            |text: &str| findings_of("links", &[("docs/a.md", text), ("docs/adr/b.md", ""), ("c.md", "")]).len();
        assert_eq!(links("[b](adr/b.md) [b](./adr/b.md#x) [c](../c.md) [d](adr/) [e](#here) [f](https://a.b/c)"), 0);
        assert_eq!(links("[b](b.md) and [c](c.md)"), 2);
        assert_eq!(links("```\n[b](b.md)\n```"), 0);
    }

    #[test]
    fn a_checklist_that_claims_too_much_is_found() {
        let rows = |state: &str| {
            let list = format!("| id | what | state |\n|---|---|---|\n| 000-01 | a trait | {state} |\n");
            findings_of(
                "checklist",
                &[
                    (CHECKLIST, &list),
                    (
                        "a.rs",
                        "//! A.\n#[test]\nfn it_holds() {}\nproptest! { #[test] fn it_always_holds(n in 0..9) {} }",
                    ),
                ],
            )
            .len()
        };
        for fine in [
            "open: step 3",
            "done: `it_holds`",
            "done: `a::it_holds`",
            "done: `cargo test`",
            "done: `it_always_holds`",
            "open: unplanned",
            "not specified",
        ] {
            assert_eq!(rows(fine), 0, "{fine}");
        }
        for bad in ["open: step 9", "done: `it_does_not_hold`", "done: surely", "soon", "open", ""] {
            assert_eq!(rows(bad), 1, "{bad}");
        }
        assert_eq!(rows("open: step 1 |\n| 000-01 | again | open: step 2"), 1, "one id twice");
    }
}
