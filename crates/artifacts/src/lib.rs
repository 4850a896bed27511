//! Prepared models on disk: the compile cache.
#![forbid(unsafe_code)]
