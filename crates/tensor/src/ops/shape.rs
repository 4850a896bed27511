//! Operators that lay elements out anew and compute nothing.

use crate::operator::Build;

pub(super) const OPS: &[(&str, Build)] = &[];
