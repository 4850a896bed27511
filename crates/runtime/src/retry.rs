//! What may be run again, and after which wait.
