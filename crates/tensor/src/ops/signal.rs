//! Spectra and windows.

use crate::operator::Build;

pub(super) const OPS: &[(&str, Build)] = &[];
