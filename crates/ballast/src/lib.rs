//! Ballast as a library: load a model, generate, stream, chat.
