//! Sums over products by index, and determinants.

use crate::operator::Build;

pub(super) const OPS: &[(&str, Build)] = &[];
