//! Behaviour of operators on regions of pictures.

use crate::array::Array;
use crate::graph::Attribute;
use crate::testing::run_arrays;

fn kept(n_max: i64, overlap: f32, score: f32) -> Vec<i64> {
    // The second box is nearly the first; the third is elsewhere, by its other corners.
    let boxes = vec![0.0_f32, 0.0, 1.0, 1.0, 0.0, 0.1, 1.0, 1.1, 1.0, 11.0, 0.0, 10.0];
    let inputs = [
        Array::new(&[1, 3, 4], boxes),
        Array::new(&[1, 1, 3], vec![0.9_f32, 0.95, 0.5]),
        Array::scalar(n_max),
        Array::scalar(overlap),
        Array::scalar(score),
    ];
    let out = run_arrays(("NonMaxSuppression", 11), &[], &inputs).unwrap();
    assert_eq!(out.shape()[1], 3);
    out.values::<i64>().unwrap().iter().skip(2).step_by(3).copied().collect()
}

#[test]
fn boxes_that_cover_a_better_one_are_dropped() {
    assert_eq!(kept(10, 0.5, 0.0), [1, 2]);
    assert_eq!(kept(10, 0.95, 0.0), [1, 0, 2]);
    assert_eq!(kept(1, 0.5, 0.0), [1]);
    assert_eq!(kept(10, 0.5, 0.6), [1]);
    assert_eq!(kept(0, 0.5, 0.0), [0_i64; 0]);
}

#[test]
fn blocks_are_summed_where_they_overlap() {
    let ints = |values: &[i64]| Array::new(&[values.len()], values.to_vec());
    let columns = Array::new(&[1, 2, 2], vec![1.0_f32, 2.0, 3.0, 4.0]);
    let out = run_arrays(("Col2Im", 18), &[], &[columns.clone(), ints(&[1, 3]), ints(&[1, 2])]).unwrap();
    assert_eq!((out.shape(), out.values::<f32>().unwrap()), (&[1, 1, 1, 3][..], &[1.0, 5.0, 4.0][..]));
    for (picture, block) in [([1, 9], [1, 2]), ([1, 1], [1, 2]), ([1, 3], [0, 2]), ([-1, 3], [1, 2])] {
        assert!(run_arrays(("Col2Im", 18), &[], &[columns.clone(), ints(&picture), ints(&block)]).is_err());
    }
}

#[test]
fn regions_are_pooled_to_one_size_and_checked() {
    let picture = Array::new(&[1, 1, 4, 4], (0_i16..16).map(f32::from).collect());
    let size = |name| (name, Attribute::Int(2));
    let attributes = [size("output_height"), size("output_width"), ("sampling_ratio", Attribute::Int(2))];
    let align = |region: [f32; 4], batch: i64| {
        let inputs = [picture.clone(), Array::new(&[1, 4], region.to_vec()), Array::new(&[1], vec![batch])];
        run_arrays(("RoiAlign", 16), &attributes, &inputs)
    };
    assert_eq!(align([0.0, 0.0, 4.0, 4.0], 0).unwrap().values::<f32>().unwrap(), [2.5, 4.5, 10.5, 12.5]);
    assert!(align([0.0, 0.0, 4.0, 4.0], 1).is_err());
    assert!(align([0.0, 0.0, f32::INFINITY, 4.0], 0).is_err());
    assert!(align([0.0, 0.0, 1e30, 4.0], 0).is_err());
    let pooled = [("pooled_shape", Attribute::Ints(vec![2, 2]))];
    let region = |values: [f32; 5]| {
        run_arrays(("MaxRoiPool", 1), &pooled, &[picture.clone(), Array::new(&[1, 5], values.to_vec())])
    };
    assert_eq!(region([0.0, 0.0, 0.0, 3.0, 3.0]).unwrap().values::<f32>().unwrap(), [5.0, 7.0, 13.0, 15.0]);
    assert!(region([1.0, 0.0, 0.0, 3.0, 3.0]).is_err());
    assert!(region([0.0, f32::NAN, 0.0, 1e30, -1e30]).is_ok(), "what is nowhere is empty");
}
