//! How much of a difference is allowed.

use super::compare::Difference;
use super::error::ParityError;
use super::report::Measure;
use serde::Serialize;

/// The precision that the less precise of two engines computes with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// 32-bit floats.
    F32,
    /// 16-bit floats.
    F16,
    /// 8-bit integers.
    Int8,
}

impl Precision {
    /// Every precision.
    pub const ALL: [Self; 3] = [Self::F32, Self::F16, Self::Int8];

    /// What is allowed by default.
    #[must_use]
    pub fn tolerances(self) -> Tolerances {
        let (l_inf_max, rmse_max) = match self {
            Self::F32 => (1e-5, 1e-6),
            Self::F16 => (1e-2, 1e-3),
            Self::Int8 => (5e-2, 5e-3),
        };
        Tolerances { l_inf_max, rmse_max, cosine_min: None }
    }
}

/// Bounds that every output must keep, each by itself. A bound that is met exactly is kept.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Tolerances {
    /// Largest difference of two elements.
    pub l_inf_max: f64,
    /// Largest root mean square of the differences of one sample.
    pub rmse_max: f64,
    /// Smallest cosine of the two outputs of one sample; `None`: not asked for.
    pub cosine_min: Option<f64>,
}

impl Tolerances {
    /// Whether these are bounds at all.
    ///
    /// # Errors
    /// If one is negative or not a number, or the cosine is no cosine.
    pub fn check(&self) -> Result<(), ParityError> {
        for (name, got) in [("l_inf_max", self.l_inf_max), ("rmse_max", self.rmse_max)] {
            if got.is_nan() || got < 0.0 {
                return Err(ParityError::Tolerance { name, expected: "0 or more", got });
            }
        }
        match self.cosine_min {
            Some(got) if !(-1.0..=1.0).contains(&got) => {
                Err(ParityError::Tolerance { name: "cosine_min", expected: "-1 to 1", got })
            }
            Some(_) | None => Ok(()),
        }
    }

    /// The bounds that `difference` does not keep: which, the bound, and what was measured.
    pub(super) fn exceeded_by(&self, difference: &Difference) -> Vec<(Measure, f64, f64)> {
        let mut exceeded = Vec::new();
        if difference.n_unmatched > 0 {
            exceeded.push((Measure::Unmatched, 0.0, difference.n_unmatched as f64));
        }
        if difference.l_inf > self.l_inf_max {
            exceeded.push((Measure::LInf, self.l_inf_max, difference.l_inf));
        }
        if difference.rmse > self.rmse_max {
            exceeded.push((Measure::Rmse, self.rmse_max, difference.rmse));
        }
        if let (Some(min), Some(got)) = (self.cosine_min, difference.cosine)
            && got < min
        {
            exceeded.push((Measure::Cosine, min, got));
        }
        exceeded
    }
}
