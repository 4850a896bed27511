//! House work that is not part of the product: `cargo xtask tidy` checks the rules that no compiler knows.
#![forbid(unsafe_code)]

mod tidy;

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

const USAGE: &str = "usage: cargo xtask tidy\n\n  tidy   check the rules of docs/STYLE.md that no compiler knows";

fn main() -> ExitCode {
    let verbs: Vec<String> = std::env::args().skip(1).collect();
    let (done, message) = match verbs.as_slice() {
        [verb] if verb == "tidy" => tidy_up(),
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

/// The repository's root: the folder above this crate's.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the repository's root")
}

#[cfg(test)]
mod tests {
    use super::{root, tidy};

    #[test]
    fn the_house_is_tidy() {
        let findings = tidy::check_house(root()).unwrap();
        assert!(findings.is_empty(), "{} findings:\n{}", findings.len(), findings.join("\n"));
    }
}
