//! Operators of one array, element by element.

use crate::operator::Build;

pub(super) const OPS: &[(&str, Build)] = &[];
