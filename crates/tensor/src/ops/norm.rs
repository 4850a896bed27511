//! Normalisations.

use crate::operator::Build;

pub(super) const OPS: &[(&str, Build)] = &[];
