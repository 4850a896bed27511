//! The programs of a comparison: ours, and peers that are run in the same rounds.

mod llama;

use super::figure::{Figure, RoundTold};
use super::phases::Phases;
use super::process;
use crate::failure::Failure;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What every program of a round is asked.
#[derive(Debug)]
pub(super) struct Question<'a> {
    pub(super) model: &'a Path,
    pub(super) phases: &'a Phases,
    pub(super) n_threads: usize,
    /// Of ours only: a peer chooses its own.
    pub(super) kernels: Option<&'a str>,
    /// Of ours only: options of loading, as they are.
    pub(super) load: &'a [String],
}

/// A program of a comparison.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Program {
    /// A `ballast`: this one or another.
    Ballast(PathBuf),
    /// llama.cpp's `llama-bench`, and the programs beside it.
    Llama(PathBuf),
    /// `bench/candle`, or any program that takes the same arguments and prints the same line of JSON.
    Candle(PathBuf),
}

impl Program {
    /// This executable.
    pub(super) fn ourselves() -> Result<Self, Failure> {
        Ok(Self::Ballast(std::env::current_exe()?))
    }

    /// Reads `KIND:PATH`, or a path whose file name tells the kind.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let by_kind = |kind: &str, path: &str| match kind {
            "ballast" => Some(Self::Ballast(path.into())),
            "llama" => Some(Self::Llama(path.into())),
            "candle" => Some(Self::Candle(path.into())),
            _ => None,
        };
        if let Some(program) = text.split_once(':').and_then(|(kind, path)| by_kind(kind, path)) {
            return Ok(program);
        }
        let name = Path::new(text).file_name().unwrap_or_default().to_string_lossy().into_owned();
        let kind = ["ballast", "llama", "candle"].into_iter().find(|kind| name.contains(kind));
        kind.and_then(|kind| by_kind(kind, text)).ok_or_else(|| {
            format!("expected ballast:PATH, llama:PATH of llama-bench, or candle:PATH of bench/candle, got {text:?}")
        })
    }

    pub(super) fn path(&self) -> &Path {
        match self {
            Self::Ballast(path) | Self::Llama(path) | Self::Candle(path) => path,
        }
    }

    /// The name in tables.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Ballast(_) => "ballast",
            Self::Llama(_) => "llama.cpp",
            Self::Candle(_) => "candle",
        }
    }

    /// Runs one round in fresh processes. What the program does not report is not among the samples; what it failed at
    /// is there with the reason.
    pub(super) fn round(&self, question: &Question<'_>) -> RoundTold {
        match self {
            Self::Ballast(path) => {
                let mut args: Vec<OsString> = ["bench", "round"].map(OsString::from).to_vec();
                args.extend(common_args(question));
                if let Some(kernels) = question.kernels {
                    args.extend(["--kernels", kernels].map(OsString::from));
                }
                args.extend(question.load.iter().map(OsString::from));
                told_by(Command::new(path).args(args), question)
            }
            Self::Llama(path) => llama::round(path, question),
            Self::Candle(path) => told_by(Command::new(path).args(common_args(question)), question),
        }
    }
}

fn common_args(question: &Question<'_>) -> Vec<OsString> {
    let mut args = vec![question.model.into()];
    args.extend(question.phases.to_args().into_iter().map(OsString::from));
    args.extend(["--threads".to_owned(), question.n_threads.to_string()].map(OsString::from));
    args
}

/// Runs a program that prints the line of JSON of our own rounds, and adds its peak memory.
fn told_by(command: &mut Command, question: &Question<'_>) -> RoundTold {
    let told = process::run(command).and_then(|outcome| {
        let json = serde_json::from_str(&outcome.stdout).ok();
        let mut told = json.as_ref().and_then(RoundTold::from_json).ok_or("its output is not a round's JSON")?;
        told.samples.extend(outcome.peak_bytes.map(|bytes| (Figure::PeakMemory, Ok(bytes as f64))));
        Ok(told)
    });
    told.unwrap_or_else(|why| RoundTold::failed(&question.phases.figures(), &why))
}

#[cfg(test)]
mod tests {
    use super::Program;

    #[test]
    fn a_program_is_told_by_its_kind_or_its_name() {
        let kinds = [
            ("llama:/x/bench", Program::Llama("/x/bench".into())),
            ("/x/bin/llama-bench", Program::Llama("/x/bin/llama-bench".into())),
            ("ballast:old", Program::Ballast("old".into())),
            ("target/release/ballast", Program::Ballast("target/release/ballast".into())),
            ("candle:c", Program::Candle("c".into())),
            ("bench-candle", Program::Candle("bench-candle".into())),
        ];
        for (text, program) in kinds {
            assert_eq!(Program::parse(text), Ok(program), "{text}");
        }
        assert!(Program::parse("/bin/true").unwrap_err().contains("llama:PATH"));
    }
}
