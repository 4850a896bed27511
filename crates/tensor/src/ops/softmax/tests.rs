//! Shares by known values.

use crate::array::Array;
use crate::ops::trial::{Trial, assert_near, row};

const SHARES: [f32; 3] = [0.090_030_57, 0.244_728_47, 0.665_240_96];

#[test]
fn shares_add_up_along_the_axis() {
    let x = Array::new(&[3, 2], vec![0f32, 1000.0, 1.0, 1001.0, 2.0, 1002.0]);
    let expected: Vec<f32> = SHARES.iter().flat_map(|share| [*share; 2]).collect();
    assert_near(&Trial::new("Softmax", 13).int("axis", 0).values::<f32>(&[x.clone()]), &expected, 1e-6);
    let logs: Vec<f32> = expected.iter().map(|share| share.ln()).collect();
    assert_near(&Trial::new("LogSoftmax", 13).int("axis", -2).values::<f32>(&[x.clone()]), &logs, 1e-6);
    let hard = Trial::new("Hardmax", 13).int("axis", 0).values::<f32>(&[x]);
    assert_eq!(hard, [0.0, 0.0, 0.0, 0.0, 1.0, 1.0]);
    let rows: Vec<f32> = (0..50_000).map(|at| (at % 3) as f32).collect();
    let got = Trial::new("Softmax", 13).values::<f32>(&[Array::new(&[50_000 / 50, 50], rows.clone())]);
    let sums: Vec<f32> = got.chunks(50).map(|row| row.iter().sum()).collect();
    assert_near(&sums, &vec![1.0; 1000], 1e-5);
    let wide: Vec<f64> = vec![0.0, 1.0, 2.0];
    let got = Trial::new("Softmax", 13).values::<f64>(&[row(&wide)]);
    assert_near(&got.iter().map(|x| *x as f32).collect::<Vec<_>>(), &SHARES, 1e-6);
}

#[test]
fn before_version_13_all_dimensions_from_the_axis_on_are_one() {
    let x = || Array::new(&[1, 3, 1], vec![0f32, 1.0, 2.0]);
    assert_near(&Trial::new("Softmax", 11).values::<f32>(&[x()]), &SHARES, 1e-6);
    assert_near(&Trial::new("Softmax", 13).values::<f32>(&[x()]), &[1.0; 3], 0.0);
    let twice = || Array::new(&[1, 2, 2], vec![0f32; 4]);
    assert_near(&Trial::new("Softmax", 11).values::<f32>(&[twice()]), &[0.25; 4], 1e-7);
    assert_near(&Trial::new("Softmax", 13).values::<f32>(&[twice()]), &[0.5; 4], 1e-7);
}

#[test]
fn extremes_have_shares_too() {
    let (infinity, nan) = (f32::INFINITY, f32::NAN);
    let softmax = |x: &[f32]| Trial::new("Softmax", 13).values::<f32>(&[row(x)]);
    assert_near(&softmax(&[-infinity, 0.0]), &[0.0, 1.0], 0.0);
    assert_near(&softmax(&[-infinity, -infinity]), &[nan, nan], 0.0);
    assert_near(&softmax(&[nan, 0.0]), &[nan, nan], 0.0);
    assert_near(&softmax(&[3.4e38, -3.4e38]), &[1.0, 0.0], 0.0);
    assert_eq!(Trial::new("Softmax", 13).run(&[Array::new(&[0, 3], Vec::<f32>::new())]).expect("computes").len(), 0);
    assert_eq!(Trial::new("Hardmax", 13).values::<f32>(&[row(&[1f32, 3.0, 3.0])]), [0.0, 1.0, 0.0]);
    assert!(Trial::new("Softmax", 13).int("axis", 1).run(&[row(&[1f32])]).is_err());
}
