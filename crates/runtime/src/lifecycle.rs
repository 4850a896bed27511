//! Which models are loaded: single-flight load, counted use, eviction, swap.
