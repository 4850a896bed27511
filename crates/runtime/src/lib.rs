//! The life of a request: admission, batching, sampling, streaming, cancellation.
