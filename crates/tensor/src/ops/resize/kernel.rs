//! Which places have how much weight in a place between them.

use super::{clamped, float};

/// How weights fall with the distance. (ONNX `Resize`; the cubic ones: R. Keys, "Cubic convolution interpolation for
/// digital image processing", 1981)
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Kernel {
    /// The shape of a cubic; linear without.
    pub(super) cubic_a: Option<f32>,
    /// Whether weights reach further where places become fewer.
    pub(super) is_smooth: bool,
    /// Whether places outside have no weight; otherwise the outermost ones stand for them.
    pub(super) excludes_outside: bool,
}

/// Places and their weights, as many for each place of what comes out.
pub(super) struct Taps {
    n_per_place: usize,
    taps: Vec<(usize, f32)>,
    is_outside: Vec<bool>,
}

impl Taps {
    pub(super) fn len(&self) -> usize {
        self.is_outside.len()
    }

    /// The places whose weighted sum place `idx` is; `None`: it is outside.
    pub(super) fn at(&self, idx: usize) -> Option<impl Iterator<Item = (usize, f32)>> {
        let taps = &self.taps[idx * self.n_per_place..][..self.n_per_place];
        (!self.is_outside[idx]).then(|| taps.iter().copied())
    }
}

impl Kernel {
    /// The weights of a dimension of `extent` places that is scaled, at `sources`.
    pub(super) fn taps(&self, extent: usize, scale: f32, sources: impl Iterator<Item = Option<f32>>) -> Taps {
        // Distances count in places of what comes out where these are fewer.
        let shrink = if self.is_smooth { scale.min(1.0) } else { 1.0 };
        let reach = if self.cubic_a.is_some() { 2.0 } else { 1.0 } / shrink;
        let first = (-reach).floor() + 1.0;
        // What becomes one place at least is not made smaller than by its extent.
        let n_per_place = clamped(2.0 - 2.0 * first, extent.saturating_mul(8).saturating_add(16));
        let (mut taps, mut is_outside) = (Vec::new(), Vec::new());
        for source in sources {
            is_outside.push(source.is_none());
            let start = taps.len();
            // A place that is hit counts as lying left of itself: the weights are the same, the neighbours others.
            let base = source.unwrap_or(0.0).ceil() - 1.0;
            for idx in 0..n_per_place {
                let at = base + first + float(idx);
                let is_within = (0.0..float(extent)).contains(&at);
                let weight = self.weight((at - source.unwrap_or(0.0)) * shrink);
                let weight = if is_within || !self.excludes_outside { weight } else { 0.0 };
                taps.push((clamped(at, extent), weight));
            }
            let sum: f32 = taps[start..].iter().map(|(_, weight)| weight).sum();
            if (self.is_smooth || self.excludes_outside) && sum != 0.0 {
                taps[start..].iter_mut().for_each(|(_, weight)| *weight /= sum);
            }
        }
        Taps { n_per_place, taps, is_outside }
    }

    fn weight(&self, distance: f32) -> f32 {
        let x = distance.abs();
        match self.cubic_a {
            None => (1.0 - x).max(0.0),
            Some(a) if x <= 1.0 => ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0,
            Some(a) if x < 2.0 => ((x - 5.0) * x + 8.0) * x * a - 4.0 * a,
            Some(_) => 0.0,
        }
    }
}
