//! Behaviour of padding.

use crate::array::Array;
use crate::graph::Attribute;
use crate::testing::run_arrays;

fn row(values: &[i64]) -> Array {
    Array::new(&[values.len()], values.to_vec())
}

#[test]
fn modes_fill_what_is_around() {
    let cases: &[(&str, &[i64], &[i64])] = &[
        ("constant", &[2, 1], &[9, 9, 1, 2, 3, 9]),
        ("edge", &[2, 1], &[1, 1, 1, 2, 3, 3]),
        ("reflect", &[2, 1], &[3, 2, 1, 2, 3, 2]),
        // Further than there are elements: mirrored again.
        ("reflect", &[5, 0], &[2, 1, 2, 3, 2, 1, 2, 3]),
        ("wrap", &[4, 2], &[3, 1, 2, 3, 1, 2, 3, 1, 2]),
        ("constant", &[-1, 1], &[2, 3, 9]),
        ("edge", &[-1, 1], &[2, 3, 3]),
        ("constant", &[-2, -1], &[]),
    ];
    for (mode, pads, expected) in cases {
        let attributes = [("mode", Attribute::Text((*mode).to_owned()))];
        let value = if *mode == "constant" { vec![row(&[9]).reshaped(&[]).unwrap()] } else { Vec::new() };
        let inputs = [vec![row(&[1, 2, 3]), row(pads)], value].concat();
        let got = run_arrays(("Pad", 19), &attributes, &inputs).unwrap();
        assert_eq!(got.values::<i64>().unwrap(), *expected, "{mode} {pads:?}");
    }
}

#[test]
fn pads_that_cannot_be_are_refused() {
    for pads in [&[1][..], &[-2, -2], &[i64::MAX, 1], &[1 << 40, 0]] {
        assert!(run_arrays(("Pad", 19), &[], &[row(&[1, 2, 3]), row(pads)]).is_err(), "{pads:?}");
    }
    let reflect = [("mode", Attribute::Text("reflect".to_owned()))];
    assert!(run_arrays(("Pad", 19), &reflect, &[Array::new::<f32>(&[0], Vec::new()), row(&[1, 1])]).is_err());
}

#[test]
fn the_middle_is_cropped_or_padded() {
    let centered = |n: i64| run_arrays(("CenterCropPad", 18), &[], &[row(&[1, 2, 3, 4]), row(&[n])]).unwrap();
    assert_eq!(centered(1).values::<i64>().unwrap(), [2]);
    assert_eq!(centered(2).values::<i64>().unwrap(), [2, 3]);
    assert_eq!(centered(7).values::<i64>().unwrap(), [0, 1, 2, 3, 4, 0, 0]);
}
