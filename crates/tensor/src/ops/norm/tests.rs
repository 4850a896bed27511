//! Normalisations by known values.

use crate::array::Array;
use crate::ops::trial::{Trial, assert_near, row};
use half::f16;

/// `(x - mean) / deviation` of -1, 1 and of 0, 10.
const TWO_ROWS: [f32; 4] = [-1.0, 1.0, -1.0, 1.0];

fn two_rows() -> Array {
    Array::new(&[2, 2], vec![-1f32, 1.0, 0.0, 10.0])
}

#[test]
fn rows_are_normalised_by_themselves() {
    let ones = row(&[1f32, 1.0]);
    let layer = |inputs: &[Array]| Trial::new("LayerNormalization", 17).float("epsilon", 0.0).values::<f32>(inputs);
    assert_near(&layer(&[two_rows(), ones.clone()]), &TWO_ROWS, 1e-6);
    let (scale, bias) = (row(&[2f32, 3.0]), row(&[10f32, 20.0]));
    assert_near(&layer(&[two_rows(), scale.clone(), bias.clone()]), &[8.0, 23.0, 8.0, 23.0], 1e-6);
    // A scale for each row, not for each place in a row.
    let by_row = Array::new(&[2, 1], vec![2f32, 3.0]);
    assert_near(&layer(&[two_rows(), by_row, bias]), &[8.0, 22.0, 7.0, 23.0], 1e-6);
    let all = Trial::new("LayerNormalization", 17).float("epsilon", 0.0).outputs(3);
    let all = all.all(&[two_rows(), scale]).expect("computes");
    assert_eq!((all[1].shape(), all[1].values::<f32>()), (&[2usize, 1][..], Some(&[0.0, 5.0][..])));
    assert_near(all[2].values().expect("floats"), &[1.0, 0.2], 1e-6);
    let whole = Trial::new("LayerNormalization", 17).int("axis", 0).run(&[two_rows(), Array::scalar(1f32)]);
    let sum: f32 = whole.expect("computes").values::<f32>().expect("floats").iter().sum();
    assert!(sum.abs() < 1e-5);
    let wrong = Trial::new("LayerNormalization", 17).run(&[two_rows(), row(&[1f32, 1.0, 1.0])]);
    assert!(wrong.is_err());
    assert!(Trial::new("LayerNormalization", 17).int("stash_type", 16).run(&[two_rows(), ones]).is_err());
}

#[test]
fn root_mean_squares_leave_the_mean() {
    let x = Array::new(&[1, 2], vec![3f32, 4.0]);
    let got = Trial::new("RMSNormalization", 23).values::<f32>(&[x, row(&[1f32, 10.0])]);
    assert_near(&got, &[0.848_528, 11.313_7], 1e-4);
    let halves = Array::new(&[1, 2], vec![f16::from_f32(3.0), f16::from_f32(4.0)]);
    let got = Trial::new("RMSNormalization", 23).values::<f16>(&[halves, row(&[f16::ONE, f16::ONE])]);
    assert_near(&got.iter().map(|x| x.to_f32()).collect::<Vec<_>>(), &[0.848_5, 1.131_4], 1e-3);
}

#[test]
fn channels_are_normalised_by_what_they_were_or_are() {
    let x = Array::new(&[2, 2, 1], vec![1f32, 10.0, 3.0, 30.0]);
    let settings = [row(&[2f32, 1.0]), row(&[0.5f32, 0.0]), row(&[1f32, 20.0]), row(&[4f32, 25.0])];
    let inputs: Vec<Array> = [x].into_iter().chain(settings).collect();
    let plain = Trial::new("BatchNormalization", 15).float("epsilon", 0.0).values::<f32>(&inputs);
    assert_near(&plain, &[0.5, -2.0, 2.5, 2.0], 1e-6);
    let trial =
        Trial::new("BatchNormalization", 15).float("epsilon", 0.0).float("momentum", 0.25).int("training_mode", 1);
    let all = trial.outputs(3).all(&inputs).expect("computes");
    assert_near(all[0].values().expect("floats"), &[-1.5, -1.0, 2.5, 1.0], 1e-6);
    assert_near(all[1].values().expect("floats"), &[1.75, 20.0], 1e-6);
    assert_near(all[2].values().expect("floats"), &[1.75, 81.25], 1e-5);
    assert!(Trial::new("BatchNormalization", 9).outputs(3).all(&inputs).is_err());
    assert!(Trial::new("BatchNormalization", 7).int("spatial", 0).run(&inputs).is_err());
    assert!(Trial::new("BatchNormalization", 6).run(&inputs).is_err(), "this version trains unless told otherwise");
    let flat: Vec<Array> = [Array::new(&[1, 2], vec![3f32, 30.0])].into_iter().chain(inputs[1..].to_vec()).collect();
    assert_near(&Trial::new("BatchNormalization", 9).float("epsilon", 0.0).values::<f32>(&flat), &[2.5, 2.0], 1e-6);
}

#[test]
fn instances_and_groups_have_moments_of_their_own() {
    let x = || Array::new(&[1, 2, 2], vec![-1f32, 1.0, 0.0, 10.0]);
    let (scale, bias) = (|| row(&[2f32, 3.0]), || row(&[10f32, 20.0]));
    let expected = [8.0, 12.0, 17.0, 23.0];
    let instance = Trial::new("InstanceNormalization", 22).float("epsilon", 0.0);
    assert_near(&instance.values::<f32>(&[x(), scale(), bias()]), &expected, 1e-6);
    let group =
        |version: i64, n: i64| Trial::new("GroupNormalization", version).float("epsilon", 0.0).int("num_groups", n);
    assert_near(&group(21, 2).values::<f32>(&[x(), scale(), bias()]), &expected, 1e-6);
    let together = group(21, 1).values::<f32>(&[x(), row(&[1f32, 1.0]), row(&[0f32, 0.0])]);
    assert_near(&together, &[-0.797_724, -0.341_882, -0.569_803, 1.709_409], 1e-5);
    assert_near(&group(18, 1).values::<f32>(&[x(), row(&[1f32]), row(&[0f32])]), &together, 0.0);
    assert!(group(21, 1).run(&[x(), row(&[1f32]), row(&[0f32])]).is_err());
    let three = Array::new(&[1, 3, 1], vec![0f32; 3]);
    assert!(group(21, 2).run(&[three, row(&[1f32; 3]), row(&[0f32; 3])]).is_err());
}

#[test]
fn norms_moments_and_neighbours() {
    let x = || Array::new(&[2, 2], vec![3f32, -4.0, 0.0, 0.0]);
    assert_near(&Trial::new("LpNormalization", 22).values::<f32>(&[x()]), &[0.6, -0.8, 0.0, 0.0], 1e-6);
    let one = Trial::new("LpNormalization", 22).int("p", 1).int("axis", 0);
    assert_near(&one.values::<f32>(&[x()]), &[1.0, -1.0, 0.0, 0.0], 1e-6);
    assert!(Trial::new("LpNormalization", 22).int("p", 3).run(&[x()]).is_err());
    let moments = Trial::new("MeanVarianceNormalization", 13).ints("axes", &[1]);
    assert_near(&moments.values::<f32>(&[two_rows()]), &TWO_ROWS, 1e-6);
    let channels = Array::new(&[1, 3, 1, 1], vec![1f32, 2.0, 3.0]);
    let trial = Trial::new("LRN", 13).int("size", 2).float("alpha", 2.0).float("beta", 1.0);
    // The window of an even size has the more behind: 1 + 4, 4 + 9, 9.
    assert_near(&trial.values::<f32>(&[channels]), &[1.0 / 6.0, 2.0 / 14.0, 3.0 / 10.0], 1e-6);
}
