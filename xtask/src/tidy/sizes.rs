//! Rule: files have at most 800 lines and functions at most 70, tests aside.
//!
//! What is longer stands in the list of exceptions with its present length and a reason. The list may only shrink:
//! an entry that is longer than what it excuses, or excuses nothing, is a finding as well.

use super::Finding;
use super::house::House;
use std::collections::BTreeMap;

const FILE_LINES_MAX: usize = 800;
const FUNCTION_LINES_MAX: usize = 70;

/// The list: a line for each exception, `LINES PATH[::FUNCTION] REASON`; lines that begin with `#` are comments.
const EXCEPTIONS: &str = "xtask/tidy-exceptions.txt";

/// What is longer than its limit, by place.
type Lengths = BTreeMap<String, (usize, usize)>;

pub(crate) fn files_and_functions_are_short(house: &House) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut long = long_pieces(house);
    let list = house.file(EXCEPTIONS).into_iter().flat_map(|f| f.lines());
    for (number, line) in list.filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#')) {
        let mut words = line.split_whitespace();
        let (Some(Ok(lines)), Some(place), Some(_reason)) = (words.next().map(str::parse), words.next(), words.next())
        else {
            findings.push(Finding::new(EXCEPTIONS, number, "not of the form LINES PATH[::FUNCTION] REASON"));
            continue;
        };
        if let Some(what) = judge(lines, place, long.remove(place)) {
            findings.push(Finding::new(EXCEPTIONS, number, what));
        }
    }
    let too_long = |(place, (n, line)): (String, (usize, usize))| {
        let path = place.split("::").next().unwrap_or(&place);
        Finding::new(path, line, format!("{place} has {n} lines; split it by idea"))
    };
    findings.extend(long.into_iter().map(too_long));
    findings
}

/// What is wrong with an exception of `listed` lines for a piece that measures `actual`.
fn judge(listed: usize, place: &str, actual: Option<(usize, usize)>) -> Option<String> {
    match actual {
        None => Some(format!("{place} needs no exception; take it out")),
        Some((n, _)) if n > listed => Some(format!("{place} grew from {listed} to {n} lines; split it by idea")),
        Some((n, _)) if n < listed => Some(format!("{place} shrank from {listed} to {n} lines; lower the exception")),
        Some(_) => None,
    }
}

/// Every file and function over its limit: its lines and where it begins.
fn long_pieces(house: &House) -> Lengths {
    let mut long = Lengths::new();
    for (file, facts) in house.rust_files() {
        let n = file.lines().filter(|(line, _)| !facts.in_test(*line)).count();
        if n > FILE_LINES_MAX {
            long.insert(file.path.clone(), (n, 1));
        }
        for f in facts.functions.iter().filter(|f| !facts.in_test(*f.lines.start())) {
            if f.n_lines() > FUNCTION_LINES_MAX {
                long.insert(format!("{}::{}", file.path, f.name), (f.n_lines(), *f.lines.start()));
            }
        }
    }
    long
}

#[cfg(test)]
mod tests {
    use super::EXCEPTIONS;
    use crate::tidy::findings_of;

    fn function_of(n_lines: usize) -> String {
        format!("//! A.\nfn f() {{\n{}}}\n", "    g();\n".repeat(n_lines - 2))
    }

    #[test]
    fn long_functions_are_found() {
        assert!(findings_of("sizes", &[("a.rs", &function_of(70))]).is_empty());
        let found = findings_of("sizes", &[("a.rs", &function_of(71))]);
        assert_eq!(found, ["a.rs:2: [sizes] a.rs::f has 71 lines; split it by idea"]);
    }

    #[test]
    fn long_files_are_found_and_tests_do_not_count() {
        let lines = |n: usize| format!("//! A.\n{}", "const A: u8 = 1;\n".repeat(n - 1));
        assert!(findings_of("sizes", &[("a.rs", &lines(800))]).is_empty());
        assert_eq!(findings_of("sizes", &[("a.rs", &lines(801))]).len(), 1);
        let tested = format!("{}#[cfg(test)]\nmod tests {{\nfn f() {{\n{}}}\n}}\n", lines(799), "g();\n".repeat(99));
        assert!(findings_of("sizes", &[("a.rs", &tested)]).is_empty());
        assert!(findings_of("sizes", &[("a/tests.rs", &lines(999))]).is_empty());
    }

    #[test]
    fn an_exception_excuses_exactly_what_it_says() {
        let check = |lines: usize, exception: &str| {
            findings_of("sizes", &[("a.rs", &function_of(lines)), (EXCEPTIONS, exception)]).len()
        };
        assert_eq!(check(80, "# why\n\n80 a.rs::f one kernel body\n"), 0);
        assert_eq!(check(81, "80 a.rs::f one kernel body"), 1, "it grew");
        assert_eq!(check(79, "80 a.rs::f one kernel body"), 1, "it shrank");
        assert_eq!(check(60, "80 a.rs::f one kernel body"), 1, "it needs none");
        assert_eq!(check(60, "80 b.rs::f one kernel body"), 1, "it is gone");
        assert_eq!(check(60, "80 a.rs::f"), 1, "it has no reason");
    }
}
