//! A home of its own for every test: a tiny model, no settings of the machine, and the binary run in it.

use ballast_gguf::TensorType;
use ballast_testkit::TinyLlama;
use serde_json::Value;
use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, SystemTime};
use tempfile::TempDir;

/// Forces an answer of the letters a to j, so that its text can be read.
pub(crate) const LETTERS: [&str; 10] = [
    "--logit-bias=97=60",
    "--logit-bias=98=60",
    "--logit-bias=99=60",
    "--logit-bias=100=60",
    "--logit-bias=101=60",
    "--logit-bias=102=60",
    "--logit-bias=103=60",
    "--logit-bias=104=60",
    "--logit-bias=105=60",
    "--logit-bias=106=60",
];

/// A directory with a model in it, gone after the test.
#[derive(Debug)]
pub(crate) struct Home {
    dir: TempDir,
    model: String,
}

/// How a command ended and what it wrote.
#[derive(Debug)]
pub(crate) struct Ran {
    /// `None`: a signal ended it.
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Home {
    /// With a model of F32 weights and 256 positions.
    pub(crate) fn new() -> Self {
        Self::with(TinyLlama::new(TensorType::F32))
    }

    pub(crate) fn with(model: TinyLlama) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tiny.gguf");
        model.write_file(&path).unwrap();
        Self { model: path.to_str().unwrap().to_owned(), dir }
    }

    /// The model's path.
    pub(crate) fn model(&self) -> &str {
        &self.model
    }

    /// Makes the model old enough to be known by its date.
    pub(crate) fn age_model(&self) {
        let old = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        File::options().write(true).open(&self.model).unwrap().set_modified(old).unwrap();
    }

    /// A path in the home.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes a file into the home and returns its path.
    pub(crate) fn file(&self, name: &str, bytes: impl AsRef<[u8]>) -> String {
        let path = self.path(name);
        std::fs::write(&path, bytes).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// The command, not yet run. What the machine's user has set does not reach it.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ballast"));
        command.args(args).env_clear().env("HOME", self.dir.path()).env("BALLAST_HOME", self.data_dir());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Where the command keeps its own.
    pub(crate) fn data_dir(&self) -> PathBuf {
        self.path("ballast-home")
    }

    /// Runs the command to its end.
    pub(crate) fn ballast(&self, args: &[&str]) -> Ran {
        Ran::from(self.command(args).output().unwrap())
    }

    /// Runs the command with something to read.
    pub(crate) fn ballast_reading(&self, args: &[&str], input: impl AsRef<[u8]>) -> Ran {
        let mut child = self.command(args).stdin(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        // A command that fails before it reads has closed its end.
        drop(stdin.write_all(input.as_ref()));
        drop(stdin);
        Ran::from(child.wait_with_output().unwrap())
    }

    /// Runs `ballast VERB MODEL` with more arguments, expects success and one JSON value on standard output.
    pub(crate) fn json(&self, verb: &str, args: &[&str]) -> Value {
        self.ballast(&[&[verb, self.model.as_str()], args].concat()).json()
    }
}

impl Ran {
    /// The one JSON value on standard output of a command that succeeded.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        assert_eq!(self.code, Some(0), "{self:?}");
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Expects an exit code and a message, and nothing on standard output.
    #[track_caller]
    pub(crate) fn fails(&self, code: i32, message: &str) {
        assert_eq!(self.code, Some(code), "{self:?}");
        assert!(self.stderr.contains(message), "expected {message:?} in {self:?}");
        assert!(!self.stderr.contains("panicked"), "{self:?}");
        assert_eq!(self.stdout, "", "{self:?}");
    }
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).expect("the command writes text");
        Self { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }
}

/// Numbers of a JSON array.
#[track_caller]
pub(crate) fn ids(value: &Value) -> Vec<u32> {
    let ids = value.as_array().unwrap_or_else(|| panic!("expected an array, got {value}"));
    ids.iter().map(|id| u32::try_from(id.as_u64().unwrap()).unwrap()).collect()
}

/// Ids as `--ids` takes them.
pub(crate) fn comma_separated(ids: &[u32]) -> String {
    ids.iter().map(u32::to_string).collect::<Vec<_>>().join(",")
}
