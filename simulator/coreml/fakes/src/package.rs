//! Packages and what is compiled from them: a bundle has the package in it, and is no package itself.

use ballast_tensor::package::FunctionSurvey;
use ballast_tensor::{ExecutorOptions, GraphError, Package, PackageLimits, Planned, Rounding};
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The file by which a folder is known as compiled.
const COMPILED: &str = "coremldata.bin";

/// Where a bundle has the package that it is compiled from.
const SOURCE: &str = "source.mlpackage";

/// Why the framework does not do what it is asked for: the code in Core ML's domain, and words.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    pub(crate) code: isize,
    pub(crate) text: String,
}

impl Failure {
    /// Core ML's generic error.
    pub(crate) const GENERIC: isize = 0;
    /// Features that the model does not take.
    pub(crate) const FEATURES: isize = 1;
    /// Files that cannot be read or written.
    pub(crate) const IO: isize = 3;

    pub(crate) fn new(code: isize, text: impl fmt::Display) -> Self {
        Self { code, text: text.to_string() }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::new(Self::IO, error)
    }
}

impl From<GraphError> for Failure {
    fn from(error: GraphError) -> Self {
        Self::new(Self::GENERIC, error)
    }
}

/// How a model is loaded, as a configuration says.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// Core ML's number: 0 CPU, 1 CPU and GPU, 2 all, 3 CPU and neural engine.
    pub(crate) units: isize,
    pub(crate) function: Option<String>,
}

/// A model that is loaded: what its package says of it, and its program, planned for the CPU.
#[derive(Debug)]
pub(crate) struct Program {
    pub(crate) described: FunctionSurvey,
    pub(crate) planned: Arc<Planned>,
    pub(crate) options: ExecutorOptions,
}

/// The compiler: reads the package, and copies it into a new folder, which it leaves to the caller.
pub(crate) fn compile(package: &Path) -> Result<PathBuf, Failure> {
    Package::open(package, PackageLimits::default())?;
    let made = tempfile::Builder::new().suffix(".mlmodelc").tempdir()?.keep();
    fs::write(made.join(COMPILED), "compiled by the simulator\n")?;
    copy(package, &made.join(SOURCE))?;
    Ok(made)
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if entry.file_type()?.is_dir() {
            copy(&from, &to)?;
        } else {
            fs::copy(&from, &to)?;
        }
    }
    Ok(())
}

/// The package in a bundle, and the function that is meant.
pub(crate) fn open(bundle: &Path, function: Option<&str>) -> Result<(Package, FunctionSurvey), Failure> {
    if !bundle.join(COMPILED).is_file() {
        return Err(Failure::new(Failure::IO, format!("{} is no compiled model", bundle.display())));
    }
    let package = Package::open(&bundle.join(SOURCE), PackageLimits::default())?;
    let name = function.unwrap_or("main");
    let found = package.survey().functions.into_iter().find(|of| of.name == name);
    let missing = || Failure::new(Failure::GENERIC, format!("the model has no function {name:?}"));
    Ok((package, found.ok_or_else(missing)?))
}

impl Program {
    /// Loads a bundle. Where other units than the CPU are allowed, the model is computed with `accelerator`'s rounding.
    pub(crate) fn load(bundle: &Path, settings: &Settings, accelerator: Rounding) -> Result<Self, Failure> {
        let (mut package, described) = open(bundle, settings.function.as_deref())?;
        let model = package.model(settings.function.as_deref())?;
        let rounding = if settings.units == 0 { Rounding::AsTyped } else { accelerator };
        let options = ExecutorOptions { rounding, ..ExecutorOptions::default() };
        Ok(Self { described, planned: Arc::new(Planned::new(&model, &options)?), options })
    }
}
