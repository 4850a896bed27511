//! Reads and writes GGUF files from untrusted bytes: metadata, tensor table, memory mapping. Knows no model.
