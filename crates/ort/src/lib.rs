//! ONNX models through ONNX Runtime, behind the same traits as our own engines.
//!
//! ```text
//! Library::load --> OrtEngine --prepare--> schema --open--> session, watched while it runs
//! ```
//!
//! Nothing is linked: the library is loaded when an engine is made, from the path that is asked for or from where the
//! system's loader looks, and a process has one library and one only. What cannot be loaded is an error that names what
//! was tried. It is not our code that runs then: in a process of its own, a fault of it takes nothing else along.
//!
//! ```no_run
//! use ballast_ort::{OrtEngine, OrtOptions};
//! # fn example(clock: std::sync::Arc<dyn ballast_backend::Clock>) -> Result<(), ballast_ort::OrtError> {
//! let options = OrtOptions { library: Some("libonnxruntime.so.1.31.1".into()), ..OrtOptions::default() };
//! let engine = OrtEngine::new(options, clock)?;
//! println!("{}", engine.library().version());
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]

mod engine;
mod error;
mod library;
mod schema;
mod values;
mod watch;

pub use engine::{ENGINE_VERSION, OrtEngine, OrtOptions, PREDICT_SLA};
pub use error::OrtError;
pub use library::{LIBRARY_NAMES, LIBRARY_VERSION_MIN, Library};
