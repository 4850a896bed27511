//! Windows of any geometry against their taps one by one.

use super::{Volume, span};
use crate::ops::window::{Spatial, Window};
use proptest::prelude::*;

fn window() -> impl Strategy<Value = (usize, Window)> {
    let any = (1usize..5, 1usize..4, 1usize..4, 0usize..4, 0usize..4, 0usize..9);
    any.prop_map(|(kernel, stride, dilation, before, behind, more)| {
        let len = ((kernel - 1) * dilation + 1).saturating_sub(before + behind).max(1) + more;
        let n_out = (len + before + behind - (kernel - 1) * dilation - 1) / stride + 1;
        (len, Window { kernel, stride, dilation, pads: [before, behind], n_out })
    })
}

proptest! {
    #[test]
    fn a_span_has_the_taps_that_are_on_entries((len, window) in window()) {
        for at in 0..window.n_out {
            let taps: Vec<usize> = (0..window.kernel).filter_map(|tap| window.entry(at, tap, len)).collect();
            let (first, n) = span(&window, at, len);
            let spanned: Vec<usize> = (0..n).map(|i| first + i * window.dilation).collect();
            prop_assert_eq!(spanned, taps, "{:?} over {}, window {}", window, len, at);
        }
    }

    #[test]
    fn windows_of_a_volume_visit_each_of_their_entries(dims in proptest::collection::vec(window(), 1..4)) {
        let (input, windows): (Vec<usize>, Spatial<Window>) = dims.into_iter().unzip();
        let volume = Volume::new(&input, &windows);
        let mut n_visited = 0;
        volume.each_window(|idx, lines| {
            let mut visited = Vec::new();
            lines(&mut |start, n, step| visited.extend((0..n).map(|i| start + i * step)));
            let mut expected = vec![0];
            let mut rest = idx;
            let mut places = Vec::new();
            for window in windows.iter().rev() {
                places.insert(0, rest % window.n_out);
                rest /= window.n_out;
            }
            for ((window, len), at) in windows.iter().zip(&input).zip(places) {
                let taps: Vec<usize> = (0..window.kernel).filter_map(|tap| window.entry(at, tap, *len)).collect();
                expected = expected.iter().flat_map(|base| taps.iter().map(move |tap| base * len + tap)).collect();
            }
            assert_eq!(visited, expected);
            n_visited += 1;
        });
        prop_assert_eq!(n_visited, volume.n_windows());
    }
}
