//! Models on disk: as their authors made them, and as an engine prepared them.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

/// A SHA-256 digest. Text form: 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sha256(pub [u8; 32]);

impl fmt::Display for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Text that is not a digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sha256ParseError;

impl fmt::Display for Sha256ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("digest: expected 64 hexadecimal digits")
    }
}

impl std::error::Error for Sha256ParseError {}

impl FromStr for Sha256 {
    type Err = Sha256ParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(Sha256ParseError);
        }
        let mut bytes = [0; 32];
        for (idx, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * idx..][..2], 16).map_err(|_| Sha256ParseError)?;
        }
        Ok(Self(bytes))
    }
}

/// File formats of models.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ModelFmt {
    /// A GGUF file.
    Gguf,
    /// An ONNX protobuf.
    Onnx,
    /// A safetensors file.
    Safetensors,
    /// A TorchScript archive.
    TorchScript,
    /// A Core ML package, which is a directory.
    MlPackage,
}

impl ModelFmt {
    /// Lower-case name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Gguf => "gguf",
            Self::Onnx => "onnx",
            Self::Safetensors => "safetensors",
            Self::TorchScript => "torchscript",
            Self::MlPackage => "mlpackage",
        }
    }
}

/// What prepared an artifact, and for what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompiledMeta {
    /// Machine and system it is for, such as `linux-x86_64`.
    pub platform: String,
    /// Engine and the version of its format.
    pub engine_version: String,
    /// Layout within the engine: a kernel set's name, `mlprogram` or the like.
    pub backend: String,
}

/// A model as a file or directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ModelArtifact {
    /// As its author made it.
    Authoring {
        /// File, or directory for [`ModelFmt::MlPackage`].
        path: PathBuf,
        /// What it is.
        format: ModelFmt,
        /// Digest of its content; an engine refuses content with another.
        sha256: Sha256,
    },
    /// As an engine prepared it.
    Compiled {
        /// Directory of the bundle.
        path: PathBuf,
        /// What prepared it.
        meta: CompiledMeta,
    },
}

impl ModelArtifact {
    /// Where it lies.
    #[must_use]
    pub fn path(&self) -> &Path {
        match self {
            Self::Authoring { path, .. } | Self::Compiled { path, .. } => path,
        }
    }
}

/// Which units of the machine an engine may use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ComputeUnits {
    /// Whatever is best.
    #[default]
    All,
    /// The CPU alone.
    CpuOnly,
    /// CPU and GPU.
    CpuAndGpu,
    /// CPU and neural engine.
    CpuAndNe,
}

impl ComputeUnits {
    /// All values, in the order of their codes.
    pub const EVERY: [Self; 4] = [Self::All, Self::CpuOnly, Self::CpuAndGpu, Self::CpuAndNe];

    /// The number the prior system's C interface uses, 0 to 3.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::All => 0,
            Self::CpuOnly => 1,
            Self::CpuAndGpu => 2,
            Self::CpuAndNe => 3,
        }
    }

    /// The units of a code; `None` above 3.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        Self::EVERY.get(usize::from(code)).copied()
    }

    /// The word used in cache keys.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::CpuOnly => "cpu_only",
            Self::CpuAndGpu => "cpu_gpu",
            Self::CpuAndNe => "cpu_ane",
        }
    }
}

/// How preparation may store weights.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Quantization {
    /// As they come.
    #[default]
    AsStored,
    /// 32-bit floats.
    Fp32,
    /// 16-bit floats.
    Fp16,
    /// 8-bit integers.
    Int8,
    /// Look-up tables.
    Palettized,
}

impl Quantization {
    /// The word used in cache keys.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AsStored => "as_stored",
            Self::Fp32 => "fp32",
            Self::Fp16 => "fp16",
            Self::Int8 => "int8",
            Self::Palettized => "palettized",
        }
    }
}

/// How to prepare a model.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PrepareOptions {
    /// Units the engine may use.
    pub compute_units: ComputeUnits,
    /// How weights may be stored.
    pub quantization: Quantization,
    /// Shapes to fix, by input name, where the model leaves dimensions open.
    pub shapes: Vec<(String, Vec<usize>)>,
    /// Root of the compile cache; `None`: nothing is kept.
    pub cache_dir: Option<PathBuf>,
    /// Longest time preparation may take.
    pub deadline: Option<Duration>,
    /// Most bytes the opened model may take.
    pub memory_budget_bytes: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::{ComputeUnits, Sha256};

    #[test]
    fn digests_read_back_from_their_text() {
        let digest = Sha256(std::array::from_fn(|idx| u8::try_from(idx * 7).unwrap()));
        assert_eq!(digest.to_string().parse(), Ok(digest));
        for bad in ["", "0", &"g".repeat(64), &"0".repeat(63), &"é".repeat(32)] {
            assert!(bad.parse::<Sha256>().is_err(), "{bad}");
        }
    }

    #[test]
    fn compute_units_map_to_codes_and_back() {
        for units in ComputeUnits::EVERY {
            assert_eq!(ComputeUnits::from_code(units.code()), Some(units));
        }
        assert_eq!(ComputeUnits::from_code(4), None);
    }
}
