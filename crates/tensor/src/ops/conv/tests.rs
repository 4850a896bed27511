//! Convolutions of any geometry against plain loops.

use super::dense::{Arrangement, Convolution, Data};
use crate::ops::window::{Spatial, Window};
use crate::pieces::{Epilogue, Tiles};
use crate::testing::{Random, with_context};
use ballast_kernels::Pointwise;
use proptest::prelude::*;

#[derive(Clone, Debug)]
struct Case {
    n_images: usize,
    n_groups: usize,
    /// Channels of input and output in each group.
    channels: [usize; 2],
    input: Vec<usize>,
    windows: Vec<Window>,
    n_threads: usize,
}

impl Case {
    fn lens(&self) -> [usize; 4] {
        let taps: usize = self.windows.iter().map(|window| window.kernel).product();
        let n_windows: usize = self.windows.iter().map(|window| window.n_out).product();
        [self.input.iter().product(), taps, n_windows, self.n_groups * self.channels[1]]
    }

    fn check(&self) {
        let [n_entries, taps, n_windows, n_rows] = self.lens();
        let mut random = Random::new(7);
        let x = random.floats(self.n_images * self.n_groups * self.channels[0] * n_entries);
        let weights = random.floats(n_rows * self.channels[0] * taps);
        let (bias, sums) = (random.floats(n_rows), random.floats(self.n_images * n_rows * n_windows));
        let n_cols = self.channels[0] * taps;
        let groups: Vec<Tiles> = weights
            .chunks_exact(self.channels[1] * n_cols)
            .map(|weights| Tiles::pack(weights, [n_cols, 1], self.channels[1], n_cols))
            .collect();
        let windows = Spatial::from_slice(&self.windows);
        let arrangement = Arrangement::new(&self.input, &windows, self.n_groups, self.n_groups * self.channels[0]);
        let convolution = Convolution { arrangement: &arrangement, groups: &groups };
        let mut out = vec![f32::NAN; sums.len()];
        let epilogue = Epilogue(vec![Pointwise::Relu]);
        let data = Data { x: &x, bias: Some(&bias), sums: Some(&sums), epilogue: &epilogue };
        with_context(self.n_threads, |context| convolution.run(data, &mut out, context));
        for (at, got) in out.iter().enumerate() {
            let (row, image) = (at / n_windows % n_rows, at / n_windows / n_rows);
            let group = row / self.channels[1];
            let mut sum = f64::from(bias[row]) + f64::from(sums[at]);
            for col in 0..n_cols {
                let channel = (image * self.n_groups + group) * self.channels[0] + col / taps;
                if let Some(entry) = self.entry(at % n_windows, col % taps) {
                    sum += f64::from(weights[row * n_cols + col]) * f64::from(x[channel * n_entries + entry]);
                }
            }
            assert!((f64::from(*got) - sum.max(0.0)).abs() < 1e-4, "{self:?}: result {at} is {got}, not {sum}");
        }
    }

    /// The entry of a channel that a tap of a window is on.
    fn entry(&self, mut window: usize, mut tap: usize) -> Option<usize> {
        let (mut entry, mut step) = (0, 1);
        for (dim, extent) in self.windows.iter().zip(&self.input).rev() {
            entry += step * dim.entry(window % dim.n_out, tap % dim.kernel, *extent)?;
            (window, tap, step) = (window / dim.n_out, tap / dim.kernel, step * extent);
        }
        Some(entry)
    }
}

fn dimension() -> impl Strategy<Value = (usize, Window)> {
    let any = (1usize..4, 1usize..4, 1usize..3, 0usize..4, 0usize..4, 0usize..12);
    any.prop_map(|(kernel, stride, dilation, before, behind, more)| {
        let reach = (kernel - 1) * dilation;
        let len = (reach + 1).saturating_sub(before + behind).max(1) + more;
        let n_out = (len + before + behind - reach - 1) / stride + 1;
        (len, Window { kernel, stride, dilation, pads: [before, behind], n_out })
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn any_convolution_is_the_sum_of_its_taps(
        dims in proptest::collection::vec(dimension(), 1..4),
        (n_images, n_groups) in (1usize..3, 1usize..4),
        channels in (1usize..4, 1usize..12),
        n_threads in 1usize..4,
    ) {
        let (input, windows) = dims.into_iter().unzip();
        Case { n_images, n_groups, channels: [channels.0, channels.1], input, windows, n_threads }.check();
    }
}

#[test]
fn large_convolutions_are_the_sums_of_their_taps() {
    let three = |n_out| Window { kernel: 3, stride: 1, dilation: 1, pads: [1, 1], n_out };
    let cases = [
        (1, [40, 70], vec![20, 30], vec![three(20), three(30)]),
        (1, [3, 9], vec![2, 500], vec![three(2), three(500)]),
        (30, [1, 1], vec![21, 33], vec![Window { stride: 2, ..three(11) }, Window { stride: 2, ..three(17) }]),
    ];
    for (n_groups, channels, input, windows) in cases {
        for n_threads in [1, 2, 5] {
            Case { n_images: 1, n_groups, channels, input: input.clone(), windows: windows.clone(), n_threads }.check();
        }
    }
}
