//! Operators that make arrays from nothing but shapes and numbers.

use crate::operator::Build;

pub(super) const OPS: &[(&str, Build)] = &[];
