//! Boxes and regions of pictures.

use crate::operator::Build;

pub(super) const OPS: &[(&str, Build)] = &[];
