//! Operators that take elements from places that are given, or put them there.

use crate::operator::Build;

pub(super) const OPS: &[(&str, Build)] = &[];
