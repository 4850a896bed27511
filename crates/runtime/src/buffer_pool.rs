//! Tensors that are used again, by shape and type.
