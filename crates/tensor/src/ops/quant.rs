//! Quantised numbers and products of them.

use crate::operator::Build;

pub(super) const OPS: &[(&str, Build)] = &[];
