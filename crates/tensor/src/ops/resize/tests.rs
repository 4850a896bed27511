//! Behaviour of resizing and of reading between places.

use crate::array::Array;
use crate::graph::Attribute;
use crate::testing::run_arrays;

fn text(name: &'static str, value: &str) -> (&'static str, Attribute) {
    (name, Attribute::Text(value.to_owned()))
}

fn row(values: &[f32]) -> Array {
    Array::new(&[1, 1, 1, values.len()], values.to_vec())
}

fn resized(attributes: &[(&str, Attribute)], values: &[f32], scale: f32) -> Vec<f32> {
    let (none, scales) = (Array::new::<f32>(&[0], Vec::new()), Array::new(&[4], vec![1.0, 1.0, 1.0, scale]));
    let out = run_arrays(("Resize", 19), attributes, &[row(values), none, scales]).unwrap();
    out.values::<f32>().unwrap().to_vec()
}

/// Attributes, scale and elements of the result.
type Case<'a> = (&'a [(&'a str, Attribute)], f32, &'a [f32]);

#[test]
fn rows_are_resized_as_each_mode_says() {
    let smooth = ("antialias", Attribute::Int(1));
    let cases: &[Case<'_>] = &[
        (&[], 2.0, &[0.0, 0.0, 10.0, 10.0, 20.0, 20.0, 30.0, 30.0]),
        (&[text("mode", "linear")], 2.0, &[0.0, 2.5, 7.5, 12.5, 17.5, 22.5, 27.5, 30.0]),
        (&[text("mode", "linear"), text("coordinate_transformation_mode", "asymmetric")], 0.5, &[0.0, 20.0]),
        (&[text("mode", "linear"), text("coordinate_transformation_mode", "align_corners")], 0.5, &[0.0, 30.0]),
        (&[text("mode", "linear"), smooth.clone()], 0.5, &[6.25, 23.75]),
        (&[text("nearest_mode", "ceil"), text("coordinate_transformation_mode", "asymmetric")], 0.5, &[0.0, 20.0]),
    ];
    for (attributes, scale, expected) in cases {
        let got = resized(attributes, &[0.0, 10.0, 20.0, 30.0], *scale);
        let is_near = got.len() == expected.len() && got.iter().zip(*expected).all(|(a, b)| (a - b).abs() < 1e-4);
        assert!(is_near, "{attributes:?}: expected {expected:?}, got {got:?}");
    }
}

#[test]
fn one_value_stays_whatever_the_kernel() {
    for mode in ["nearest", "linear", "cubic"] {
        for scale in [0.3, 0.9, 1.7, 4.0] {
            for excludes in [0, 1] {
                let got =
                    resized(&[text("mode", mode), ("exclude_outside", Attribute::Int(excludes))], &[7.0; 10], scale);
                assert!(got.iter().all(|value| (value - 7.0).abs() < 1e-4), "{mode}, {scale}: {got:?}");
            }
        }
    }
}

#[test]
fn sizes_that_cannot_be_are_refused() {
    let none = Array::new::<f32>(&[0], Vec::new());
    let sized = |sizes: Vec<i64>| {
        run_arrays(("Resize", 19), &[], &[row(&[1.0]), none.clone(), none.clone(), Array::new(&[sizes.len()], sizes)])
    };
    assert_eq!(sized(vec![1, 1, 2, 3]).unwrap().values::<f32>().unwrap(), [1.0; 6]);
    for sizes in [vec![1, 1, 1], vec![1, 1, -1, 1], vec![1, 1, 1 << 30, 1 << 30]] {
        assert!(sized(sizes.clone()).is_err(), "{sizes:?}");
    }
    for scale in [0.0, -1.0, f32::NAN, f32::INFINITY, 1e30] {
        let scales = Array::new(&[4], vec![1.0, 1.0, 1.0, scale]);
        assert!(run_arrays(("Resize", 19), &[], &[row(&[1.0]), none.clone(), scales]).is_err(), "{scale}");
    }
    assert!(run_arrays(("Resize", 19), &[text("coordinate_transformation_mode", "other")], &[row(&[1.0])]).is_err());
}

#[test]
fn a_grid_of_the_pixels_themselves_gives_the_picture() {
    let picture = Array::new(&[1, 1, 2, 3], vec![1.0_f32, 2.0, 3.0, 4.0, 5.0, 6.0]);
    let identity = Array::new(&[1, 2, 3], vec![1.0_f32, 0.0, 0.0, 0.0, 1.0, 0.0]);
    let size = Array::new(&[4], vec![1_i64, 1, 2, 3]);
    for aligned in [0, 1] {
        let corners = ("align_corners", Attribute::Int(aligned));
        let grid =
            run_arrays(("AffineGrid", 20), std::slice::from_ref(&corners), &[identity.clone(), size.clone()]).unwrap();
        for mode in ["nearest", "linear", "cubic"] {
            let got = run_arrays(
                ("GridSample", 20),
                &[corners.clone(), text("mode", mode)],
                &[picture.clone(), grid.clone()],
            )
            .unwrap();
            let is_near = got
                .values::<f32>()
                .unwrap()
                .iter()
                .zip(picture.values::<f32>().unwrap())
                .all(|(a, b)| (a - b).abs() < 1e-4);
            assert!(is_near && got.shape() == picture.shape(), "{mode}, {aligned}: {got:?}");
        }
    }
    let far = Array::new(&[1, 1, 1, 2], vec![f32::NAN, 1e30]);
    for padding in ["zeros", "border", "reflection"] {
        let got = run_arrays(("GridSample", 20), &[text("padding_mode", padding)], &[picture.clone(), far.clone()]);
        assert_eq!(got.unwrap().shape(), [1, 1, 1, 1], "{padding}");
    }
}
