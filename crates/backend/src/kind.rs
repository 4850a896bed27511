//! How a caller decides what to do about an error, whatever crate it comes from.

/// The six answers to "what now?". HTTP status, exit code and retry are each one exhaustive match over this.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The input is wrong; the same call will fail again.
    Invalid,
    /// A policy or a budget forbids it.
    Denied,
    /// A bound is reached now; later may succeed.
    Overloaded,
    /// The thing asked for is not there or not ready.
    Unavailable,
    /// The caller, or its deadline, ended the work.
    Cancelled,
    /// A fault of ours or of an engine.
    Internal,
}
