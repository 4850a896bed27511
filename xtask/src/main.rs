//! House work that is not part of the product: `cargo xtask tidy` checks the rules that no compiler knows.
#![forbid(unsafe_code)]

mod mutants;
mod tidy;

use mutants::Which;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

const USAGE: &str = "\
usage: cargo xtask tidy | mutants [--check | --only PART | --after NAME]

  tidy      check the rules of docs/STYLE.md that no compiler knows
  mutants   take guards out of the runtime and the server, one at a time, and see whether a test notices
";

fn main() -> ExitCode {
    let verbs: Vec<String> = std::env::args().skip(1).collect();
    let (done, message) = match verbs.as_slice() {
        [verb] if verb == "tidy" => tidy_up(),
        [verb] if verb == "mutants" => live_mutants(Which::All),
        [verb, flag] if verb == "mutants" && flag == "--check" => check_mutants(),
        [verb, flag, name] if verb == "mutants" && flag == "--only" => live_mutants(Which::Named(name)),
        [verb, flag, name] if verb == "mutants" && flag == "--after" => live_mutants(Which::After(name)),
        _ => (false, USAGE.to_owned()),
    };
    // A closed pipe is no reason to fail: the exit code carries the answer.
    let _closed = writeln!(std::io::stdout(), "{message}");
    if done { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Whether the house is tidy, and what to say about it.
fn tidy_up() -> (bool, String) {
    match tidy::check_house(root()) {
        Err(error) => (false, format!("tidy: {error}")),
        Ok(findings) if findings.is_empty() => (true, format!("tidy: {} rules hold", tidy::n_rules())),
        Ok(findings) => (false, findings.join("\n")),
    }
}

/// Whether every mutant is killed, and what to say about it. Each is told of at once: they take minutes.
fn live_mutants(which: Which<'_>) -> (bool, String) {
    let say = |line: &str| {
        let _closed = writeln!(std::io::stdout(), "{line}");
    };
    match mutants::run(root(), which, say) {
        Err(error) => (false, format!("mutants: {error}")),
        Ok(true) => (true, "mutants: all were killed".to_owned()),
        Ok(false) => (false, "mutants: not all were killed".to_owned()),
    }
}

/// Whether the guards that mutants lack are where the table says, and what to say about it.
fn check_mutants() -> (bool, String) {
    match mutants::check(root()) {
        Err(error) => (false, format!("mutants: {error}")),
        Ok(findings) if findings.is_empty() => (true, format!("mutants: {} guards found", mutants::n_mutants())),
        Ok(findings) => (false, findings.join("\n")),
    }
}

/// The repository's root: the folder above this crate's.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the repository's root")
}

#[cfg(test)]
mod tests {
    use super::{mutants, root, tidy};

    #[test]
    fn every_guard_that_a_mutant_lacks_is_found() {
        let findings = mutants::check(root()).unwrap();
        assert!(findings.is_empty(), "{}", findings.join("\n"));
    }

    #[test]
    fn the_house_is_tidy() {
        let findings = tidy::check_house(root()).unwrap();
        assert!(findings.is_empty(), "{} findings:\n{}", findings.len(), findings.join("\n"));
    }
}
