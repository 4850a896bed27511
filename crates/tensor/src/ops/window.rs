//! Windows that go over an array: what convolutions and pooling have in common.

use crate::error::OpError;
use crate::graph::NodeSpec;
use smallvec::SmallVec;

/// Most dimensions that windows go along.
pub(super) const SPATIAL_MAX: usize = 3;

/// A value for each dimension that windows go along.
pub(super) type Spatial<T> = SmallVec<[T; SPATIAL_MAX]>;

/// A window along one dimension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Window {
    pub(super) kernel: usize,
    pub(super) stride: usize,
    pub(super) dilation: usize,
    /// Entries before the first and behind the last.
    pub(super) pads: [usize; 2],
    /// Windows along the dimension.
    pub(super) n_out: usize,
}

impl Window {
    /// A dimension of one entry, which is its only window.
    pub(super) const ONE: Self = Self { kernel: 1, stride: 1, dilation: 1, pads: [0, 0], n_out: 1 };

    /// From the first entry of a window to its last.
    pub(super) fn reach(&self) -> usize {
        (self.kernel - 1) * self.dilation
    }

    /// The entry of `len` that tap `tap` of window `at` is on; `None`: beside them.
    pub(super) fn entry(&self, at: usize, tap: usize, len: usize) -> Option<usize> {
        (at * self.stride + tap * self.dilation).checked_sub(self.pads[0]).filter(|&entry| entry < len)
    }
}

/// Where padding comes from. (ONNX, `auto_pad`)
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AutoPad {
    Explicit,
    SameUpper,
    SameLower,
    Valid,
}

/// The last window of a dimension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LastWindow {
    /// Ends inside.
    Whole,
    /// May reach beyond the end, but does not begin there.
    MayReachOut,
}

/// The attributes of windows.
#[derive(Clone, Debug)]
pub(super) struct Windows {
    kernel: Option<Spatial<usize>>,
    strides: Option<Spatial<usize>>,
    dilations: Option<Spatial<usize>>,
    pads: Option<SmallVec<[usize; 2 * SPATIAL_MAX]>>,
    pub(super) auto_pad: AutoPad,
    last: LastWindow,
}

impl Windows {
    /// Reads the attributes that convolutions and pooling share.
    pub(super) fn new(spec: &NodeSpec<'_>) -> Result<Self, OpError> {
        let auto_pad = match spec.text("auto_pad")?.unwrap_or("NOTSET") {
            "NOTSET" | "" => AutoPad::Explicit,
            "SAME_UPPER" => AutoPad::SameUpper,
            "SAME_LOWER" => AutoPad::SameLower,
            "VALID" => AutoPad::Valid,
            other => return Err(NodeSpec::wrong("auto_pad", "NOTSET, SAME_UPPER, SAME_LOWER or VALID", other)),
        };
        let pads = sizes(spec, "pads", 0)?;
        let kernel = sizes(spec, "kernel_shape", 1)?;
        let (strides, dilations) = (sizes(spec, "strides", 1)?, sizes(spec, "dilations", 1)?);
        Ok(Self {
            kernel: kernel.map(SmallVec::from_vec),
            strides: strides.map(SmallVec::from_vec),
            dilations: dilations.map(SmallVec::from_vec),
            pads: pads.map(SmallVec::from_vec),
            auto_pad,
            last: LastWindow::Whole,
        })
    }

    /// Reads `ceil_mode`, too.
    pub(super) fn with_ceil_mode(mut self, spec: &NodeSpec<'_>) -> Result<Self, OpError> {
        if spec.flag("ceil_mode", false)? {
            self.last = LastWindow::MayReachOut;
        }
        Ok(self)
    }

    /// What `kernel_shape` says.
    pub(super) fn kernel(&self) -> Option<&[usize]> {
        self.kernel.as_deref()
    }

    /// The strides, dilations and pads of `rank` dimensions.
    pub(super) fn steps(&self, rank: usize) -> Result<Spatial<(usize, usize, [usize; 2])>, OpError> {
        let fits = |values: &Option<Spatial<usize>>| values.as_ref().is_none_or(|values| values.len() == rank);
        if !fits(&self.strides)
            || !fits(&self.dilations)
            || self.pads.as_ref().is_some_and(|pads| pads.len() != 2 * rank)
        {
            return Err(NodeSpec::wrong(
                "strides",
                format!("as many strides, dilations and pads as {rank} dimensions"),
                "others",
            ));
        }
        let of = |values: &Option<Spatial<usize>>, at: usize| values.as_ref().map_or(1, |values| values[at]);
        let pads = |at: usize| self.pads.as_ref().map_or([0, 0], |pads| [pads[at], pads[at + rank]]);
        Ok((0..rank).map(|at| (of(&self.strides, at), of(&self.dilations, at), pads(at))).collect())
    }

    /// The windows of this kernel over an array of these extents.
    pub(super) fn over(&self, kernel: &[usize], input: &[usize]) -> Result<Spatial<Window>, OpError> {
        if kernel.len() != input.len() || !(1..=SPATIAL_MAX).contains(&kernel.len()) || kernel.contains(&0) {
            return Err(OpError::shape(format!("1 to {SPATIAL_MAX} dimensions for a kernel of {kernel:?}"), input));
        }
        let steps = self.steps(kernel.len())?;
        let window = |at: usize| {
            let (stride, dilation, pads) = steps[at];
            let window = Window { kernel: kernel[at], stride, dilation, pads, n_out: 0 };
            self.fit(window, input[at]).ok_or_else(|| OpError::shape(format!("at least a kernel of {kernel:?}"), input))
        };
        (0..kernel.len()).map(window).collect()
    }

    /// Pads and number of windows along a dimension; `None` if not one fits.
    fn fit(&self, window: Window, len: usize) -> Option<Window> {
        let span = window.reach().checked_add(1)?;
        if matches!(self.auto_pad, AutoPad::SameUpper | AutoPad::SameLower) {
            let n_out = len.div_ceil(window.stride);
            let total = (n_out.checked_sub(1)? * window.stride + span).saturating_sub(len);
            let (less, more) = (total / 2, total - total / 2);
            let pads = if self.auto_pad == AutoPad::SameUpper { [less, more] } else { [more, less] };
            return Some(Window { pads, n_out, ..window });
        }
        let pads = if self.auto_pad == AutoPad::Valid { [0, 0] } else { window.pads };
        let padded = len.checked_add(pads[0])?.checked_add(pads[1])?;
        let free = padded.checked_sub(span)?;
        let n_out = match self.last {
            LastWindow::Whole => free / window.stride + 1,
            LastWindow::MayReachOut => {
                let n_out = free.div_ceil(window.stride) + 1;
                // The last must not begin behind what there is.
                if (n_out - 1) * window.stride >= len + pads[0] { n_out - 1 } else { n_out }
            }
        };
        Some(Window { pads, n_out, ..window })
    }
}

/// Numbers from `min` on.
pub(super) fn sizes(spec: &NodeSpec<'_>, name: &'static str, min: usize) -> Result<Option<Vec<usize>>, OpError> {
    let Some(values) = spec.ints(name)? else { return Ok(None) };
    let size = |value: &i64| usize::try_from(*value).ok().filter(|&size| size >= min && size <= 1 << 31);
    let sizes: Option<Vec<usize>> = values.iter().map(size).collect();
    sizes.map(Some).ok_or_else(|| NodeSpec::wrong(name, format!("numbers from {min} on"), format!("{values:?}")))
}

/// As three dimensions, the first ones of one entry.
pub(super) fn volume<T: Copy>(values: &[T], one: T) -> [T; SPATIAL_MAX] {
    let mut volume = [one; SPATIAL_MAX];
    volume[SPATIAL_MAX - values.len()..].copy_from_slice(values);
    volume
}

#[cfg(test)]
mod tests {
    use super::{AutoPad, LastWindow, Window, Windows};

    fn windows(auto_pad: AutoPad, last: LastWindow) -> Windows {
        Windows { kernel: None, strides: None, dilations: None, pads: None, auto_pad, last }
    }

    #[test]
    fn windows_fit_as_the_standard_says() {
        let window = |kernel, stride, dilation, pads| Window { kernel, stride, dilation, pads, n_out: 0 };
        let cases = [
            (AutoPad::Explicit, LastWindow::Whole, window(3, 2, 1, [1, 1]), 7, Some(([1, 1], 4))),
            (AutoPad::Explicit, LastWindow::Whole, window(3, 1, 2, [0, 0]), 5, Some(([0, 0], 1))),
            (AutoPad::Explicit, LastWindow::Whole, window(3, 1, 2, [0, 0]), 4, None),
            (AutoPad::Explicit, LastWindow::MayReachOut, window(2, 2, 1, [0, 0]), 5, Some(([0, 0], 3))),
            (AutoPad::Explicit, LastWindow::MayReachOut, window(1, 2, 1, [0, 1]), 2, Some(([0, 1], 1))),
            (AutoPad::SameUpper, LastWindow::Whole, window(3, 2, 1, [0, 0]), 6, Some(([0, 1], 3))),
            (AutoPad::SameLower, LastWindow::Whole, window(3, 2, 1, [0, 0]), 6, Some(([1, 0], 3))),
            (AutoPad::Valid, LastWindow::Whole, window(3, 1, 1, [5, 5]), 4, Some(([0, 0], 2))),
        ];
        for (auto_pad, last, window, len, expected) in cases {
            let got = windows(auto_pad, last).fit(window, len).map(|window| (window.pads, window.n_out));
            assert_eq!(got, expected, "{auto_pad:?} {last:?} {window:?} over {len}");
        }
    }
}
