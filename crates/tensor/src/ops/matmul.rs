//! Products of matrices.

use crate::operator::Build;

pub(super) const OPS: &[(&str, Build)] = &[];
