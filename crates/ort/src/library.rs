//! The library of ONNX Runtime: found, loaded once, and started.

use crate::OrtError;
use ort::LoadDynamicError;
use ort::environment::{Environment, EnvironmentBuilder};
use ort::logging::LogLevel;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// The oldest version that is spoken to: its interface has all that is used here.
pub const LIBRARY_VERSION_MIN: &str = "1.17";

/// What is looked for, in this order, where no path is given: beside the executable, then where the system's loader looks.
pub const LIBRARY_NAMES: &[&str] = if cfg!(windows) {
    &["onnxruntime.dll"]
} else if cfg!(target_vendor = "apple") {
    &["libonnxruntime.dylib"]
} else {
    &["libonnxruntime.so", "libonnxruntime.so.1"]
};

/// What this process has loaded. A library cannot be unloaded safely once it has started threads, and the binding keeps
/// one for the whole process; this remembers which, so that asking for another is an error and not silently the first.
static LOADED: Mutex<Loaded> = Mutex::new(Loaded::Nothing);

enum Loaded {
    Nothing,
    Broken { path: String, why: String },
    Library(Library),
}

/// The library, loaded and started. Clones are the same.
#[derive(Clone)]
pub struct Library {
    environment: Environment,
    path: String,
    version: String,
}

impl fmt::Debug for Library {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Library").field("path", &self.path).field("version", &self.version).finish_non_exhaustive()
    }
}

impl Library {
    /// The library at `path`, or one of [`LIBRARY_NAMES`]; the one that this process has, if it has one.
    ///
    /// # Errors
    /// What was tried and is not there, is no library of ONNX Runtime, is too old, or does not start; or that the process
    /// has loaded another one.
    pub fn load(path: Option<&Path>) -> Result<Self, OrtError> {
        let asked = path.map(resolved).transpose()?;
        let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
        match &*loaded {
            Loaded::Nothing => {}
            Loaded::Broken { path, .. } | Loaded::Library(Self { path, .. })
                if asked.as_ref().is_some_and(|asked| asked != path) =>
            {
                let (loaded, asked) = (path.clone(), asked.unwrap_or_default());
                return Err(OrtError::LibraryOther { loaded, asked });
            }
            Loaded::Broken { path, why } => {
                return Err(OrtError::LibraryBroken { path: path.clone(), why: why.clone() });
            }
            Loaded::Library(library) => return Ok(library.clone()),
        }
        let names = asked.map_or_else(|| LIBRARY_NAMES.iter().map(ToString::to_string).collect(), |asked| vec![asked]);
        let (path, builder) = found(names)?;
        match started(&path, builder) {
            Ok(library) => {
                *loaded = Loaded::Library(library.clone());
                Ok(library)
            }
            Err(why) => {
                *loaded = Loaded::Broken { path: path.clone(), why: why.clone() };
                Err(OrtError::LibraryBroken { path, why })
            }
        }
    }

    /// What it was loaded from: a path, or a name that the system's loader knew.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// What the library says of how it was built, which names its version.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    pub(crate) fn environment(&self) -> &Environment {
        &self.environment
    }
}

/// The path without links and relative parts, so that one file has one name.
fn resolved(path: &Path) -> Result<String, OrtError> {
    let missing = |source| OrtError::LibraryFile { path: path.to_owned(), source };
    let resolved: PathBuf = path.canonicalize().map_err(missing)?;
    Ok(resolved.to_string_lossy().into_owned())
}

/// The first of `names` that the system loads.
fn found(names: Vec<String>) -> Result<(String, EnvironmentBuilder), OrtError> {
    let mut why = String::new();
    for name in &names {
        // The binding asserts what a library owes it; one that owes nothing is told here, not there.
        match catch_unwind(|| ort::init_from(name)) {
            Ok(Ok(builder)) => return Ok((name.clone(), builder)),
            Ok(Err(LoadDynamicError::Dlopen { error, .. })) => why = error.to_string(),
            Ok(Err(LoadDynamicError::MissingApi { .. })) => {
                return Err(OrtError::LibraryForeign { path: name.clone() });
            }
            Ok(Err(LoadDynamicError::BadVersion { version_str, .. })) => {
                return Err(OrtError::LibraryTooOld { path: name.clone(), got: version_str });
            }
            Ok(Err(error @ LoadDynamicError::InvalidVersionString)) => {
                return Err(OrtError::LibraryBroken { path: name.clone(), why: error.to_string() });
            }
            Err(_) => {
                let why = "it has no interface to give".to_owned();
                return Err(OrtError::LibraryBroken { path: name.clone(), why });
            }
        }
    }
    Err(OrtError::LibraryNotLoaded { tried: names, why })
}

fn started(path: &str, builder: EnvironmentBuilder) -> Result<Library, String> {
    let build = || {
        let log =
            |level: LogLevel, category: &str, _: &str, place: &str, message: &str| log(level, category, place, message);
        let environment = builder.with_name("ballast").with_telemetry(false).with_logger(Arc::new(log)).build()?;
        environment.set_log_level(LogLevel::Warning);
        Ok((environment, ort::info().to_owned()))
    };
    let (environment, version) = match catch_unwind(AssertUnwindSafe(build)) {
        Ok(built) => built.map_err(|error: ort::Error| error.to_string())?,
        Err(_) => return Err("it does not have the interface of its version".to_owned()),
    };
    Ok(Library { environment, path: path.to_owned(), version })
}

/// Its messages go where ours go, and not to standard error. It warns of what a model's author might do better, which
/// nobody who runs the model can change.
fn log(level: LogLevel, category: &str, place: &str, message: &str) {
    match level {
        LogLevel::Verbose | LogLevel::Info | LogLevel::Warning => tracing::debug!(category, place, "{message}"),
        LogLevel::Error | LogLevel::Fatal => tracing::warn!(category, place, "{message}"),
    }
}
