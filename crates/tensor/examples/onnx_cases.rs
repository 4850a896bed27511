//! Runs test cases of the ONNX standard and prints a line for each: outcome, folder and what is told, between tabs: `onnx_cases FOLDER..`, or folders from
//! standard input, one a line. Used by `oracles/onnx_cases.py`.
#![expect(clippy::print_stdout, reason = "the lines are what the program is for")]

use ballast_tensor::ExecutorOptions;
use ballast_tensor::conformance::{CaseOutcome, CaseTolerance, run_case};
use std::io::BufRead as _;
use std::panic::catch_unwind;
use std::path::Path;

fn main() {
    let given: Vec<String> = std::env::args().skip(1).collect();
    let lines = || std::io::stdin().lock().lines().map_while(Result::ok).collect();
    for folder in if given.is_empty() { lines() } else { given } {
        let outcome =
            catch_unwind(|| run_case(Path::new(&folder), ExecutorOptions::default(), CaseTolerance::default()));
        let (word, text) = match outcome {
            Ok(Ok(CaseOutcome::Passed)) => ("passed", String::new()),
            Ok(Ok(CaseOutcome::Refused { what })) => ("refused", what),
            Ok(Ok(CaseOutcome::Failed { fault })) => ("failed", fault),
            Ok(Ok(CaseOutcome::Wrong { difference })) => ("wrong", difference),
            Ok(Err(error)) => ("unreadable", error.to_string()),
            Err(_) => ("panicked", String::new()),
        };
        println!("{word}\t{folder}\t{}", text.replace(['\n', '\t'], " "));
    }
}
