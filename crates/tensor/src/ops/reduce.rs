//! Operators that join the elements along axes: sums, extremes, their places, running sums.

use crate::operator::Build;

pub(super) const OPS: &[(&str, Build)] = &[];
