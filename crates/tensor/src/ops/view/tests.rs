//! Views and index maps against loops over indices.

use super::*;
use crate::testing::with_context;
use proptest::prelude::*;

/// Elements of a view, one index after the other.
fn plain(view: &View, values: &[i64]) -> Vec<i64> {
    let extents: Vec<usize> = view.dims.iter().map(|dim| dim.extent).collect();
    let mut at = vec![0_usize; extents.len()];
    let step = |_: usize| {
        let moves: isize = at.iter().zip(&view.dims).map(|(idx, dim)| idx.cast_signed() * dim.step).sum();
        let value = values[view.offset.checked_add_signed(moves).unwrap()];
        advance(&mut at, &extents);
        value
    };
    (0..extents.iter().product()).map(step).collect()
}

fn copied(view: &View, values: &[i64], n_threads: usize) -> Vec<i64> {
    let mut out = vec![-1; view.dims.iter().map(|dim| dim.extent).product()];
    with_context(n_threads, |context| view.copy(values, &mut out, context.pool));
    out
}

fn counted(len: usize) -> Vec<i64> {
    (0..).take(len).collect()
}

proptest! {
    #[test]
    fn copies_of_views_are_what_loops_over_indices_give(
        dims in prop::collection::vec((1_usize..6, 0_u8..4), 0..5),
        order in any::<prop::sample::Index>(),
    ) {
        let shape: Vec<usize> = dims.iter().map(|(extent, _)| *extent).collect();
        let mut view = View::dense(&shape);
        for (dim, (extent, how)) in view.dims.iter_mut().zip(&dims) {
            match how {
                // Backwards, repeated, every second one, as it is.
                1 => {
                    view.offset += (extent - 1) * dim.step.unsigned_abs();
                    dim.step = -dim.step;
                }
                2 => dim.step = 0,
                3 => *dim = Stride { extent: extent.div_ceil(2), step: dim.step * 2 },
                _ => {}
            }
        }
        if !view.dims.is_empty() {
            let n = order.index(view.dims.len());
            view.dims.rotate_left(n);
        }
        let values = counted(shape.iter().product());
        prop_assert_eq!(copied(&view, &values, 1), plain(&view, &values));
    }

    #[test]
    fn index_maps_are_followed(maps in prop::collection::vec(prop::collection::vec(prop::option::of(0_usize..4), 0..6), 1..4)) {
        let shape = vec![4; maps.len()];
        let values = counted(shape.iter().product());
        let got = with_context(1, |context| remap(&values, &shape, &maps, &-1, context)).unwrap();
        let extents: Vec<usize> = maps.iter().map(Vec::len).collect();
        let mut at = vec![0; maps.len()];
        let expected = (0..extents.iter().product()).map(|_| {
            let from = at.iter().zip(&maps).map(|(idx, map): (&usize, &IndexMap)| map[*idx]).collect::<Option<Vec<_>>>();
            advance(&mut at, &extents);
            from.map_or(-1, |from| from.iter().fold(0, |offset, idx| offset * 4 + idx).cast_signed() as i64)
        });
        prop_assert_eq!(got.values::<i64>().unwrap(), expected.collect::<Vec<i64>>());
    }
}

#[test]
fn many_elements_are_copied_alike_by_one_thread_and_by_three() {
    for (shape, order) in
        [(vec![300, 301], vec![1, 0]), (vec![7, 120, 130], vec![0, 2, 1]), (vec![70_000, 2], vec![1, 0])]
    {
        let view = View::dense(&shape).permuted(&order);
        let values = counted(shape.iter().product());
        let expected = plain(&view, &values);
        assert!(copied(&view, &values, 1) == expected, "{shape:?}, one thread");
        assert!(copied(&view, &values, 3) == expected, "{shape:?}, three threads");
    }
}

#[test]
fn places_count_from_either_end_and_no_further() {
    for (idx, expected) in
        [(0, Some(0)), (2, Some(2)), (-1, Some(2)), (-3, Some(0)), (3, None), (-4, None), (i64::MIN, None)]
    {
        assert_eq!(place(idx, 3).ok(), expected, "{idx}");
    }
    assert!(place(0, 0).is_err());
}
