//! The CPU language-model engine: weights, KV blocks, forward pass.
