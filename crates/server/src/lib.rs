//! HTTP: wire formats, keys, limits, streaming, health. Is given a built runtime, never an engine.
