//! Losses by known values.

use crate::array::Array;
use crate::ops::trial::{Trial, assert_near, row};

#[test]
fn losses_are_weighed_summed_and_ignored() {
    let scores = || Array::new(&[3, 2], vec![-1f32, -2.0, -3.0, -4.0, -5.0, -6.0]);
    let classes = || row(&[0i64, 1, 1]);
    let loss = |reduction: &str| Trial::new("NegativeLogLikelihoodLoss", 13).text("reduction", reduction);
    assert_near(&loss("none").values::<f32>(&[scores(), classes()]), &[1.0, 4.0, 6.0], 0.0);
    assert_near(&loss("sum").values::<f32>(&[scores(), classes()]), &[11.0], 0.0);
    assert_near(&loss("mean").values::<f32>(&[scores(), classes()]), &[11.0 / 3.0], 1e-6);
    let weights = || row(&[1f32, 3.0]);
    assert_near(&loss("mean").values::<f32>(&[scores(), classes(), weights()]), &[31.0 / 7.0], 1e-6);
    let ignored = loss("mean").int("ignore_index", 0).values::<f32>(&[scores(), classes(), weights()]);
    assert_near(&ignored, &[5.0], 1e-6);
    let absent = loss("sum").int("ignore_index", -1).values::<f32>(&[scores(), row(&[-1i64, 1, -1])]);
    assert_near(&absent, &[4.0], 0.0);
    assert!(loss("sum").run(&[scores(), row(&[0i64, 1, 2])]).is_err(), "there is no class 2");
    assert!(loss("most").run(&[scores(), classes()]).is_err());
}

#[test]
fn cross_entropy_takes_raw_scores() {
    let scores = Array::new(&[1, 2, 2], vec![0f32, 1.0, 0.0, 3.0]);
    let classes = Array::new(&[1, 2], vec![0i32, 1]);
    let outputs = Trial::new("SoftmaxCrossEntropyLoss", 13).text("reduction", "none").outputs(2);
    let outputs = outputs.all(&[scores, classes]).expect("computes");
    assert_near(outputs[0].values().expect("floats"), &[0.693_147_2, 0.126_928], 1e-6);
    let logs = [-0.693_147_2, -2.126_928, -0.693_147_2, -0.126_928];
    assert_near(outputs[1].values().expect("floats"), &logs, 1e-6);
}

#[test]
fn chance_is_refused() {
    for op in ["Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"] {
        let fault = Trial::new(op, 22).run(&[row(&[1f32])]).expect_err("refused");
        assert_eq!(fault.to_string(), "a result that depends on chance is not supported", "{op}");
    }
}
