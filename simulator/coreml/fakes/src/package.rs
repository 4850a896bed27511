//! Fake packages: which arrays a model has.

use std::fs;
use std::io;
use std::path::Path;

/// Name of the file that describes a model, in packages and in compiled bundles.
const FILE: &str = "fake.txt";

/// One array of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Array {
    pub(crate) role: String,
    pub(crate) name: String,
    pub(crate) code: isize,
    pub(crate) shape: Vec<usize>,
}

/// A model.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Package(pub(crate) Vec<Array>);

impl Package {
    /// Reads the description in `folder`.
    pub(crate) fn read(folder: &Path) -> Option<Self> {
        let text = fs::read_to_string(folder.join(FILE)).ok()?;
        text.lines().map(array).collect::<Option<Vec<_>>>().map(Self)
    }

    pub(crate) fn role<'a>(&'a self, role: &'a str) -> impl Iterator<Item = &'a Array> {
        self.0.iter().filter(move |array| array.role == role)
    }
}

fn array(line: &str) -> Option<Array> {
    let mut words = line.split(' ').map(str::to_owned);
    let (role, name, dtype) = (words.next()?, words.next()?, words.next()?);
    let shape = words.next()?.split(',').map(|extent| extent.parse().ok()).collect::<Option<_>>()?;
    let code = match dtype.as_str() {
        "f64" => 0x10000 | 64,
        "f32" => 0x10000 | 32,
        "f16" => 0x10000 | 16,
        "i32" => 0x20000 | 32,
        "i8" => 0x20000 | 8,
        _ => 0x7777,
    };
    Some(Array { role, name, code, shape })
}

/// Writes a package with these lines.
///
/// # Errors
/// If the disk refuses.
pub fn write_package(folder: &Path, lines: &str) -> io::Result<()> {
    fs::create_dir_all(folder.join("Data"))?;
    fs::write(folder.join(FILE), lines)?;
    fs::write(folder.join("Data/weight.bin"), [7; 100])
}

/// The fake compiler: copies the description and the weights to a new folder, which it leaves to the caller.
pub(crate) fn compile(package: &Path) -> io::Result<std::path::PathBuf> {
    let made = tempfile::Builder::new().suffix(".mlmodelc").tempdir()?.keep();
    fs::create_dir(made.join("weights"))?;
    fs::copy(package.join(FILE), made.join(FILE))?;
    fs::copy(package.join("Data/weight.bin"), made.join("weights/weight.bin"))?;
    Ok(made)
}
