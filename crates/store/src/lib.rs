//! Where models live: names, local stores, downloads.
//!
//! A [`ModelName`] is what a person types; a [`Store`] turns it into files:
//!
//! ```text
//! name --parse--> ModelName --resolve--> our data directory | Hugging Face cache | Ollama's store --> Located
//!                           --pull-----> hub (ranged, resumable, verified) | Python package        --> Located
//! ```
//!
//! The store reads no environment and no clock and prints nothing: [`Places`], [`Clock`] and [`Progress`] come from
//! the caller. It knows nothing of models beyond the header check of a finished download.
//!
//! ```
//! use ballast_store::{Clock, ModelName, Places, Store};
//!
//! let clock = Clock { now: Box::new(|| std::time::UNIX_EPOCH), sleep: Box::new(|_| {}) };
//! let store = Store::new(Places::new("/nonexistent"), clock);
//! let error = store.resolve(&ModelName::parse("hf:user/repo:Q8_0")?).unwrap_err();
//! assert_eq!(error.to_string(), "no model hf:user/repo:Q8_0 on this machine");
//! assert_eq!(error.next_step(), "download it with `ballast pull`");
//! # Ok::<(), ballast_store::NameError>(())
//! ```
#![forbid(unsafe_code)]

mod digest;
mod disk;
mod download;
mod error;
mod header;
mod hf_cache;
mod http;
mod hub;
mod lock;
mod name;
mod ollama;
mod own;
mod package;
mod places;
mod pull;
mod quant;
mod retry;
mod store;

pub use digest::{Digest, NotADigest};
pub use error::{PackageProblem, StoreError};
pub use name::{
    ALIASES, HubName, HubPart, ModelName, NAME_BYTES_MAX, NameError, OllamaName, Package, Pick, Pinned, RepoId,
};
pub use places::{Clock, HF_ENDPOINT, Limits, Places, Progress, Secret, Silent};
pub use quant::PREFERENCE as QUANT_PREFERENCE;
pub use store::{Entry, Located, ModelFile, Source, Store};
