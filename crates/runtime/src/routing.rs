//! Which version of a model answers: canary, A/B, affinity.
