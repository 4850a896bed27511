//! Pictures in other sizes, sampled at places that are given.

use crate::operator::Build;

pub(super) const OPS: &[(&str, Build)] = &[];
