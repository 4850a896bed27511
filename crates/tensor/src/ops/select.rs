//! The greatest, the different, those that are not zero.

use crate::operator::Build;

pub(super) const OPS: &[(&str, Build)] = &[];
