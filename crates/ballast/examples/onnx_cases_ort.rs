//! Runs test cases of the ONNX standard by ONNX Runtime behind our traits, and prints a line for each: outcome, folder and
//! what is told, between tabs: `onnx_cases_ort LIBRARY`, with folders from standard input, one a line. Used by
//! `oracles/onnx_cases.py`.
#![expect(clippy::print_stdout, reason = "the lines are what the program is for")]

use ballast::SystemClock;
use ballast_artifacts::{Until, digest_file};
use ballast_backend::{
    Clock, InferenceEngine, Instance, ModelArtifact, ModelFmt, Predictor, PrepareOptions, Pulse, TensorMap,
};
use ballast_ort::{OrtEngine, OrtOptions};
use ballast_tensor::conformance::{CaseOutcome, CaseTolerance, run_case_by};
use std::error::Error;
use std::io::BufRead as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

fn main() -> Result<(), Box<dyn Error>> {
    let library = std::env::args().nth(1).ok_or("usage: onnx_cases_ort LIBRARY < FOLDERS")?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::start());
    let options = OrtOptions { library: Some(library.into()), ..OrtOptions::default() };
    let engine = OrtEngine::new(options, Arc::clone(&clock))?;
    for folder in std::io::stdin().lock().lines().map_while(Result::ok) {
        let open = |path: &Path| {
            let mut predictor = opened(&engine, path, &*clock).map_err(|error| error.to_string())?;
            Ok(move |inputs: TensorMap| {
                let mut outputs = TensorMap::new();
                let run = predictor.predict(&inputs, &mut outputs, &Pulse::new());
                run.map(|()| outputs).map_err(|error| error.to_string())
            })
        };
        let run = || run_case_by(Path::new(&folder), CaseTolerance::default(), open);
        let (word, text) = match catch_unwind(AssertUnwindSafe(run)) {
            Ok(Ok(CaseOutcome::Passed)) => ("passed", String::new()),
            Ok(Ok(CaseOutcome::Refused { what })) => ("refused", what),
            Ok(Ok(CaseOutcome::Failed { fault })) => ("failed", fault),
            Ok(Ok(CaseOutcome::Wrong { difference })) => ("wrong", difference),
            Ok(Err(error)) => ("unreadable", error.to_string()),
            Err(_) => ("panicked", String::new()),
        };
        println!("{word}\t{folder}\t{}", text.replace(['\n', '\t'], " "));
    }
    Ok(())
}

fn opened(engine: &OrtEngine, path: &Path, clock: &dyn Clock) -> Result<Box<dyn Predictor>, Box<dyn Error>> {
    let until = Until { clock, deadline: None, pulse: &Pulse::new() };
    let sha256 = digest_file(path, &until)?.sha256;
    let artifact = ModelArtifact::Authoring { path: path.to_owned(), format: ModelFmt::Onnx, sha256 };
    let prepared = engine.prepare(&artifact, &PrepareOptions::default())?;
    match engine.open(&prepared)? {
        Instance::Predictor(predictor) => Ok(predictor),
        Instance::Generator(_) => Err("expected a tensor model".into()),
    }
}
