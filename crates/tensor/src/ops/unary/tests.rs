//! Functions by known values.

use crate::array::Array;
use crate::ops::trial::{Trial, assert_near, row};
use half::f16;

#[test]
fn functions_have_known_values() {
    type Case = (&'static str, &'static [f32], &'static [f32]);
    let cases: &[Case] = &[
        ("Abs", &[-2.0, 0.5], &[2.0, 0.5]),
        ("Neg", &[-2.0, 0.5], &[2.0, -0.5]),
        ("Sign", &[-2.0, 0.0, 3.0], &[-1.0, 0.0, 1.0]),
        ("Relu", &[-2.0, 0.5], &[0.0, 0.5]),
        ("Sqrt", &[4.0, -1.0], &[2.0, f32::NAN]),
        ("Exp", &[0.0, 1.0], &[1.0, std::f32::consts::E]),
        ("Log", &[1.0, 0.0], &[0.0, f32::NEG_INFINITY]),
        ("Reciprocal", &[4.0], &[0.25]),
        ("Floor", &[-1.5], &[-2.0]),
        ("Ceil", &[-1.5], &[-1.0]),
        ("Round", &[0.5, 1.5, 2.5, -0.5, -1.5], &[0.0, 2.0, 2.0, 0.0, -2.0]),
        ("Sin", &[1.0], &[0.841_471]),
        ("Cos", &[1.0], &[0.540_302_3]),
        ("Tan", &[1.0], &[1.557_407_7]),
        ("Asin", &[0.5], &[0.523_598_8]),
        ("Acos", &[0.5], &[1.047_197_6]),
        ("Atan", &[0.5], &[0.463_647_6]),
        ("Sinh", &[1.0], &[1.175_201_2]),
        ("Cosh", &[1.0], &[1.543_080_6]),
        ("Tanh", &[1.0], &[0.761_594_2]),
        ("Asinh", &[1.0], &[0.881_373_6]),
        ("Acosh", &[2.0], &[1.316_957_9]),
        ("Atanh", &[0.5], &[0.549_306_1]),
        ("Erf", &[0.5, -2.0], &[0.520_499_9, -0.995_322_3]),
        ("Sigmoid", &[0.0, 2.0, -200.0], &[0.5, 0.880_797, 0.0]),
        ("Softplus", &[0.0, 100.0], &[std::f32::consts::LN_2, 100.0]),
        ("Softsign", &[1.0, -3.0], &[0.5, -0.75]),
        ("HardSwish", &[-4.0, 1.0, 4.0], &[0.0, 2.0 / 3.0, 4.0]),
        ("Mish", &[1.0], &[0.865_098_4]),
        ("Gelu", &[1.0, -1.0], &[0.841_344_7, -0.158_655_3]),
        ("LeakyRelu", &[-2.0, 3.0], &[-0.02, 3.0]),
        ("Elu", &[-1.0, 3.0], &[-0.632_120_6, 3.0]),
        ("Selu", &[-1.0, 1.0], &[-1.111_330_7, 1.050_701]),
        ("Celu", &[-1.0, 1.0], &[-0.632_120_6, 1.0]),
        ("HardSigmoid", &[-4.0, 1.0, 4.0], &[0.0, 0.7, 1.0]),
        ("Swish", &[2.0], &[1.761_594_2]),
        ("ThresholdedRelu", &[1.0, 1.5], &[0.0, 1.5]),
        ("Shrink", &[-1.0, 0.3, 1.0], &[-1.0, 0.0, 1.0]),
        ("Identity", &[1.0], &[1.0]),
        ("Dropout", &[1.0], &[1.0]),
    ];
    for (op, x, expected) in cases {
        assert_near(&Trial::new(op, 24).values::<f32>(&[row(x)]), expected, 2e-6);
        if matches!(*op, "Neg" | "Shrink" | "Identity") {
            continue;
        }
        // The other floats go the same way.
        let wide: Vec<f64> = x.iter().map(|x| f64::from(*x)).collect();
        let got = Trial::new(op, 24).values::<f64>(&[row(&wide)]);
        assert_near(&got.iter().map(|x| *x as f32).collect::<Vec<_>>(), expected, 1e-6);
        let halves: Vec<f16> = x.iter().map(|x| f16::from_f32(*x)).collect();
        let got = Trial::new(op, 24).values::<f16>(&[row(&halves)]);
        assert_near(&got.iter().map(|x| x.to_f32()).collect::<Vec<_>>(), expected, 2e-2);
    }
}

#[test]
fn settings_are_obeyed() {
    let x = row(&[-2f32, 0.6, 3.0]);
    let cases = [
        (Trial::new("LeakyRelu", 16).float("alpha", 0.5), [-1.0, 0.6, 3.0]),
        (Trial::new("Elu", 22).float("alpha", 2.0), [-1.729_329_4, 0.6, 3.0]),
        (Trial::new("Selu", 22).float("alpha", 1.0).float("gamma", 2.0), [-1.729_329_4, 1.2, 6.0]),
        (Trial::new("Celu", 12).float("alpha", 2.0), [-1.264_241_1, 0.6, 3.0]),
        (Trial::new("HardSigmoid", 22).float("alpha", 0.1).float("beta", 0.3), [0.1, 0.36, 0.6]),
        (Trial::new("Swish", 24).float("alpha", 0.0), [-1.0, 0.3, 1.5]),
        (Trial::new("ThresholdedRelu", 22).float("alpha", 2.0), [0.0, 0.0, 3.0]),
        (Trial::new("Shrink", 9).float("lambd", 1.0).float("bias", 0.5), [-1.5, 0.0, 2.5]),
        (Trial::new("Gelu", 20).text("approximate", "tanh"), [-0.045_402_3, 0.435_415_2, 2.996_363]),
        (Trial::new("Clip", 6).float("min", -1.0).float("max", 2.0), [-1.0, 0.6, 2.0]),
    ];
    for (trial, expected) in cases {
        assert_near(&trial.values::<f32>(&[x.clone()]), &expected, 1e-6);
    }
    assert!(Trial::new("Gelu", 20).text("approximate", "fast").run(&[x]).is_err());
}

#[test]
fn clip_takes_bounds_as_inputs_and_keeps_what_is_no_number() {
    let scalar = |x: f32| Array::scalar(x);
    let x = row(&[-5f32, f32::NAN, 5.0]);
    let clip = |low: f32, high: f32| Trial::new("Clip", 13).values::<f32>(&[x.clone(), scalar(low), scalar(high)]);
    assert_near(&clip(-1.0, 2.0), &[-1.0, f32::NAN, 2.0], 0.0);
    assert_near(&clip(2.0, -1.0), &[-1.0, f32::NAN, -1.0], 0.0);
    let ints = [row(&[-5i8, 5]), Array::scalar(-1i8), Array::scalar(2i8)];
    assert_eq!(Trial::new("Clip", 13).values::<i8>(&ints), [-1, 2]);
    assert!(Trial::new("Clip", 13).run(&[x.clone(), row(&[0f32, 1.0])]).is_err());
    assert!(Trial::new("Clip", 13).run(&[x, Array::scalar(0f64)]).is_err());
}

#[test]
fn what_is_no_number_or_infinite_is_found() {
    let x = row(&[f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1.0]);
    assert_eq!(Trial::new("IsNaN", 20).values::<bool>(&[x.clone()]), [true, false, false, false]);
    assert_eq!(Trial::new("IsInf", 20).values::<bool>(&[x.clone()]), [false, true, true, false]);
    let positive = Trial::new("IsInf", 20).int("detect_negative", 0);
    assert_eq!(positive.values::<bool>(&[x.clone()]), [false, true, false, false]);
    let negative = Trial::new("IsInf", 20).int("detect_positive", 0);
    assert_eq!(negative.values::<bool>(&[x]), [false, false, true, false]);
}

#[test]
fn models_are_not_trained() {
    let x = row(&[1f32, 2.0]);
    let outputs = Trial::new("Dropout", 13).outputs(2).all(&[x.clone()]).expect("computes");
    assert_eq!(outputs, [x.clone(), row(&[true, true])]);
    let outputs = Trial::new("Dropout", 7).outputs(2).all(&[x.clone()]).expect("computes");
    assert_eq!(outputs[1], row(&[1f32, 1.0]));
    let training = [x.clone(), Array::scalar(0.5f32), Array::scalar(true)];
    assert!(Trial::new("Dropout", 13).run(&training).is_err(), "training is known when it runs only, and refused");
    assert!(Trial::new("Dropout", 6).run(&[x.clone()]).is_err(), "this version trains unless told otherwise");
    assert!(Trial::new("Dropout", 6).int("is_test", 1).run(&[x]).is_ok());
}

#[test]
fn truth_values_turn_and_texts_are_refused() {
    assert_eq!(Trial::new("Not", 1).values::<bool>(&[row(&[true, false])]), [false, true]);
    for op in ["Exp", "Abs", "Not", "IsNaN"] {
        assert!(Trial::new(op, 13).run(&[row(&["a".to_owned()])]).is_err(), "{op}");
    }
    assert_eq!(Trial::new("Abs", 13).values::<i8>(&[row(&[-128i8, -3])]), [-128, 3]);
    assert_eq!(Trial::new("Sign", 13).values::<u8>(&[row(&[0u8, 9])]), [0, 1]);
}
