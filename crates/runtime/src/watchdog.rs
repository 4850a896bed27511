//! Whether an engine at work is still alive.
