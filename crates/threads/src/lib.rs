//! Persistent compute threads: fork and join over disjoint parts, spinning briefly before they park.
